//! What a backup tells while it is taken.

use super::position::WalPosition;
use barman_backup::BaseBackupEvent;
use barman_catalog::{BackupId, IngestEvent};
use std::path::PathBuf;
use std::time::Duration;
use wal_format::{Timestamp, WalFileName};

/// Who is told what happens. Copying reports from another thread.
pub type Events<'a> = dyn Fn(BackupEvent<'_>) + Send + Sync + 'a;

/// What happens during a backup, in this order; times are the Barman host's.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupEvent<'a> {
    /// The record exists.
    Starting {
        /// The backup.
        id: BackupId,
        /// Where its files will be.
        destination: PathBuf,
    },
    /// The server was asked where it is.
    StartPosition(WalPosition),
    /// These configuration files lie outside the data directory, so that the backup does not have them.
    ExternalConfiguration(Vec<String>),
    /// Copying begins.
    CopyStarted(BackupId),
    /// Copying goes on.
    Copy(&'a BaseBackupEvent),
    /// Copying failed for a passing reason and will be tried again.
    Retrying {
        /// Why it failed.
        reason: String,
        /// After how long.
        after: Duration,
    },
    /// Every file is there, verified and synced.
    CopyDone(Duration),
    /// There was no backup before this one, so WAL before it has no use: these files were removed.
    FirstBackup {
        /// Their names.
        removed: Vec<String>,
    },
    /// Sum of the file sizes, in bytes.
    Size(u64),
    /// Where the backup is consistent.
    EndPosition(WalPosition),
    /// The record says that the backup is complete but for its WAL.
    Completed {
        /// When copying started.
        start: Timestamp,
        /// How long it took.
        elapsed: Duration,
    },
    /// Waiting for the segment that the end position is in.
    WaitingForWal {
        /// The segment.
        segment: WalFileName,
        /// For how long at most.
        timeout: Option<Duration>,
    },
    /// WAL was archived.
    Archive(&'a IngestEvent<'a>),
}
