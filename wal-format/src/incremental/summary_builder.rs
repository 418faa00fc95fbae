//! Writing files of `pg_wal/summaries`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::wal_summary::{BITMAP_LEN, BLOCKS_PER_CHUNK, NO_LIMIT, WalSummary};
use crate::{Fork, RelFileLocator, crc32c};

/// Gathers which blocks a part of the log changed, and makes of it the file that PostgreSQL would make
/// (`BlockRefTable`, `common/blkreftable.c`).
///
/// Given the same changes in the same order, the file is PostgreSQL's byte by byte. Memory is less than
/// a kilobyte for each fork, and some bytes for each block that changed, wherever in the fork it lies: at most 16 KiB for
/// 65536 blocks in a row.
///
/// ```
/// use wal_format::{Fork, RelFileLocator, SummaryBuilder, WalSummary};
///
/// let relation = RelFileLocator { tablespace: 1663, database: 5, number: 16384 };
/// let mut builder = SummaryBuilder::new();
/// builder.mark(relation, Fork::Main, 7);
/// builder.limit(relation, Fork::VisibilityMap, 0);
///
/// let file = builder.to_bytes();
/// let mut entries = WalSummary::parse(&file)?.entries();
/// assert_eq!(entries.next().ok_or("an entry")?.blocks().collect::<Vec<_>>(), [7]);
/// assert_eq!(entries.next().ok_or("another")?.limit_block, Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SummaryBuilder {
    /// In the order in which they are written (`BlockRefTableComparator`).
    forks: BTreeMap<(RelFileLocator, Fork), Changes>,
}

/// What happened to one fork.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Changes {
    limit_block: Option<u32>,
    /// Only those that have something in them: a record may name the last block of a fork that has no others.
    chunks: BTreeMap<u16, Chunk>,
}

/// Which of 65536 blocks changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Chunk {
    /// Their numbers within the chunk, in the order in which they changed; and where they are many, a bit for each to find
    /// them by.
    List { offsets: Vec<u16>, index: Option<Bitmap> },
    /// Too many to be listed.
    Bitmap(Bitmap),
}

/// A bit for each block of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bitmap(Box<[u16]>);

impl SummaryBuilder {
    /// Without any change.
    #[must_use]
    pub const fn new() -> Self {
        Self { forks: BTreeMap::new() }
    }

    /// Notes that a block changed (`BlockRefTableMarkBlockModified`).
    pub fn mark(&mut self, relation: RelFileLocator, fork: Fork, block: u32) {
        self.fork(relation, fork).mark(block);
    }

    /// Notes that a fork was created, or cut, and had `blocks` blocks then: every block from there on counts as changed
    /// (`BlockRefTableSetLimitBlock`). What was noted about those before is forgotten.
    pub fn limit(&mut self, relation: RelFileLocator, fork: Fork, blocks: u32) {
        self.fork(relation, fork).limit(blocks);
    }

    /// Notes all that a summary says.
    pub fn add(&mut self, summary: &WalSummary<'_>) {
        for entry in summary.entries() {
            let changes = self.fork(entry.relation, entry.fork);
            changes.limit(entry.limit_block.unwrap_or(NO_LIMIT));
            entry.blocks().for_each(|block| changes.mark(block));
        }
    }

    /// The file: what was noted, in the order that PostgreSQL wants it in, and a checksum (`WriteBlockRefTable`).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        const END: [u8; 24] = [0; 24];
        let mut file = WalSummary::MAGIC.to_ne_bytes().to_vec();
        for (&(relation, fork), changes) in &self.forks {
            changes.write(relation, fork, &mut file);
        }
        file.extend(END);
        file.extend(crc32c(&file).to_ne_bytes());
        file
    }

    fn fork(&mut self, relation: RelFileLocator, fork: Fork) -> &mut Changes {
        self.forks.entry((relation, fork)).or_default()
    }
}

/// The chunk that a block belongs to, and where in it.
fn place(block: u32) -> (u16, u16) {
    let [high, low] =
        [block / BLOCKS_PER_CHUNK, block % BLOCKS_PER_CHUNK].map(|part| u16::try_from(part).unwrap_or(u16::MAX));
    (high, low)
}

impl Changes {
    fn mark(&mut self, block: u32) {
        let (chunk, offset) = place(block);
        self.chunks.entry(chunk).or_insert(Chunk::EMPTY).mark(offset);
    }

    fn limit(&mut self, blocks: u32) {
        if blocks >= self.limit_block.unwrap_or(NO_LIMIT) {
            return;
        }
        self.limit_block = Some(blocks);
        let (chunk, offset) = place(blocks);
        let mut last = self.chunks.split_off(&chunk).remove(&chunk);
        if let Some(last) = last.as_mut() {
            last.forget_from(offset);
        }
        self.chunks.extend(last.filter(|last| !last.numbers().is_empty()).map(|last| (chunk, last)));
    }

    fn write(&self, relation: RelFileLocator, fork: Fork, file: &mut Vec<u8>) {
        let count = self.chunks.last_key_value().map_or(0, |(&last, _)| u32::from(last) + 1);
        let limit = self.limit_block.unwrap_or(NO_LIMIT);
        let RelFileLocator { tablespace, database, number } = relation;
        let header = [tablespace, database, number, fork.number(), limit, count];
        file.extend(header.into_iter().flat_map(u32::to_ne_bytes));
        let lens = (0..=u16::MAX).zip(0..count).map(|(chunk, _)| self.chunks.get(&chunk).map_or(0, Chunk::len));
        file.extend(lens.flat_map(u16::to_ne_bytes));
        file.extend(self.chunks.values().flat_map(Chunk::numbers).flat_map(|number| number.to_ne_bytes()));
    }
}

impl Chunk {
    const EMPTY: Self = Self::List { offsets: Vec::new(), index: None };
    /// Up to so many numbers are looked through; an index of more has at most eight times their length.
    const LOOKED_THROUGH: usize = 512;

    /// As they stand in a file.
    fn numbers(&self) -> &[u16] {
        match self {
            Self::List { offsets, .. } => offsets,
            Self::Bitmap(bitmap) => &bitmap.0,
        }
    }

    fn len(&self) -> u16 {
        u16::try_from(self.numbers().len()).unwrap_or(u16::MAX)
    }

    fn mark(&mut self, offset: u16) {
        match self {
            Self::List { offsets, index } => {
                let is_new = match index {
                    Some(index) => index.insert(offset),
                    None => !offsets.contains(&offset),
                };
                if is_new {
                    offsets.push(offset);
                    self.adapt();
                }
            }
            Self::Bitmap(bitmap) => {
                bitmap.insert(offset);
            }
        }
    }

    /// Changes the form as the number of blocks demands.
    fn adapt(&mut self) {
        let Self::List { offsets, index } = self else { return };
        if offsets.len() <= Self::LOOKED_THROUGH {
            *index = None;
        } else if index.is_none() {
            *index = Some(Bitmap::of(offsets));
        }
        // As long as a bitmap it would be taken for one.
        if offsets.len() == usize::from(BITMAP_LEN) {
            *self = Self::Bitmap(Bitmap::of(offsets));
        }
    }

    fn forget_from(&mut self, limit: u16) {
        match self {
            Self::List { offsets, index } => {
                offsets.retain(|&offset| offset < limit);
                if let Some(index) = index {
                    index.forget_from(limit);
                }
                self.adapt();
            }
            Self::Bitmap(bitmap) => bitmap.forget_from(limit),
        }
    }
}

impl Bitmap {
    fn of(offsets: &[u16]) -> Self {
        let mut bitmap = Self(vec![0; usize::from(BITMAP_LEN)].into_boxed_slice());
        for &offset in offsets {
            bitmap.insert(offset);
        }
        bitmap
    }

    /// Returns whether the block was not in it before.
    fn insert(&mut self, offset: u16) -> bool {
        let Some(word) = self.0.get_mut(usize::from(offset / 16)) else { return false };
        let before = *word;
        *word |= 1 << (offset % 16);
        *word != before
    }

    fn forget_from(&mut self, limit: u16) {
        for (word, first) in self.0.iter_mut().zip((0..=u16::MAX).step_by(16)) {
            let kept = u32::from(limit.saturating_sub(first).min(16));
            *word &= u16::MAX.checked_shr(16 - kept).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const RELATION: RelFileLocator = RelFileLocator { tablespace: 1663, database: 5, number: 16384 };

    fn blocks(builder: &SummaryBuilder) -> (Option<u32>, Vec<u32>) {
        let file = builder.to_bytes();
        let entry = WalSummary::parse(&file).unwrap().entries().next().unwrap();
        (entry.limit_block, entry.blocks().collect())
    }

    fn marked(blocks: impl IntoIterator<Item = u32>) -> SummaryBuilder {
        let mut builder = SummaryBuilder::new();
        blocks.into_iter().for_each(|block| builder.mark(RELATION, Fork::Main, block));
        builder
    }

    #[test]
    fn the_4096th_block_of_a_chunk_makes_it_a_bitmap() {
        // The rest of the file: its magic, the entry's header, one length, the end, the checksum.
        let numbers = |builder: SummaryBuilder| (builder.to_bytes().len() - (4 + 24 + 2 + 24 + 4)) / 2;
        assert_eq!(numbers(marked((0..4095).rev())), 4095);
        assert_eq!(blocks(&marked((0..4095).rev())).1, (0..4095).rev().collect::<Vec<_>>());
        assert_eq!(blocks(&marked((0..4096).rev())).1, (0..4096).collect::<Vec<_>>());
        assert_eq!(numbers(marked((0..65536).rev())), 4096);
    }

    #[test]
    fn a_limit_forgets_what_lies_behind_it_and_never_rises() {
        let mut builder = marked([7, 3, 65_536, 200_000]);
        builder.limit(RELATION, Fork::Main, 65_536);
        assert_eq!(blocks(&builder), (Some(65_536), vec![7, 3]));
        builder.limit(RELATION, Fork::Main, 70_000);
        builder.mark(RELATION, Fork::Main, 80_000);
        assert_eq!(blocks(&builder), (Some(65_536), vec![7, 3, 80_000]));
        builder.limit(RELATION, Fork::Main, 5);
        assert_eq!(blocks(&builder), (Some(5), vec![3]));
    }

    #[test]
    fn a_limit_cuts_a_bitmap_within_a_word() {
        let mut builder = marked(0..5000);
        builder.limit(RELATION, Fork::Main, 4999);
        builder.limit(RELATION, Fork::Main, 37);
        assert_eq!(blocks(&builder), (Some(37), (0..37).collect()));
    }

    #[test]
    fn a_limit_is_remembered_by_long_lists_too() {
        let mut builder = marked((0..2000).rev());
        builder.limit(RELATION, Fork::Main, 1000);
        (990..1010).chain(0..10).for_each(|block| builder.mark(RELATION, Fork::Main, block));
        assert_eq!(blocks(&builder).1, (0..1000).rev().chain(1000..1010).collect::<Vec<_>>());
        builder.limit(RELATION, Fork::Main, 500);
        builder.limit(RELATION, Fork::Main, 0);
        assert_eq!(blocks(&builder), (Some(0), vec![]));
    }

    /// Each could make 65536 chunks of its fork, 20 GB in all.
    #[test]
    fn the_last_block_of_a_fork_takes_no_more_memory_than_the_first() {
        let mut builder = SummaryBuilder::new();
        let relations = || (0..10_000).map(|number| RelFileLocator { number, ..RELATION });
        relations().for_each(|relation| builder.mark(relation, Fork::Main, u32::MAX));
        relations().skip(1).for_each(|relation| builder.limit(relation, Fork::Main, 0));
        let file = builder.to_bytes();
        let summary = WalSummary::parse(&file).unwrap();
        assert_eq!(summary.entries().flat_map(|entry| entry.blocks()).collect::<Vec<_>>(), [u32::MAX]);
        assert_eq!(summary.entries().count(), 10_000);
    }

    /// A gigabyte in 40 tables, changed in no order, and 7 more in tables that were written as a whole.
    #[test]
    fn a_summary_of_gigabytes_is_read_and_written_again() {
        let mut builder = SummaryBuilder::new();
        let table = |number| RelFileLocator { number, ..RELATION };
        for number in 0..40 {
            (0..3300u32).for_each(|i| builder.mark(table(number), Fork::Main, i * 16_411 % 65_536));
        }
        for number in 40..54 {
            (0..65_536).for_each(|block| builder.mark(table(number), Fork::Main, block));
        }
        let file = builder.to_bytes();
        let summary = WalSummary::parse(&file).unwrap();
        assert_eq!(summary.entries().map(|entry| entry.blocks().count()).sum::<usize>(), 40 * 3300 + 14 * 65_536);
        let mut again = SummaryBuilder::new();
        again.add(&summary);
        again.add(&summary);
        assert!(again == builder && again.to_bytes() == file);
    }

    #[test]
    fn forks_are_written_by_tablespace_then_database() {
        let mut builder = SummaryBuilder::new();
        for (tablespace, database, number) in [(1664, 0, 1), (1663, 5, 4), (1663, 1, 9), (1663, 5, 2)] {
            builder.mark(RelFileLocator { tablespace, database, number }, Fork::Main, 0);
        }
        let file = builder.to_bytes();
        let order = WalSummary::parse(&file).unwrap().entries().map(|entry| entry.relation.number).collect::<Vec<_>>();
        assert_eq!(order, [9, 2, 4, 1]);
    }

    #[test]
    fn no_change_makes_the_shortest_file() {
        assert_eq!(SummaryBuilder::new().to_bytes().len(), 32);
    }

    proptest! {
        #[test]
        fn parse_undoes_print(changes in prop::collection::vec((0..300_000u32, 0..20u32), 0..200)) {
            let mut builder = SummaryBuilder::new();
            let mut expected = (None::<u32>, BTreeSet::new());
            for (block, kind) in changes {
                if kind == 0 && expected.0.is_none_or(|limit| block < limit) {
                    builder.limit(RELATION, Fork::Main, block);
                    expected.0 = Some(block);
                    expected.1.split_off(&block);
                } else {
                    builder.mark(RELATION, Fork::Main, block);
                    expected.1.insert(block);
                }
            }
            let file = builder.to_bytes();
            let summary = WalSummary::parse(&file).unwrap();
            if let Some(entry) = summary.entries().next() {
                prop_assert_eq!((entry.limit_block, entry.blocks().collect::<BTreeSet<_>>()), expected);
            }
            let mut again = SummaryBuilder::new();
            again.add(&summary);
            prop_assert_eq!(again.to_bytes(), file);
        }
    }
}
