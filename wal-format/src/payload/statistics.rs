//! What transactions drop of the cumulative statistics (`pgstat.h`).

use core::fmt;

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::map;

use crate::native::int32;
use crate::syntax::{Mismatch, Parsed, expect};

/// Entries of the cumulative statistics that go with a transaction (`xl_xact_stats_item`); 15 and later. How long one is
/// differs between versions, so they are read while they are walked through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DroppedStatistics<'a> {
    bytes: &'a [u8],
    item_len: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StatisticsEntry {
    /// What it counted (`PgStat_Kind`): numbers differ between versions.
    pub kind: u32,
    /// The OID of the database; 0 for what all share.
    pub database: u32,
    /// The number of the object, an OID before 18.
    pub object: u64,
}

impl<'a> DroppedStatistics<'a> {
    pub(super) const NONE: Self = Self { bytes: &[], item_len: 1 };

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.bytes.len().checked_div(self.item_len) {
            Some(count) => count,
            None => 0,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries, in the order in which they stand there.
    pub fn iter(&self) -> impl Iterator<Item = StatisticsEntry> + use<'a> {
        self.bytes.chunks_exact(self.item_len.max(1)).filter_map(|item| Some(entry(item).ok()?.1))
    }

    /// How many bytes they take.
    pub(super) const fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads `count` entries of `item_len` bytes.
    pub(super) fn parse(
        count: u32,
        item_len: usize,
    ) -> impl nom::Parser<&'a [u8], Output = Self, Error = Mismatch<'a>> {
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(item_len));
        let bytes = take(len.unwrap_or(usize::MAX));
        expect("as many elements as announced", map(bytes, move |bytes| Self { bytes, item_len }))
    }

    /// Reads entries behind their number.
    pub(super) fn parse_counted(input: &'a [u8], item_len: usize) -> Parsed<'a, Self> {
        let (input, count) = expect("a number of elements", int32).parse(input)?;
        Self::parse(count, item_len).parse(input)
    }
}

/// Since 18 the number of the object has an upper half.
fn entry(item: &[u8]) -> Parsed<'_, StatisticsEntry> {
    let (rest, (kind, database, low)) = (int32, int32, int32).parse(item)?;
    let (rest, high) = if rest.is_empty() { (rest, 0) } else { int32(rest)? };
    let object = u64::from(high) << 32 | u64::from(low);
    Ok((rest, StatisticsEntry { kind, database, object }))
}

impl fmt::Debug for DroppedStatistics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
