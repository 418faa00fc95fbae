//! Bytes in, messages out: the framing of PostgreSQL's protocol, without I/O.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::{Header, Message};

use crate::backend_message::BackendMessage;
use crate::cancel::CancelKey;
use crate::protocol_error::ProtocolError;
use crate::server_error::{Notice, ServerError};

/// The longest CopyData, DataRow or RowDescription.
///
/// The largest that physical replication sends is 128 KiB of WAL and its header; a hundred times that leaves room for
/// the timeline history and the settings of any server, and a hostile one cannot make a backup host run out of memory.
const LONGEST_DATA: usize = 16 << 20;
/// The longest ErrorResponse or NoticeResponse.
const LONGEST_WORDS: usize = 1 << 20;
/// The longest message of any other kind, and of every kind until the server is authenticated. It is libpq's limit.
const LONGEST_OTHER: usize = 30_000;
/// How many bytes a read may ask for behind the message that it completes.
const READ_AHEAD: usize = 128 << 10;
/// For how much of a message there is a buffer before that much of it has come.
const LONGEST_ROOM: usize = 256 << 10;
/// How many notices are kept until somebody takes them; the oldest go first.
const MOST_NOTICES: usize = 32;
/// How many different settings the server may report. PostgreSQL 18 reports 15.
const MOST_PARAMETERS: usize = 256;

/// The type of a message and its length.
const HEADER: usize = 5;
const COPY_BOTH_RESPONSE: u8 = b'W';
const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';

/// Collects received bytes and splits them into messages.
///
/// Reports of settings and notices, which may come between any two messages, are put aside.
#[derive(Default)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    /// How long the message at the front is or, where its header has not come yet, how long the last one was.
    length: usize,
    authenticated: bool,
    parameters: BTreeMap<String, String>,
    notices: VecDeque<Notice>,
    cancel_key: Option<CancelKey>,
}

impl Inbox {
    /// Returns the buffer to append received bytes to, with room for a good read.
    ///
    /// What a message lacks when its buffer is full is copied with it into the next, so buffers end where messages do,
    /// as long as these are of one length: a stream that catches up sends 128 KiB of WAL in each, a base backup 32 KiB.
    /// One of the former fills a buffer; of shorter ones there are as many as read ahead.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        let length = self.length.max(HEADER);
        let missing = length.saturating_sub(self.buffer.len()).clamp(1, LONGEST_ROOM);
        if self.buffer.capacity() - self.buffer.len() < missing {
            let room = self.buffer.len() + missing + READ_AHEAD / length * length;
            // Not `reserve`, which may find more room than that.
            let received = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(room));
            self.buffer.extend_from_slice(&received);
        }
        &mut self.buffer
    }

    /// Lifts the limits that protect against a server that nobody has authenticated yet.
    pub(crate) fn trust(&mut self) {
        self.authenticated = true;
    }

    /// Returns the next message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// What was received is not PostgreSQL's protocol; more bytes will not make it so.
    pub(crate) fn poll(&mut self) -> Result<Option<BackendMessage>, ProtocolError> {
        while let Some(frame) = self.next_frame()? {
            match frame.tag {
                // Two kinds that postgres-protocol does not know.
                COPY_BOTH_RESPONSE => {
                    self.buffer.advance(frame.length);
                    return Ok(Some(BackendMessage::CopyBoth));
                }
                NEGOTIATE_PROTOCOL_VERSION => return Err(negotiation(self.buffer.get(HEADER..frame.length))),
                tag => {
                    let message = Message::parse(&mut self.buffer).map_err(malformed(tag))?;
                    if let Some(message) = message.map(|message| self.sort(message)).transpose()?.flatten() {
                        return Ok(Some(message));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Puts aside what is not part of the conversation, and returns what is.
    fn sort(&mut self, message: Message) -> Result<Option<BackendMessage>, ProtocolError> {
        match message {
            Message::ParameterStatus(body) => {
                let name = body.name().map_err(malformed(b'S'))?;
                let value = body.value().map_err(malformed(b'S'))?;
                self.keep_parameter(name.to_owned(), value.to_owned())?;
                Ok(None)
            }
            Message::NoticeResponse(body) => {
                self.keep_notice(ServerError::decode(body.fields()).map_err(malformed(b'N'))?);
                Ok(None)
            }
            Message::ErrorResponse(body) => {
                let error = ServerError::decode(body.fields()).map_err(malformed(b'E'))?;
                Ok(Some(BackendMessage::Error(error)))
            }
            Message::NotificationResponse(_) => Ok(None),
            Message::BackendKeyData(body) => {
                self.cancel_key = Some(CancelKey { process_id: body.process_id(), secret: body.secret_key() });
                Ok(Some(BackendMessage::BackendKeyData))
            }
            message => Ok(Some(BackendMessage::from(message))),
        }
    }

    /// Looks at the frame at the front, and checks its length before anything is allocated for it. `None` if it is not
    /// complete.
    fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        let Some(header) = Header::parse(&self.buffer).map_err(malformed(self.tag()))? else { return Ok(None) };
        let limit = self.limit(header.tag());
        let length = usize::try_from(header.len()).ok().filter(|&length| length <= limit).ok_or_else(|| {
            let length = u64::try_from(header.len()).unwrap_or_default();
            ProtocolError::TooLong { tag: header.tag().into(), length, limit }
        })?;
        // The length does not count the tag.
        self.length = length + 1;
        Ok((self.buffer.len() >= self.length).then_some(Frame { tag: header.tag(), length: self.length }))
    }

    fn tag(&self) -> u8 {
        self.buffer.first().copied().unwrap_or_default()
    }

    fn limit(&self, tag: u8) -> usize {
        match tag {
            b'd' | b'D' | b'T' if self.authenticated => LONGEST_DATA,
            b'E' | b'N' if self.authenticated => LONGEST_WORDS,
            _ => LONGEST_OTHER,
        }
    }

    fn keep_parameter(&mut self, name: String, value: String) -> Result<(), ProtocolError> {
        self.parameters.insert(name, value);
        if self.parameters.len() > MOST_PARAMETERS {
            return Err(ProtocolError::TooMuch { what: "settings", limit: MOST_PARAMETERS });
        }
        Ok(())
    }

    fn keep_notice(&mut self, notice: Notice) {
        if self.notices.len() == MOST_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// Returns a setting as the server last reported it.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Returns all settings that the server reports, sorted by name.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns what the server wants to see before it cancels what this session does, if it said.
    pub(crate) fn cancel_key(&self) -> Option<CancelKey> {
        self.cancel_key
    }

    /// Takes the oldest notice.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}

/// A complete message at the front of the buffer: its type, and its length with everything.
struct Frame {
    tag: u8,
    length: usize,
}

/// We ask for version 3.0 and no option, which every server since 7.4 speaks: whatever a server wants to change about
/// that is an error, as it is for libpq (`pqGetNegotiateProtocolVersion3`).
fn negotiation(body: Option<&[u8]>) -> ProtocolError {
    offer(body.unwrap_or_default())
        .unwrap_or_else(|| malformed(NEGOTIATE_PROTOCOL_VERSION)(io::ErrorKind::InvalidData.into()))
}

/// Reads the version that a server offers, and the first of the options that it does not know.
fn offer(body: &[u8]) -> Option<ProtocolError> {
    let (version, rest) = body.split_first_chunk()?;
    let (count, names) = rest.split_first_chunk()?;
    if u32::from_be_bytes(*count) == 0 {
        // Servers send the whole version, the documentation speaks of its minor part.
        return names.is_empty().then_some(ProtocolError::Version { minor: u32::from_be_bytes(*version) & 0xFFFF });
    }
    let name = names.split_inclusive(|&byte| byte == 0).next()?.strip_suffix(b"\0")?;
    Some(ProtocolError::UnknownOption { name: String::from_utf8_lossy(name).into_owned() })
}

fn malformed(tag: u8) -> impl Fn(io::Error) -> ProtocolError {
    move |source| ProtocolError::Malformed { tag: tag.into(), source }
}

#[cfg(test)]
mod tests;
