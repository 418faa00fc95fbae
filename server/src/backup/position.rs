//! A position in the WAL as `backup.info` and Barman's messages spell it.

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId};

/// A position, with the segment that holds the byte before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPosition {
    /// The position.
    pub lsn: Lsn,
    /// Its segment; at a segment's first byte the one before, whose end it is, as PostgreSQL's functions say it.
    pub segment: SegmentName,
    /// The offset of the position in its own segment: 0 at a border.
    pub offset: u64,
}

impl WalPosition {
    pub(super) fn at(lsn: Lsn, timeline: TimelineId, size: SegmentSize) -> Self {
        let last_byte = Lsn::new(lsn.as_u64().saturating_sub(1));
        let segment = SegmentNumber::containing(last_byte, size).name(timeline, size);
        Self { lsn, segment, offset: lsn.as_u64() % size.bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_belongs_to_the_segment_that_ends_there() {
        let at = |lsn: u64| WalPosition::at(Lsn::new(lsn), TimelineId::FIRST, SegmentSize::DEFAULT);
        let border = at(0x0500_0000);
        assert_eq!((border.segment.to_string().as_str(), border.offset), ("000000010000000000000004", 0));
        let after = at(0x0500_0028);
        assert_eq!((after.segment.to_string().as_str(), after.offset), ("000000010000000000000005", 40));
    }
}
