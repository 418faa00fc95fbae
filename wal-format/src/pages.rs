//! The pages of a segment.

use crate::page_sequence::PageSequence;
use crate::{Damage, Lsn, PageHeader, SegmentHeader, SegmentHeaderError, TimelineId};

/// One page of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<'a> {
    /// Its header, which agrees with the page's place.
    pub header: PageHeader,
    /// What follows the header; short only where the segment was cut.
    pub data: &'a [u8],
}

/// The pages of a segment, one after the other, each of them checked against its place and those before it.
///
/// A page that cannot be believed is an error in its place; the next one is judged on its own again. This looks at no
/// records: [`RecordReader`](crate::RecordReader) does.
///
/// ```
/// use wal_format::{Pages, TimelineId};
/// # let segment = include_bytes!("../testdata/15/first_pages");
///
/// let pages = Pages::of_segment(segment, TimelineId::FIRST)?;
/// for page in pages.take(1) {
///     let page = page?;
///     println!("{}: {} bytes of a record from before", page.header.address, page.header.remaining);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pages<'a> {
    sequence: PageSequence,
    at: Lsn,
    rest: &'a [u8],
}

impl<'a> Pages<'a> {
    /// The pages of `segment`, which is a file of `timeline`.
    ///
    /// # Errors
    /// The first page is not one of a segment: without it nobody knows how long pages are. Whether the file is what it is
    /// called is for [`SegmentHeader::check`] to say.
    pub fn of_segment(segment: &'a [u8], timeline: TimelineId) -> Result<Self, SegmentHeaderError> {
        let header = SegmentHeader::parse(segment)?;
        let sequence = PageSequence::new(timeline, header.segment_size, Some(header.layout()));
        Ok(Self { sequence, at: header.page_address, rest: segment })
    }
}

impl<'a> Iterator for Pages<'a> {
    type Item = Result<Page<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let len = self.sequence.left_on_page(self.at).min(self.rest.len());
        let (page, rest) = self.rest.split_at(len);
        let at = self.at;
        self.rest = rest;
        self.at = at.checked_add(len as u64).unwrap_or(Lsn::MAX);
        Some(match self.sequence.accept(at, page) {
            Ok(header) => Ok(Page { header, data: page.get(header.len()..).unwrap_or_default() }),
            Err(kind) => Err(Damage { at, timeline: self.sequence.timeline, kind }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::WalBuilder;
    use crate::{DamageKind, SegmentSize};
    use alloc::vec::Vec;

    fn segment(block_size: u32) -> WalBuilder {
        let mut wal = WalBuilder::new(WalBuilder::layout(SegmentSize::new(1 << 20).unwrap(), block_size));
        wal.message(100_000);
        wal.fill();
        wal
    }

    fn pages(bytes: &[u8]) -> Vec<Result<Page<'_>, Damage>> {
        Pages::of_segment(bytes, TimelineId::FIRST).unwrap().collect()
    }

    #[test]
    fn pages_of_every_size_are_found() {
        for block_size in (10..=16).map(|bits| 1 << bits) {
            let wal = segment(block_size);
            let found = pages(wal.bytes());
            assert_eq!(found.len(), (1 << 20) / block_size as usize);
            let mut address = wal.start();
            for page in found {
                let page = page.unwrap();
                assert_eq!(page.header.address, address);
                assert_eq!(page.header.len() + page.data.len(), block_size as usize);
                address = address.checked_add(block_size.into()).unwrap();
            }
        }
    }

    #[test]
    fn a_page_says_how_much_of_a_record_is_still_to_come() {
        let wal = segment(8192);
        let second = pages(wal.bytes())[1].unwrap().header;
        assert!(second.flags.first_is_contrecord());
        assert_eq!(second.remaining, 100_000 - (8192 - 40));
    }

    #[test]
    fn a_bad_page_does_not_hide_the_others() {
        let wal = segment(8192);
        let mut bytes = wal.bytes().to_vec();
        bytes[8192 + 8] ^= 1;
        let found = pages(&bytes);
        let expected = Lsn::new(wal.start().as_u64() + 8192);
        let Err(Damage { at, kind: DamageKind::PageAddress { .. }, .. }) = found[1] else { panic!("{:?}", found[1]) };
        assert_eq!(at, expected);
        assert_eq!(found.iter().filter(|page| page.is_ok()).count(), 127);
    }

    #[test]
    fn a_cut_segment_ends_with_a_short_page() {
        let wal = segment(8192);
        let lens = |len: usize| {
            let found = pages(&wal.bytes()[..len]);
            found.iter().map(|page| page.map_or(None, |page| Some(page.data.len()))).collect::<Vec<_>>()
        };
        assert_eq!(lens(8192 + 124), [Some(8152), Some(100)]);
        assert_eq!(lens(8192 + 23), [Some(8152), None]);
    }
}
