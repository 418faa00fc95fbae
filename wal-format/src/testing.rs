//! WAL made to order, for tests of what reads it: no server writes pages of 1 kB, or loses half a record on request.

#![allow(clippy::cast_possible_truncation, reason = "tests stay far below 4 GiB")]

use alloc::vec::Vec;

use crate::record::{RecordHeader, xlog};
use crate::{
    Crc32c, Lsn, PageHeader, PgMajor, ResourceManager, SegmentNumber, SegmentSize, SystemId, TimelineId, WalLayout,
};

/// Writes WAL as a server would, page by page, beginning with a segment.
///
/// ```
/// use wal_format::testing::WalBuilder;
/// use wal_format::{Item, RecordReader, SegmentSize, Source, TimelineId};
///
/// let mut wal = WalBuilder::new(WalBuilder::layout(SegmentSize::DEFAULT, 8192));
/// let lsn = wal.message(20_000);
/// wal.switch();
/// let mut reader = RecordReader::new(wal.start(), TimelineId::FIRST, SegmentSize::DEFAULT, Source::Complete);
/// let mut bytes = wal.bytes();
/// assert!(matches!(reader.next(&mut bytes), Ok(Some(Item::Record(record))) if record.start == lsn));
/// ```
#[derive(Debug, Clone)]
pub struct WalBuilder {
    layout: WalLayout,
    timeline: TimelineId,
    start: Lsn,
    bytes: Vec<u8>,
    previous: Lsn,
    xid: u32,
    /// For the next page header: the record that is replaced begins there.
    overwrite: bool,
}

impl WalBuilder {
    /// What the builder's pages have in common, as PostgreSQL 15 writes them.
    #[must_use]
    pub const fn layout(segment_size: SegmentSize, block_size: u32) -> WalLayout {
        WalLayout { major: PgMajor::V15, system_id: SystemId::new(7_710_327_062_147_215_790), segment_size, block_size }
    }

    /// WAL from the beginning of the fifth segment on, on timeline 1, after a record in the fourth.
    #[must_use]
    pub fn new(layout: WalLayout) -> Self {
        Self::at(layout, SegmentNumber::new(4))
    }

    /// WAL from the beginning of segment `first` on, on timeline 1, after a record of 64 bytes that ends there; of segment 0
    /// after none.
    #[must_use]
    pub fn at(layout: WalLayout, first: SegmentNumber) -> Self {
        let start = first.start(layout.segment_size);
        let previous = Lsn::new(start.as_u64().saturating_sub(64));
        Self { layout, timeline: TimelineId::FIRST, start, bytes: Vec::new(), previous, xid: 0, overwrite: false }
    }

    /// The position of the first byte.
    #[must_use]
    pub const fn start(&self) -> Lsn {
        self.start
    }

    /// The position after the last byte.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn::new(self.start.as_u64() + self.bytes.len() as u64)
    }

    /// Where the last record begins.
    #[must_use]
    pub const fn previous(&self) -> Lsn {
        self.previous
    }

    /// All that was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the pages that follow on `timeline`.
    pub fn set_timeline(&mut self, timeline: TimelineId) {
        self.timeline = timeline;
    }

    /// Writes the records that follow as transaction `xid`; 0 for none.
    pub fn set_xid(&mut self, xid: u32) {
        self.xid = xid;
    }

    /// Makes the next record the first one of a log: it names none before it.
    pub fn forget_previous(&mut self) {
        self.previous = Lsn::new(0);
    }

    /// Writes a record with `main_data` and nothing else, and returns where it begins.
    pub fn record(&mut self, manager: ResourceManager, info: u8, main_data: &[u8]) -> Lsn {
        let record = self.make(manager, info, main_data);
        self.append(&record)
    }

    /// Writes a record of `len` bytes that look random, and returns where it begins.
    ///
    /// # Panics
    /// No record is shorter than 32 bytes here.
    pub fn message(&mut self, len: usize) -> Lsn {
        const LOGICAL_MESSAGE: ResourceManager = ResourceManager::new(21);
        assert!(len >= 32, "{len}");
        let header = if len - RecordHeader::LEN - 2 < 256 { 2 } else { 5 };
        let noise = |i: usize| (i as u32 ^ self.previous.as_u64() as u32).wrapping_mul(0x9E37_79B9).to_be_bytes()[0];
        let data: Vec<u8> = (0..len - RecordHeader::LEN - header).map(noise).collect();
        self.record(LOGICAL_MESSAGE, 0, &data)
    }

    /// Ends the segment early, and returns where the record that does so begins.
    pub fn switch(&mut self) -> Lsn {
        let record = self.make_from(ResourceManager::XLOG, xlog::SWITCH, &[]);
        let start = self.append(&record);
        self.fill_segment();
        start
    }

    /// Writes records up to the end of the segment, the last of which ends there.
    pub fn fill(&mut self) {
        self.cross(0);
    }

    /// Writes records up to the end of the segment, the last of which has `rest` more bytes behind it. Returns where that
    /// record begins.
    pub fn cross(&mut self, rest: usize) -> Lsn {
        while self.room() > 3000 {
            self.message(1000);
        }
        self.message(self.room() + rest)
    }

    /// Writes records up to the end of the segment, the last of which has only its first `len` bytes, a multiple of 8, before
    /// it and `rest` behind it. Returns where that record begins.
    pub fn cross_with_head(&mut self, len: usize, rest: usize) -> Lsn {
        self.leave(len);
        self.message(len + rest)
    }

    /// Writes records up to `len` bytes, a multiple of 8, before the end of the segment.
    pub fn leave(&mut self, len: usize) {
        while self.room() > 3000 {
            self.message(1000);
        }
        self.message(self.room() - len);
    }

    /// Writes the part of a record that fits on the page, loses the rest in a crash, and goes on as recovery does. Returns
    /// where the record begins.
    pub fn lose_rest_of_record(&mut self) -> Lsn {
        let (previous, block_size) = (self.previous, self.layout.block_size as usize);
        let lost = self.message(2 * block_size);
        let page_end = (self.offset(lost) / block_size + 1) * block_size;
        self.bytes.truncate(page_end);
        (self.previous, self.overwrite) = (previous, true);
        let data = [lost.as_u64().to_ne_bytes(), [0; 8]].concat();
        self.record(ResourceManager::XLOG, xlog::OVERWRITE_CONTRECORD, &data);
        lost
    }

    /// The segments that were written, whole ones and what there is of the last.
    #[must_use]
    pub fn segments(&self) -> Vec<&[u8]> {
        self.bytes.chunks(self.layout.segment_size.bytes() as usize).collect()
    }

    /// Where in [`WalBuilder::bytes`] a position lies.
    #[must_use]
    pub fn offset(&self, lsn: Lsn) -> usize {
        (lsn.as_u64() - self.start.as_u64()) as usize
    }

    /// How many bytes of records fit into the segment; all of the next one at its beginning.
    fn room(&self) -> usize {
        let (left, first) = match self.left_in_segment() {
            0 => (self.layout.segment_size.bytes() as usize, PageHeader::LONG_LEN - PageHeader::SHORT_LEN),
            left => (left, 0),
        };
        let pages_to_begin = left / self.layout.block_size as usize;
        left - pages_to_begin * PageHeader::SHORT_LEN - first
    }

    fn left_in_segment(&self) -> usize {
        let size = self.layout.segment_size.bytes() as usize;
        (size - self.bytes.len() % size) % size
    }

    fn fill_segment(&mut self) {
        let left = self.left_in_segment();
        self.bytes.resize(self.bytes.len() + left, 0);
    }

    fn make(&self, manager: ResourceManager, info: u8, main_data: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match u8::try_from(main_data.len()) {
            Ok(len) => body.extend([255, len]),
            Err(_) => {
                body.push(254);
                body.extend((main_data.len() as u32).to_ne_bytes());
            }
        }
        body.extend_from_slice(main_data);
        self.make_from(manager, info, &body)
    }

    fn make_from(&self, manager: ResourceManager, info: u8, body: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(((RecordHeader::LEN + body.len()) as u32).to_ne_bytes());
        record.extend(self.xid.to_ne_bytes());
        record.extend(self.previous.as_u64().to_ne_bytes());
        record.extend([info, manager.get(), 0, 0]);
        let mut crc = Crc32c::new();
        crc.update(body);
        crc.update(&record);
        record.extend(crc.finish().to_ne_bytes());
        record.extend_from_slice(body);
        record
    }

    fn append(&mut self, record: &[u8]) -> Lsn {
        self.begin_page_if_needed(0);
        let start = self.end();
        let mut rest = record;
        while !rest.is_empty() {
            self.begin_page_if_needed(rest.len());
            let block_size = self.layout.block_size as usize;
            let room = block_size - self.bytes.len() % block_size;
            let (fits, behind) = rest.split_at(room.min(rest.len()));
            self.bytes.extend_from_slice(fits);
            rest = behind;
        }
        let aligned = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(aligned, 0);
        self.previous = start;
        start
    }

    fn begin_page_if_needed(&mut self, remaining: usize) {
        if self.bytes.len().is_multiple_of(self.layout.block_size as usize) {
            self.begin_page(remaining);
        }
    }

    fn begin_page(&mut self, remaining: usize) {
        let (major, address) = (self.layout.major, self.end());
        let is_long = self.left_in_segment() == 0;
        let overwrite = core::mem::take(&mut self.overwrite);
        let flags = u16::from(remaining > 0) | u16::from(is_long) << 1 | u16::from(overwrite) << 3;
        self.bytes.extend(major.wal_magic().to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.timeline.get().to_ne_bytes());
        self.bytes.extend(address.as_u64().to_ne_bytes());
        self.bytes.extend((remaining as u32).to_ne_bytes());
        self.bytes.extend([0; PageHeader::SHORT_LEN - 20]);
        if is_long {
            self.bytes.extend(self.layout.system_id.as_u64().to_ne_bytes());
            self.bytes.extend((self.layout.segment_size.bytes() as u32).to_ne_bytes());
            self.bytes.extend(self.layout.block_size.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Item, RecordReader, Source};

    /// Fills a segment with records of up to a megabyte, and reads it in pieces.
    fn fill_and_read(megabytes: u64) {
        let size = SegmentSize::new(megabytes << 20).unwrap();
        let mut wal = WalBuilder::new(WalBuilder::layout(size, 8192));
        let large = alloc::vec![7; 1 << 20];
        let mut expected = 0;
        while wal.room() > (1 << 20) + 8192 {
            wal.record(ResourceManager::HEAP, 0, &large);
            expected += 1;
        }
        while wal.room() > 40_000 {
            wal.message(20_000);
            expected += 1;
        }
        wal.message(wal.room());
        assert_eq!(wal.bytes().len() as u64, size.bytes());
        let mut reader = RecordReader::new(wal.start(), TimelineId::FIRST, size, Source::Complete);
        let mut seen = 0;
        for mut piece in wal.bytes().chunks(100_003) {
            while let Some(item) = reader.next(&mut piece).unwrap() {
                let Item::Record(record) = item else { panic!("{megabytes} MB: {item:?}") };
                assert!(record.end <= wal.end());
                seen += 1;
            }
        }
        assert_eq!(seen, expected + 1, "{megabytes} MB");
    }

    #[test]
    fn filled_segments_are_read_to_their_end() {
        [1, 2, 4, 8, 16, 32, 64].into_iter().for_each(fill_and_read);
    }

    #[test]
    #[ignore = "takes gigabytes of memory: scripts/matrix runs it"]
    fn the_largest_segments_are_read_to_their_end() {
        [128, 256, 512, 1024].into_iter().for_each(fill_and_read);
    }
}
