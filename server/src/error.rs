//! What can go wrong between a command and the crates that carry it out.

use barman_catalog::{BackupId, Status};
use std::path::PathBuf;
use wal_format::WalFileName;

/// Why an operation on a server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A connection, or a command on it, failed.
    #[error(transparent)]
    Postgres(#[from] replication_client::Error),
    /// A connection string cannot be understood.
    #[error("{option} of server '{server}' is not a valid connection string")]
    Conninfo {
        /// The option that holds it.
        option: &'static str,
        /// The server.
        server: String,
        /// What is wrong with it, and where.
        source: replication_client::ConninfoError,
    },
    /// WAL that was sent is not taken.
    #[error(transparent)]
    PutWal(barman_catalog::PutWalError),
    /// The server's version is newer or older than those this program knows.
    #[error("server_version_num is {version_num}, expected PostgreSQL 13 to 19")]
    UnknownServerVersion {
        /// What the server says.
        version_num: u32,
    },
    /// A setting is hidden from the role, or unknown to the server.
    #[error("setting {name} is not visible to the role")]
    SettingNotVisible {
        /// The setting.
        name: &'static str,
    },
    /// A query gave what it cannot give.
    #[error("expected {expected} from the server, found '{found}'")]
    UnexpectedAnswer {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The connections of one server reach different clusters, or another one than the catalog holds.
    #[error("server '{server}' is cluster {found}, expected cluster {expected}")]
    ForeignSystem {
        /// The server.
        server: String,
        /// The cluster whose backups are in the catalog.
        expected: wal_format::SystemId,
        /// The cluster that answered.
        found: wal_format::SystemId,
    },
    /// An option is set that this operation would have to obey and that is not built.
    #[error("option '{option}' of server '{server}' is not built yet (its value is '{value}')")]
    UnsupportedOption {
        /// The server.
        server: String,
        /// The option.
        option: String,
        /// What it is set to.
        value: String,
    },
    /// The catalog could not be read or written.
    #[error(transparent)]
    Catalog(#[from] barman_catalog::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
    /// Taking the base backup failed.
    #[error(transparent)]
    BaseBackup(#[from] barman_backup::BaseBackupError),
    /// Receiving WAL failed.
    #[error(transparent)]
    Receiver(#[from] barman_backup::ReceiveError),
    /// A restore is impossible as asked for.
    #[error(transparent)]
    Plan(#[from] barman_pitr::PlanError),
    /// A restore would write into the catalog.
    #[error("the destination {} lies in {}, which is part of the backups", destination.display(), directory.display())]
    DestinationInCatalog {
        /// Where to restore to.
        destination: PathBuf,
        /// The directory of the catalog that it lies in.
        directory: PathBuf,
    },
    /// A restore failed while it was carried out.
    #[error(transparent)]
    Restore(#[from] barman_pitr::RestoreError),
    /// Checks that a backup depends on failed.
    #[error("impossible to start the backup of server '{server}': {}", failed.join(", "))]
    NotReadyForBackup {
        /// The server.
        server: String,
        /// The checks, each with what it found.
        failed: Vec<String>,
    },
    /// The lock says that another process does this already.
    #[error("another {task} process is already running on server '{server}'")]
    Busy {
        /// What it does.
        task: &'static str,
        /// The server.
        server: String,
    },
    /// The option is off that the command needs.
    #[error("unable to start receive-wal process: streaming_archiver option set to 'off' in the configuration file")]
    StreamingOff,
    /// What was received goes beyond what the server has written: it cannot be aligned.
    #[error("expected {newest} in streaming/ not to be ahead of the server, found it at {current}")]
    ReceiverAhead {
        /// The newest file.
        newest: WalFileName,
        /// The segment that the server writes.
        current: wal_format::SegmentName,
    },
    /// The lock file does not take the number of a process.
    #[error("cannot write the lock file of receive-wal for server '{server}'")]
    LockFile {
        /// The server.
        server: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The process that the lock file is to name does not start.
    #[error("cannot start a process that stands in for the receiver")]
    StandIn {
        /// Why not.
        source: std::io::Error,
    },
    /// The option that says how to connect is not set.
    #[error("conninfo is not set for server '{server}'")]
    NoConninfo {
        /// The server.
        server: String,
    },
    /// The server took too long.
    #[error("the server has not answered within {seconds} seconds")]
    NoAnswer {
        /// How long was waited.
        seconds: u64,
    },
    /// The option that names the replication slot is not set.
    #[error("slot_name is not set for server '{server}'")]
    NoSlotName {
        /// The server.
        server: String,
    },
    /// No process holds the lock.
    #[error("no {task} process is running for server '{server}'")]
    NotRunning {
        /// What it would do.
        task: String,
        /// The server.
        server: String,
    },
    /// A process that was asked to end goes on.
    #[error("process {pid} ({task}) does not end")]
    DoesNotStop {
        /// What it does.
        task: &'static str,
        /// The process.
        pid: u32,
    },
    /// A process may not be signalled.
    #[error("cannot signal process {pid}")]
    Signal {
        /// The process.
        pid: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// A user keeps the backup that is to be deleted.
    #[error("backup {id} of server {server} is kept")]
    Kept {
        /// The server.
        server: String,
        /// The backup.
        id: BackupId,
    },
    /// Only complete backups can be kept.
    #[error("backup {id} cannot be kept: its status is {status}, expected DONE")]
    KeepUnfinished {
        /// The backup.
        id: BackupId,
        /// How far it has come.
        status: Status,
    },
    /// Only full backups can be kept: incremental ones stay with what they build on.
    #[error("backup {id} cannot be kept: it is incremental")]
    KeepIncremental {
        /// The backup.
        id: BackupId,
    },
    /// A backup that is kept until a moment that has passed would not be kept.
    #[error("backup {id} cannot be kept until a moment that has passed")]
    KeepUntilPast {
        /// The backup.
        id: BackupId,
    },
    /// Minimum redundancy needs the backup that is to be deleted.
    #[error("server {server} has {current} backups and must keep {minimum}: {id} is one of them")]
    MinimumRedundancy {
        /// The server.
        server: String,
        /// The backup.
        id: BackupId,
        /// How many must be left.
        minimum: u32,
        /// How many there are.
        current: usize,
    },
    /// Deleting what the retention policy does not need would be wrong now.
    #[error("the retention policy of server '{server}' is not enforced")]
    RetentionStopped {
        /// The server.
        server: String,
        /// Why.
        source: barman_retention::Stop,
    },
    /// A retention policy names a zone that the host does not know.
    #[error(transparent)]
    UnknownZone(#[from] barman_retention::UnknownZone),
    /// A WAL file is neither archived nor on its way.
    #[error("WAL file '{name}' not found in server '{server}'")]
    WalNotFound {
        /// The file.
        name: WalFileName,
        /// The server.
        server: String,
    },
    /// The index has a WAL file, and it is gone: this is not the end of WAL.
    #[error("WAL file '{name}' is in the index of server '{server}', but not in its archive any more")]
    WalVanished {
        /// The file.
        name: WalFileName,
        /// The server.
        server: String,
    },
    /// WAL has gone together with the backups that needed it: this is not the end of WAL.
    #[error(
        "WAL file '{name}' has been removed from the archive of server '{server}', which begins with '{first}' now"
    )]
    WalPurged {
        /// The file.
        name: WalFileName,
        /// The server.
        server: String,
        /// The first segment that is there.
        first: wal_format::SegmentName,
    },
    /// A WAL file did not arrive in time.
    #[error("the WAL file {name} has not been received in {seconds} seconds")]
    WalTimeout {
        /// The file.
        name: WalFileName,
        /// How long was waited.
        seconds: u64,
    },
    /// WAL that a backup needs is not in the archive, although later WAL is: the backup cannot be restored.
    #[error("backup {id} has been marked as FAILED: {reason}")]
    WalMissing {
        /// The backup.
        id: BackupId,
        /// What its record says.
        reason: String,
    },
    /// A backup's status could not be brought up to date.
    #[error(transparent)]
    CheckBackup(#[from] barman_catalog::CheckBackupError),
    /// A name means no backup, or several.
    #[error(transparent)]
    Resolve(#[from] barman_catalog::ResolveError),
    /// The options that say how WAL is compressed make no sense.
    #[error("WAL of server '{server}' cannot be compressed as configured: {reason}")]
    WalStorage {
        /// The server.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// A WAL file is stored in a form that cannot be read with this configuration.
    #[error("WAL file '{name}' is stored in a form that cannot be read: {}", encoding.compression().unwrap_or("gpg"))]
    EncodedWal {
        /// The file.
        name: WalFileName,
        /// How it is wrapped.
        encoding: barman_catalog::Encoding,
    },
    /// The operation was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] barman_storage::Cancelled),
}

impl Error {
    /// Returns whether the same call can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_transient(),
            Self::BaseBackup(error) => error.is_transient(),
            _ => false,
        }
    }
}
