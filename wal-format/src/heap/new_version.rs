//! New versions of rows, as records have them (`log_heap_insert` and `log_heap_update`, `access/heap/heapam.c`).

use alloc::vec::Vec;

use nom::Parser as _;
use nom::combinator::cond;

use super::HEADER_LEN;
use crate::native::{byte, int16, int32};
use crate::record::Record;
use crate::syntax::{Parsed, SyntaxError, syntax_error};
use crate::{BlockReference, ResourceManager};

/// What a record says of the new version of a row: all of it, or what it does not share with the old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewVersion<'a> {
    /// How many bytes of columns are those that the old version begins with.
    pub prefix_len: u16,
    /// How many are those that it ends with.
    pub suffix_len: u16,
    /// The columns in between.
    pub middle: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the new version of the row that the record inserts or updates. `None` if it does neither, or if the page's image
    /// is there instead.
    ///
    /// # Errors
    /// It is not laid out as its version lays it out.
    pub fn new_version(&self) -> Result<Option<NewVersion<'a>>, SyntaxError> {
        const KIND_MASK: u8 = 0x70;
        const INSERT: u8 = 0x00;
        const UPDATE: u8 = 0x20;
        const HOT_UPDATE: u8 = 0x40;
        let kind = self.header.info & KIND_MASK;
        if self.header.manager != ResourceManager::HEAP || !matches!(kind, INSERT | UPDATE | HOT_UPDATE) {
            return Ok(None);
        }
        let contents = self.contents()?;
        let Some(BlockReference { data, .. }) = contents.blocks().next().filter(|block| !block.data.is_empty()) else {
            return Ok(None);
        };
        let flags = if kind == INSERT { 0 } else { update_flags(contents.main_data())? };
        let parsed = NewVersion::parse(data, flags);
        parsed.map(|(_, version)| Some(version)).map_err(|error| syntax_error(data, error))
    }
}

/// `xl_heap_update.flags`.
fn update_flags(main_data: &[u8]) -> Result<u8, SyntaxError> {
    let fields = (int32, int16, byte, byte).parse(main_data);
    fields.map(|(_, (_xmax, _offset, _infobits, flags))| flags).map_err(|error| syntax_error(main_data, error))
}

impl<'a> NewVersion<'a> {
    fn parse(input: &'a [u8], flags: u8) -> Parsed<'a, Self> {
        const PREFIX_FROM_OLD: u8 = 1 << 5;
        const SUFFIX_FROM_OLD: u8 = 1 << 6;
        let (input, prefix_len) = cond(flags & PREFIX_FROM_OLD != 0, int16).parse(input)?;
        let (input, suffix_len) = cond(flags & SUFFIX_FROM_OLD != 0, int16).parse(input)?;
        let (input, (_columns, _infomask, header_len)) = (int16, int16, byte).parse(input)?;
        // Bits for null columns, and padding, come first.
        let (input, _) = nom::bytes::complete::take(usize::from(header_len).saturating_sub(HEADER_LEN)).parse(input)?;
        let (prefix_len, suffix_len) = (prefix_len.unwrap_or(0), suffix_len.unwrap_or(0));
        Ok((&[], Self { prefix_len, suffix_len, middle: input }))
    }

    /// Puts the columns together; `None` if that takes an old version, and it is not there or too short.
    #[must_use]
    pub fn data(&self, old: Option<&[u8]>) -> Option<Vec<u8>> {
        let (prefix_len, suffix_len) = (usize::from(self.prefix_len), usize::from(self.suffix_len));
        if prefix_len + suffix_len == 0 {
            return Some(self.middle.to_vec());
        }
        let old = old?;
        let prefix = old.get(..prefix_len)?;
        let suffix = old.get(old.len().checked_sub(suffix_len)?..)?;
        Some([prefix, self.middle, suffix].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_comes_from_the_old_version() {
        let version = NewVersion { prefix_len: 2, suffix_len: 3, middle: b"new" };
        assert_eq!(version.data(Some(b"abcdefgh")).as_deref(), Some(&b"abnewfgh"[..]));
        assert_eq!(version.data(Some(b"ab")), None);
        assert_eq!(version.data(None), None);
        let whole = NewVersion { prefix_len: 0, suffix_len: 0, middle: b"new" };
        assert_eq!(whole.data(None).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn lengths_header_and_null_bits_come_before_the_columns() {
        let data = [&2u16.to_ne_bytes()[..], &3u16.to_ne_bytes(), &[1, 0, 2, 0, 24, 0xFF], b"new"].concat();
        let (_, found) = NewVersion::parse(&data, 1 << 5 | 1 << 6).unwrap();
        assert_eq!(found, NewVersion { prefix_len: 2, suffix_len: 3, middle: b"new" });
        let (_, whole) = NewVersion::parse(&data[4..], 0).unwrap();
        assert_eq!(whole, NewVersion { prefix_len: 0, suffix_len: 0, middle: b"new" });
        assert!(NewVersion::parse(&data[4..8], 0).is_err());
    }
}
