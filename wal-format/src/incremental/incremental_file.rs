//! Files named `INCREMENTAL.` and what they stand for.

use nom::Parser as _;
use nom::combinator::verify;

use crate::native::int32;
use crate::payload::List;
use crate::syntax::{Parsed, SyntaxError, expect, syntax_error};

/// The beginning of a file `INCREMENTAL.<name>` of an incremental backup: which blocks of the relation's file it holds
/// (`backup/basebackup_incremental.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementalHeader<'a> {
    /// How many blocks the whole file has at least: those from here on that this file lacks were not there before either
    /// (`truncation_block_length`).
    pub truncation_block_length: u32,
    /// The blocks that the file holds, by their numbers within the relation's file, in the order in which they follow.
    pub blocks: List<'a, u32>,
}

impl<'a> IncrementalHeader<'a> {
    const MAGIC: u32 = 0xD3AE_1F0D;
    /// What stands before the numbers of the blocks, in bytes.
    const FIXED_LEN: usize = 12;

    /// Reads the header from the beginning of a file. [`IncrementalHeader::needed`] tells how many bytes of it that takes.
    ///
    /// # Errors
    /// The bytes are something else, or end too early.
    pub fn parse(file: &'a [u8]) -> Result<Self, SyntaxError> {
        let (_, header) = Self::header(file).map_err(|error| syntax_error(file, error))?;
        Ok(header)
    }

    /// How many bytes of a file the header takes without padding, by its first 12 bytes; `None` if those are no header.
    #[must_use]
    pub fn needed(file: &[u8]) -> Option<u64> {
        let (_, (count, _)) = Self::fixed(file).ok()?;
        Some(Self::FIXED_LEN as u64 + u64::from(count) * 4)
    }

    /// Where the first block begins in a cluster whose pages have `block_size` bytes: the header is padded to whole pages,
    /// unless no block follows (`GetIncrementalHeaderSize`).
    #[must_use]
    pub fn len(&self, block_size: u32) -> u64 {
        let bare = Self::FIXED_LEN as u64 + self.blocks.len() as u64 * 4;
        if self.blocks.is_empty() { bare } else { bare.next_multiple_of(u64::from(block_size.max(1))) }
    }

    /// How long the file is with the blocks that it holds, in such a cluster.
    #[must_use]
    pub fn file_len(&self, block_size: u32) -> u64 {
        self.len(block_size) + self.blocks.len() as u64 * u64::from(block_size)
    }

    /// How many blocks the whole file has (`find_reconstructed_block_length`).
    #[must_use]
    pub fn whole_blocks(&self) -> u64 {
        let behind_last = self.blocks.iter().max().map_or(0, |last| u64::from(last) + 1);
        behind_last.max(u64::from(self.truncation_block_length))
    }

    /// Whether the file holds no block: nothing of it changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn header(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, (count, truncation_block_length)) = Self::fixed(input)?;
        let (input, blocks) = List::parse(count).parse(input)?;
        Ok((input, Self { truncation_block_length, blocks }))
    }

    fn fixed(input: &[u8]) -> Parsed<'_, (u32, u32)> {
        let magic = verify(int32, |&magic| magic == Self::MAGIC);
        let (input, _) = expect("the magic of an incremental file", magic).parse(input)?;
        expect("the numbers of blocks", (int32, int32)).parse(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn file(blocks: &[u32]) -> Vec<u8> {
        let numbers = [&[0xD3AE_1F0D, blocks.len() as u32, 40], blocks].concat();
        numbers.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn the_header_is_padded_to_a_page_where_blocks_follow() {
        let file = file(&[3, 7]);
        let header = IncrementalHeader::parse(&file).unwrap();
        assert_eq!(header.blocks.iter().collect::<Vec<_>>(), [3, 7]);
        assert_eq!((header.truncation_block_length, header.len(8192)), (40, 8192));
        assert_eq!(IncrementalHeader::needed(&file[..12]), Some(20));
    }

    #[test]
    fn the_whole_file_ends_behind_its_last_block_or_where_it_was_cut() {
        let lengths = |blocks: &[u32]| {
            let file = file(blocks);
            let header = IncrementalHeader::parse(&file).unwrap();
            (header.whole_blocks(), header.file_len(8192))
        };
        assert_eq!(lengths(&[]), (40, 12));
        assert_eq!(lengths(&[7, 3]), (40, 3 * 8192));
        assert_eq!(lengths(&[41, 3]), (42, 3 * 8192));
        assert_eq!(lengths(&[u32::MAX]).0, 1 << 32);
    }

    #[test]
    fn a_file_without_blocks_is_its_header() {
        let file = file(&[]);
        assert_eq!(IncrementalHeader::parse(&file).unwrap().len(8192), 12);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let file = file(&[3, 7]);
        for len in 0..file.len() {
            assert!(IncrementalHeader::parse(&file[..len]).is_err(), "{len}");
        }
        assert!(IncrementalHeader::parse(&[0; 24]).is_err());
    }
}
