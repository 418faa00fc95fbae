//! What a reader is asked to do, and what it hands out.

use core::ops::Range;

use crate::record::Record;
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

/// What a reader comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// After damage: these bytes were given up, and a record that can be believed begins at their end.
    Skipped(Range<Lsn>),
    /// The end of an open source. The reader stays here, whatever else it is given.
    End(End),
}

/// Where an open source ends, and why there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Where the next record would begin; the start of its page's header where that cannot be believed.
    pub at: Lsn,
    /// What stands there instead: seldom of interest, but foreign WAL shows here.
    pub reason: DamageKind,
}
