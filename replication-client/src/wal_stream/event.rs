//! What goes in and out of a WAL stream, as values.

use bytes::Bytes;
use wal_format::{Lsn, TimelineId};

use crate::durable::Durable;

/// Where a WAL stream starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartReplication {
    /// The physical replication slot to use. Without one the server may remove WAL before it is received.
    pub slot: Option<String>,
    /// The timeline to stream: the server's current one or an ancestor of it.
    pub timeline: TimelineId,
    /// The first position to receive.
    pub start: Lsn,
}

/// Something that happened on a WAL stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// WAL. It continues exactly where the last piece ended; this is checked.
    Wal {
        /// The position of the first byte.
        start: Lsn,
        /// The bytes, at most 128 KiB from PostgreSQL. They share a receive buffer: copy what is kept for long.
        data: Bytes,
    },
    /// A sign of life.
    Keepalive {
        /// The end of WAL on the server.
        end: Lsn,
        /// Whether the server asked for an answer. It has been given already, with the positions last reported.
        reply_requested: bool,
    },
    /// The server has no more WAL of this timeline, and both sides have ended the stream.
    EndOfTimeline {
        /// The timeline that follows, and the position at which it leaves this one.
        next: Option<(TimelineId, Lsn)>,
    },
}

/// What a standby tells the server so that rows which its queries still need are not removed.
///
/// A receiver that only keeps WAL has no queries and sends none. Positions of transactions are 64 bits wide here; the
/// server takes the epoch from the upper half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStandbyFeedback {
    /// The oldest transaction that any query needs, or `None` to withdraw what was said before.
    pub xmin: Option<u64>,
    /// The same for system catalogs.
    pub catalog_xmin: Option<u64>,
}

/// What the receiver tells the server about its progress.
#[derive(Clone, Copy, Debug)]
pub struct StatusUpdate<'a> {
    /// The end of the WAL handed to the operating system.
    pub written: Lsn,
    /// What is on disk, or `None` to repeat what was reported last.
    pub flushed: Option<&'a Durable>,
    /// Whether the server shall answer with a keepalive.
    pub reply: bool,
}
