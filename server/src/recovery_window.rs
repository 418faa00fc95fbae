//! What can be recovered: from which backup, to which points of which timeline, and what stands in the way of more.

use crate::{Error, Server};
use barman_catalog::{BackupId, BackupInfo, BackupTime, DamagedWal, MissingWal, Status, WalCoverage, WalRun};
use barman_config::Command;
use wal_format::{Lsn, SegmentName, SegmentNumber, TimelineId, TimelineTree, Timestamp};

/// The points that can be recovered, and why others cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryWindow {
    /// By timeline and position; those of one timeline are apart.
    pub intervals: Vec<RecoveryInterval>,
    /// Segments that are missing behind the beginning of an interval of their timeline.
    pub gaps: Vec<RecoveryGap>,
    /// WAL behind the beginning of an interval that cannot be believed.
    pub damage: Vec<DamagedWal>,
    /// Complete backups that cannot be restored, with the first segment that is missing or damaged.
    pub broken: Vec<(BackupId, SegmentName)>,
}

/// Points of one timeline, each of which can be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryInterval {
    /// The timeline.
    pub timeline: TimelineId,
    /// The backup from which the first of them is recovered.
    pub backup: BackupId,
    /// The first position: where the backup ends, or the timeline begins.
    pub start_lsn: Lsn,
    /// Where the WAL that can be believed ends, itself excluded.
    pub end_lsn: Lsn,
    /// When the backup ended.
    pub start_time: Option<Timestamp>,
    /// When the last transaction in it ended, as far as that is known, else when its last segment was written.
    pub end_time: Timestamp,
    /// How many of its segments were never judged.
    pub unverified: u64,
}

/// Segments that are missing, and what cannot be recovered without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryGap {
    /// Which.
    pub missing: MissingWal,
    /// Where their timeline can be recovered again, behind the end of a later backup; `None` if nowhere.
    pub until: Option<Lsn>,
}

impl Server {
    /// Returns what can be recovered, as the catalog, the index of the archive and the ledger know it.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn recovery_window(&self) -> Result<RecoveryWindow, Error> {
        self.refuse_unsupported(Command::Show)?;
        let catalog = self.catalog();
        let mut histories = Vec::new();
        for timeline in catalog.archived_timelines()? {
            histories.extend(catalog.timeline_history(timeline)?);
        }
        // Histories that contradict each other lead nowhere.
        let tree = TimelineTree::new(histories).unwrap_or_default();
        Ok(RecoveryWindow::of(&catalog.backups()?, &catalog.wal_coverage()?, &tree))
    }
}

impl RecoveryWindow {
    /// The window of these backups, ascending by id, with this WAL, along these timelines.
    #[must_use]
    pub fn of(backups: &[BackupInfo], coverage: &WalCoverage, tree: &TimelineTree) -> Self {
        let mut finder = Finder { coverage, tree, window: Self::default() };
        backups.iter().filter(|info| info.status == Status::Done).for_each(|info| finder.backup(info));
        let mut window = finder.window;
        window.join();
        let missing = coverage.missing.iter().copied().chain(tails(coverage, tree));
        let gap = |missing: MissingWal| window.gap(missing, coverage);
        window.gaps = missing.filter_map(gap).collect();
        let concerns = |damage: &&DamagedWal| {
            window.intervals.iter().any(|one| one.timeline == damage.name.timeline && one.start_lsn <= damage.at)
        };
        window.damage = coverage.damage.iter().filter(concerns).cloned().collect();
        window
    }

    /// Makes one interval of those that overlap, with the backup of the first.
    fn join(&mut self) {
        self.intervals.sort_by_key(|interval| (interval.timeline, interval.start_lsn, interval.backup));
        let mut joined: Vec<RecoveryInterval> = Vec::new();
        for interval in self.intervals.drain(..) {
            match joined.last_mut() {
                Some(last) if last.timeline == interval.timeline && interval.start_lsn <= last.end_lsn => {
                    last.end_time = last.end_time.max(interval.end_time);
                    last.end_lsn = last.end_lsn.max(interval.end_lsn);
                }
                _ => joined.push(interval),
            }
        }
        self.intervals = joined;
    }

    /// A gap, if anything lies before it that could be recovered further without it.
    fn gap(&self, missing: MissingWal, coverage: &WalCoverage) -> Option<RecoveryGap> {
        let at = missing.first.start(coverage.segment_size).ok()?;
        let mut same = self.intervals.iter().filter(|interval| interval.timeline == missing.first.timeline);
        let until = same.clone().map(|interval| interval.start_lsn).filter(|start| *start > at).min();
        same.any(|interval| interval.start_lsn <= at).then_some(RecoveryGap { missing, until })
    }
}

/// What is missing at the end of timelines that were left: the next one begins with a copy of the segment in which it
/// leaves, and what lies before that segment is on no other timeline.
fn tails<'a>(coverage: &'a WalCoverage, tree: &'a TimelineTree) -> impl Iterator<Item = MissingWal> + 'a {
    let size = coverage.segment_size;
    tree.timelines().filter_map(move |child| {
        let (parent, switch) = (tree.parent(child)?, tree.switch_lsn(child)?);
        let run = coverage.runs.iter().rfind(|run| run.last.timeline == parent)?;
        let (last, entered) = (run.last.number(size).ok()?, SegmentNumber::containing(switch, size));
        let segments = entered.get().checked_sub(last.get() + 1).filter(|segments| *segments > 0)?;
        let end = SegmentNumber::new(entered.get() - 1).name(parent, size);
        Some(MissingWal { first: last.next().name(parent, size), last: end, segments, since: run.modified })
    })
}

struct Finder<'a> {
    coverage: &'a WalCoverage,
    tree: &'a TimelineTree,
    window: RecoveryWindow,
}

impl Finder<'_> {
    /// Finds all that can be recovered from a backup: on its own timeline, and on those that leave it behind its end.
    fn backup(&mut self, info: &BackupInfo) {
        let (Some(begin), Some(end), Some(end_lsn)) = (info.begin_wal, info.end_wal, info.end_xlog) else { return };
        let mut next = vec![(begin, end_lsn)];
        let Some(run) = self.run(begin) else { return self.window.broken.push((info.backup_id, begin)) };
        if run.last < end {
            let missing = run.last.next(self.coverage.segment_size).unwrap_or(end);
            return self.window.broken.push((info.backup_id, missing));
        }
        while let Some((first, start_lsn)) = next.pop() {
            let Some((run, end_lsn)) = self.run(first).and_then(|run| Some((run, self.end(first, &run)?))) else {
                continue;
            };
            if end_lsn < start_lsn {
                let damaged = SegmentNumber::containing(end_lsn, self.coverage.segment_size);
                let name = damaged.name(first.timeline, self.coverage.segment_size);
                return self.window.broken.push((info.backup_id, name));
            }
            self.window.intervals.push(RecoveryInterval {
                timeline: first.timeline,
                backup: info.backup_id,
                start_lsn,
                end_lsn,
                start_time: info.end_time.map(BackupTime::instant),
                end_time: run.last_end.unwrap_or(run.modified),
                unverified: run.unverified,
            });
            next.extend(self.children(first.timeline, start_lsn, end_lsn));
        }
    }

    fn run(&self, name: SegmentName) -> Option<WalRun> {
        let has = |run: &&WalRun| run.first.timeline == name.timeline && (run.first..=run.last).contains(&name);
        self.coverage.runs.iter().find(has).copied()
    }

    /// Where WAL ends that was read from `first` on: with the run, or with the first damage.
    fn end(&self, first: SegmentName, run: &WalRun) -> Option<Lsn> {
        let size = self.coverage.segment_size;
        let (start, end) = (first.start(size).ok()?, run.last.number(size).ok()?.end(size));
        let damage = self.coverage.damage.iter().filter(|damage| damage.name.timeline == first.timeline);
        let behind = damage.map(|damage| damage.at).filter(|at| (start..end).contains(at));
        Some(behind.min().unwrap_or(end))
    }

    /// The timelines that leave `timeline` between two positions, each with the segment that it begins in.
    fn children(&self, timeline: TimelineId, from: Lsn, to: Lsn) -> Vec<(SegmentName, Lsn)> {
        let size = self.coverage.segment_size;
        let child = |child: TimelineId| {
            let switch = self.tree.switch_lsn(child)?;
            let entered = SegmentNumber::containing(switch, size);
            // Of the timeline that is left, the segment in which that happens is not needed: the new one has a copy.
            let needed = entered.start(size).min(switch);
            (from <= switch && needed <= to).then(|| (entered.name(child, size), switch))
        };
        self.tree.children(timeline).filter(|child| *child > timeline).filter_map(child).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal_format::{SegmentSize, TimelineHistory};

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn segment(tli: u32, number: u64) -> SegmentName {
        SegmentNumber::new(number).name(timeline(tli), SIZE)
    }

    /// The middle of a segment.
    fn middle(number: u64) -> Lsn {
        Lsn::new((number << 24) + 0x80_0000)
    }

    fn minute(number: u64) -> Timestamp {
        Timestamp::from_unix_micros(i64::try_from(number).unwrap() * 60_000_000)
    }

    fn backup(day: u64, tli: u32, begin: u64, end: u64) -> BackupInfo {
        let mut info = BackupInfo::new(format!("202601{day:02}T000000").parse().unwrap(), "main");
        info.status = Status::Done;
        info.timeline = Some(timeline(tli));
        (info.begin_wal, info.end_wal) = (Some(segment(tli, begin)), Some(segment(tli, end)));
        info.end_xlog = Some(middle(end));
        info.end_time = Some(BackupTime::utc(minute(end)));
        info
    }

    fn runs(runs: &[(u32, u64, u64)]) -> WalCoverage {
        let run = |&(tli, first, last): &(u32, u64, u64)| WalRun {
            first: segment(tli, first),
            last: segment(tli, last),
            segments: last - first + 1,
            last_end: Some(minute(last)),
            modified: minute(last + 1),
            unverified: 0,
        };
        let missing = runs.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| MissingWal {
            first: segment(pair[0].0, pair[0].2 + 1),
            last: segment(pair[0].0, pair[1].1 - 1),
            segments: pair[1].1 - pair[0].2 - 1,
            since: minute(pair[0].2 + 1),
        });
        WalCoverage {
            segment_size: SIZE,
            missing: missing.collect(),
            runs: runs.iter().map(run).collect(),
            damage: Vec::new(),
        }
    }

    fn tree(histories: &[(u32, &str)]) -> TimelineTree {
        let parse = |(tli, text): &(u32, &str)| TimelineHistory::parse(timeline(*tli), text.as_bytes()).unwrap();
        TimelineTree::new(histories.iter().map(parse)).unwrap()
    }

    fn shown(window: &RecoveryWindow) -> Vec<String> {
        let show = |one: &RecoveryInterval| {
            format!("{}: {} {} from {}", one.timeline, one.start_lsn, one.end_lsn, &one.backup.to_string()[6..8])
        };
        window.intervals.iter().map(show).collect()
    }

    #[test]
    fn from_the_end_of_a_backup_to_the_end_of_the_wal() {
        let window = RecoveryWindow::of(&[backup(1, 1, 2, 3)], &runs(&[(1, 1, 9)]), &tree(&[]));
        assert_eq!(shown(&window), ["1: 0/3800000 0/A000000 from 01"]);
        assert_eq!(window.intervals[0].start_time, Some(minute(3)));
        assert_eq!(window.intervals[0].end_time, minute(9));
        assert!(window.gaps.is_empty() && window.broken.is_empty());
    }

    #[test]
    fn a_gap_ends_an_interval_until_the_next_backup() {
        let backups = [backup(1, 1, 1, 2), backup(2, 1, 8, 9)];
        let window = RecoveryWindow::of(&backups, &runs(&[(1, 1, 4), (1, 7, 12)]), &tree(&[]));
        assert_eq!(shown(&window), ["1: 0/2800000 0/5000000 from 01", "1: 0/9800000 0/D000000 from 02"]);
        let [RecoveryGap { missing, until }] = window.gaps[..] else { panic!("{:?}", window.gaps) };
        assert_eq!((missing.first, missing.last, missing.segments), (segment(1, 5), segment(1, 6), 2));
        assert_eq!(until, Some(middle(9)));
        let alone = RecoveryWindow::of(&backups[..1], &runs(&[(1, 1, 4), (1, 7, 12)]), &tree(&[]));
        assert_eq!(alone.gaps[0].until, None);
        let later = RecoveryWindow::of(&backups[1..], &runs(&[(1, 1, 4), (1, 7, 12)]), &tree(&[]));
        assert!(later.gaps.is_empty(), "before the first backup nothing can be recovered anyway");
    }

    #[test]
    fn a_backup_whose_wal_is_missing_or_damaged_is_broken() {
        let window = RecoveryWindow::of(&[backup(1, 1, 3, 5)], &runs(&[(1, 1, 4), (1, 6, 9)]), &tree(&[]));
        assert_eq!(window.broken, [("20260101T000000".parse().unwrap(), segment(1, 5))]);
        assert!(window.intervals.is_empty());
        let mut coverage = runs(&[(1, 1, 9)]);
        coverage.damage = vec![DamagedWal { name: segment(1, 4), at: middle(4), what: String::new() }];
        let window = RecoveryWindow::of(&[backup(1, 1, 3, 5)], &coverage, &tree(&[]));
        assert_eq!(window.broken, [("20260101T000000".parse().unwrap(), segment(1, 4))]);
    }

    #[test]
    fn damage_ends_the_window_where_it_begins() {
        let mut coverage = runs(&[(1, 1, 9)]);
        coverage.damage = vec![DamagedWal { name: segment(1, 6), at: middle(6), what: "zeros".to_owned() }];
        let window = RecoveryWindow::of(&[backup(1, 1, 1, 2), backup(2, 1, 7, 8)], &coverage, &tree(&[]));
        assert_eq!(shown(&window), ["1: 0/2800000 0/6800000 from 01", "1: 0/8800000 0/A000000 from 02"]);
        assert_eq!(window.damage.len(), 1);
        let later = RecoveryWindow::of(&[backup(2, 1, 7, 8)], &coverage, &tree(&[]));
        assert!(later.damage.is_empty());
    }

    #[test]
    fn recovery_follows_the_timelines_that_leave_behind_the_backup() {
        let tree = tree(&[(2, "1\t0/5800000\tx\n"), (3, "1\t0/5800000\tx\n2\t0/8000000\tx\n")]);
        let wal = runs(&[(1, 1, 6), (2, 5, 8), (3, 8, 9)]);
        let window = RecoveryWindow::of(&[backup(1, 1, 1, 2)], &wal, &tree);
        let expected =
            ["1: 0/2800000 0/7000000 from 01", "2: 0/5800000 0/9000000 from 01", "3: 0/8000000 0/A000000 from 01"];
        assert_eq!(shown(&window), expected);
        let window = RecoveryWindow::of(&[backup(1, 1, 4, 6)], &wal, &tree);
        assert_eq!(shown(&window), ["1: 0/6800000 0/7000000 from 01"], "the backup ends behind the branch");
    }

    #[test]
    fn the_missing_end_of_a_timeline_that_was_left_is_a_gap() {
        let tree = tree(&[(2, "1\t0/5800000\tx\n")]);
        let window = RecoveryWindow::of(&[backup(1, 1, 1, 2)], &runs(&[(1, 1, 3), (2, 5, 8)]), &tree);
        assert_eq!(shown(&window), ["1: 0/2800000 0/4000000 from 01"]);
        let [RecoveryGap { missing, .. }] = window.gaps[..] else { panic!("{:?}", window.gaps) };
        assert_eq!((missing.first, missing.last), (segment(1, 4), segment(1, 4)));
        let whole = RecoveryWindow::of(&[backup(1, 1, 1, 2)], &runs(&[(1, 1, 4), (2, 5, 8)]), &tree);
        assert!(whole.gaps.is_empty(), "the segment in which it is left is copied");
        assert_eq!(whole.intervals.len(), 2);
    }
}
