//! What a reader is asked to do, and what it hands out.

use core::ops::Range;

use crate::record::{Record, RecordHeader};
use crate::{DamageKind, Lsn};

/// Whether more may be written to the bytes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Whole segments, as PostgreSQL archives them: WAL reaches the end of each, or a record ends it early and only zeros
    /// follow. Anything else is damage.
    Complete,
    /// A live segment, a `.partial` one, or the last of a timeline. It ends where the first record cannot be believed, as
    /// recovery would end there: behind it lie zeros, or what an older segment left in a recycled file.
    Open,
}

/// How closely a reader looks at records. Pages, lengths and links from record to record are checked in each walk.
///
/// ```
/// use wal_format::{ResourceManager, Walk};
///
/// // All checksums, and the contents of what says when a transaction ended.
/// let walk = Walk { wanted: |header| header.manager == ResourceManager::TRANSACTION, ..Walk::CHECKED };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// Whether the checksum of every record is computed. Without it a record is believed for its header, and damage to
    /// contents stays unnoticed; only after other damage, records are computed until one is believed again.
    pub checksums: bool,
    /// Which records are handed out whole, as [`Item::Record`]. The others are [`Item::Passed`]: no byte of theirs is
    /// copied, however many pages they take.
    pub wanted: fn(&RecordHeader) -> bool,
}

impl Walk {
    /// Every record whole, its checksum found right: what a reader does unless it is told otherwise.
    pub const WHOLE: Self = Self { checksums: true, wanted: |_| true };
    /// Every checksum, no contents.
    pub const CHECKED: Self = Self { checksums: true, wanted: |_| false };
    /// Headers of records only.
    pub const HEADERS: Self = Self { checksums: false, wanted: |_| false };
}

/// Who is shown what [`RecordReader::for_each`](crate::RecordReader::for_each) comes across: most often a closure.
///
/// One that does much with every record is a function of its own, and each item has to be put together in memory for it,
/// which takes longer than all else that is done for a small record. A type whose `visit` is `#[inline(always)]` is compiled
/// into the walk.
pub trait Visit {
    /// Takes the next item.
    fn visit(&mut self, item: Item<'_>);
}

impl<F: FnMut(Item<'_>)> Visit for F {
    #[inline(always)]
    fn visit(&mut self, item: Item<'_>) {
        self(item);
    }
}

/// What a reader comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// A record whose contents the [`Walk`] does not want.
    Passed(Passed),
    /// After damage: these bytes were given up, and a record that can be believed begins at their end.
    Skipped(Range<Lsn>),
    /// The end of an open source. The reader stays here, whatever else it is given.
    End(End),
}

/// A record without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Where it begins (`ReadRecPtr`).
    pub start: Lsn,
    /// Where the next one may begin, as [`Record::end`] has it.
    pub end: Lsn,
    /// What it begins with.
    pub header: RecordHeader,
}

/// Where an open source ends, and why there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Where the next record would begin; the start of its page's header where that cannot be believed.
    pub at: Lsn,
    /// What stands there instead: seldom of interest, but foreign WAL shows here.
    pub reason: DamageKind,
}
