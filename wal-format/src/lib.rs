//! Every byte layout PostgreSQL owns: WAL, timelines, labels, manifests
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::cast_possible_truncation
    )
)]

extern crate alloc;

mod file_name;
mod lsn;
mod segment;
mod syntax;
mod system_id;
mod time;
mod timeline;
mod version;

pub use file_name::{ImpossibleSegmentName, SegmentName, WalFileName};
pub use lsn::Lsn;
pub use segment::{SegmentNumber, SegmentSize};
pub use syntax::SyntaxError;
pub use system_id::SystemId;
pub use time::Timestamp;
pub use timeline::TimelineId;
pub use version::{PgMajor, UnknownMagic, UnsupportedVersion};
