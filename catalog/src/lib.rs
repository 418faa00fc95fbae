//! What exists: backups, the WAL archive, their records and locks.
//!
//! When a database is gone, the repository is all that is left, and nobody may have looked at it for a year. So whatever is
//! in it must be whole, whatever its records say must be true, and no crash, full disk or second process may change that.
//! The files are Barman's own (3.19), and so are the locks: Barman can take over the repository at any time, and give it
//! back.
//!
//! ```
//! use barman_catalog::{Catalog, IngestOptions, LocalZone, Lock, NoHooks, Partial, ServerLayout, WalSource};
//! use barman_storage::Cancel;
//! use wal_format::Timestamp;
//!
//! # let root = tempfile::tempdir()?;
//! # let barman_home = root.path();
//! let catalog = Catalog::open(ServerLayout::below(barman_home, "main"), LocalZone::UTC);
//! catalog.create_directories()?;
//!
//! // PostgreSQL delivers a file, and a run of the archiver files it away.
//! let history = barman_home.join("main/incoming/00000002.history");
//! std::fs::write(&history, "1\t0/3000000\tno recovery target specified\n")?;
//! let _lock = catalog.lock(Lock::ArchiveWal)?;
//! let now = Timestamp::from_unix_micros(1_795_193_057_000_000);
//! let options = IngestOptions { batch_size: None, system_id: None, now, hooks: &NoHooks, cancel: &Cancel::new() };
//! let summary = catalog.ingest(WalSource::Incoming, &options, &mut |event| println!("{event:?}"))?;
//! assert_eq!(summary.archived, 1);
//! assert!(!history.exists());
//!
//! // A recovering server asks for it.
//! let found = catalog.find_wal(&"00000002.history".parse()?, Partial::Exclude)?.expect("it was just archived");
//! assert_eq!(found.size, 41);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Catalog`] is the handle on everything one server has; [`ServerLayout`] says where that is, and is the only place that
//! knows. What is in it:
//!
//! - **Backups.** [`BackupInfo`] is the record that makes a backup visible; [`Catalog::resolve`] turns a user's word into
//!   one, [`BackupData`] opens its files, [`Catalog::check_backup`] finds out whether it can be restored.
//! - **The WAL archive.** [`Catalog::ingest`] fills it, [`Catalog::find_wal`] searches it, [`Catalog::plan_purge`] says what
//!   of it nobody needs, and [`XlogDb`] is its index.
//! - **Locks.** [`Lock`] lists who excludes whom, [`Catalog::lease`] keeps a backup from being deleted.
//!
//! Results are data and events; what users read is made elsewhere. Nothing here connects to a server, reads the clock or
//! knows the environment.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

mod archive;
mod archive_entry;
mod backup_data;
mod backup_id;
mod backup_info;
mod backup_listing;
mod backup_manifest;
mod backups;
mod catalog;
mod check_backup;
mod delete;
mod error;
mod identity;
mod journal;
mod keep;
mod layout;
mod local_zone;
mod locks;
mod orphans;
mod python;
mod resolve;
mod restore_rates;
mod retention;
mod side_by_side;
mod timelines;
mod wal_stats;
mod xlog_db;

pub use archive::{
    ArchiveFault, ArchivedFile, ArchivedSegment, CatchUp, CheckpointFacts, Content, CustomFilters, Due, Encoding,
    ErrorFiles, Facts, Gap, HookDecision, Hooks, IngestEvent, IngestOptions, IngestSummary, LARGE_DELETE_ROWS,
    LedgerReader, NoHooks, Partial, Place, PurgePlan, PutWalError, PutWalNote, RecordFacts, Refusal, ServerProgress,
    TimeRange, Unread, Unverified, Verdict, Verification, WaitingWal, WalCompression, WalEvent, WalEventKind,
    WalListing, WalSource, WalStorage, XidRange,
};
pub use archive_entry::{ArchiveEntry, ArchiveEntryKind, ArchiveName, EntryError, expect_zeros};
pub use backup_data::{BackupData, BackupFile};
pub use backup_id::{BackupId, BackupIdError};
pub use backup_info::{BackupInfo, BackupInfoError, BackupMode, BackupType, CopyStats, FieldError, Status, Tablespace};
pub use backup_listing::BackupPart;
pub use backup_manifest::BackupFault;
pub use backups::{next_backup, previous_backup};
pub use catalog::Catalog;
pub use check_backup::{BackupValidity, CheckBackupError};
pub use delete::{DeleteEvent, DeleteOptions, PlannedDeletion, deletion_order};
pub use error::Error;
pub use identity::Identity;
pub use journal::JournalError;
pub use layout::ServerLayout;
pub use local_zone::{BackupTime, BackupTimeError, LocalZone, Moments};
pub use locks::{Lock, LockError};
pub use orphans::Orphans;
pub use python::{PythonLiteral, PythonLiteralError};
pub use resolve::ResolveError;
pub use restore_rates::{MeasuredRate, RestoreRates, RestoreWork};
pub use wal_stats::WalStats;
pub use xlog_db::{Rebuilt, XlogDb, XlogEntry, XlogLine};
