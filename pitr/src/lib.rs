//! Getting a database back: recovery targets, restore plans, and carrying them out.
//!
//! A restore is done under pressure, takes hours, and is often found to lead nowhere only at its end: the target lies before
//! the backup, on a timeline that cannot be reached, or behind WAL that is missing. So this crate decides first. [`plan`]
//! reads the catalog and says which backup, which files, which timelines, which WAL and which settings, or exactly what
//! stands in the way; it creates nothing. [`restore`] carries the plan out, and stops if the catalog has changed since.
//!
//! An interrupted restore must not be mistaken for a database. `global/pg_control`, without which no server starts, appears
//! only after everything else is durable (invariant 4).
//!
//! ```
//! use barman_catalog::{Catalog, LocalZone, ServerLayout};
//! use barman_pitr::{BackupChoice, Host, PlanError, RecoveryTarget, RestoreRequest, StopPoint, TargetTime, WalSupply};
//! use barman_storage::RelativePath;
//!
//! # let home = tempfile::tempdir().expect("temporary directory");
//! # let home = home.path();
//! let catalog = Catalog::open(ServerLayout::below(home, "main"), LocalZone::UTC);
//! let before_the_mistake = TargetTime::parse("2026-11-20 18:39:13", &LocalZone::UTC)?;
//! let request = RestoreRequest {
//!     backup: BackupChoice::Auto,
//!     host: Host::Here,
//!     destination: "/srv/restored".into(),
//!     delta: false,
//!     target: RecoveryTarget { stop: Some(StopPoint::Time(before_the_mistake)), ..RecoveryTarget::default() },
//!     standby_mode: false,
//!     wal: WalSupply::Copy { staging: None, partial: false },
//!     relocations: Vec::new(),
//!     recovery_conf_file: RelativePath::literal(RestoreRequest::RECOVERY_CONF_FILE),
//!     scratch: None,
//! };
//! // There is no backup in this catalog.
//! assert!(matches!(barman_pitr::plan(&catalog, &request), Err(PlanError::NoCandidate { .. })));
//! # Ok::<_, barman_pitr::ParseTargetTimeError>(())
//! ```
//!
//! The main types: [`RecoveryTarget`], where recovery is to end; [`RestoreRequest`], what is asked for; [`RestorePlan`], what
//! will be done; [`PlanError`], why it cannot; [`RestoreReport`], what to look at afterwards.
//!
//! This crate knows nothing of connections and terminals. Settings, excluded files and the form of everything it writes are
//! Barman's; where they are not, the code says why.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

mod feed;
mod find;
mod finish;
mod host;
mod mangle;
mod marker;
mod names;
mod plan;
mod plan_error;
mod postmaster;
mod recovery_progress;
mod recovery_settings;
mod relation_name;
mod request;
mod restore;
mod restore_record;
mod setting_line;
mod stop;
mod survey;
mod target;
mod target_time;
mod timeline_path;
mod wal_selection;
pub use feed::{
    FeedClient, FeedError, FeedRequest, Fetched, FoundWal, HelperProcess, RecoveringServer, Session, SessionError,
    SourceError, WalSource, answer_session, feed, help, start_helper,
};
pub use find::{
    ActivityBucket, ActivityRequest, AskLive, Evidence, Fate, FindError, Findings, Hit, HitKind, HitName, LiveAnswer,
    LiveQuestion, LiveRelation, NameOrigin, ParseRelationFileError, Quarry, RelationChoice, RelationFile, activity,
    find,
};
pub use finish::{
    FinishError, FinishPlan, FinishedFile, ForeignTimeline, LineAction, LineChange, NotPromoted, finish, plan_finish,
    server_of_restore,
};
pub use host::Host;
pub use mangle::{DangerousSetting, SettingChange};
pub use marker::MarkerError;
pub use plan::{
    ExpectedTime, IncludedSetting, LowSetting, MinimumSettings, MissingServer, PartSource, PassedOverReason,
    PlanWarning, PlannedArchive, PlannedCombination, PlannedConfiguration, PlannedFile, PlannedPart, PlannedScratch,
    PlannedSpace, PlannedTablespace, PlannedTree, PlannedWaitingWal, PlannedWal, PlannedWalFile, PlannedWrappedWal,
    RecoveryPlan, RecoveryWal, RestorePlan, Review, Standing, TreeSource, TyingSetting, plan, plan_recovery,
};
pub use plan_error::{ChainBreak, PlanError, UnsupportedBackup};
pub use recovery_progress::{RecoveryProgress, RecoveryState, recovery_progress};
pub use recovery_settings::Signal;
pub use relation_name::{ParseRelationNameError, RelationName, RelationPattern};
pub use request::{
    BackupChoice, ParseRelocationError, RecoveryRequest, Relocation, RestoreRequest, WalFetch, WalSupply,
};
pub use restore::{RestoreError, RestoreEvent, RestoreOptions, RestoreReport, restore};
pub use restore_record::RestoreRecordError;
pub use stop::{NamedPoint, PlannedStop, StopReason, TransactionPoint, Unreached};
pub use target::{
    ParseRestorePointNameError, ParseTargetActionError, ParseTimelineError, ParseXidError, RecoveryTarget,
    RestorePointName, StopPoint, TargetAction, TargetXid, TimelineChoice,
};
pub use target_time::{ParseTargetTimeError, TargetTime, TargetTimeReason};
pub use timeline_path::{Leg, TimelinePath, UnreachableReason};
pub use wal_selection::MissingWal;
