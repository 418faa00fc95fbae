//! Every byte layout PostgreSQL owns: WAL, timelines, labels, manifests
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

extern crate alloc;

mod backup_label;
#[cfg(feature = "std")]
mod checksum;
#[cfg(feature = "std")]
mod file_checksum;
mod file_name;
#[cfg(feature = "std")]
mod hex;
mod history;
mod lsn;
#[cfg(feature = "std")]
mod manifest;
mod page;
mod segment;
mod segment_header;
mod syntax;
mod system_id;
mod tablespace_map;
mod time;
mod timeline;
mod version;

pub use backup_label::{BackupLabel, BackupMethod, BackupSource, IncrementalFrom};
#[cfg(feature = "std")]
pub use checksum::{Crc32c, crc32c};
#[cfg(feature = "std")]
pub use file_checksum::{Checksum, ChecksumAlgorithm, Hasher, UnknownAlgorithm};
pub use file_name::{ImpossibleSegmentName, SegmentName, WalFileName};
pub use history::{HistoryEntry, TimelineHistory};
pub use lsn::Lsn;
#[cfg(feature = "std")]
pub use manifest::{Manifest, ManifestError, ManifestFile, ManifestVersion, WalRange};
pub use page::{LongHeader, PageFlags, PageHeader, PageHeaderError};
pub use segment::{SegmentNumber, SegmentSize};
pub use segment_header::{SegmentHeader, SegmentHeaderError, SegmentMismatch};
pub use syntax::SyntaxError;
pub use system_id::SystemId;
pub use tablespace_map::{TablespaceLocation, TablespaceMap};
pub use time::Timestamp;
pub use timeline::TimelineId;
pub use version::{PgMajor, UnknownMagic, UnsupportedVersion};
