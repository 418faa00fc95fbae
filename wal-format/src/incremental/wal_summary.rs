//! Files of `pg_wal/summaries`: which blocks a part of the log changed.

use core::fmt;
use core::str::FromStr;

use nom::Parser as _;
use nom::bytes::complete::tag;
use nom::combinator::{map, map_opt, verify};

use crate::native::int32;
use crate::payload::List;
use crate::syntax::{Parsed, SyntaxError, expect, hex_u32, parse_all, syntax_error};
use crate::{Fork, Lsn, RelFileLocator, TimelineId, crc32c};

/// The name of a summary: which part of the log it covers (`backup/walsummary.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalSummaryName {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where the part begins.
    pub start: Lsn,
    /// Where it ends, itself excluded.
    pub end: Lsn,
}

impl WalSummaryName {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let lsn =
            || map((hex_u32(8, 8), hex_u32(8, 8)), |(high, low)| Lsn::new(u64::from(high) << 32 | u64::from(low)));
        let fields = (map_opt(hex_u32(8, 8), TimelineId::new), lsn(), lsn(), tag(".summary"));
        let name = map(fields, |(timeline, start, end, _)| Self { timeline, start, end });
        expect("the name of a WAL summary", verify(name, |name| name.start < name.end)).parse(input)
    }
}

impl fmt::Display for WalSummaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start.as_u64(), self.end.as_u64());
        write!(f, "{:08X}{start:016X}{end:016X}.summary", self.timeline.get())
    }
}

impl FromStr for WalSummaryName {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), Self::parse)
    }
}

/// Which blocks a part of the log changed (`common/blkreftable.c`), read from a file whose checksum was found right. Nothing
/// is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSummary<'a> {
    entries: &'a [u8],
}

/// What is known of one fork of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSummaryEntry<'a> {
    /// The relation.
    pub relation: RelFileLocator,
    /// The fork.
    pub fork: Fork,
    /// The shortest that the fork was, in blocks, if it was created or cut: every block from here on counts as changed.
    pub limit_block: Option<u32>,
    usage: List<'a, u16>,
    chunks: &'a [u8],
}

/// How many blocks a chunk stands for.
pub(super) const BLOCKS_PER_CHUNK: u32 = 1 << 16;
/// How many chunks stand for all blocks that a fork can have.
const MAX_CHUNKS: u32 = 1 << 16;
/// A chunk of so many numbers is a bitmap; a shorter one lists the blocks that changed.
pub(super) const BITMAP_LEN: u16 = 4096;
/// The limit of a fork that was neither created nor cut.
pub(super) const NO_LIMIT: u32 = u32::MAX;

impl<'a> WalSummary<'a> {
    pub(super) const MAGIC: u32 = 0x652B_137B;

    /// Reads a summary.
    ///
    /// # Errors
    /// The bytes are something else, or damaged.
    pub fn parse(file: &'a [u8]) -> Result<Self, WalSummaryError> {
        let (content, crc) = file.split_last_chunk().ok_or(WalSummaryError::TooShort { found: file.len() })?;
        let (found, computed) = (u32::from_ne_bytes(*crc), crc32c(content));
        // A file that is no summary at all is better told so than that its checksum is wrong.
        if content.starts_with(&Self::MAGIC.to_ne_bytes()) && found != computed {
            return Err(WalSummaryError::Checksum { found, computed });
        }
        let entries = Self::check(content).map_err(|error| WalSummaryError::Content(syntax_error(content, error)))?;
        Ok(Self { entries })
    }

    /// What is known of each fork, by tablespace, database, relation and fork.
    pub fn entries(&self) -> impl Iterator<Item = WalSummaryEntry<'a>> + use<'a> {
        let mut rest = self.entries;
        core::iter::from_fn(move || {
            let (behind, entry) = WalSummaryEntry::parse(rest).ok()?;
            rest = behind;
            entry
        })
    }

    /// Walks through all entries once; returns them without what is around them.
    fn check(content: &'a [u8]) -> Result<&'a [u8], nom::Err<crate::syntax::Mismatch<'a>>> {
        let magic = verify(int32, |&magic| magic == Self::MAGIC);
        let (entries, _) = expect("the magic of a WAL summary", magic).parse(content)?;
        let mut rest = entries;
        loop {
            let (behind, entry) = WalSummaryEntry::parse(rest)?;
            rest = behind;
            if entry.is_none() {
                expect("the end of a WAL summary", nom::combinator::eof).parse(rest)?;
                return Ok(entries);
            }
        }
    }
}

impl<'a> WalSummaryEntry<'a> {
    /// Reads the next entry; `None` for the zeros that end them (`BlockRefTableReaderNextRelation`).
    fn parse(input: &'a [u8]) -> Parsed<'a, Option<Self>> {
        // A fork has at most 2^32 blocks.
        let chunk_count = expect("at most 65536 chunks", verify(int32, |&count| count <= MAX_CHUNKS));
        let (input, (relation, fork, limit, chunk_count)) =
            expect("an entry of a WAL summary", (RelFileLocator::parse, Fork::parse, int32, chunk_count))
                .parse(input)?;
        let end = RelFileLocator { tablespace: 0, database: 0, number: 0 };
        if relation == end && limit == 0 && chunk_count == 0 {
            return Ok((input, None));
        }
        let (input, usage) = List::<u16>::parse(chunk_count).parse(input)?;
        let possible = |usage: &List<'_, u16>| usage.iter().all(|len| len <= BITMAP_LEN);
        let (_, usage) = expect("chunks of at most 4096 numbers", verify(|i| Ok((i, usage)), possible)).parse(input)?;
        let numbers: u64 = usage.iter().map(u64::from).sum();
        let len = usize::try_from(numbers * 2).unwrap_or(usize::MAX);
        let (input, chunks) = expect("the blocks that changed", nom::bytes::complete::take(len)).parse(input)?;
        let limit_block = (limit != NO_LIMIT).then_some(limit);
        Ok((input, Some(Self { relation, fork, limit_block, usage, chunks })))
    }

    /// The blocks that changed, apart from those that [`WalSummaryEntry::limit_block`] speaks of; within a chunk of 65536 not
    /// always in order.
    pub fn blocks(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut rest = self.chunks;
        let chunks = self.usage.iter().map(move |len| {
            let (chunk, behind) = rest.split_at_checked(usize::from(len) * 2).unwrap_or_default();
            rest = behind;
            chunk
        });
        (0..=u16::MAX).zip(chunks).flat_map(|(index, chunk)| {
            let first = u32::from(index) * BLOCKS_PER_CHUNK;
            let is_bitmap = chunk.len() == usize::from(BITMAP_LEN) * 2;
            let numbers = chunk.as_chunks::<2>().0.iter().map(|number| u32::from(u16::from_ne_bytes(*number)));
            let listed = numbers.clone().filter(move |_| !is_bitmap);
            let words = (0u32..).step_by(16).zip(numbers).filter(move |_| is_bitmap);
            let mapped = words
                .flat_map(|(start, word)| (0..16).filter(move |bit| word >> bit & 1 != 0).map(move |bit| start + bit));
            listed.chain(mapped).map(move |offset| first | offset)
        })
    }
}

/// Bytes that are no summary of WAL, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalSummaryError {
    /// There are fewer bytes than the shortest summary has.
    #[error("WAL summary has {found} bytes, expected at least 32")]
    TooShort {
        /// How many there are.
        found: usize,
    },
    /// It is not laid out as a summary is.
    #[error("WAL summary cannot be read")]
    Content(#[source] SyntaxError),
    /// Its bytes are not those that its checksum was computed over.
    #[error("WAL summary's checksum is {found:08X}, computed {computed:08X}")]
    Checksum {
        /// The checksum in the file.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn entry(fork: u32, limit: u32, chunks: &[Vec<u16>]) -> Vec<u8> {
        let mut bytes = [1663, 5, 16384, fork, limit, chunks.len() as u32].map(u32::to_ne_bytes).concat();
        bytes.extend(chunks.iter().flat_map(|chunk| (chunk.len() as u16).to_ne_bytes()));
        bytes.extend(chunks.iter().flatten().flat_map(|number| number.to_ne_bytes()));
        bytes
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut file = WalSummary::MAGIC.to_ne_bytes().to_vec();
        file.extend(entries.concat());
        file.extend([0; 24]);
        file.extend(crc32c(&file).to_ne_bytes());
        file
    }

    #[test]
    fn lists_and_bitmaps_name_blocks() {
        let mut bitmap = vec![0u16; 4096];
        (bitmap[0], bitmap[4095]) = (0b101, 0x8000);
        let file = file(&[entry(0, u32::MAX, &[vec![7, 3], vec![], bitmap]), entry(2, 40, &[])]);
        let summary = WalSummary::parse(&file).unwrap();
        let entries: Vec<_> = summary.entries().collect();
        assert_eq!(entries[0].blocks().collect::<Vec<_>>(), [7, 3, 131_072, 131_074, 196_607]);
        assert_eq!((entries[0].fork, entries[0].limit_block), (Fork::Main, None));
        assert_eq!((entries[1].fork, entries[1].limit_block), (Fork::VisibilityMap, Some(40)));
        assert_eq!((entries.len(), entries[1].blocks().count()), (2, 0));
    }

    #[test]
    fn a_fork_has_at_most_65536_chunks() {
        let mut chunks = vec![vec![]; 65_536];
        chunks[65_535] = vec![65_535];
        let longest = file(&[entry(0, u32::MAX, &chunks)]);
        let entries: Vec<_> = WalSummary::parse(&longest).unwrap().entries().collect();
        assert_eq!(entries[0].blocks().collect::<Vec<_>>(), [u32::MAX]);
        chunks.push(vec![0]);
        assert!(matches!(WalSummary::parse(&file(&[entry(0, u32::MAX, &chunks)])), Err(WalSummaryError::Content(_))));
    }

    #[test]
    fn damage_is_told_from_something_else() {
        let sound = file(&[entry(0, 7, &[vec![1]])]);
        for at in 4..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            assert!(matches!(WalSummary::parse(&bytes), Err(WalSummaryError::Checksum { .. })), "{at}");
        }
        assert!(matches!(WalSummary::parse(&[1; 40]), Err(WalSummaryError::Content(_))));
        assert_eq!(WalSummary::parse(&[]), Err(WalSummaryError::TooShort { found: 0 }));
    }

    proptest! {
        #[test]
        fn parse_undoes_print(timeline in 1..u32::MAX, start in 0..u64::MAX / 2, len in 1..u64::MAX / 2) {
            let timeline = TimelineId::new(timeline).unwrap();
            let name = WalSummaryName { timeline, start: Lsn::new(start), end: Lsn::new(start + len) };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn no_bytes_panic(noise in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, value: u32) {
            let mut near = entry(0, 3, &[vec![1, 2], vec![9]]);
            let at = at.index(near.len() - 4);
            near[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            for entry in [noise, near] {
                let file = file(&[entry]);
                if let Ok(summary) = WalSummary::parse(&file) {
                    prop_assert!(summary.entries().map(|entry| entry.blocks().count()).sum::<usize>() <= file.len() * 16);
                }
            }
        }
    }
}
