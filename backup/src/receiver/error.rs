//! Why receiving stopped.

use barman_storage::PublishError;
use replication_client::ErrorKind;
use wal_format::{ImpossibleSegmentName, Lsn, SegmentName, SegmentSize, SyntaxError, SystemId, TimelineId};

/// Why WAL can no longer be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The server refused, or the connection broke. Its own cases tell a missing or busy slot and removed WAL apart.
    #[error(transparent)]
    Connection(#[from] replication_client::Error),
    /// The server, or WAL that was received before, is of another cluster.
    #[error("expected WAL of system {expected}, found the server to be system {found}")]
    ForeignSystem {
        /// Whose WAL belongs here.
        expected: SystemId,
        /// Who the server is.
        found: SystemId,
    },
    /// The slot does not exist.
    #[error("replication slot {slot:?} does not exist{}", kept_by_chance(*.from))]
    SlotMissing {
        /// Its name.
        slot: String,
        /// From where on WAL is wanted, if anything was received before: nothing keeps the server from removing it.
        from: Option<Lsn>,
    },
    /// The server has removed WAL that was not received, or its slot no longer keeps it.
    #[error("WAL of timeline {timeline} from {from} {} is lost", until(*.to))]
    WalLost {
        /// The timeline.
        timeline: TimelineId,
        /// The first byte that is not here.
        from: Lsn,
        /// Where the WAL begins that the slot still keeps, if it does.
        to: Option<Lsn>,
        /// What the server said.
        #[source]
        source: Box<replication_client::Error>,
    },
    /// The archive does not tell what it has.
    #[error(transparent)]
    Archive(#[from] barman_catalog::Error),
    /// A file in the streaming directory or in the archive is of a cluster with another segment size.
    #[error(transparent)]
    SegmentName(#[from] ImpossibleSegmentName),
    /// A partial file is larger than a segment.
    #[error("expected at most {expected} bytes in {segment}.partial, found {found}")]
    PartialSize {
        /// The segment.
        segment: SegmentName,
        /// The size of a segment.
        expected: SegmentSize,
        /// The size of the file.
        found: u64,
    },
    /// What the server sent as the history of a timeline is none.
    #[error("invalid history file of timeline {timeline}")]
    History {
        /// The timeline.
        timeline: TimelineId,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },
    /// The server skipped or repeated WAL.
    #[error("expected WAL at {expected}, found {found}")]
    OutOfOrder {
        /// Where the WAL before ended.
        expected: Lsn,
        /// Where this begins.
        found: Lsn,
    },
    /// The server sent WAL beyond the last address there is.
    #[error("expected WAL below {}, found more", Lsn::MAX)]
    EndOfAddresses,
    /// The server ended the stream without naming a timeline that goes on: it is shutting down.
    #[error("the server ended the stream at {at}")]
    StreamEnded {
        /// Everything before was received.
        at: Lsn,
    },
    /// What was written may not be on disk.
    #[error("cannot make segment {segment} durable")]
    Sync {
        /// The segment under way.
        segment: SegmentName,
        /// What the system said.
        #[source]
        source: barman_storage::Error,
    },
    /// The streaming directory cannot be read or written.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
    /// A file could not get its final name.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl ReceiveError {
    /// Returns whether another attempt may succeed without anything being changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_transient(),
            Self::StreamEnded { .. } => true,
            // Whoever makes room does not know that a receiver waits for it.
            Self::Storage(error) | Self::Publish(PublishError::Storage(error)) => error.is_disk_full(),
            _ => false,
        }
    }

    /// Says what a refusal of the server's means for WAL of `timeline` from `start` on, where that is known. `kept` is
    /// where the WAL begins that the slot keeps.
    pub(super) fn with_loss(self, timeline: TimelineId, start: Lsn, size: SegmentSize, kept: Option<Lsn>) -> Self {
        let Self::Connection(error) = self else { return self };
        let (timeline, from) = match error.kind() {
            ErrorKind::SlotMissing { slot, .. } => {
                return Self::SlotMissing { slot: slot.clone(), from: Some(start) };
            }
            ErrorKind::WalRemoved { segment, .. } => (segment.timeline, segment.start(size).unwrap_or(start)),
            ErrorKind::SlotUnusable { .. } => (timeline, start),
            _ => return Self::Connection(error),
        };
        let to = kept.filter(|kept| *kept > from);
        Self::WalLost { timeline, from, to, source: Box::new(error) }
    }
}

fn kept_by_chance(from: Option<Lsn>) -> String {
    from.map(|from| format!(": nothing keeps the WAL from {from} on")).unwrap_or_default()
}

fn until(to: Option<Lsn>) -> String {
    to.map_or_else(|| "on".to_owned(), |to| format!("to {to}"))
}
