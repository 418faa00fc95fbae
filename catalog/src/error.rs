//! What can go wrong with a catalog.

use std::io;
use std::path::PathBuf;

use barman_storage::PublishError;
use wal_format::SystemId;

use crate::{BackupId, BackupInfoError, Encoding, JournalError};

/// A catalog that cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),

    /// Something else has the name of a file that was to be added.
    #[error("{} already exists with different contents", path.display())]
    Conflict {
        /// The name that is taken.
        path: PathBuf,
    },

    /// A file did not get its name for another reason.
    #[error(transparent)]
    Publish(PublishError),

    /// The catalog has changed since it was decided what to do.
    #[error("backup {id} of server {server} is no longer the oldest, as it was when the plan was made")]
    PlanOutdated {
        /// The server.
        server: String,
        /// The backup that the plan was made for.
        id: BackupId,
    },

    /// A path of the configuration is not usable.
    #[error("unusable file name {name:?} in {}", directory.display())]
    Name {
        /// Where it lies.
        directory: PathBuf,
        /// Its name.
        name: std::ffi::OsString,
    },

    /// The work was cancelled.
    #[error(transparent)]
    Cancelled(#[from] barman_storage::Cancelled),

    /// A backup's manifest cannot be understood.
    #[error("{} is no manifest of a backup", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: wal_format::ManifestError,
    },

    /// A backup has no manifest; in the words of `pg_verifybackup`.
    #[error("could not open file \"{}\": No such file or directory", path.display())]
    NoManifest {
        /// Where it should be.
        path: PathBuf,
    },

    /// A backup has a manifest already.
    #[error("File {} already exists.", path.display())]
    ManifestExists {
        /// It.
        path: PathBuf,
    },

    /// There is no such backup.
    #[error("no backup {id} of server {server}")]
    NoBackup {
        /// The server.
        server: String,
        /// The backup asked for.
        id: BackupId,
    },

    /// Every id is taken that a backup could get.
    #[error("no free backup id for server {server} from {first} on: is the clock right?")]
    NoFreeId {
        /// The server.
        server: String,
        /// The first id that was tried.
        first: BackupId,
    },

    /// A `backup.info` that cannot be understood. Nothing is decided without it: the WAL that its backup needs is unknown.
    #[error("invalid backup record {}", path.display())]
    BackupInfo {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BackupInfoError,
    },

    /// A file of the catalog that is no UTF-8 text.
    #[error("{} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },

    /// An `identity.json` that cannot be understood.
    #[error("invalid cluster identity {}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },

    /// The catalog belongs to one cluster and something of another was to be added.
    #[error("server {server} holds backups of system {expected}, found system {found}")]
    ForeignSystem {
        /// The server.
        server: String,
        /// The cluster the catalog belongs to.
        expected: SystemId,
        /// The other cluster.
        found: SystemId,
    },

    /// A file that could not be compressed or encrypted.
    #[error("cannot compress or encrypt {}", path.display())]
    Wrap {
        /// What was being written.
        path: PathBuf,
        /// What is in the way.
        #[source]
        source: io::Error,
    },

    /// A compressed or encrypted file that does not hold what it should, or is not whole.
    #[error("cannot decompress or decrypt {}", path.display())]
    Unwrap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },

    /// A file that is stored in a form which cannot be read here.
    #[error("{} is {}", path.display(), stored(*encoding))]
    Encoded {
        /// The file.
        path: PathBuf,
        /// How it is stored.
        encoding: Encoding,
    },

    /// A history file that cannot be understood.
    #[error("invalid timeline history {}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: wal_format::SyntaxError,
    },

    /// A keep annotation that is neither `full` nor `standalone`, nor one of these until a moment.
    #[error("keep annotation {} says {found:?}, expected full or standalone, or one of them until a time", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// The beginning of what it says.
        found: String,
    },

    /// A file of our own that is not the journal which it should be.
    #[error("invalid journal {}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: JournalError,
    },

    /// A backup is in use.
    #[error("backup {id} of server {server} is in use by another process")]
    InUse {
        /// The server.
        server: String,
        /// The backup.
        id: BackupId,
    },

    /// A line of xlog.db that cannot be understood.
    #[error("line {line} of {} is not an entry of the WAL index: {found:?}", path.display())]
    XlogDb {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// The beginning of the line.
        found: String,
    },
}

fn stored(encoding: Encoding) -> String {
    match encoding.compression() {
        Some(compression) => format!("compressed with {compression}"),
        None => "encrypted".to_owned(),
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Conflict { path } => Self::Conflict { path },
            PublishError::Storage(error) => Self::Storage(error),
            other => Self::Publish(other),
        }
    }
}
