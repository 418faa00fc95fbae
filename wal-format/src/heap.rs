//! Rows as they lie in the pages of a table (`storage/bufpage.h`, `access/htup_details.h`), and as WAL has them.
//!
//! Backups and recovery ask this of system catalogs only: which relations there are, and what they are called.

mod catalog_row;
mod new_version;
mod relation_map;
mod transaction_status;

use nom::Parser as _;

pub use catalog_row::{ClassRow, DatabaseRow, NamespaceRow};
pub use new_version::NewVersion;
pub use relation_map::RelationMap;
pub use transaction_status::{StatusPlace, TransactionStatus};

use crate::native::{byte, int16, int32};
use crate::syntax::Parsed;
use crate::{DataPageHeader, RowPlace, data_page_checksum};

/// A page of a table.
#[derive(Debug, Clone, Copy)]
pub struct HeapPage<'a> {
    bytes: &'a [u8],
    pointers: &'a [u8],
}

impl<'a> HeapPage<'a> {
    /// Reads the page's header; `None` if what is there is no page of its own length: one that was never used, or that was
    /// being written when it was copied, can look like anything.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = DataPageHeader::parse(bytes)?;
        let is_page = usize::from(header.page_len) == bytes.len() && header.lower <= header.upper;
        let pointers = bytes.get(DataPageHeader::LEN..header.lower.into()).filter(|_| is_page)?;
        Some(Self { bytes, pointers })
    }

    /// The same, if the page also has the checksum of block `number`.
    #[must_use]
    pub fn parse_checked(bytes: &'a [u8], number: u32) -> Option<Self> {
        let page = Self::parse(bytes)?;
        let header = DataPageHeader::parse(bytes)?;
        (header.checksum == data_page_checksum(bytes, number)).then_some(page)
    }

    /// The versions of rows in it, with the number of each one's line pointer, counted from one. What is no version of a row
    /// is passed over.
    pub fn tuples(&self) -> impl Iterator<Item = (u16, HeapTuple<'a>)> + use<'a> {
        let bytes = self.bytes;
        let (pointers, _) = self.pointers.as_chunks::<4>();
        (1..=u16::MAX).zip(pointers).filter_map(move |(offset, pointer)| {
            let (start, length) = normal_pointer(*pointer)?;
            Some((offset, HeapTuple::parse(bytes.get(start..start + length)?)?))
        })
    }

    /// The version of a row behind one line pointer.
    #[must_use]
    pub fn tuple(&self, offset: u16) -> Option<HeapTuple<'a>> {
        let (pointers, _) = self.pointers.as_chunks::<4>();
        let (start, length) = normal_pointer(*pointers.get(usize::from(offset).checked_sub(1)?)?)?;
        HeapTuple::parse(self.bytes.get(start..start + length)?)
    }
}

/// Where the bytes behind a line pointer lie, if they are a row (`ItemIdIsNormal`).
fn normal_pointer(pointer: [u8; 4]) -> Option<(usize, usize)> {
    const NORMAL: u32 = 1;
    let bits = u32::from_ne_bytes(pointer);
    // C's bit fields begin at the end of the number that the machine's byte order puts first.
    let (first, flags, last) = (bits & 0x7FFF, bits >> 15 & 3, bits >> 17);
    let (start, length) = if cfg!(target_endian = "little") { (first, last) } else { (last, first) };
    (flags == NORMAL).then_some((usize::try_from(start).ok()?, usize::try_from(length).ok()?))
}

/// A version of a row (`HeapTupleHeaderData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapTuple<'a> {
    /// Who inserted it.
    pub inserted: Inserted,
    /// Who deleted it, or put another version in its place.
    pub deleted: Deleted,
    /// Where the version is that took its place; its own place if there is none.
    pub next: RowPlace,
    /// What the columns are, from the first one on.
    pub data: &'a [u8],
}

/// Who inserted a version of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Somebody who committed.
    Committed,
    /// Somebody who was rolled back.
    RolledBack,
    /// This transaction: the row itself does not say what became of it.
    By(u32),
}

/// Who deleted a version of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nobody.
    No,
    /// Somebody who committed.
    Committed,
    /// This transaction: the row itself does not say what became of it.
    By(u32),
    /// One of several transactions that held it at the same time (a multixact).
    ByOneOfSeveral,
}

/// Bits of `t_infomask`.
mod mask {
    pub(super) const XMAX_EXCLUSIVE_LOCK: u16 = 0x0040;
    pub(super) const XMAX_LOCK_ONLY: u16 = 0x0080;
    pub(super) const XMAX_LOCKS: u16 = 0x0050;
    pub(super) const XMIN_COMMITTED: u16 = 0x0100;
    pub(super) const XMIN_INVALID: u16 = 0x0200;
    pub(super) const XMAX_COMMITTED: u16 = 0x0400;
    pub(super) const XMAX_INVALID: u16 = 0x0800;
    pub(super) const XMAX_IS_MULTI: u16 = 0x1000;
}

/// Length of a row's header without the bits that say which columns are null (`SizeofHeapTupleHeader`).
const HEADER_LEN: usize = 23;

impl<'a> HeapTuple<'a> {
    /// Reads a version of a row, header and all.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (_, (xmin, xmax, next, infomask, header_len)) = header(bytes).ok()?;
        let data = bytes.get(header_len.into()..).filter(|_| usize::from(header_len) >= HEADER_LEN)?;
        Some(Self { inserted: inserted(infomask, xmin), deleted: deleted(infomask, xmax), next, data })
    }
}

fn header(input: &[u8]) -> Parsed<'_, (u32, u32, RowPlace, u16, u8)> {
    let (input, (xmin, xmax, _command)) = (int32, int32, int32).parse(input)?;
    let (input, (high, low, offset)) = (int16, int16, int16).parse(input)?;
    let (input, (_columns, infomask, header_len)) = (int16, int16, byte).parse(input)?;
    let block = u32::from(high) << 16 | u32::from(low);
    Ok((input, (xmin, xmax, RowPlace { block, offset }, infomask, header_len)))
}

const fn inserted(infomask: u16, xmin: u32) -> Inserted {
    match (infomask & mask::XMIN_COMMITTED != 0, infomask & mask::XMIN_INVALID != 0) {
        // Both together: frozen.
        (true, _) => Inserted::Committed,
        (false, true) => Inserted::RolledBack,
        (false, false) => Inserted::By(xmin),
    }
}

fn deleted(infomask: u16, xmax: u32) -> Deleted {
    let has = |bits| infomask & bits != 0;
    let old_style_lock = infomask & (mask::XMAX_IS_MULTI | mask::XMAX_LOCKS) == mask::XMAX_EXCLUSIVE_LOCK;
    if xmax == 0 || has(mask::XMAX_INVALID) || has(mask::XMAX_LOCK_ONLY) || old_style_lock {
        Deleted::No
    } else if has(mask::XMAX_IS_MULTI) {
        Deleted::ByOneOfSeveral
    } else if has(mask::XMAX_COMMITTED) {
        Deleted::Committed
    } else {
        Deleted::By(xmax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// A row with this header and these columns.
    fn row(xmin: u32, xmax: u32, infomask: u16, columns: &[u8]) -> Vec<u8> {
        let mut bytes = [xmin, xmax, 0].map(u32::to_ne_bytes).concat();
        bytes.extend([0u16, 7, 3, 0, infomask].map(u16::to_ne_bytes).concat());
        bytes.extend([24, 0]);
        bytes.extend(columns);
        bytes
    }

    /// A page with these rows, of which the second line pointer is dead.
    fn page(rows: &[Vec<u8>]) -> Vec<u8> {
        let mut page = vec![0; 8192];
        let (mut upper, mut pointers) = (8192, Vec::new());
        for (index, row) in rows.iter().enumerate() {
            upper -= row.len();
            page[upper..upper + row.len()].copy_from_slice(row);
            let flags = if index == 1 { 3 } else { 1 };
            pointers.extend((upper as u32 | flags << 15 | (row.len() as u32) << 17).to_ne_bytes());
        }
        let lower = DataPageHeader::LEN + pointers.len();
        page[12..20].copy_from_slice(&[lower as u16, upper as u16, 8192, 8192 | 4].map(u16::to_ne_bytes).concat());
        page[DataPageHeader::LEN..lower].copy_from_slice(&pointers);
        page
    }

    #[test]
    fn rows_are_found_by_their_line_pointers() {
        let rows = [row(5, 0, 0x0800, b"one"), row(6, 0, 0, b"dead"), row(7, 9, 0x0100, b"three")];
        let bytes = page(&rows);
        let found: Vec<_> = HeapPage::parse(&bytes).unwrap().tuples().collect();
        let next = RowPlace { block: 7, offset: 3 };
        let tuple = |inserted, deleted, data| HeapTuple { inserted, deleted, next, data };
        let first = tuple(Inserted::By(5), Deleted::No, &b"one"[..]);
        let third = tuple(Inserted::Committed, Deleted::By(9), &b"three"[..]);
        assert_eq!(found, [(1, first), (3, third)]);
        let page = HeapPage::parse(&bytes).unwrap();
        assert_eq!((page.tuple(3), page.tuple(2), page.tuple(0)), (Some(third), None, None));
    }

    #[test]
    fn hints_tell_what_became_of_transactions() {
        for (infomask, expected) in [
            (0x0000, (Inserted::By(5), Deleted::By(9))),
            (0x0100, (Inserted::Committed, Deleted::By(9))),
            (0x0200, (Inserted::RolledBack, Deleted::By(9))),
            (0x0300 | 0x0800, (Inserted::Committed, Deleted::No)),
            (0x0100 | 0x0400, (Inserted::Committed, Deleted::Committed)),
            (0x0100 | 0x0080, (Inserted::Committed, Deleted::No)),
            (0x0100 | 0x0040, (Inserted::Committed, Deleted::No)),
            (0x0100 | 0x1000 | 0x0040, (Inserted::Committed, Deleted::ByOneOfSeveral)),
            (0x0100 | 0x1000 | 0x0080, (Inserted::Committed, Deleted::No)),
        ] {
            let bytes = row(5, 9, infomask, b"");
            let tuple = HeapTuple::parse(&bytes).unwrap();
            assert_eq!((tuple.inserted, tuple.deleted), expected, "{infomask:#06x}");
        }
    }

    #[test]
    fn a_page_that_was_copied_while_it_was_written_is_told_by_its_checksum() {
        let mut bytes = page(&[row(5, 0, 0x0800, b"one")]);
        let checksum = data_page_checksum(&bytes, 4);
        bytes[8..10].copy_from_slice(&checksum.to_ne_bytes());
        assert!(HeapPage::parse_checked(&bytes, 4).is_some());
        assert!(HeapPage::parse_checked(&bytes, 5).is_none());
        bytes[8000] ^= 1;
        assert!(HeapPage::parse_checked(&bytes, 4).is_none());
        assert!(HeapPage::parse(&[0; 8192]).is_none(), "never used");
    }

    proptest! {
        #[test]
        fn no_page_panics(mut bytes in prop::collection::vec(any::<u8>(), 24..600), lower in 0..700u16) {
            let length = (bytes.len() & 0xFF00) as u16;
            bytes.truncate(length.into());
            if length > 0 {
                bytes[12..14].copy_from_slice(&lower.to_ne_bytes());
                bytes[14..16].copy_from_slice(&u16::MAX.to_ne_bytes());
                bytes[18..20].copy_from_slice(&(length | 4).to_ne_bytes());
            }
            let Some(page) = HeapPage::parse(&bytes) else { return Ok(()) };
            for (offset, tuple) in page.tuples() {
                prop_assert_eq!(page.tuple(offset), Some(tuple));
            }
        }
    }
}
