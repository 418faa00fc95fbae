//! The WAL archive: moving files in, finding them, removing what nobody needs.

mod beside;
mod coverage;
mod encoding;
mod errors;
mod facts;
mod hooks;
pub(crate) mod ingest;
mod ledger;
mod listing;
mod overview;
mod purge;
mod put;
mod read;
mod source;
mod stray;
mod verify;
mod wal_storage;

pub(crate) use coverage::Covering;
pub use encoding::Encoding;
pub use errors::ErrorFiles;
pub use facts::{
    CheckpointFacts, Content, Facts, LARGE_DELETE_ROWS, RecordFacts, TimeRange, Unread, Verdict, WalEvent,
    WalEventKind, XidRange,
};
pub use hooks::{ArchivedFile, HookDecision, Hooks, NoHooks};
pub use ingest::{Gap, IngestEvent, IngestOptions, IngestSummary, Refusal, Unverified};
pub use ledger::{CatchUp, LedgerReader};
pub use listing::WalListing;
pub(crate) use listing::for_each_archived;
pub use overview::WaitingWal;
pub use purge::PurgePlan;
pub use put::{PutWalError, PutWalNote};
pub use read::{ArchivedSegment, Partial, Place};
pub use source::WalSource;
pub use stray::ServerProgress;
pub use verify::{ArchiveFault, Due, Verification};
pub use wal_storage::{CustomFilters, WalCompression, WalStorage};
