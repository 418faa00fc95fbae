//! Whether one page may follow another.

use crate::{DamageKind, LongHeader, Lsn, PageHeader, PgMajor, SegmentNumber, SegmentSize, SystemId, TimelineId};

/// What all pages of a log have in common: every segment's first page says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalLayout {
    /// The version of the server that writes it.
    pub major: PgMajor,
    /// The cluster it belongs to.
    pub system_id: SystemId,
    /// How long each segment is.
    pub segment_size: SegmentSize,
    /// How long each page is, in bytes: a power of two from 1024 to 65536.
    pub block_size: u32,
}

/// The pages of one life of a cluster, one after the other: what is known of them before the next one is read.
///
/// Nothing protects a page header with a checksum. What makes it believable is that it agrees with where it lies and with
/// the pages before it (`XLogReaderValidatePageHeader`, `access/xlogreader.c`).
#[derive(Debug, Clone)]
pub(crate) struct PageSequence {
    segment_size: SegmentSize,
    /// Not known before a segment's first page.
    layout: Option<WalLayout>,
    /// How long pages are, in bytes. Until a segment's first page says otherwise, as PostgreSQL is built unless somebody
    /// chooses otherwise: that matters when the first page is damaged.
    block_size: u32,
    /// The timeline whose segment is read; its first pages may be an ancestor's.
    pub(crate) timeline: TimelineId,
    /// The timeline of the latest page; the first there is before any was read.
    pub(crate) page_timeline: TimelineId,
    /// The version that wrote the latest page; the newest there is before any was read.
    pub(crate) page_major: PgMajor,
}

impl PageSequence {
    pub(crate) fn new(timeline: TimelineId, segment_size: SegmentSize, layout: Option<WalLayout>) -> Self {
        let (block_size, page_major) = layout.map_or((8192, PgMajor::V19), |layout| (layout.block_size, layout.major));
        Self { segment_size, layout, block_size, timeline, page_timeline: TimelineId::FIRST, page_major }
    }

    pub(crate) const fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    pub(crate) const fn layout(&self) -> Option<WalLayout> {
        self.layout
    }

    /// Bytes from `at` to the end of its page; a whole page where one begins.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "only the low bits matter: a block size is a power of two")]
    pub(crate) const fn left_on_page(&self, at: Lsn) -> usize {
        let block_size = self.block_size as usize;
        block_size - (at.as_u64() as usize & (block_size - 1))
    }

    #[inline]
    pub(crate) const fn begins_page(&self, at: Lsn) -> bool {
        self.left_on_page(at) == self.block_size as usize
    }

    /// Where the segment ends that `at` lies in; for the end of one, where the next one ends.
    pub(crate) fn border_after(&self, at: Lsn) -> Lsn {
        SegmentNumber::containing(at, self.segment_size).end(self.segment_size)
    }

    pub(crate) const fn begins_segment(&self, at: Lsn) -> bool {
        at.as_u64().is_multiple_of(self.segment_size.bytes())
    }

    /// How long the header of the page at `at` is, in bytes.
    pub(crate) const fn header_len(&self, at: Lsn) -> usize {
        if self.begins_segment(at) { PageHeader::LONG_LEN } else { PageHeader::SHORT_LEN }
    }

    /// Reads the header in `bytes`, which has [`PageSequence::header_len`] bytes, and believes it if it can be that of the
    /// page at `at`.
    pub(crate) fn accept(&mut self, at: Lsn, bytes: &[u8]) -> Result<PageHeader, DamageKind> {
        let header = PageHeader::parse(bytes)?;
        self.check_place(at, &header)?;
        if let Some(long) = &header.long {
            self.check_layout(header.major, long)?;
        }
        self.check_timeline(header.timeline)?;
        (self.page_timeline, self.page_major) = (header.timeline, header.major);
        Ok(header)
    }

    fn check_place(&self, at: Lsn, header: &PageHeader) -> Result<(), DamageKind> {
        if header.address != at {
            return Err(DamageKind::PageAddress { expected: at, found: header.address });
        }
        if header.len() != self.header_len(at) {
            return Err(DamageKind::HeaderLength { expected: self.header_len(at), found: header.len() });
        }
        match self.layout {
            Some(WalLayout { major: expected, .. }) if expected != header.major => {
                Err(DamageKind::Version { expected, found: header.major })
            }
            _ => Ok(()),
        }
    }

    /// Compares what the first page of a segment says with what is known, or learns it.
    fn check_layout(&mut self, major: PgMajor, long: &LongHeader) -> Result<(), DamageKind> {
        let LongHeader { system_id, segment_size, block_size } = *long;
        if segment_size != self.segment_size {
            return Err(DamageKind::SegmentSize { expected: self.segment_size, found: segment_size });
        }
        let known = self.layout.unwrap_or(WalLayout { major, system_id, segment_size, block_size });
        if system_id != known.system_id {
            return Err(DamageKind::System { expected: known.system_id, found: system_id });
        }
        if block_size != known.block_size {
            return Err(DamageKind::BlockSize { expected: known.block_size, found: block_size });
        }
        (self.layout, self.block_size) = (Some(known), block_size);
        Ok(())
    }

    fn check_timeline(&self, found: TimelineId) -> Result<(), DamageKind> {
        let (from, to) = (self.page_timeline, self.timeline);
        if found < from || found > to { Err(DamageKind::PageTimeline { from, to, found }) } else { Ok(()) }
    }
}
