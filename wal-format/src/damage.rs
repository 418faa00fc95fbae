//! What can be wrong with WAL, and where.

use crate::{Lsn, PageHeaderError, PgMajor, SegmentSize, SystemId, TimelineId};

/// WAL that no server wrote like this: where, on which timeline, and what is wrong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid WAL at {at} on timeline {timeline}")]
pub struct Damage {
    /// The first byte of the page or of the record that cannot be believed.
    pub at: Lsn,
    /// The timeline that was being read.
    pub timeline: TimelineId,
    /// What is wrong.
    #[source]
    pub kind: DamageKind,
}

/// What is wrong with a page or a record. In WAL that may still grow, each of these is an ordinary end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// The bytes are no page header that can be read here; all zeros show as the magic 0.
    #[error(transparent)]
    PageHeader(#[from] PageHeaderError),
    /// The page is another part of the log: swapped, renamed, or recycled and not yet overwritten.
    #[error("page header says address {found}, expected {expected}")]
    PageAddress {
        /// Where the page lies.
        expected: Lsn,
        /// Where it says it lies.
        found: Lsn,
    },
    /// The page was written by another version than those before it.
    #[error("page was written by PostgreSQL {found}, expected {expected}")]
    Version {
        /// The version of the pages before.
        expected: PgMajor,
        /// The version of this one.
        found: PgMajor,
    },
    /// The segment belongs to another cluster.
    #[error("page belongs to the cluster with system identifier {found}, expected {expected}")]
    System {
        /// The cluster that was expected.
        expected: SystemId,
        /// The cluster that wrote the page.
        found: SystemId,
    },
    /// The segment comes from a cluster with other segments.
    #[error("page says segments have {found} bytes, expected {expected}")]
    SegmentSize {
        /// The size that was expected.
        expected: SegmentSize,
        /// The size the page says.
        found: SegmentSize,
    },
    /// The segment comes from a server that was built with other WAL pages.
    #[error("page says pages have {found} bytes, expected {expected}")]
    BlockSize {
        /// The size that was expected, in bytes.
        expected: u32,
        /// The size the page says, in bytes.
        found: u32,
    },
    /// A segment's first page lacks what only first pages have, or another page has it.
    #[error("page header has {found} bytes, expected {expected}")]
    HeaderLength {
        /// How long the header of a page in this place is, in bytes.
        expected: usize,
        /// How long this one is.
        found: usize,
    },
    /// The page is of an older timeline than those before it, or of a later one than the segment.
    #[error("page is of timeline {found}, expected one from {from} to {to}")]
    PageTimeline {
        /// The timeline of the pages before.
        from: TimelineId,
        /// The timeline of the segment.
        to: TimelineId,
        /// The timeline of the page.
        found: TimelineId,
    },
    /// A page announces another rest of the record that crosses into it than is missing.
    #[error("page announces {found} bytes of a record from before it, expected {expected}")]
    Contrecord {
        /// Bytes of it that are missing.
        expected: u32,
        /// Bytes of it that the page announces (`xlp_rem_len`); 0 if it begins with something else.
        found: u32,
    },
    /// A page begins with the rest of a record, but the page before it ended with a whole one.
    #[error("page announces {found} bytes of a record that did not begin before it")]
    UnexpectedContrecord {
        /// Bytes that it announces (`xlp_rem_len`).
        found: u32,
    },
    /// A page says that it replaces the rest of a record, but the record on it does not.
    #[error("record does not say that it replaces the rest of the one at {overwritten}, as its page does")]
    Overwrite {
        /// Where the record begins that was cut short.
        overwritten: Lsn,
    },
    /// No record has this length; 0 where no WAL was written.
    #[error("record length is {found} bytes, expected 24 to 1073741823")]
    RecordLength {
        /// The length, in bytes (`xl_tot_len`).
        found: u32,
    },
    /// No resource manager of the version has this number.
    #[error("record is of resource manager {found}, which PostgreSQL {major} does not have")]
    ResourceManager {
        /// The version.
        major: PgMajor,
        /// The number (`xl_rmid`).
        found: u8,
    },
    /// The record does not follow the one before it.
    #[error("record says the one before it begins at {found}, expected {expected}")]
    PrevLink {
        /// Where the record before it begins.
        expected: Lsn,
        /// Where it says that record begins (`xl_prev`).
        found: Lsn,
    },
    /// The record before it is not known, but it can only be an earlier one.
    #[error("record says the one before it begins at {found}, expected an earlier position that is not 0/0")]
    PrevLinkAhead {
        /// Where it says that record begins (`xl_prev`).
        found: Lsn,
    },
    /// The record's bytes are not those that its checksum was computed over.
    #[error("record checksum is {found:08X}, computed {computed:08X}")]
    RecordChecksum {
        /// The checksum in the record.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A segment was ended early, yet has something else than zeros after its last record.
    #[error("bytes after the end of the segment's WAL are not zero")]
    AfterSwitch,
    /// The source ends before the segment does.
    #[error("WAL ends here, expected it to reach {border}")]
    Truncated {
        /// Where the segment ends.
        border: Lsn,
    },
}
