//! Reads what PostgreSQL writes, and believes none of it unchecked.
//!
//! A backup is worth as much as the bytes in it. A WAL segment may belong to another cluster, carry the name of a different
//! segment, come from a version nobody expected; a manifest may have been cut short on the way; a path may contain a
//! line end. This crate owns every byte layout that PostgreSQL defines, so that such questions have one answer, and gives
//! it types that cannot hold what no server writes: a [`TimelineId`] is never 0, an [`Lsn`] is not a segment number, and a
//! [`SegmentName`] says nothing about positions without a [`SegmentSize`].
//!
//! It knows bytes only: no files, sockets, clocks or time zones. No input makes it panic, and none makes it allocate more
//! than a small multiple of its own length; what is wrong is reported with its place, what was expected and what was found.
//!
//! # Example
//!
//! Is this file what its name says, and does it belong to the cluster that we archive?
//!
//! ```
//! use wal_format::{SegmentHeader, SegmentSize, WalFileName};
//! # let first_bytes = include_bytes!("../testdata/15/segment_header");
//! # let archived_cluster = SegmentHeader::parse(first_bytes)?.system_id;
//!
//! let name: WalFileName = "000000010000000000000001".parse()?;
//! if let WalFileName::Segment(segment) = name {
//!     let header = SegmentHeader::parse(first_bytes)?;
//!     header.check(&segment, Some(archived_cluster), SegmentSize::DEFAULT)?;
//!     assert_eq!(segment.next(header.segment_size)?.to_string(), "000000010000000000000002");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What there is
//!
//! - Positions and names: [`Lsn`], [`TimelineId`], [`SystemId`], [`SegmentSize`], [`SegmentNumber`], [`SegmentName`],
//!   [`WalFileName`], [`Timestamp`], and [`PgMajor`] with what differs between the versions.
//! - WAL: [`PageHeader`] and [`SegmentHeader`], the [`Pages`] of a segment, and [`RecordReader`], which finds each [`Record`]
//!   in them; its [`Contents`] are references to blocks and data of its [`ResourceManager`], and its [`Payload`] is what it
//!   means.
//! - Files beside it: [`TimelineHistory`] and [`TimelineTree`], [`BackupLabel`], [`TablespaceMap`], `Manifest` with `ManifestReader`,
//!   `ManifestItems` and `ManifestWriter` for those of any size, [`ControlFile`], and for incremental backups [`WalSummary`],
//!   [`SummaryBuilder`] and [`IncrementalHeader`].
//! - Data pages: [`DataPageHeader`] and [`data_page_checksum`]; the rows in a [`HeapPage`], those of the catalogs that name
//!   things ([`ClassRow`], [`NamespaceRow`], [`DatabaseRow`]), [`RelationMap`], and [`TransactionStatus`].
//! - Checksums: [`crc32c()`] and [`Crc32c`], and `Hasher` for what a manifest lists.
//!
//! # Features
//!
//! | Feature | What it adds | Works without `std` |
//! |---|---|---|
//! | `std` (on by default) | [`Manifest`] and all around it, checksums of files, CRCs by the processor's own instructions | |
//! | `crc-fast` | CRCs by the widest of these instructions: with AVX-512, walks over WAL take a sixth less time | no |
//! | `lz4` | [`Image::restore`] for images that `wal_compression = lz4` made | yes |
//! | `zstd` | the same for `zstd`, by its C library | no |
//! | `serde` | `Serialize` for what a program would show, and `Deserialize` for what it would store; see below | yes |
//! | `testing` | `testing`, which writes WAL made to order | no |
//!
//! Without `std` the crate needs `alloc` only, and reads everything but manifests.
//!
//! # Shapes for serde
//!
//! - As text, as PostgreSQL prints them: [`Lsn`] (`"16/B374D848"`), [`SegmentName`], [`WalFileName`], [`WalSummaryName`],
//!   [`ChecksumAlgorithm`] (`"CRC32C"`), [`Fork`] (`"main"`), and [`SystemId`], because not every reader of JSON can hold 64
//!   bits of a number.
//! - As numbers: [`TimelineId`], [`SegmentNumber`], [`SegmentSize`] (bytes), [`PgMajor`] (`18`), [`ManifestVersion`], and
//!   [`Timestamp`] (microseconds since 2000-01-01 UTC, as PostgreSQL counts).
//! - [`Checksum`] as `{"algorithm": "CRC32C", "digest": "8a744722"}`.
//! - The path of a [`ManifestFile`] as text, and where it is not UTF-8 as `{"encoded": "636166e9"}`.
//! - Bytes that are text to PostgreSQL (names of restore points, prepared transactions and tablespaces' directories) in the
//!   same way; all other bytes as hexadecimal digits.
//! - [`ResourceManager`] as its name (`"Heap"`, `"custom128"`), a [`List`] and [`DroppedStatistics`] as sequences.
//! - A [`Record`] as a map of its public fields, [`Contents`] as one of its methods' names: `blocks`, `main_data`, `origin`,
//!   `top_level_xid`, `image_len`.
//! - Other structs as maps by the names of their fields, other enums by their names as `snake_case`: a [`Payload`] is
//!   `{"restore_point": {"at": 7, "name": "before"}}` or `"switch"`.
//!
//! Records, their contents and payloads borrow from the log, and can only be written. What is read back is checked as it is
//! when it is parsed: no timeline is 0, no segment has 3 MB.
//!
//! # Examples
//!
//! `examples/` has complete programs: `verify_segment`, `verify_segments` (many at once), `commits` (what point-in-time
//! recovery could stop at), `verify_backup` (a directory against its manifest, however many files it has), and
//! `control_file`.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

extern crate alloc;

mod backup_label;
mod checksum;
mod contents;
mod control_file;
mod damage;
mod data_page;
#[cfg(feature = "std")]
mod file_checksum;
mod file_name;
mod heap;
#[cfg(any(feature = "std", feature = "serde"))]
mod hex;
mod history;
mod image;
mod incremental;
mod lsn;
#[cfg(feature = "std")]
mod manifest;
mod native;
mod page;
mod page_sequence;
mod pages;
mod payload;
mod pglz;
mod record;
mod record_name;
mod record_reader;
mod relation;
mod resource_manager;
mod segment;
mod segment_header;
#[cfg(feature = "serde")]
mod serialized;
mod syntax;
mod system_id;
mod tablespace_map;
#[cfg(all(feature = "std", any(test, feature = "testing")))]
pub mod testing;
mod time;
mod timeline;
mod timeline_tree;
mod version;

pub use backup_label::{BackupLabel, BackupMethod, BackupSource, IncrementalFrom};
pub use checksum::{Crc32c, crc32c};
pub use contents::{BlockReference, Blocks, Compression, Contents, Image};
pub use control_file::{ClusterState, ControlFile, ControlFileError, MinimumRecovery};
pub use damage::{Damage, DamageKind};
pub use data_page::{DataPageHeader, data_page_checksum};
#[cfg(feature = "std")]
pub use file_checksum::{Checksum, ChecksumAlgorithm, Hasher, UnknownAlgorithm};
pub use file_name::{ImpossibleSegmentName, SegmentName, WalFileName};
pub use heap::{
    ClassRow, DatabaseRow, Deleted, HeapPage, HeapTuple, Inserted, NamespaceRow, NewVersion, RelationMap, StatusPlace,
    TransactionStatus,
};
pub use history::{HistoryEntry, TimelineHistory};
pub use image::ImageError;
pub use incremental::{
    IncrementalHeader, SummaryBuilder, WalSummary, WalSummaryEntry, WalSummaryError, WalSummaryName,
};
pub use lsn::Lsn;
#[cfg(feature = "std")]
pub use manifest::{
    Manifest, ManifestError, ManifestFile, ManifestItem, ManifestItems, ManifestReader, ManifestVersion,
    ManifestWriter, WalRange,
};
pub use page::{LongHeader, PageFlags, PageHeader, PageHeaderError};
pub use page_sequence::WalLayout;
pub use pages::{Page, Pages};
pub use payload::{
    Checkpoint, DatabaseCopy, DatabaseDirectory, DatabaseDrop, DroppedStatistics, Element, EndOfRecovery, HeapTruncate,
    InPlaceChange, InvalidationMessage, List, OverwriteContrecord, ParameterChange, Payload, Prepare,
    RelationMapUpdate, RestorePoint, RowChange, RowChangeKind, RowPlace, RowVersions, StatisticsEntry, StorageTruncate,
    TransactionEnd, TransactionOrigin, WalLevel,
};
pub use record::{Record, RecordHeader};
pub use record_reader::{
    BegunRecord, BorderState, End, Item, JoinError, Passed, Pending, Proof, RecordReader, Source, Stretch, Unproven,
    Visit, Walk,
};
pub use relation::{Fork, RelFileLocator};
pub use resource_manager::ResourceManager;
pub use segment::{SegmentNumber, SegmentSize};
pub use segment_header::{SegmentHeader, SegmentHeaderError, SegmentMismatch};
pub use syntax::SyntaxError;
pub use system_id::SystemId;
pub use tablespace_map::{TablespaceLocation, TablespaceMap};
pub use time::Timestamp;
pub use timeline::TimelineId;
pub use timeline_tree::{ConflictingHistories, TimelineSpan, TimelineTree};
pub use version::{PgMajor, UnknownMagic, UnsupportedVersion};
