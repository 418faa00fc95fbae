//! Why a restore cannot be finished.

use std::path::PathBuf;

use barman_storage::RelativePath;
use wal_format::{ControlFileError, Lsn, SegmentName, SystemId, TimelineId};

use crate::restore_record::RestoreRecordError;

/// Why what recovery left cannot go, or archiving not be turned on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// There is no database, or not a whole one.
    #[error("{} is no data directory of a version that is known, or its restore did not end", path.display())]
    NoDataDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// `global/pg_control` cannot be understood.
    #[error("global/pg_control of {} cannot be understood", path.display())]
    ControlFile {
        /// The data directory.
        path: PathBuf,
        /// What is wrong with it.
        source: ControlFileError,
    },
    /// What is there is still needed.
    #[error("recovery in {} is not over: {reason}", path.display())]
    NotPromoted {
        /// The data directory.
        path: PathBuf,
        /// How far it is.
        reason: NotPromoted,
    },
    /// The record of the restore cannot be believed.
    #[error("the record of the restore, .barman-restored, cannot be read")]
    Record {
        /// Why.
        source: RestoreRecordError,
    },
    /// A file is no longer what it was when the plan was made.
    #[error("{file} has changed meanwhile")]
    Changed {
        /// The file.
        file: RelativePath,
    },
    /// The archive must not get WAL of this server.
    #[error("the archive of server '{server}' holds other WAL than this server's: {reason}")]
    ForeignArchive {
        /// Barman's name of the server.
        server: String,
        /// Why.
        reason: ForeignTimeline,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
    /// The archive cannot be read.
    #[error(transparent)]
    Catalog(#[from] barman_catalog::Error),
}

/// How far a server has come that is not on its own yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPromoted {
    /// No server was started in the directory.
    #[error("no server was started since the restore")]
    NeverStarted,
    /// The server recovers, or waits at its target.
    #[error("the server recovers from the archive, or has stopped at its target")]
    InRecovery,
    /// It was shut down before.
    #[error("the server was shut down while it recovered")]
    ShutDown,
    /// It recovers as after a crash.
    #[error("the server recovers as after a crash, or was killed meanwhile")]
    AfterCrash,
}

/// How WAL of another life of the cluster shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignTimeline {
    /// It is another cluster.
    #[error("it is that of cluster {archived}, and this is cluster {own}")]
    Cluster {
        /// The system identifier of the archive's.
        archived: SystemId,
        /// That of the server.
        own: SystemId,
    },
    /// The timeline began elsewhere.
    #[error("its timeline {timeline} has another history ({}), this server's {}", began(*archived), began(*own))]
    History {
        /// The timeline.
        timeline: TimelineId,
        /// Where it began as the archive knows it; `None` if it has no parent.
        archived: Option<Lsn>,
        /// Where it began as the server knows it.
        own: Option<Lsn>,
    },
    /// A segment differs.
    #[error("segment {name} differs from this server's")]
    Segment {
        /// The segment.
        name: SegmentName,
    },
    /// A segment is there that the server has not, or no longer, so that nobody can tell who wrote it.
    #[error("segment {name}, behind the end of the restored WAL, is not one that this server has")]
    UnknownSegment {
        /// The segment.
        name: SegmentName,
    },
}

fn began(at: Option<Lsn>) -> String {
    at.map_or_else(|| "has no parent".to_owned(), |lsn| format!("began at {lsn}"))
}
