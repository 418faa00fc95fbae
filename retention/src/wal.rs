//! Archived WAL, in the order in which file names sort.

use std::ops::Range;

use wal_format::{SegmentName, TimelineId, Timestamp, WalFileName};

/// An archived file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedWal {
    /// Its name.
    pub name: WalFileName,
    /// Its length as stored, in bytes.
    pub size: u64,
    /// When the server wrote it.
    pub modified: Timestamp,
}

/// The place of a file among all names of one archive, which is their order as text; the backup history file of a segment
/// has the place of the segment, since what is decided of one holds for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u128);

impl Place {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const END: Self = Self(u128::MAX);

    /// Timeline, log, segment and what follows it, as one number.
    pub(crate) fn as_number(self) -> u128 {
        self.0
    }

    /// What [`as_number`](Self::as_number) has returned; any other number lies between two names.
    pub(crate) fn from_number(number: u128) -> Self {
        Self(number)
    }

    /// History files have none: all WAL of their timeline is useless without them, and they stay.
    pub(crate) fn of(name: &WalFileName) -> Option<Self> {
        match name {
            WalFileName::Segment(segment) | WalFileName::BackupLabel { segment, .. } => {
                Some(Self::of_segment(*segment))
            }
            WalFileName::Partial(segment) => Some(Self::after(*segment)),
            WalFileName::History(_) => None,
        }
    }

    /// Timeline, log and segment, and a bit for what follows the segment of that name.
    pub(crate) fn of_segment(name: SegmentName) -> Self {
        let SegmentName { timeline, log, segment } = name;
        Self((u128::from(timeline.get()) << 65) | (u128::from(log) << 33) | (u128::from(segment) << 1))
    }

    /// The place right behind a segment.
    pub(crate) fn after(name: SegmentName) -> Self {
        Self(Self::of_segment(name).0 | 1)
    }

    /// The first place of the timeline that this is on.
    pub(crate) fn timeline_start(self) -> Self {
        Self(self.0 >> 65 << 65)
    }

    /// The place behind the last one of the timeline that this is on.
    pub(crate) fn timeline_end(self) -> Self {
        Self(((self.0 >> 65) + 1) << 65)
    }

    /// The place right behind this one.
    pub(crate) fn successor(self) -> Self {
        Self(self.0 + 1)
    }

    /// A place for a history file among its like; other files have none.
    pub(crate) fn of_history(name: &WalFileName) -> Self {
        match name {
            WalFileName::History(timeline) => Self::timeline(*timeline).start,
            _ => Self::FIRST,
        }
    }

    /// All places of a timeline.
    pub(crate) fn timeline(timeline: TimelineId) -> Range<Self> {
        let number = u128::from(timeline.get());
        Self(number << 65)..Self((number + 1) << 65)
    }
}

/// Places that lie in some of several ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Places(Vec<Range<Place>>);

impl Places {
    /// One range; none if it is empty.
    pub(crate) fn range(range: Range<Place>) -> Self {
        Self(if range.is_empty() { Vec::new() } else { vec![range] })
    }

    /// The ranges in their order; between two of them is a place that lies in neither.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &Range<Place>> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a range out.
    pub(crate) fn remove(&mut self, out: &Range<Place>) {
        if out.is_empty() {
            return;
        }
        let rest = |range: &Range<Place>| [range.start..range.end.min(out.start), range.start.max(out.end)..range.end];
        self.0 = self.0.iter().flat_map(rest).filter(|range| !range.is_empty()).collect();
    }

    /// Puts all places of `other` in.
    pub(crate) fn add(&mut self, other: &Self) {
        let mut all: Vec<_> = self.0.drain(..).chain(other.0.iter().cloned()).collect();
        all.sort_by_key(|range| range.start);
        for range in all {
            match self.0.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => self.0.push(range),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_in_the_order_of_names() {
        let names = [
            "00000001000000000000FFFF",
            "000000010000000100000000",
            "000000010000000100000000.partial",
            "000000010000000100000001",
            "000000020000000000000000",
            "FFFFFFFFFFFFFFFFFFFFFFFE.partial",
        ];
        let places = names.map(|name| Place::of(&name.parse().unwrap()).unwrap());
        assert!(places.is_sorted_by(|one, other| one < other));
        assert!(Place::FIRST < places[0] && places[5] < Place::END);
        let label = Place::of(&"000000010000000100000000.00000028.backup".parse().unwrap());
        assert_eq!(label, Some(places[1]));
        assert_eq!(Place::of(&"00000002.history".parse().unwrap()), None);
    }

    #[test]
    fn a_timeline_has_all_its_names_and_no_other() {
        let two = Place::timeline(TimelineId::new(2).unwrap());
        for (name, inside) in [
            ("00000001FFFFFFFFFFFFFFFF.partial", false),
            ("000000020000000000000000", true),
            ("00000002FFFFFFFFFFFFFFFF.partial", true),
            ("000000030000000000000000", false),
        ] {
            assert_eq!(two.contains(&Place::of(&name.parse().unwrap()).unwrap()), inside, "{name}");
        }
    }

    fn range() -> impl Strategy<Value = Range<u128>> {
        (0..20u128, 0..20u128).prop_map(|(one, other)| one..other)
    }

    proptest! {
        #[test]
        fn places_are_a_set(changes in vec((any::<bool>(), range()), 0..12)) {
            let mut places = Places::default();
            let mut expected = [false; 20];
            for (add, range) in changes {
                let as_places = Place(range.start)..Place(range.end);
                if add { places.add(&Places::range(as_places)) } else { places.remove(&as_places) }
                range.for_each(|index| expected[index as usize] = add);
            }
            for index in 0..20 {
                let found = places.ranges().filter(|range| range.contains(&Place(index))).count();
                prop_assert_eq!(found, usize::from(expected[index as usize]));
            }
            prop_assert_eq!(places.is_empty(), !expected.contains(&true));
        }
    }
}
