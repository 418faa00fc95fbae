//! Which points can be recovered: backups, the WAL behind them, and the timelines that it leads to.

use wal_format::{Lsn, SegmentName, SegmentNumber, TimelineId, TimelineTree, Timestamp};

use crate::candidate::{Backup, Stage, State, Target};
use crate::coverage::{Coverage, DamagedWal, MissingWal, WalRun};

/// The points that can be recovered, and why others cannot. Nothing else says that a point can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryWindow<Id> {
    /// What can be recovered, by timeline and position; two intervals of a timeline are apart.
    pub intervals: Vec<Interval<Id>>,
    /// Segments that are missing behind the beginning of an interval of their timeline. Behind a backup that is kept for
    /// itself none is missing: that WAL is not kept.
    pub gaps: Vec<Gap>,
    /// WAL behind the beginning of an interval that cannot be believed.
    pub damage: Vec<DamagedWal>,
    /// Complete backups that cannot be restored: a segment is missing or damaged.
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
    /// Where the WAL that can be believed ends, itself excluded.
    pub end_lsn: Lsn,
    /// When the backup ended.
    pub start_time: Timestamp,
    /// When the last transaction in it ended, as far as that is known, else when its last segment was written.
    pub end_time: Timestamp,
    /// How many segments of its run were never judged; `None` if nobody was asked.
    pub unverified: Option<u64>,
}

/// Segments that are missing, and what cannot be recovered without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Which.
    pub missing: MissingWal,
    /// Where their timeline can be recovered again, behind the end of a later backup; `None` if nowhere.
    pub until: Option<Lsn>,
}

/// A backup that cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken<Id> {
    /// The backup.
    pub backup: Id,
    /// The first segment that it needs and that is missing or damaged.
    pub segment: SegmentName,
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

    /// Whether damage keeps anything from being recovered.
    fn is_ended_by(&self, damage: &DamagedWal) -> bool {
        let before = |one: &Interval<Id>| one.timeline == damage.name.timeline && one.start_lsn <= damage.at;
        self.intervals.iter().any(before)
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
    let mut finder = Finder { coverage: &coverage, tree, found: Vec::new(), onwards: Vec::new(), broken: Vec::new() };
    backups.into_iter().for_each(|backup| finder.follow(backup));
    let gaps = coverage.missing().chain(tails(&coverage, tree)).filter_map(|missing| finder.gap(missing)).collect();
    let Finder { found, broken, .. } = finder;
    let mut window = RecoveryWindow { intervals: joined(found), gaps, damage: Vec::new(), broken };
    window.damage = coverage.damage().filter(|damage| window.is_ended_by(damage)).cloned().collect();
    window
}

/// What is missing at the end of timelines that were left: the next one begins with a copy of the segment in which it
/// leaves, and what lies before that segment is on no other timeline.
fn tails<'a>(coverage: &'a Coverage, tree: &'a TimelineTree) -> impl Iterator<Item = MissingWal> + 'a {
    tree.timelines().filter_map(|child| {
        let (parent, switch) = (tree.parent(child)?, tree.switch_lsn(child)?);
        coverage.missing_at_end(parent, SegmentNumber::containing(switch, coverage.segment_size()))
    })
}

struct Finder<'a, Id> {
    coverage: &'a Coverage,
    tree: &'a TimelineTree,
    found: Vec<Interval<Id>>,
    /// From where on all WAL is kept.
    onwards: Vec<(TimelineId, Lsn)>,
    broken: Vec<Broken<Id>>,
}

impl<Id: Clone> Finder<'_, Id> {
    /// Finds all that can be recovered from a backup: on its own timeline, and on those that leave it behind its end.
    fn follow(&mut self, backup: &Backup<Id>) {
        let (Stage::Done, State::Done { end_time }) = (backup.stage, backup.candidate.state) else { return };
        let (Some(timeline), Some(end_lsn)) = (backup.timeline, backup.end_lsn) else { return };
        let Some((first, last)) = backup.segments(self.coverage) else { return };
        let id = &backup.candidate.id;
        let (run, wal_end) = match self.own_wal(timeline, (first, last), end_lsn) {
            Ok(found) => found,
            Err(number) => {
                let segment = number.name(timeline, self.coverage.segment_size());
                return self.broken.push(Broken { backup: id.clone(), segment });
            }
        };
        let mut pending = vec![(run, end_lsn, wal_end)];
        while let Some((run, start_lsn, end_lsn)) = pending.pop() {
            if backup.candidate.keep.is_none_or(|keep| keep.target != Target::Standalone) {
                self.onwards.push((run.timeline, start_lsn));
            }
            let last_end = run.contents.and_then(|contents| contents.last_end);
            self.found.push(Interval {
                timeline: run.timeline,
                backup: id.clone(),
                start_lsn,
                end_lsn,
                start_time: end_time,
                end_time: last_end.unwrap_or(run.modified).max(end_time),
                unverified: run.contents.map(|contents| contents.unverified),
            });
            pending.extend(self.branches(run.timeline, start_lsn, end_lsn));
        }
    }

    /// A gap, if anything lies before it that could be recovered further without it.
    fn gap(&self, missing: MissingWal) -> Option<Gap> {
        let (timeline, at) = (missing.first.timeline, missing.first.start(self.coverage.segment_size()).ok()?);
        let starts = self.found.iter().filter(|interval| interval.timeline == timeline);
        let until = starts.map(|interval| interval.start_lsn).filter(|start| *start > at).min();
        let matters = self.onwards.iter().any(|(of, start)| *of == timeline && *start <= at);
        matters.then_some(Gap { missing, until })
    }

    /// The run that has a backup's own segments, and where its WAL ends; else the first of them that is missing or damaged.
    fn own_wal(
        &self,
        timeline: TimelineId,
        (first, last): (SegmentNumber, SegmentNumber),
        end_lsn: Lsn,
    ) -> Result<(WalRun, Lsn), SegmentNumber> {
        let run = self.coverage.run(timeline, first).ok_or(first)?;
        if run.last < last {
            return Err(run.last.next());
        }
        let end = self.coverage.end(&run, first);
        let damaged = SegmentNumber::containing(end, self.coverage.segment_size());
        if end < end_lsn { Err(damaged) } else { Ok((run, end)) }
    }

    /// The timelines that leave `timeline` between two positions: the run that each begins with, and from where to where it
    /// can be recovered.
    ///
    /// A new timeline begins with a copy of the segment in which it leaves the old one: of the old one, the segments before
    /// that are needed.
    fn branches(&self, timeline: TimelineId, from: Lsn, to: Lsn) -> Vec<(WalRun, Lsn, Lsn)> {
        let size = self.coverage.segment_size();
        let branch = |child: TimelineId| {
            let switch = self.tree.switch_lsn(child).filter(|switch| *switch >= from)?;
            let entered = SegmentNumber::containing(switch, size);
            let run = self.coverage.run(child, entered)?;
            let end = self.coverage.end(&run, entered);
            (entered.start(size) <= to && switch <= end).then_some((run, switch, end))
        };
        self.tree.children(timeline).filter(|child| *child > timeline).filter_map(branch).collect()
    }
}

impl<Id> Backup<Id> {
    /// The segments from its begin to its end, both included.
    fn segments(&self, coverage: &Coverage) -> Option<(SegmentNumber, SegmentNumber)> {
        let size = coverage.segment_size();
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

#[cfg(test)]
mod tests;
