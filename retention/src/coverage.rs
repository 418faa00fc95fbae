//! Which WAL there is: segments that follow each other, what is missing between them, and what of it can be believed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, Timestamp, WalFileName};

use crate::wal::ArchivedWal;

/// The segments of an archive that follow each other without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    size: SegmentSize,
    /// Of each timeline, by the first number; apart.
    runs: BTreeMap<TimelineId, BTreeMap<SegmentNumber, Run>>,
    /// The run that the last segment was added to: most segments follow the one before.
    current: Option<(TimelineId, SegmentNumber, Run)>,
    /// By timeline and position.
    damage: BTreeMap<(TimelineId, Lsn), DamagedWal>,
}

/// What is known of a run, apart from where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// The last number.
    last: SegmentNumber,
    /// When that segment was written.
    modified: Timestamp,
    contents: Option<RunContents>,
}

/// What the WAL of a run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunContents {
    /// The greatest time at which a transaction in it ended, if that is known of any.
    pub last_end: Option<Timestamp>,
    /// How many of its segments could not be judged, or were never read.
    pub unverified: u64,
}

/// Segments of one timeline that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRun {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first.
    pub first: SegmentNumber,
    /// The last.
    pub last: SegmentNumber,
    /// When the last of them was written.
    pub modified: Timestamp,
    /// What they say; `None` if nobody was asked.
    pub contents: Option<RunContents>,
}

/// Segments that are missing before one that is archived, or at the end of a timeline that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingWal {
    /// The first.
    pub first: SegmentName,
    /// The last.
    pub last: SegmentName,
    /// How many there are.
    pub segments: u64,
    /// When the segment before them was written: nothing later is there up to the next one.
    pub since: Timestamp,
}

/// A segment with damage in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedWal {
    /// The segment.
    pub name: SegmentName,
    /// Where recovery ends.
    pub at: Lsn,
    /// What is wrong there.
    pub what: String,
}

impl Coverage {
    /// No segments; those to come are of this size.
    #[must_use]
    pub const fn new(size: SegmentSize) -> Self {
        Self { size, runs: BTreeMap::new(), current: None, damage: BTreeMap::new() }
    }

    /// Returns how long segments are.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.size
    }

    /// Adds an archived file; whatever is no whole segment covers nothing.
    pub fn add(&mut self, wal: &ArchivedWal) {
        if let WalFileName::Segment(name) = wal.name
            && let Ok(number) = name.number(self.size)
        {
            self.add_segment(name.timeline, number, wal.modified);
        }
    }

    /// Adds a segment that was written at a time.
    pub fn add_segment(&mut self, timeline: TimelineId, number: SegmentNumber, modified: Timestamp) {
        self.add_segments(timeline, number..=number, modified);
    }

    /// Adds segments that follow each other, the last of which was written at a time.
    pub fn add_segments(&mut self, timeline: TimelineId, numbers: RangeInclusive<SegmentNumber>, modified: Timestamp) {
        let (first, last) = numbers.into_inner();
        if let Some((of, _, run)) = &mut self.current
            && (*of, run.last.next()) == (timeline, first)
        {
            (run.last, run.modified) = (last, modified);
            return;
        }
        self.settle();
        self.current = Some((timeline, first, Run { last, modified, contents: None }));
    }

    /// Adds damage.
    pub fn add_damage(&mut self, damage: DamagedWal) {
        self.damage.entry((damage.name.timeline, damage.at)).or_insert(damage);
    }

    /// Adds all that another coverage has, of segments of the same size.
    pub fn join(&mut self, mut other: Self) {
        self.settle();
        other.settle();
        for (timeline, runs) in other.runs {
            for (first, run) in runs {
                self.current = Some((timeline, first, run));
                self.settle();
            }
        }
        other.damage.into_values().for_each(|damage| self.add_damage(damage));
    }

    /// Asks `look` what each run says, with the damage in it.
    ///
    /// # Errors
    /// What `look` says.
    pub fn describe<E>(
        &mut self,
        mut look: impl FnMut(WalRun) -> Result<(RunContents, Vec<DamagedWal>), E>,
    ) -> Result<(), E> {
        self.settle();
        let mut found = Vec::new();
        for (&timeline, runs) in &mut self.runs {
            for (&first, run) in runs {
                let (contents, damage) = look(run.seen_from(timeline, first))?;
                run.contents = Some(contents);
                found.extend(damage);
            }
        }
        found.into_iter().for_each(|damage| self.add_damage(damage));
        Ok(())
    }

    /// Puts the current run among the others, joined with those that it touches.
    pub(crate) fn settle(&mut self) {
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
    pub(crate) fn run(&self, timeline: TimelineId, number: SegmentNumber) -> Option<WalRun> {
        let (&first, run) = self.runs.get(&timeline)?.range(..=number).next_back()?;
        (run.last >= number).then(|| run.seen_from(timeline, first))
    }

    /// Where WAL ends that is read from a segment on: with its run, or with the first damage.
    pub(crate) fn end(&self, run: &WalRun, first: SegmentNumber) -> Lsn {
        let (start, end) = (first.start(self.size), run.last.end(self.size));
        let mut damage = self.damage.range((run.timeline, start)..(run.timeline, end));
        damage.next().map_or(end, |((_, at), _)| *at)
    }

    /// All damage, by timeline and position.
    pub fn damage(&self) -> impl Iterator<Item = &DamagedWal> {
        self.damage.values()
    }

    /// What is missing between two runs of a timeline.
    pub(crate) fn missing(&self) -> impl Iterator<Item = MissingWal> {
        let of_timeline = move |(&timeline, runs): (&TimelineId, &BTreeMap<SegmentNumber, Run>)| {
            let pairs: Vec<_> = runs.values().copied().zip(runs.keys().copied().skip(1)).collect();
            pairs.into_iter().filter_map(move |(run, next)| self.missing_behind(timeline, &run, next))
        };
        self.runs.iter().flat_map(of_timeline)
    }

    /// What is missing between the last run of a timeline and a segment.
    pub(crate) fn missing_at_end(&self, timeline: TimelineId, next: SegmentNumber) -> Option<MissingWal> {
        self.missing_behind(timeline, self.runs.get(&timeline)?.last_key_value()?.1, next)
    }

    fn missing_behind(&self, timeline: TimelineId, run: &Run, next: SegmentNumber) -> Option<MissingWal> {
        let first = run.last.next();
        let segments = next.get().checked_sub(first.get()).filter(|segments| *segments > 0)?;
        let last = SegmentNumber::new(next.get() - 1).name(timeline, self.size);
        Some(MissingWal { first: first.name(timeline, self.size), last, segments, since: run.modified })
    }
}

impl Run {
    const fn seen_from(&self, timeline: TimelineId, first: SegmentNumber) -> WalRun {
        let Self { last, modified, contents } = *self;
        WalRun { timeline, first, last, modified, contents }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn minute(minutes: u64) -> Timestamp {
        Timestamp::from_pg_micros(i64::try_from(minutes).unwrap() * 60_000_000)
    }

    fn coverage(numbers: &[u64]) -> Coverage {
        let mut coverage = Coverage::new(SIZE);
        for number in numbers {
            coverage.add_segment(TimelineId::FIRST, SegmentNumber::new(*number), minute(*number));
        }
        coverage.settle();
        coverage
    }

    #[test]
    fn segments_may_come_in_any_order() {
        let expected = coverage(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(expected.run(TimelineId::FIRST, SegmentNumber::new(5)).unwrap().modified, minute(9));
        for order in [[9, 8, 7, 6, 5, 4, 3, 2, 1], [5, 1, 9, 3, 2, 8, 4, 7, 6], [1, 2, 3, 7, 8, 9, 4, 5, 6]] {
            assert_eq!(coverage(&order), expected, "{order:?}");
            let mut joined = coverage(&order[..4]);
            joined.join(coverage(&order[4..]));
            assert_eq!(joined, expected, "{order:?}");
        }
    }

    #[test]
    fn what_is_missing_lies_between_two_runs() {
        let missing: Vec<_> = coverage(&[1, 2, 7, 4]).missing().collect();
        let name = |number| SegmentNumber::new(number).name(TimelineId::FIRST, SIZE);
        let expected = [
            MissingWal { first: name(3), last: name(3), segments: 1, since: minute(2) },
            MissingWal { first: name(5), last: name(6), segments: 2, since: minute(4) },
        ];
        assert_eq!(missing, expected);
        assert_eq!(coverage(&[1, 2]).missing_at_end(TimelineId::FIRST, SegmentNumber::new(3)), None);
        let end = coverage(&[1, 2]).missing_at_end(TimelineId::FIRST, SegmentNumber::new(5)).unwrap();
        assert_eq!((end.first, end.last), (name(3), name(4)));
    }

    #[test]
    fn each_run_is_described_once() {
        let mut coverage = coverage(&[1, 2, 4]);
        let mut seen = Vec::new();
        let looked = coverage.describe(|run| {
            seen.push((run.first.get(), run.last.get()));
            let contents = RunContents { last_end: Some(minute(run.last.get())), unverified: run.first.get() };
            let name = run.last.name(run.timeline, SIZE);
            Ok::<_, ()>((contents, vec![DamagedWal { name, at: run.last.start(SIZE), what: String::new() }]))
        });
        assert_eq!((looked, seen), (Ok(()), vec![(1, 2), (4, 4)]));
        let run = coverage.run(TimelineId::FIRST, SegmentNumber::new(1)).unwrap();
        assert_eq!(run.contents, Some(RunContents { last_end: Some(minute(2)), unverified: 1 }));
        assert_eq!(coverage.end(&run, run.first), SegmentNumber::new(2).start(SIZE));
        assert_eq!(coverage.damage().count(), 2);
    }
}
