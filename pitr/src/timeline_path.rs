//! The way through the timelines from a base backup to where recovery ends.

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

/// The timelines that recovery passes through, oldest first; the first is that of the base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelinePath {
    legs: Vec<Leg>,
    target: TimelineId,
}

/// The stretch of one timeline that recovery replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it branched off the one before; `None` for the first leg, which begins with the backup.
    pub start: Option<Lsn>,
    /// Where the next one branches off; `None` for the last leg, which has no end yet.
    pub end: Option<Lsn>,
}

impl TimelinePath {
    /// The way of a recovery that stays on the timeline of its backup.
    pub(crate) fn staying_on(timeline: TimelineId) -> Self {
        Self { legs: vec![Leg { timeline, start: None, end: None }], target: timeline }
    }

    /// Finds the way from a backup that ended at `backup_end` on timeline `from` to the timeline of `history`.
    ///
    /// # Errors
    /// PostgreSQL would refuse to recover that way: the target timeline has another past than the backup.
    pub(crate) fn find(
        from: TimelineId,
        backup_end: Lsn,
        history: &TimelineHistory,
    ) -> Result<Self, UnreachableReason> {
        let to = history.timeline;
        if from == to {
            return Ok(Self::staying_on(to));
        }
        let ancestors = history.entries.iter().skip_while(|entry| entry.parent != from);
        let mut legs: Vec<Leg> = Vec::new();
        for entry in ancestors {
            let start = legs.last().and_then(|leg| leg.end);
            legs.push(Leg { timeline: entry.parent, start, end: Some(entry.switch_lsn) });
        }
        let switch_lsn = legs.first().and_then(|leg| leg.end);
        let switch_lsn = switch_lsn.ok_or(UnreachableReason::NotAnAncestor)?;
        // Before its end a backup is not consistent, and past the switchpoint this timeline's WAL is not replayed.
        if switch_lsn < backup_end {
            return Err(UnreachableReason::LeftBeforeBackupEnd { switch_lsn, backup_end });
        }
        let start = legs.last().and_then(|leg| leg.end);
        legs.push(Leg { timeline: to, start, end: None });
        Ok(Self { legs, target: to })
    }

    /// Returns the timeline on which recovery ends.
    pub(crate) fn last(&self) -> TimelineId {
        self.target
    }

    /// Returns where recovery leaves a timeline for the next one.
    pub(crate) fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        self.legs.iter().find(|leg| leg.timeline == timeline).and_then(|leg| leg.end)
    }

    /// Returns the timeline that a record belongs to which begins at this position.
    pub(crate) fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        let leg = self.legs.iter().find(|leg| leg.end.is_none_or(|end| lsn < end));
        leg.map_or(self.target, |leg| leg.timeline)
    }

    /// Returns the stretches that recovery replays, oldest first.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// Returns whether recovery may read this segment: it belongs to a leg, the segments with its borders included.
    pub(crate) fn has(&self, segment: SegmentName, size: SegmentSize) -> bool {
        let Ok(number) = segment.number(size) else {
            return false;
        };
        self.legs.iter().any(|leg| leg.timeline == segment.timeline && leg.has(number, size))
    }

    /// Returns the names under which segment `number` can lie in the archive, in the order in which PostgreSQL looks for
    /// them: the newest timeline first.
    pub(crate) fn names(&self, number: SegmentNumber, size: SegmentSize) -> impl Iterator<Item = SegmentName> {
        let legs = self.legs.iter().rev().filter(move |leg| leg.has(number, size));
        legs.map(move |leg| number.name(leg.timeline, size))
    }
}

impl Leg {
    fn has(&self, number: SegmentNumber, size: SegmentSize) -> bool {
        self.start.is_none_or(|start| SegmentNumber::containing(start, size) <= number)
            && self.end.is_none_or(|end| number <= SegmentNumber::containing(end, size))
    }
}

/// Returns the timeline that `recovery_target_timeline = latest` means for a server that starts on `from`: as PostgreSQL
/// does (`findNewestTimeLine` in timeline.c), the last in an unbroken row of history files.
pub(crate) fn newest_timeline<E>(
    from: TimelineId,
    has_history: impl Fn(TimelineId) -> Result<bool, E>,
) -> Result<TimelineId, E> {
    let mut newest = from;
    while let Some(next) = newest.get().checked_add(1).and_then(TimelineId::new) {
        if !has_history(next)? {
            break;
        }
        newest = next;
    }
    Ok(newest)
}

/// Why PostgreSQL could not recover a backup along a timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreachableReason {
    /// Nothing says where the target timeline came from.
    #[error("its history file is neither in the archive nor on its way there")]
    NoHistoryFile,
    /// The timeline of the backup is not among the ancestors of the target timeline.
    #[error("it does not descend from the timeline of the backup")]
    NotAnAncestor,
    /// The target timeline branched off while the backup was being taken, or before.
    #[error("it branched off at {switch_lsn}, before the end of the backup at {backup_end}")]
    LeftBeforeBackupEnd {
        /// Where the backup's timeline was left.
        switch_lsn: Lsn,
        /// Where the backup ended.
        backup_end: Lsn,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    /// 1 was left for 2 at 0/5000000, 2 for 4 at 0/9000028; 3 branched off 1 at 0/7000000.
    fn history(number: u32) -> TimelineHistory {
        let text = match number {
            2 => "1\t0/5000000\tfailover\n",
            3 => "1\t0/7000000\tfailover\n",
            4 => "1\t0/5000000\tfailover\n2\t0/9000028\tfailover\n",
            _ => "",
        };
        TimelineHistory::parse(timeline(number), text.as_bytes()).unwrap()
    }

    fn path(from: u32, backup_end: u64, to: u32) -> Result<TimelinePath, UnreachableReason> {
        TimelinePath::find(timeline(from), Lsn::new(backup_end), &history(to))
    }

    fn find(from: u32, backup_end: u64, to: u32) -> Result<Vec<(u32, Option<Lsn>)>, UnreachableReason> {
        path(from, backup_end, to).map(|path| path.legs().iter().map(|leg| (leg.timeline.get(), leg.end)).collect())
    }

    #[test]
    fn a_path_leads_through_the_ancestors_since_the_backup() {
        assert_eq!(find(1, 0x300_0000, 1), Ok(vec![(1, None)]));
        let (at_5, at_9) = (Some(Lsn::new(0x500_0000)), Some(Lsn::new(0x900_0028)));
        assert_eq!(find(1, 0x300_0000, 4), Ok(vec![(1, at_5), (2, at_9), (4, None)]));
        assert_eq!(find(2, 0x600_0000, 4), Ok(vec![(2, at_9), (4, None)]));
    }

    #[test]
    fn a_backup_has_to_end_before_its_timeline_is_left() {
        assert!(find(1, 0x500_0000, 2).is_ok());
        let (switch_lsn, backup_end) = (Lsn::new(0x500_0000), Lsn::new(0x500_0001));
        let left = UnreachableReason::LeftBeforeBackupEnd { switch_lsn, backup_end };
        assert_eq!(find(1, 0x500_0001, 2), Err(left));
    }

    #[test]
    fn another_past_is_unreachable() {
        assert_eq!(find(2, 0x600_0000, 3), Err(UnreachableReason::NotAnAncestor));
        assert_eq!(find(2, 0x600_0000, 1), Err(UnreachableReason::NotAnAncestor));
        assert_eq!(find(1, 0x300_0000, 9), Err(UnreachableReason::NotAnAncestor));
    }

    #[test]
    fn latest_is_the_end_of_an_unbroken_row_as_in_postgresql() {
        let newest = |from, files: &[u32]| {
            let newest = newest_timeline(timeline(from), |next| Ok::<_, ()>(files.contains(&next.get())));
            newest.unwrap().get()
        };
        assert_eq!(newest(1, &[2, 3, 4]), 4);
        assert_eq!(newest(4, &[2, 3, 4]), 4);
        assert_eq!(newest(1, &[2, 4]), 2);
        assert_eq!(newest(1, &[]), 1);
        assert_eq!(newest(u32::MAX, &[2]), u32::MAX);
    }

    #[test]
    fn segments_belong_to_a_leg_with_its_borders() {
        let path = path(1, 0x300_0000, 4).unwrap();
        let has = |name: &str| path.has(name.parse().unwrap(), SegmentSize::DEFAULT);
        for name in [
            "000000010000000000000001",
            "000000010000000000000005",
            "000000020000000000000005",
            "000000020000000000000009",
            "000000040000000000000009",
            "0000000400000001000000FF",
        ] {
            assert!(has(name), "{name}");
        }
        for name in [
            "000000010000000000000006",
            "000000020000000000000004",
            "00000002000000000000000A",
            "000000030000000000000007",
            "000000040000000000000008",
            "000000040000000000000100",
        ] {
            assert!(!has(name), "{name}");
        }
    }

    #[test]
    fn the_newest_timeline_is_looked_for_first() {
        let path = path(1, 0x300_0000, 4).unwrap();
        let names = |number| {
            let names = path.names(SegmentNumber::new(number), SegmentSize::DEFAULT);
            names.map(|name| name.timeline.get()).collect::<Vec<_>>()
        };
        assert_eq!(names(4), [1]);
        assert_eq!(names(5), [2, 1]);
        assert_eq!(names(9), [4, 2]);
        assert_eq!(names(10), [4]);
    }
}
