//! What incremental backups are made of, since PostgreSQL 17: summaries of WAL, and files that hold only changed blocks.

mod incremental_file;
mod summary_builder;
mod wal_summary;

pub use incremental_file::IncrementalHeader;
pub use summary_builder::SummaryBuilder;
pub use wal_summary::{WalSummary, WalSummaryEntry, WalSummaryError, WalSummaryName};
