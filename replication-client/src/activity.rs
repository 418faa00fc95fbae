//! [`Activity`]: what was being done.

use std::fmt;

use wal_format::{Lsn, TimelineId};

/// What was being done when an [`Error`](crate::Error) occurred. It displays as an infinitive: `stream WAL of timeline 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Reaching the server, authenticating, and waiting until the session is ready.
    Connect,
    /// A query in SQL.
    Query,
    /// `SHOW` of the setting.
    Show(String),
    /// `IDENTIFY_SYSTEM`.
    IdentifySystem,
    /// `TIMELINE_HISTORY` of the timeline.
    TimelineHistory(TimelineId),
    /// `CREATE_REPLICATION_SLOT`.
    CreateSlot(String),
    /// `READ_REPLICATION_SLOT`.
    ReadSlot(String),
    /// `DROP_REPLICATION_SLOT`.
    DropSlot(String),
    /// `START_REPLICATION`, and the stream that follows.
    Stream {
        /// The timeline that is streamed.
        timeline: TimelineId,
        /// The end of the WAL received so far.
        at: Lsn,
    },
    /// `UPLOAD_MANIFEST`.
    UploadManifest,
    /// `BASE_BACKUP`, and the stream that follows.
    BaseBackup,
    /// A request to cancel what a session does.
    Cancel,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Query => f.write_str("run a query"),
            Self::Show(name) => write!(f, "show {name}"),
            Self::IdentifySystem => f.write_str("identify the system"),
            Self::TimelineHistory(timeline) => write!(f, "fetch the history of timeline {timeline}"),
            Self::CreateSlot(slot) => write!(f, "create replication slot {slot:?}"),
            Self::ReadSlot(slot) => write!(f, "read replication slot {slot:?}"),
            Self::DropSlot(slot) => write!(f, "drop replication slot {slot:?}"),
            Self::Stream { timeline, at } => write!(f, "stream WAL of timeline {timeline} at {at}"),
            Self::UploadManifest => f.write_str("upload a backup manifest"),
            Self::BaseBackup => f.write_str("take a base backup"),
            Self::Cancel => f.write_str("cancel a query"),
        }
    }
}
