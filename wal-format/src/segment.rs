//! How the log is cut into segment files.

use core::fmt;

use crate::file_name::SegmentName;
use crate::{Lsn, TimelineId};

/// How long a segment file is, in bytes: a power of two from 1 MiB to 1 GiB, chosen at `initdb` (`wal_segment_size`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// What `initdb` chooses when it is not told: 16 MiB.
    pub const DEFAULT: Self = Self(16 << 20);
    const SMALLEST: u64 = 1 << 20;
    const LARGEST: u64 = 1 << 30;

    /// A size of `bytes`, or `None` if no server has segments of that size (`IsValidWalSegSize`).
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "at most LARGEST, which is below 2^32")]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::SMALLEST && bytes <= Self::LARGEST {
            Some(Self(bytes as u32))
        } else {
            None
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// How many segments cover the 4 GiB of one "log", the middle eight digits of a file name
    /// (`XLogSegmentsPerXLogId`).
    #[must_use]
    pub const fn segments_per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

/// In bytes, without a unit.
impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a segment counted from the beginning of the log (`XLogSegNo`); it means nothing without a
/// [`SegmentSize`].
///
/// Numbers are compared across timelines where file names must not be. A number past the last segment of the 64-bit
/// address space counts as that last segment: no server gets there, and nothing wraps around to the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(u64);

impl SegmentNumber {
    /// The segment with this number; the first one is 0, and servers begin with 1.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The segment that the byte at `lsn` lies in.
    #[must_use]
    pub const fn containing(lsn: Lsn, size: SegmentSize) -> Self {
        Self(lsn.as_u64() / size.bytes())
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position of its first byte.
    #[must_use]
    pub fn start(self, size: SegmentSize) -> Lsn {
        // The bound keeps the product below 2^64.
        Lsn::new(self.bounded(size) * size.bytes())
    }

    /// The position just after its last byte, which is the next segment's start.
    #[must_use]
    pub fn end(self, size: SegmentSize) -> Lsn {
        self.start(size).checked_add(size.bytes()).unwrap_or(Lsn::MAX)
    }

    /// The segment after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// What `timeline`'s file of this segment is called (`XLogFileName`).
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "each quotient and remainder is bounded below 2^32")]
    pub fn name(self, timeline: TimelineId, size: SegmentSize) -> SegmentName {
        let number = self.bounded(size);
        let log = (number / size.segments_per_log()) as u32;
        let segment = (number % size.segments_per_log()) as u32;
        SegmentName { timeline, log, segment }
    }

    /// The number, or that of the last segment there is.
    fn bounded(self, size: SegmentSize) -> u64 {
        self.0.min(u64::MAX / size.bytes())
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn any_size() -> impl Strategy<Value = SegmentSize> {
        (20..=30u32).prop_map(|power| SegmentSize::new(1 << power).unwrap())
    }

    #[test]
    fn a_size_is_a_power_of_two_from_1_mib_to_1_gib() {
        assert_eq!(SegmentSize::new(16 * MIB), Some(SegmentSize::DEFAULT));
        assert!(SegmentSize::new(MIB).is_some() && SegmentSize::new(1024 * MIB).is_some());
        for bytes in [0, 1, MIB / 2, 3 * MIB, MIB + 1, 2048 * MIB, u64::MAX] {
            assert_eq!(SegmentSize::new(bytes), None, "{bytes}");
        }
    }

    #[test]
    fn a_position_on_a_border_belongs_to_the_later_segment() {
        let size = SegmentSize::DEFAULT;
        assert_eq!(SegmentNumber::containing(Lsn::new(16 * MIB - 1), size), SegmentNumber::new(0));
        assert_eq!(SegmentNumber::containing(Lsn::new(16 * MIB), size), SegmentNumber::new(1));
    }

    #[test]
    fn names_carry_over_into_the_next_log() {
        let name = |bytes, number| {
            let size = SegmentSize::new(bytes).unwrap();
            SegmentNumber::new(number).name(TimelineId::FIRST, size).to_string()
        };
        assert_eq!(name(16 * MIB, 255), "0000000100000000000000FF");
        assert_eq!(name(16 * MIB, 256), "000000010000000100000000");
        assert_eq!(name(MIB, 4095), "000000010000000000000FFF");
        assert_eq!(name(MIB, 4096), "000000010000000100000000");
        assert_eq!(name(1024 * MIB, 3), "000000010000000000000003");
        assert_eq!(name(1024 * MIB, 4), "000000010000000100000000");
    }

    #[test]
    fn nothing_wraps_around_at_the_end_of_the_address_space() {
        let size = SegmentSize::DEFAULT;
        let last = SegmentNumber::containing(Lsn::MAX, size);
        assert_eq!(last.end(size), Lsn::MAX);
        assert_eq!(SegmentNumber::new(u64::MAX).start(size), last.start(size));
        assert_eq!(
            SegmentNumber::new(u64::MAX).next().name(TimelineId::FIRST, size).to_string(),
            "00000001FFFFFFFF000000FF"
        );
    }

    proptest! {
        #[test]
        fn every_position_lies_in_the_segment_that_contains_it(raw in 0..u64::MAX, size in any_size()) {
            let lsn = Lsn::new(raw);
            let number = SegmentNumber::containing(lsn, size);
            prop_assert!(number.start(size) <= lsn && lsn < number.end(size));
        }

        #[test]
        fn a_name_and_its_number_stand_for_each_other(raw: u64, size in any_size()) {
            let number = SegmentNumber::containing(Lsn::new(raw), size);
            let name = number.name(TimelineId::FIRST, size);
            prop_assert_eq!(name.number(size), Ok(number));
            prop_assert_eq!(name.start(size), Ok(number.start(size)));
        }
    }
}
