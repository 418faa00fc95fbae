//! The messages inside CopyData: WAL and keepalives in, status updates out.
//!
//! Mirrors `XLogWalRcvProcessMsg` and `XLogWalRcvSendReply` of PostgreSQL's `walreceiver.c`; numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};
use wal_format::{Lsn, Timestamp};

use super::event::HotStandbyFeedback;
use crate::protocol_error::ProtocolError;

/// What the server sends while it streams.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerMessage {
    /// `w`: WAL from `start` on; the server's WAL ends at `server_end`.
    Wal { start: Lsn, server_end: Lsn, data: Bytes },
    /// `k`: a sign of life.
    Keepalive { server_end: Lsn, reply_requested: bool },
}

impl ServerMessage {
    pub(super) fn decode(message: Bytes) -> Result<Self, ProtocolError> {
        Self::parse(&message).ok_or_else(|| ProtocolError::StreamMessage {
            kind: message.first().copied().unwrap_or_default().into(),
            length: message.len(),
        })
    }

    fn parse(message: &Bytes) -> Option<Self> {
        let (&kind, rest) = message.split_first()?;
        let (first, rest) = rest.split_first_chunk()?;
        match kind {
            b'w' => {
                let (server_end, rest) = rest.split_first_chunk()?;
                let (_sent_at, data) = rest.split_first_chunk::<8>()?;
                let (start, server_end) = (position(first)?, position(server_end)?);
                Some(Self::Wal { start, server_end, data: message.slice_ref(data) })
            }
            b'k' => {
                let (_sent_at, rest) = rest.split_first_chunk::<8>()?;
                let &[reply_requested] = rest else { return None };
                Some(Self::Keepalive { server_end: position(first)?, reply_requested: reply_requested != 0 })
            }
            _ => None,
        }
    }
}

/// No position of a stream is 0, which PostgreSQL calls `InvalidXLogRecPtr`.
fn position(bytes: &[u8; 8]) -> Option<Lsn> {
    Lsn::from_pg(u64::from_be_bytes(*bytes))
}

/// `r`: what the receiver tells about its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StandbyStatus {
    pub(super) written: Lsn,
    pub(super) flushed: Option<Lsn>,
    pub(super) applied: Option<Lsn>,
    pub(super) sent_at: Timestamp,
    pub(super) reply: bool,
}

impl StandbyStatus {
    /// Appends the message, as CopyData.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        /// The length field itself, and the message.
        const LENGTH: u32 = 4 + 34;
        out.put_u8(b'd');
        out.put_u32(LENGTH);
        out.put_u8(b'r');
        out.put_u64(self.written.as_u64());
        out.put_u64(self.flushed.map_or(0, Lsn::as_u64));
        out.put_u64(self.applied.map_or(0, Lsn::as_u64));
        out.put_i64(self.sent_at.pg_micros());
        out.put_u8(self.reply.into());
    }
}

impl HotStandbyFeedback {
    /// Appends the message, `h`, as CopyData.
    pub(super) fn encode(&self, sent_at: Timestamp, out: &mut BytesMut) {
        /// The length field itself, and the message.
        const LENGTH: u32 = 4 + 25;
        out.put_u8(b'd');
        out.put_u32(LENGTH);
        out.put_u8(b'h');
        out.put_i64(sent_at.pg_micros());
        for xmin in [self.xmin, self.catalog_xmin] {
            // Transaction first, epoch second: the halves of the number, exchanged.
            out.put_u64(xmin.unwrap_or_default().rotate_left(32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(parts: &[&[u8]]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn wal_has_a_header_of_25_bytes() {
        let message = bytes(&[b"w", &0x100_u64.to_be_bytes(), &0x200_u64.to_be_bytes(), &[0; 8], b"records"]);
        let expected =
            ServerMessage::Wal { start: Lsn::new(0x100), server_end: Lsn::new(0x200), data: Bytes::from("records") };
        assert_eq!(ServerMessage::decode(message).unwrap(), expected);
    }

    #[test]
    fn a_keepalive_may_ask_for_an_answer() {
        for (flag, reply_requested) in [(0, false), (1, true)] {
            let message = bytes(&[b"k", &0x100_u64.to_be_bytes(), &[0; 8], &[flag]]);
            let expected = ServerMessage::Keepalive { server_end: Lsn::new(0x100), reply_requested };
            assert_eq!(ServerMessage::decode(message).unwrap(), expected);
        }
    }

    #[test]
    fn messages_that_are_short_long_or_unknown_are_errors() {
        let one = 1_u64.to_be_bytes();
        let zero = [0; 8];
        for message in [
            bytes(&[]),
            bytes(&[b"w", &one, &one, &[0; 7]]),
            bytes(&[b"w", &zero, &one, &zero]),
            bytes(&[b"k", &one, &zero]),
            bytes(&[b"k", &one, &zero, &[0, 0]]),
            bytes(&[b"k", &zero, &zero, &[0]]),
            bytes(&[b"x", &one, &zero, &[0]]),
        ] {
            let error = ServerMessage::decode(message.clone()).unwrap_err();
            assert!(matches!(error, ProtocolError::StreamMessage { length, .. } if length == message.len()));
        }
    }

    #[test]
    fn a_status_says_written_flushed_applied_and_when() {
        for (applied, raw) in [(None, 0), (Some(Lsn::new(0x100)), 0x100_u64)] {
            let mut out = BytesMut::new();
            let status = StandbyStatus {
                written: Lsn::new(0x300),
                flushed: Some(Lsn::new(0x200)),
                applied,
                sent_at: Timestamp::from_pg_micros(5),
                reply: true,
            };
            status.encode(&mut out);
            let expected = bytes(&[
                b"d\0\0\0\x26r",
                &0x300_u64.to_be_bytes(),
                &0x200_u64.to_be_bytes(),
                &raw.to_be_bytes(),
                &5_u64.to_be_bytes(),
                &[1],
            ]);
            assert_eq!(out.freeze(), expected);
        }
    }

    #[test]
    fn feedback_gives_each_transaction_before_its_epoch() {
        let mut out = BytesMut::new();
        let feedback = HotStandbyFeedback { xmin: Some(0x1_0000_0002), catalog_xmin: None };
        feedback.encode(Timestamp::from_pg_micros(5), &mut out);
        let expected =
            bytes(&[b"d\0\0\0\x1dh", &5_u64.to_be_bytes(), &2_u32.to_be_bytes(), &1_u32.to_be_bytes(), &[0; 8]]);
        assert_eq!(out.freeze(), expected);
    }
}
