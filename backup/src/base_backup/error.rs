//! Why a base backup failed.

use std::io;

use barman_catalog::{ArchiveName, EntryError};
use barman_storage::{Cancelled, PublishError};
use wal_format::{Lsn, SyntaxError};

use super::manifest::ManifestError;

/// Why a base backup failed. What was written stays in place, for the catalog to mark it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseBackupError {
    /// The server refused, or the connection broke.
    #[error(transparent)]
    Connection(#[from] replication_client::Error),
    /// The backup's directories cannot be made.
    #[error(transparent)]
    Catalog(#[from] barman_catalog::Error),
    /// The backup's directory cannot be written.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
    /// An archive is no tar archive, or ended early.
    #[error("invalid archive {archive}")]
    Archive {
        /// Which one.
        archive: ArchiveName,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The server sent an entry that PostgreSQL never sends.
    #[error("refused entry {entry:?} of archive {archive}")]
    Entry {
        /// The archive it is in.
        archive: ArchiveName,
        /// Its name.
        entry: String,
        /// What is wrong with it.
        #[source]
        kind: EntryError,
    },
    /// The parts of the stream came in an order that makes no sense, or broke off.
    #[error("expected {expected} in the base backup stream")]
    Sequence {
        /// What should have come.
        expected: &'static str,
        /// What came instead.
        #[source]
        source: Option<io::Error>,
    },
    /// An archive belongs to a tablespace that the server had not announced.
    #[error("expected an archive of an announced tablespace, found {archive}")]
    UnknownTablespace {
        /// The archive.
        archive: ArchiveName,
    },
    /// The manifest could not get its name.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What was written is not what the server's manifest says.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The base backup has no `backup_label`, or it is not text.
    #[error("expected a backup_label in the base backup")]
    LabelMissing,
    /// `backup_label` is none.
    #[error("invalid backup_label in the base backup")]
    Label(#[source] SyntaxError),
    /// `backup_label` speaks of another backup than the server did.
    #[error("backup_label says that the backup starts at {found}, the server said {expected}")]
    LabelStart {
        /// What the server said when it began.
        expected: Lsn,
        /// What the file says.
        found: Lsn,
    },
    /// The caller cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl BaseBackupError {
    /// Returns whether another attempt may succeed without anything being changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_transient(),
            Self::Archive { source, .. } | Self::Sequence { source: Some(source), .. } => is_broken_off(source),
            Self::Manifest(ManifestError::Stream(source)) => is_broken_off(source),
            _ => false,
        }
    }
}

fn is_broken_off(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
