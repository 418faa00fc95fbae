//! What exists: backups, the WAL archive, their records and locks.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

mod archive;
mod backup_data;
mod backup_id;
mod backup_info;
mod backups;
mod catalog;
mod check_backup;
mod error;
mod identity;
mod keep;
mod layout;
mod local_zone;
mod locks;
mod python;
mod resolve;
mod timelines;
mod wal_stats;
mod xlog_db;

pub use archive::{
    ArchivedFile, ArchivedSegment, Encoding, ErrorFiles, HookDecision, Hooks, IngestEvent, IngestOptions,
    IngestSummary, NoHooks, Partial, Place, PurgePlan, Refusal, Unverified, WaitingWal, WalSource,
};
pub use backup_data::{BackupData, BackupFile};
pub use backup_id::{BackupId, BackupIdError};
pub use backup_info::{BackupInfo, BackupInfoError, BackupMode, BackupType, CopyStats, FieldError, Status, Tablespace};
pub use backups::{next_backup, previous_backup};
pub use catalog::Catalog;
pub use check_backup::{BackupValidity, CheckBackupError};
pub use error::Error;
pub use identity::Identity;
pub use keep::Keep;
pub use layout::ServerLayout;
pub use local_zone::{BackupTime, BackupTimeError, LocalZone};
pub use locks::{Lock, LockError};
pub use python::{PythonLiteral, PythonLiteralError};
pub use resolve::ResolveError;
pub use wal_stats::WalStats;
pub use xlog_db::{XlogDb, XlogEntry, XlogLine};
