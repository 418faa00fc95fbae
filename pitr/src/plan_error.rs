//! Why a restore cannot be done as it was asked for.

use std::path::PathBuf;

use barman_catalog::{BackupId, BackupTime, Status};
use barman_storage::Kind;
use wal_format::{Lsn, ManifestError, SyntaxError, SystemId, TimelineId, UnsupportedVersion, WalFileName};

use crate::marker::MarkerError;
use crate::stop::Unreached;
use crate::target_time::TargetTime;
use crate::timeline_path::UnreachableReason;
use crate::wal_selection::MissingWal;

/// Why a restore cannot be done as it was asked for. Nothing was created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The destination is relative, or contains what cannot be written into a setting.
    #[error("unusable path {}: expected an absolute path without control characters", path.display())]
    UnusablePath {
        /// The path.
        path: PathBuf,
    },
    /// Barman keeps the colon for remote destinations.
    #[error("the destination directory {} contains a colon", path.display())]
    ColonInDestination {
        /// The destination.
        path: PathBuf,
    },
    /// The destination has something in it.
    #[error("the destination directory {} is not empty", path.display())]
    DestinationNotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// Another restore into the destination was interrupted.
    #[error("{} has a restore of backup {backup} of server {server} in it that was not finished", path.display())]
    OtherRestore {
        /// The destination.
        path: PathBuf,
        /// The server whose backup it is.
        server: String,
        /// The backup.
        backup: BackupId,
    },
    /// The destination has the marker of an interrupted restore, which cannot be understood.
    #[error("the file .barman-restore in {} is unusable", path.display())]
    Marker {
        /// The destination.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: MarkerError,
    },
    /// The destination is neither empty nor a data directory: it has no `PG_VERSION`.
    #[error("{} is not a data directory: it has no PG_VERSION", path.display())]
    NoDataDirectory {
        /// The destination.
        path: PathBuf,
    },
    /// The destination is the data directory of another cluster.
    #[error("{} belongs to the cluster with system identifier {found}, the backup to {expected}", path.display())]
    ForeignCluster {
        /// The destination.
        path: PathBuf,
        /// The cluster that is there.
        found: SystemId,
        /// The cluster of the backup.
        expected: SystemId,
    },
    /// A server runs in the destination.
    #[error("a server is running in {}: process {process}", path.display())]
    ServerRunning {
        /// The destination.
        path: PathBuf,
        /// Its postmaster.
        process: i32,
    },
    /// The lock file of the destination names no process.
    #[error("the file postmaster.pid in {} names no process", path.display())]
    UnclearLockFile {
        /// The destination.
        path: PathBuf,
    },
    /// A directory to restore into, or to make one in, may not be written.
    #[error("no right to write into {}", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A directory to restore into belongs to somebody else, and PostgreSQL would not start from it.
    #[error("{} belongs to user {owner}, expected {user}", path.display())]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
        /// The number of the user who restores.
        user: u32,
    },
    /// The directory that a tablespace would go to has something in it that is not this tablespace.
    #[error("the directory {} for tablespace '{name}' is not empty", path.display())]
    TablespaceNotEmpty {
        /// The tablespace.
        name: String,
        /// Its directory.
        path: PathBuf,
    },
    /// The directory for WAL has something in it, which the end of recovery would remove.
    #[error("the directory {} for WAL is not empty", path.display())]
    StagingNotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Two of the directories to restore into are the same, or one lies in the other.
    #[error("{} and {} lie within each other", first.display(), second.display())]
    Overlap {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A relocation names a tablespace that the backup does not have.
    #[error("the backup has no tablespace '{name}'")]
    UnknownTablespace {
        /// The name.
        name: String,
        /// The tablespaces that it has.
        known: Vec<String>,
    },
    /// A target action was given without a target.
    #[error("a target action needs a recovery target")]
    ActionWithoutTarget,
    /// The file for the recovery settings would lie in a directory that the backup does not have.
    #[error("the backup has no directory for the configuration file {}", path.display())]
    NoConfigurationDirectory {
        /// The file.
        path: PathBuf,
    },

    /// No backup leads to the target.
    #[error("no backup of server {server} leads to the target")]
    NoCandidate {
        /// The server.
        server: String,
    },
    /// The backup is not complete.
    #[error("backup {id} of server {server} has status {status}, expected DONE")]
    NotDone {
        /// The server.
        server: String,
        /// The backup.
        id: BackupId,
        /// Its status.
        status: Status,
    },
    /// The backup is of a kind that cannot be restored yet.
    #[error("backup {id} is {kind}, which is not supported yet")]
    UnsupportedBackup {
        /// The backup.
        id: BackupId,
        /// What it is.
        kind: UnsupportedBackup,
    },
    /// What an incremental backup builds on cannot be combined with it.
    #[error("backup {id} is incremental and builds on backup {parent}, which {reason}")]
    BrokenChain {
        /// The incremental backup.
        id: BackupId,
        /// What its record says that it builds on.
        parent: BackupId,
        /// What is wrong with that.
        reason: ChainBreak,
    },
    /// The backup is encrypted, and it is not known how to get the passphrase.
    #[error("backup {id} is encrypted, and encryption_passphrase_command is not set")]
    NoPassphrase {
        /// The backup.
        id: BackupId,
    },
    /// The backup was taken from a version of PostgreSQL that is too old or too new.
    #[error("backup {id} cannot be restored")]
    UnsupportedVersion {
        /// The backup.
        id: BackupId,
        /// Which versions there are.
        #[source]
        source: UnsupportedVersion,
    },
    /// The record of the backup lacks something that a restore needs.
    #[error("the record of backup {id} has no {field}")]
    IncompleteRecord {
        /// The backup.
        id: BackupId,
        /// The key in `backup.info`.
        field: &'static str,
    },

    /// The target time lies before the backup was finished.
    #[error("target time {target} is before the end of the backup at {end}")]
    TimeBeforeBackupEnd {
        /// The target.
        target: TargetTime,
        /// When the backup was finished.
        end: BackupTime,
    },
    /// The timeline to recover along does not lead on from the backup.
    #[error("backup {id} cannot be recovered along timeline {timeline}")]
    UnreachableTimeline {
        /// The backup.
        id: BackupId,
        /// The timeline.
        timeline: TimelineId,
        /// Whether the timeline was asked for; if not, it is PostgreSQL's choice.
        requested: bool,
        /// What is in the way.
        #[source]
        reason: UnreachableReason,
    },
    /// A history file of the archive cannot be understood.
    #[error("the history file of timeline {timeline} is damaged")]
    History {
        /// The timeline.
        timeline: TimelineId,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },

    /// Recovery would not reach the target.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// WAL is missing without which the backup never becomes consistent.
    #[error("the archive lacks {} WAL segments, from {} on", missing.count, missing.first)]
    MissingWal {
        /// The first hole.
        missing: MissingWal,
    },
    /// A WAL file is stored in a form that cannot be read yet.
    #[error("WAL file {name} is stored with {encoding}, which is not supported yet")]
    EncodedWal {
        /// The file.
        name: WalFileName,
        /// The compression or encryption.
        encoding: String,
    },
    /// A history file is in the index of the archive, but not in the archive.
    #[error("the history file of timeline {timeline} is listed in the archive but not there")]
    LostHistory {
        /// The timeline.
        timeline: TimelineId,
    },

    /// The manifest of the backup cannot be trusted.
    #[error("the manifest of backup {id} is damaged")]
    Manifest {
        /// The backup.
        id: BackupId,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The manifest is another cluster's than the record says.
    #[error("the manifest of backup {id} is of the cluster {found}, expected {expected}")]
    ManifestOfOtherCluster {
        /// The backup.
        id: BackupId,
        /// The cluster of the record.
        expected: SystemId,
        /// The cluster of the manifest.
        found: SystemId,
    },
    /// A file that should hold the blocks that changed holds something else.
    #[error("{} in backup {id} is no file of an incremental backup", path.display())]
    IncrementalFile {
        /// The backup.
        id: BackupId,
        /// The file, relative to the data directory.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },
    /// The backup lacks a file that its manifest names, or that no data directory is without.
    #[error("backup {id} lacks {}", path.display())]
    LostFile {
        /// The backup.
        id: BackupId,
        /// The file, relative to the data directory.
        path: PathBuf,
    },
    /// A file of the backup is longer or shorter than its manifest says.
    #[error("{} in backup {id} has {found} bytes, expected {expected}", path.display())]
    WrongSize {
        /// The backup.
        id: BackupId,
        /// The file, relative to the data directory.
        path: PathBuf,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The backup contains a symbolic link where PostgreSQL has none; it could lead anywhere.
    #[error("{} in backup {id} is a {kind:?}, expected a file or directory", path.display())]
    UnexpectedKind {
        /// The backup.
        id: BackupId,
        /// Where it is, relative to the data directory.
        path: PathBuf,
        /// What it is.
        kind: Kind,
    },

    /// The host to restore to cannot be reached, or asked.
    #[error(transparent)]
    Remote(#[from] barman_storage::RemoteError),
    /// The host to restore to answers something else than it was asked for.
    #[error("the host's answer cannot be understood from field {field} on")]
    UnclearAnswer {
        /// How many fields could be.
        field: usize,
    },
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] barman_catalog::Error),
    /// A directory cannot be read.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
}

/// Why an incremental backup cannot be combined with what it builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainBreak {
    /// It was deleted, or never was there.
    #[error("is not in the catalog")]
    Gone,
    /// It builds on that backup in turn.
    #[error("builds on that one in turn")]
    Circle,
    /// It was not taken to its end.
    #[error("has status {0}, expected DONE")]
    NotDone(Status),
    /// It is of another cluster, or of another major version.
    #[error("is a backup of another cluster")]
    OtherCluster,
    /// The incremental backup was taken on top of another one.
    #[error("starts elsewhere: the incremental one builds on a backup that starts at {lsn} on timeline {timeline}")]
    OtherBackup {
        /// Where what it builds on starts.
        lsn: Lsn,
        /// The timeline there.
        timeline: TimelineId,
    },
}

/// A kind of backup that cannot be restored yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedBackup {
    /// It consists of disk snapshots.
    #[error("a snapshot")]
    Snapshot,
}
