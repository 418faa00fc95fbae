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
/// Given the same changes in the same order, the file is PostgreSQL's byte by byte. Memory is two bytes for each block that
/// changed, and at most 8 KiB for each 65536 blocks of a fork.
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
    chunks: Vec<Chunk>,
}

/// Which of 65536 blocks changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Chunk {
    /// Their numbers within the chunk, in the order in which they changed.
    List(Vec<u16>),
    /// A bit for each.
    Bitmap(Box<[u16]>),
}

impl SummaryBuilder {
    /// Without any change.
    #[must_use]
    pub const fn new() -> Self {
        Self { forks: BTreeMap::new() }
    }

    /// Notes that a block changed (`BlockRefTableMarkBlockModified`).
    pub fn mark(&mut self, relation: RelFileLocator, fork: Fork, block: u32) {
        let (chunk, offset) = place(block);
        let chunks = &mut self.fork(relation, fork).chunks;
        if chunks.len() <= chunk {
            chunks.resize(chunk + 1, Chunk::EMPTY);
        }
        if let Some(chunk) = chunks.get_mut(chunk) {
            chunk.mark(offset);
        }
    }

    /// Notes that a fork was created, or cut, and had `blocks` blocks then: every block from there on counts as changed
    /// (`BlockRefTableSetLimitBlock`). What was noted about those before is forgotten.
    pub fn limit(&mut self, relation: RelFileLocator, fork: Fork, blocks: u32) {
        let changes = self.fork(relation, fork);
        if changes.limit_block.is_some_and(|limit| limit <= blocks) || blocks == NO_LIMIT {
            return;
        }
        changes.limit_block = Some(blocks);
        let (chunk, offset) = place(blocks);
        changes.chunks.truncate(chunk + 1);
        if let Some(last) = changes.chunks.get_mut(chunk) {
            last.forget_from(offset);
        }
    }

    /// Notes all that a summary says.
    pub fn add(&mut self, summary: &WalSummary<'_>) {
        for entry in summary.entries() {
            if let Some(limit) = entry.limit_block {
                self.limit(entry.relation, entry.fork, limit);
            }
            entry.blocks().for_each(|block| self.mark(entry.relation, entry.fork, block));
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
fn place(block: u32) -> (usize, u16) {
    let [high, low] =
        [block / BLOCKS_PER_CHUNK, block % BLOCKS_PER_CHUNK].map(|part| u16::try_from(part).unwrap_or(u16::MAX));
    (high.into(), low)
}

impl Changes {
    fn write(&self, relation: RelFileLocator, fork: Fork, file: &mut Vec<u8>) {
        let trailing = self.chunks.iter().rev().take_while(|chunk| chunk.numbers().is_empty()).count();
        let used = self.chunks.iter().take(self.chunks.len() - trailing);
        // A fork has at most 2^32 blocks, and so 65536 chunks.
        let count = u32::try_from(used.len()).unwrap_or(u32::MAX);
        let limit = self.limit_block.unwrap_or(NO_LIMIT);
        let RelFileLocator { tablespace, database, number } = relation;
        let header = [tablespace, database, number, fork.number(), limit, count];
        file.extend(header.into_iter().flat_map(u32::to_ne_bytes));
        let len = |chunk: &Chunk| u16::try_from(chunk.numbers().len()).unwrap_or(u16::MAX);
        file.extend(used.clone().flat_map(|chunk| len(chunk).to_ne_bytes()));
        file.extend(used.flat_map(Chunk::numbers).flat_map(|number| number.to_ne_bytes()));
    }
}

impl Chunk {
    const EMPTY: Self = Self::List(Vec::new());

    fn numbers(&self) -> &[u16] {
        match self {
            Self::List(offsets) => offsets,
            Self::Bitmap(words) => words,
        }
    }

    fn mark(&mut self, offset: u16) {
        match self {
            Self::List(offsets) if offsets.contains(&offset) => {}
            // As long as a bitmap it would be taken for one.
            Self::List(offsets) if offsets.len() + 1 == usize::from(BITMAP_LEN) => {
                let mut words = vec![0; usize::from(BITMAP_LEN)].into_boxed_slice();
                offsets.iter().chain([&offset]).for_each(|&offset| set(&mut words, offset));
                *self = Self::Bitmap(words);
            }
            Self::List(offsets) => offsets.push(offset),
            Self::Bitmap(words) => set(words, offset),
        }
    }

    fn forget_from(&mut self, limit: u16) {
        match self {
            Self::List(offsets) => offsets.retain(|&offset| offset < limit),
            Self::Bitmap(words) => {
                for (word, first) in words.iter_mut().zip((0..=u16::MAX).step_by(16)) {
                    let kept = u32::from(limit.saturating_sub(first).min(16));
                    *word &= u16::MAX.checked_shr(16 - kept).unwrap_or(0);
                }
            }
        }
    }
}

fn set(words: &mut [u16], offset: u16) {
    if let Some(word) = words.get_mut(usize::from(offset / 16)) {
        *word |= 1 << (offset % 16);
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
