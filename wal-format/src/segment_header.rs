//! What the first page of a segment file says about the file, and whether that is true.

use crate::page::{PageHeader, PageHeaderError};
use crate::page_sequence::WalLayout;
use crate::{ImpossibleSegmentName, Lsn, PgMajor, SegmentName, SegmentSize, SystemId, TimelineId};

/// What the first 40 bytes of a segment file say about it.
///
/// They tell which cluster, version and part of the log a file is, whatever it is called: enough to refuse a file of
/// another cluster or one that was renamed before its records are looked at.
///
/// ```
/// use wal_format::{SegmentHeader, SegmentSize, SystemId};
/// # let bytes = include_bytes!("../testdata/15/segment_header");
///
/// let header = SegmentHeader::parse(bytes)?;
/// let name = "000000010000000000000001".parse()?;
/// header.check(&name, None, SegmentSize::DEFAULT)?;
///
/// let another_cluster = SystemId::new(42);
/// assert!(header.check(&name, Some(another_cluster), SegmentSize::DEFAULT).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The version of the server that wrote it.
    pub major: PgMajor,
    /// The cluster it belongs to.
    pub system_id: SystemId,
    /// How long its segments are.
    pub segment_size: SegmentSize,
    /// How long its pages are, in bytes.
    pub block_size: u32,
    /// The timeline of its first page. The first segment of a timeline usually begins with pages of its parent.
    pub timeline: TimelineId,
    /// The position of its first byte.
    pub page_address: Lsn,
}

impl SegmentHeader {
    /// How many bytes of a segment file [`SegmentHeader::parse`] looks at.
    pub const LEN: usize = PageHeader::LONG_LEN;

    /// Reads the header from the beginning of a segment file.
    ///
    /// # Errors
    /// The bytes are no page of WAL that can be read here, or not the first one of a segment.
    pub fn parse(segment: &[u8]) -> Result<Self, SegmentHeaderError> {
        let page = PageHeader::parse(segment)?;
        let long = page.long.ok_or(SegmentHeaderError::NotFirstPage { address: page.address })?;
        let PageHeader { major, timeline, address, .. } = page;
        if address.as_u64() % long.segment_size.bytes() != 0 {
            return Err(SegmentHeaderError::NotAtBorder { address, segment_size: long.segment_size });
        }
        Ok(Self {
            major,
            system_id: long.system_id,
            segment_size: long.segment_size,
            block_size: long.block_size,
            timeline,
            page_address: address,
        })
    }

    /// What it says about every page of the log.
    #[must_use]
    pub const fn layout(&self) -> WalLayout {
        let Self { major, system_id, segment_size, block_size, .. } = *self;
        WalLayout { major, system_id, segment_size, block_size }
    }

    /// Whether a file with this header may be called `name` in a cluster with segments of `size`, and belong to `system`
    /// where that is known already.
    ///
    /// # Errors
    /// The file is another cluster's, or not what its name says.
    pub fn check(
        &self,
        name: &SegmentName,
        system: Option<SystemId>,
        size: SegmentSize,
    ) -> Result<(), SegmentMismatch> {
        if let Some(expected) = system.filter(|&expected| expected != self.system_id) {
            return Err(SegmentMismatch::System { expected, found: self.system_id });
        }
        if self.segment_size != size {
            return Err(SegmentMismatch::Size { expected: size, found: self.segment_size });
        }
        let expected = name.start(size)?;
        if self.page_address != expected {
            return Err(SegmentMismatch::Address { expected, found: self.page_address });
        }
        // A timeline's number is above its ancestors', so a higher one can only be a mistake.
        if self.timeline > name.timeline {
            return Err(SegmentMismatch::Timeline { expected: name.timeline, found: self.timeline });
        }
        Ok(())
    }
}

/// Bytes that no segment file begins with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentHeaderError {
    /// They are no page of WAL that can be read here.
    #[error(transparent)]
    Page(#[from] PageHeaderError),
    /// They are a page from the middle of a segment.
    #[error("WAL page {address} is not the first page of a segment")]
    NotFirstPage {
        /// Where the page says it lies.
        address: Lsn,
    },
    /// They claim to be a segment's first page where no segment begins.
    #[error("WAL page {address} claims to begin a segment, which no segment of {segment_size} bytes does there")]
    NotAtBorder {
        /// Where the page says it lies.
        address: Lsn,
        /// How long it says that segments are.
        segment_size: SegmentSize,
    },
}

/// A segment file that is not what its name and its cluster say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentMismatch {
    /// It was written by another cluster.
    #[error("WAL belongs to the cluster with system identifier {found}, expected {expected}")]
    System {
        /// The cluster that was expected.
        expected: SystemId,
        /// The cluster that wrote it.
        found: SystemId,
    },
    /// It comes from a cluster with other segments.
    #[error("WAL segment size is {found} bytes, expected {expected}")]
    Size {
        /// The size that was expected.
        expected: SegmentSize,
        /// The size it says.
        found: SegmentSize,
    },
    /// No segment of this size is called so.
    #[error(transparent)]
    Name(#[from] ImpossibleSegmentName),
    /// It is another part of the log than its name says: renamed, or recycled and not yet overwritten.
    #[error("WAL begins at {found}, expected {expected} by its name")]
    Address {
        /// Where a file of this name begins.
        expected: Lsn,
        /// Where this one does.
        found: Lsn,
    },
    /// Its first page is of a timeline that cannot be an ancestor of the one in its name.
    #[error("WAL begins on timeline {found}, expected {expected} or an ancestor of it by its name")]
    Timeline {
        /// The timeline in its name.
        expected: TimelineId,
        /// The timeline of its first page.
        found: TimelineId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SegmentNumber, TimelineId};
    use alloc::string::ToString as _;
    use alloc::vec::Vec;

    const SYSTEM: SystemId = SystemId::new(7_710_294_594_766_418_489);

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    /// Of the segment that begins at 0/3000000 and was begun on timeline 2.
    fn header() -> SegmentHeader {
        SegmentHeader {
            major: PgMajor::V15,
            system_id: SYSTEM,
            segment_size: SegmentSize::DEFAULT,
            block_size: 8192,
            timeline: timeline(2),
            page_address: Lsn::new(0x0300_0000),
        }
    }

    fn name(on: u32, number: u64) -> SegmentName {
        SegmentNumber::new(number).name(timeline(on), SegmentSize::DEFAULT)
    }

    fn refusal(name: SegmentName, system: Option<SystemId>, size: SegmentSize) -> alloc::string::String {
        header().check(&name, system, size).unwrap_err().to_string()
    }

    /// The long header of 15 with this flag word and address.
    fn first_page(flags: u16, address: u64) -> Vec<u8> {
        let mut page = Vec::new();
        page.extend(PgMajor::V15.wal_magic().to_ne_bytes());
        page.extend(flags.to_ne_bytes());
        page.extend(2u32.to_ne_bytes());
        page.extend(address.to_ne_bytes());
        page.extend([0; 8]);
        page.extend(SYSTEM.as_u64().to_ne_bytes());
        page.extend((16u32 << 20).to_ne_bytes());
        page.extend(8192u32.to_ne_bytes());
        page
    }

    #[test]
    fn a_segments_first_page_is_read() {
        assert_eq!(SegmentHeader::parse(&first_page(2, 0x0300_0000)), Ok(header()));
    }

    #[test]
    fn other_pages_are_refused() {
        let refusal = |flags, address| SegmentHeader::parse(&first_page(flags, address)).unwrap_err().to_string();
        assert_eq!(refusal(0, 0x0300_2000), "WAL page 0/3002000 is not the first page of a segment");
        assert_eq!(
            refusal(2, 0x0300_2000),
            "WAL page 0/3002000 claims to begin a segment, which no segment of 16777216 bytes does there"
        );
        assert!(SegmentHeader::parse(&[0; 8192]).is_err());
    }

    #[test]
    fn its_own_name_and_that_of_a_descendant_fit() {
        for on in [2, 3, u32::MAX] {
            assert_eq!(header().check(&name(on, 3), Some(SYSTEM), SegmentSize::DEFAULT), Ok(()));
        }
        assert_eq!(header().check(&name(2, 3), None, SegmentSize::DEFAULT), Ok(()));
    }

    #[test]
    fn foreign_and_renamed_files_are_refused() {
        let size = SegmentSize::DEFAULT;
        let smaller = SegmentSize::new(1 << 20).unwrap();
        assert_eq!(
            refusal(name(2, 3), Some(SystemId::new(1)), size),
            "WAL belongs to the cluster with system identifier 7710294594766418489, expected 1"
        );
        assert_eq!(refusal(name(2, 3), None, smaller), "WAL segment size is 16777216 bytes, expected 1048576");
        assert_eq!(refusal(name(2, 4), None, size), "WAL begins at 0/3000000, expected 0/4000000 by its name");
        assert_eq!(
            refusal(name(1, 3), None, size),
            "WAL begins on timeline 2, expected 1 or an ancestor of it by its name"
        );
        let impossible = SegmentName { timeline: timeline(2), log: 0, segment: 0x100 };
        assert_eq!(
            refusal(impossible, None, size),
            "WAL file name 000000020000000000000100 cannot occur with segments of 16777216 bytes"
        );
    }
}
