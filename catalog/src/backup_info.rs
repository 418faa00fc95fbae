//! The record of one backup: `meta/<id>-backup.info`.

mod codec;
mod text;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use wal_format::{Lsn, SegmentName, SegmentSize, SystemId, TimelineId};

use crate::{BackupId, BackupTime, PythonLiteral};

pub use text::{BackupInfoError, FieldError};

/// Everything that `backup.info` says about a backup; fields are named as its keys are.
///
/// The text form is Barman's own, and [`parse`](Self::parse) and [`to_text`](Self::to_text) lose nothing. The record is
/// what makes a backup visible: it is written when its data is safe, and removed before they are (invariant 3).
#[derive(Debug, Clone, PartialEq)]
pub struct BackupInfo {
    /// Which backup. Not in the file: its name says it.
    pub backup_id: BackupId,
    /// How far it has come.
    pub status: Status,
    /// Text of `backup_label` in the backed-up data directory.
    pub backup_label: Option<String>,
    /// What the user called it; not unique.
    pub backup_name: Option<String>,
    /// Offset of the start position in `begin_wal`, in bytes.
    pub begin_offset: Option<u64>,
    /// When it was started.
    pub begin_time: Option<BackupTime>,
    /// First segment that a restore needs.
    pub begin_wal: Option<SegmentName>,
    /// Start position.
    pub begin_xlog: Option<Lsn>,
    /// Direct incremental children.
    pub children_backup_ids: Vec<BackupId>,
    /// Size of the cluster at the start, in bytes.
    pub cluster_size: Option<u64>,
    /// Compression of the tar files; `None` for a plain directory.
    pub compression: Option<String>,
    /// `config_file` of the server.
    pub config_file: Option<String>,
    /// How long copying took.
    pub copy_stats: Option<CopyStats>,
    /// `data_checksums` of the server.
    pub data_checksums: Option<String>,
    /// Bytes in files that no other backup shares.
    pub deduplicated_size: Option<u64>,
    /// `gpg`, or `None` for clear text.
    pub encryption: Option<String>,
    /// Offset of the end position in `end_wal`, in bytes; 0 at the end of that segment.
    pub end_offset: Option<u64>,
    /// When it was finished.
    pub end_time: Option<BackupTime>,
    /// Last segment that a restore needs.
    pub end_wal: Option<SegmentName>,
    /// End position: the earliest that a restore can stop at.
    pub end_xlog: Option<Lsn>,
    /// Why it failed.
    pub error: Option<String>,
    /// `hba_file` of the server.
    pub hba_file: Option<String>,
    /// `ident_file` of the server.
    pub ident_file: Option<String>,
    /// Files that the configuration includes.
    pub included_files: Option<Vec<String>>,
    /// How it was taken.
    pub mode: Option<BackupMode>,
    /// What an incremental backup builds on.
    pub parent_backup_id: Option<BackupId>,
    /// `data_directory` of the server.
    pub pgdata: Option<String>,
    /// Barman's name of the server.
    pub server_name: Option<String>,
    /// Sum of all file sizes, in bytes.
    pub size: Option<u64>,
    /// What a snapshot backup consists of.
    pub snapshots_info: Option<PythonLiteral>,
    /// `summarize_wal` of the server, from version 17 on.
    pub summarize_wal: Option<String>,
    /// Which cluster it is a backup of.
    pub systemid: Option<SystemId>,
    /// The tablespaces beside the data directory.
    pub tablespaces: Option<Vec<Tablespace>>,
    /// Timeline it was taken on.
    pub timeline: Option<TimelineId>,
    /// `server_version_num` of the server.
    pub version: Option<u32>,
    /// Size of the cluster's segments.
    pub xlog_segment_size: SegmentSize,
    /// Keys that this version does not know, with their values. They are kept as they were read; Barman itself refuses a
    /// file that has any, so none is ever added.
    pub unknown: BTreeMap<String, String>,
}

impl BackupInfo {
    /// The record of a backup of which nothing is known yet but its id and its server: status [`Status::Empty`].
    #[must_use]
    pub fn new(backup_id: BackupId, server_name: &str) -> Self {
        Self { server_name: Some(server_name.to_owned()), ..Self::blank(backup_id) }
    }

    /// A record whose file is empty.
    fn blank(backup_id: BackupId) -> Self {
        Self {
            backup_id,
            status: Status::Empty,
            backup_label: None,
            backup_name: None,
            begin_offset: None,
            begin_time: None,
            begin_wal: None,
            begin_xlog: None,
            children_backup_ids: Vec::new(),
            cluster_size: None,
            compression: None,
            config_file: None,
            copy_stats: None,
            data_checksums: None,
            deduplicated_size: None,
            encryption: None,
            end_offset: None,
            end_time: None,
            end_wal: None,
            end_xlog: None,
            error: None,
            hba_file: None,
            ident_file: None,
            included_files: None,
            mode: None,
            parent_backup_id: None,
            pgdata: None,
            server_name: None,
            size: None,
            snapshots_info: None,
            summarize_wal: None,
            systemid: None,
            tablespaces: None,
            timeline: None,
            version: None,
            xlog_segment_size: SegmentSize::DEFAULT,
            unknown: BTreeMap::new(),
        }
    }

    /// Returns what kind of backup it is, or `None` for a record so old or so early that it does not say.
    #[must_use]
    pub fn backup_type(&self) -> Option<BackupType> {
        let mode = self.mode.as_ref()?.as_str();
        Some(match self.parent_backup_id {
            _ if mode.starts_with("snapshot") => BackupType::Snapshot,
            _ if mode.starts_with("rsync") => BackupType::Rsync,
            Some(_) => BackupType::Incremental,
            None => BackupType::Full,
        })
    }
}

/// How far a backup has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// An id and a directory, nothing else.
    Empty,
    /// Being copied, or interrupted while it was.
    Started,
    /// Copied; some of the WAL it needs is not archived yet.
    WaitingForWals,
    /// Complete: a restore has all it needs.
    Done,
    /// Being copied from the primary Barman host.
    Syncing,
    /// Of no use.
    Failed,
}

impl Status {
    const ALL: [Self; 6] = [Self::Empty, Self::Started, Self::WaitingForWals, Self::Done, Self::Syncing, Self::Failed];

    /// Returns the word that `backup.info` and Barman's output use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Started => "STARTED",
            Self::WaitingForWals => "WAITING_FOR_WALS",
            Self::Done => "DONE",
            Self::Syncing => "SYNCING",
            Self::Failed => "FAILED",
        }
    }

    /// Tells whether the data of the backup is complete: `DONE` or `WAITING_FOR_WALS`.
    #[must_use]
    pub fn is_copied(self) -> bool {
        matches!(self, Self::Done | Self::WaitingForWals)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| FieldError::new("a status such as DONE", text))
    }
}

/// How a backup was taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackupMode {
    /// Over the replication protocol.
    Postgres,
    /// File by file, with the concurrent backup functions.
    RsyncConcurrent,
    /// Any other word, such as `snapshot-concurrent` or the historic `default`.
    Other(String),
}

impl BackupMode {
    /// Returns the word that `backup.info` uses.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Postgres => "postgres",
            Self::RsyncConcurrent => "rsync-concurrent",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for BackupMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for BackupMode {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "postgres" => Self::Postgres,
            "rsync-concurrent" => Self::RsyncConcurrent,
            other => Self::Other(other.to_owned()),
        })
    }
}

/// What kind of backup it is, as far as users are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackupType {
    /// Complete, over the replication protocol.
    Full,
    /// The blocks that changed since its parent.
    Incremental,
    /// Complete, file by file.
    Rsync,
    /// Disk snapshots of a cloud provider.
    Snapshot,
}

impl BackupType {
    /// Returns the word that Barman's JSON uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Rsync => "rsync",
            Self::Snapshot => "snapshot",
        }
    }

    /// Returns the letter that `list-backups` uses.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Full => 'F',
            Self::Incremental => 'I',
            Self::Rsync => 'R',
            Self::Snapshot => 'S',
        }
    }
}

/// A tablespace that lies outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tablespace {
    /// Its name in SQL.
    pub name: String,
    /// Its object identifier, which names its directory in the backup.
    pub oid: u32,
    /// Its directory on the PostgreSQL host.
    pub location: String,
}

/// How long copying took: a Python dictionary, of which the keys that every method writes have accessors.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyStats(PythonLiteral);

impl CopyStats {
    /// What a backup over the replication protocol records; both in seconds.
    #[must_use]
    pub fn new(copy_seconds: f64, total_seconds: f64) -> Self {
        let item = |key, seconds| (PythonLiteral::from(key), PythonLiteral::Float(seconds));
        Self(PythonLiteral::Dict(vec![item("copy_time", copy_seconds), item("total_time", total_seconds)]))
    }

    /// Returns the time spent copying, in seconds.
    #[must_use]
    pub fn copy_seconds(&self) -> Option<f64> {
        self.0.get("copy_time")?.as_f64()
    }

    /// Returns the time between start and end of the copy, in seconds.
    #[must_use]
    pub fn total_seconds(&self) -> Option<f64> {
        self.0.get("total_time")?.as_f64()
    }

    /// Returns how many processes copied, where that was recorded.
    #[must_use]
    pub fn number_of_workers(&self) -> Option<u32> {
        match self.0.get("number_of_workers")? {
            PythonLiteral::Int(number) => u32::try_from(*number).ok(),
            _ => None,
        }
    }

    /// Returns all of it.
    #[must_use]
    pub fn as_literal(&self) -> &PythonLiteral {
        &self.0
    }
}
