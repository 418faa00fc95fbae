//! Which points can be recovered: backups, the WAL behind them, and the timelines that it leads to.

use std::collections::BTreeMap;

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, TimelineTree, Timestamp, WalFileName};

use crate::candidate::{Backup, Stage, State};
use crate::wal::ArchivedWal;

/// The points that can be recovered. Nothing else says that a point can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryWindow<Id> {
    /// What can be recovered, by timeline and position; two intervals of a timeline are apart.
    pub intervals: Vec<Interval<Id>>,
    /// What cannot, between two intervals of one timeline.
    pub gaps: Vec<Gap>,
    /// Complete backups of which a segment is missing: they cannot be restored.
    pub broken: Vec<Broken<Id>>,
}

/// Points of one timeline, each of which can be recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval<Id> {
    /// The timeline.
    pub timeline: TimelineId,
    /// The backup from which the first of the points is recovered. Later ones may be recovered from others, sooner.
    pub backup: Id,
    /// The first position: where the backup ends, or the timeline begins.
    pub start_lsn: Lsn,
    /// Where the WAL ends, itself excluded.
    pub end_lsn: Lsn,
    /// When the backup ended.
    pub start_time: Timestamp,
    /// When the last segment was written.
    pub end_time: Timestamp,
}

/// Segments that are missing between two intervals of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first segment that is missing.
    pub first_missing: SegmentName,
    /// The end of the interval before.
    pub start_time: Timestamp,
    /// The beginning of the interval after: the end of a backup.
    pub end_time: Timestamp,
}

/// A backup that cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken<Id> {
    /// The backup.
    pub backup: Id,
    /// The first segment that it needs and that is missing.
    pub missing: SegmentName,
}

impl<Id> RecoveryWindow<Id> {
    /// Tells whether a position on a timeline can be recovered.
    #[must_use]
    pub fn reaches(&self, timeline: TimelineId, lsn: Lsn) -> bool {
        let within = |interval: &Interval<Id>| {
            interval.timeline == timeline && (interval.start_lsn..interval.end_lsn).contains(&lsn)
        };
        self.intervals.iter().any(within)
    }

    /// Tells whether a moment can be recovered on some timeline.
    #[must_use]
    pub fn reaches_time(&self, at: Timestamp) -> bool {
        self.intervals.iter().any(|interval| (interval.start_time..=interval.end_time).contains(&at))
    }
}

/// The segments of an archive that follow each other without a gap.
#[derive(Debug, Clone)]
pub struct Coverage {
    size: SegmentSize,
    /// Of each timeline, by the first number; apart.
    runs: BTreeMap<TimelineId, BTreeMap<SegmentNumber, Run>>,
    /// The run that the last segment was added to: most segments follow the one before.
    current: Option<(TimelineId, SegmentNumber, Run)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// The last number.
    last: SegmentNumber,
    /// When that segment was written.
    modified: Timestamp,
}

impl Coverage {
    /// No segments; those to come are of this size.
    #[must_use]
    pub fn new(size: SegmentSize) -> Self {
        Self { size, runs: BTreeMap::new(), current: None }
    }

    /// Adds an archived file; whatever is no whole segment covers nothing.
    pub fn add(&mut self, wal: &ArchivedWal) {
        let WalFileName::Segment(name) = wal.name else { return };
        let Ok(number) = name.number(self.size) else { return };
        if let Some((timeline, _, run)) = &mut self.current
            && (*timeline, run.last.next()) == (name.timeline, number)
        {
            *run = Run { last: number, modified: wal.modified };
            return;
        }
        self.settle();
        self.current = Some((name.timeline, number, Run { last: number, modified: wal.modified }));
    }

    /// Puts the current run among the others, joined with those that it touches.
    fn settle(&mut self) {
        let Some((timeline, mut first, mut run)) = self.current.take() else { return };
        let runs = self.runs.entry(timeline).or_default();
        if let Some((&before, &earlier)) = runs.range(..=first).next_back()
            && earlier.last.next() >= first
        {
            first = before;
            run = if earlier.last > run.last { earlier } else { run };
        }
        while let Some((&after, &later)) = runs.range(first..=run.last.next()).next() {
            runs.remove(&after);
            run = if later.last > run.last { later } else { run };
        }
        runs.insert(first, run);
    }

    /// The run that has a segment.
    fn run(&self, timeline: TimelineId, number: SegmentNumber) -> Option<Run> {
        let (_, run) = self.runs.get(&timeline)?.range(..=number).next_back()?;
        (run.last >= number).then_some(*run)
    }

    /// The first of some segments that is missing.
    fn first_missing(
        &self,
        timeline: TimelineId,
        mut first: SegmentNumber,
        last: SegmentNumber,
    ) -> Option<SegmentNumber> {
        while first <= last {
            match self.run(timeline, first) {
                None => return Some(first),
                Some(run) => first = run.last.next(),
            }
        }
        None
    }
}

/// Returns what can be recovered from the complete backups among `backups`, with the WAL of `coverage`, along the
/// timelines of `tree`.
#[must_use]
pub fn recovery_window<'a, Id: Ord + Clone + 'a>(
    backups: impl IntoIterator<Item = &'a Backup<Id>>,
    mut coverage: Coverage,
    tree: &TimelineTree,
) -> RecoveryWindow<Id> {
    coverage.settle();
    let mut finder = Finder { coverage: &coverage, tree, found: Vec::new(), broken: Vec::new() };
    backups.into_iter().for_each(|backup| finder.follow(backup));
    let intervals = joined(finder.found);
    RecoveryWindow { gaps: gaps(&intervals, coverage.size), intervals, broken: finder.broken }
}

struct Finder<'a, Id> {
    coverage: &'a Coverage,
    tree: &'a TimelineTree,
    found: Vec<Interval<Id>>,
    broken: Vec<Broken<Id>>,
}

impl<Id: Clone> Finder<'_, Id> {
    /// Finds all that can be recovered from a backup: on its own timeline, and on those that leave it behind its end.
    fn follow(&mut self, backup: &Backup<Id>) {
        let (Stage::Done, State::Done { end_time }) = (backup.stage, backup.candidate.state) else { return };
        let (Some(timeline), Some(end_lsn)) = (backup.timeline, backup.end_lsn) else { return };
        let Some((first, last)) = backup.segments(self.coverage.size) else { return };
        if let Some(missing) = self.coverage.first_missing(timeline, first, last) {
            let missing = missing.name(timeline, self.coverage.size);
            self.broken.push(Broken { backup: backup.candidate.id.clone(), missing });
            return;
        }
        let Some(run) = self.coverage.run(timeline, last) else { return };
        self.found.push(Interval {
            timeline,
            backup: backup.candidate.id.clone(),
            start_lsn: end_lsn,
            end_lsn: run.last.end(self.coverage.size),
            start_time: end_time,
            end_time: run.modified.max(end_time),
        });
        self.branch(timeline, end_lsn, &backup.candidate.id, end_time);
    }

    /// Follows the timelines that leave `timeline` behind `from`, as far as there is WAL without a gap.
    ///
    /// A new timeline begins with a copy of the segment in which it leaves the old one: of the old one, the segments before
    /// that are needed.
    fn branch(&mut self, timeline: TimelineId, from: Lsn, backup: &Id, start_time: Timestamp) {
        let mut pending = vec![(timeline, from)];
        while let Some((timeline, from)) = pending.pop() {
            for child in self.tree.children(timeline).filter(|child| *child > timeline) {
                let Some(switch) = self.tree.switch_lsn(child).filter(|switch| *switch >= from) else { continue };
                let size = self.coverage.size;
                let left = SegmentNumber::containing(from, size);
                let entered = SegmentNumber::containing(switch, size);
                let before = SegmentNumber::new(entered.get().saturating_sub(1));
                if entered > left && self.coverage.first_missing(timeline, left, before).is_some() {
                    continue;
                }
                let Some(run) = self.coverage.run(child, entered) else { continue };
                self.found.push(Interval {
                    timeline: child,
                    backup: backup.clone(),
                    start_lsn: switch,
                    end_lsn: run.last.end(size),
                    start_time,
                    end_time: run.modified.max(start_time),
                });
                pending.push((child, switch));
            }
        }
    }
}

impl<Id> Backup<Id> {
    /// The segments from its begin to its end, both included.
    fn segments(&self, size: SegmentSize) -> Option<(SegmentNumber, SegmentNumber)> {
        Some((self.begin_wal?.number(size).ok()?, self.end_wal?.number(size).ok()?))
    }
}

/// Intervals in order; those that overlap become one, with the backup of the first.
fn joined<Id: Ord>(mut found: Vec<Interval<Id>>) -> Vec<Interval<Id>> {
    found.sort_by(|a, b| (a.timeline, a.start_lsn, &a.backup).cmp(&(b.timeline, b.start_lsn, &b.backup)));
    let mut joined: Vec<Interval<Id>> = Vec::new();
    for interval in found {
        let touches =
            |last: &&mut Interval<Id>| last.timeline == interval.timeline && interval.start_lsn <= last.end_lsn;
        match joined.last_mut().filter(touches) {
            Some(last) => {
                last.end_lsn = last.end_lsn.max(interval.end_lsn);
                last.end_time = last.end_time.max(interval.end_time);
            }
            None => joined.push(interval),
        }
    }
    joined
}

fn gaps<Id>(intervals: &[Interval<Id>], size: SegmentSize) -> Vec<Gap> {
    let pairs = intervals.iter().zip(intervals.iter().skip(1)).filter(|(one, next)| one.timeline == next.timeline);
    let gap = |(one, next): (&Interval<Id>, &Interval<Id>)| Gap {
        first_missing: SegmentNumber::containing(one.end_lsn, size).name(one.timeline, size),
        start_time: one.end_time,
        end_time: next.start_time,
    };
    pairs.map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use wal_format::TimelineHistory;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn segment(tli: u32, number: u64) -> SegmentName {
        SegmentNumber::new(number).name(timeline(tli), SIZE)
    }

    /// The middle of a segment.
    fn lsn(number: u64) -> Lsn {
        Lsn::new((number << 24) + 0x80_0000)
    }

    fn minute(minutes: u64) -> Timestamp {
        Timestamp::from_pg_micros(i64::try_from(minutes).unwrap() * 60_000_000)
    }

    /// A complete backup from the beginning of one segment to the middle of another, which is written in that minute.
    fn backup(tli: u32, begin: u64, end: u64) -> Backup<u64> {
        Backup {
            candidate: Candidate { id: begin, state: State::Done { end_time: minute(end) }, keep: None, root: None },
            stage: Stage::Done,
            timeline: Some(timeline(tli)),
            begin_wal: Some(segment(tli, begin)),
            end_wal: Some(segment(tli, end)),
            end_lsn: Some(lsn(end)),
            size: 0,
            marked: false,
        }
    }

    fn window(
        backups: &[Backup<u64>],
        wal: impl IntoIterator<Item = (u32, u64)>,
        histories: &[(u32, &str)],
    ) -> RecoveryWindow<u64> {
        let mut coverage = Coverage::new(SIZE);
        for (tli, number) in wal {
            let name = WalFileName::Segment(segment(tli, number));
            coverage.add(&ArchivedWal { name, size: 1, modified: minute(number + 1) });
        }
        let histories =
            histories.iter().map(|(tli, text)| TimelineHistory::parse(timeline(*tli), text.as_bytes()).unwrap());
        recovery_window(backups, coverage, &TimelineTree::new(histories).unwrap())
    }

    fn shown(window: &RecoveryWindow<u64>) -> Vec<String> {
        let show = |interval: &Interval<u64>| {
            let Interval { timeline, backup, start_lsn, end_lsn, .. } = interval;
            format!("{timeline}: {start_lsn} {end_lsn} from {backup}")
        };
        window.intervals.iter().map(show).collect()
    }

    #[test]
    fn every_point_from_the_end_of_a_backup_to_the_end_of_the_wal() {
        let window = window(&[backup(1, 2, 3)], (1..=9).map(|number| (1, number)), &[]);
        assert_eq!(shown(&window), ["1: 0/3800000 0/A000000 from 2"]);
        assert!(
            !window.reaches(timeline(1), Lsn::new(0x37F_FFFF)) && window.reaches(timeline(1), Lsn::new(0x380_0000))
        );
        assert!(
            window.reaches(timeline(1), Lsn::new(0x9FF_FFFF)) && !window.reaches(timeline(1), Lsn::new(0xA00_0000))
        );
        assert!(!window.reaches_time(minute(2)) && window.reaches_time(minute(3)));
        assert!(window.reaches_time(minute(10)) && !window.reaches_time(minute(11)));
    }

    #[test]
    fn a_missing_segment_ends_an_interval_and_a_later_backup_begins_another() {
        let wal = || (1..=9).filter(|number| *number != 5).map(|number| (1, number));
        let one = window(&[backup(1, 2, 3)], wal(), &[]);
        assert_eq!(shown(&one), ["1: 0/3800000 0/5000000 from 2"]);
        assert!(one.gaps.is_empty());
        let two = window(&[backup(1, 2, 3), backup(1, 7, 8)], wal(), &[]);
        assert_eq!(shown(&two), ["1: 0/3800000 0/5000000 from 2", "1: 0/8800000 0/A000000 from 7"]);
        let gap = Gap { first_missing: segment(1, 5), start_time: minute(5), end_time: minute(8) };
        assert_eq!(two.gaps, [gap]);
    }

    #[test]
    fn a_backup_whose_own_wal_is_incomplete_reaches_nothing() {
        for missing in [2, 3] {
            let wal = (1..=9).filter(|number| *number != missing).map(|number| (1, number));
            let window = window(&[backup(1, 2, 3)], wal, &[]);
            assert!(window.intervals.is_empty());
            assert_eq!(window.broken, [Broken { backup: 2, missing: segment(1, missing) }]);
        }
    }

    #[test]
    fn backups_on_the_same_wal_share_an_interval() {
        let backups = [backup(1, 5, 6), backup(1, 2, 3)];
        assert_eq!(shown(&window(&backups, (1..=9).map(|n| (1, n)), &[])), ["1: 0/3800000 0/A000000 from 2"]);
    }

    #[test]
    fn only_complete_backups_count() {
        let mut waiting = backup(1, 2, 3);
        waiting.stage = Stage::WaitingForWals;
        assert!(window(&[waiting], (1..=9).map(|n| (1, n)), &[]).intervals.is_empty());
    }

    #[test]
    fn recovery_follows_a_timeline_that_branches_off_behind_the_backup() {
        let wal = || (1..=6).map(|n| (1, n)).chain((6..=9).map(|n| (2, n)));
        let behind = window(&[backup(1, 2, 3)], wal(), &[(2, "1\t0/6400000\tx\n")]);
        assert_eq!(shown(&behind), ["1: 0/3800000 0/7000000 from 2", "2: 0/6400000 0/A000000 from 2"]);
        // It left before the backup's end: another life.
        let before = window(&[backup(1, 2, 3)], wal(), &[(2, "1\t0/3000000\tx\n")]);
        assert_eq!(shown(&before), ["1: 0/3800000 0/7000000 from 2"]);
    }

    #[test]
    fn a_new_timeline_has_its_own_copy_of_the_segment_in_which_it_begins() {
        // Segment 6 of timeline 1 was never finished; 5 is needed.
        let history = [(2, "1\t0/6400000\tx\n")];
        let whole = window(&[backup(1, 2, 3)], (1..=5).map(|n| (1, n)).chain((6..=9).map(|n| (2, n))), &history);
        assert_eq!(shown(&whole), ["1: 0/3800000 0/6000000 from 2", "2: 0/6400000 0/A000000 from 2"]);
        let gap = window(&[backup(1, 2, 3)], (1..=4).map(|n| (1, n)).chain((6..=9).map(|n| (2, n))), &history);
        assert_eq!(shown(&gap), ["1: 0/3800000 0/5000000 from 2"]);
        let no_copy = window(&[backup(1, 2, 3)], (1..=5).map(|n| (1, n)).chain((7..=9).map(|n| (2, n))), &history);
        assert_eq!(shown(&no_copy), ["1: 0/3800000 0/6000000 from 2"]);
    }

    #[test]
    fn a_timeline_that_begins_at_a_border_has_the_segment_behind_it() {
        let wal = (1..=5).map(|n| (1, n)).chain((6..=9).map(|n| (2, n)));
        let window = window(&[backup(1, 2, 3)], wal, &[(2, "1\t0/6000000\tx\n")]);
        assert_eq!(shown(&window), ["1: 0/3800000 0/6000000 from 2", "2: 0/6000000 0/A000000 from 2"]);
    }

    #[test]
    fn recovery_follows_branches_of_branches() {
        let wal = (1..=4).map(|n| (1, n)).chain((4..=6).map(|n| (2, n))).chain((6..=9).map(|n| (3, n)));
        let history = [(2, "1\t0/4400000\tx\n"), (3, "1\t0/4400000\tx\n2\t0/6400000\tx\n")];
        let window = window(&[backup(1, 2, 3)], wal, &history);
        assert_eq!(
            shown(&window),
            ["1: 0/3800000 0/5000000 from 2", "2: 0/4400000 0/7000000 from 2", "3: 0/6400000 0/A000000 from 2"]
        );
    }

    #[test]
    fn wal_may_be_archived_in_any_order() {
        let mut orders =
            vec![(1..=9).collect::<Vec<u64>>(), (1..=9).rev().collect(), vec![5, 1, 9, 3, 2, 8, 4, 7, 6, 5]];
        orders.push(vec![1, 2, 3, 7, 8, 9, 4, 5, 6]);
        for order in orders {
            let window = window(&[backup(1, 2, 3)], order.iter().map(|number| (1, *number)), &[]);
            assert_eq!(shown(&window), ["1: 0/3800000 0/A000000 from 2"], "{order:?}");
            assert_eq!(window.intervals[0].end_time, minute(10), "{order:?}");
        }
    }
}
