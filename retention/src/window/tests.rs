use std::convert::Infallible;

use wal_format::{SegmentSize, TimelineHistory};

use super::*;
use crate::candidate::{Candidate, Keep};
use crate::coverage::RunContents;

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
        in_use: false,
    }
}

/// Segments, written a minute after the one before.
fn coverage(wal: impl IntoIterator<Item = (u32, u64)>) -> Coverage {
    let mut coverage = Coverage::new(SIZE);
    for (tli, number) in wal {
        coverage.add_segment(timeline(tli), SegmentNumber::new(number), minute(number + 1));
    }
    coverage
}

fn tree(histories: &[(u32, &str)]) -> TimelineTree {
    let parse = |(tli, text): &(u32, &str)| TimelineHistory::parse(timeline(*tli), text.as_bytes()).unwrap();
    TimelineTree::new(histories.iter().map(parse)).unwrap()
}

fn window(
    backups: &[Backup<u64>],
    wal: impl IntoIterator<Item = (u32, u64)>,
    histories: &[(u32, &str)],
) -> RecoveryWindow<u64> {
    recovery_window(backups, coverage(wal), &tree(histories))
}

fn damaged(number: u64) -> DamagedWal {
    DamagedWal { name: segment(1, number), at: lsn(number), what: "zeros".to_owned() }
}

fn window_with_damage(backups: &[Backup<u64>], number: u64) -> RecoveryWindow<u64> {
    let mut coverage = coverage((1..=9).map(|number| (1, number)));
    coverage.add_damage(damaged(number));
    recovery_window(backups, coverage, &TimelineTree::default())
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
    assert!(!window.reaches(timeline(1), Lsn::new(0x37F_FFFF)) && window.reaches(timeline(1), Lsn::new(0x380_0000)));
    assert!(window.reaches(timeline(1), Lsn::new(0x9FF_FFFF)) && !window.reaches(timeline(1), Lsn::new(0xA00_0000)));
    assert!(!window.reaches_time(minute(2)) && window.reaches_time(minute(3)));
    assert!(window.reaches_time(minute(10)) && !window.reaches_time(minute(11)));
}

#[test]
fn a_missing_segment_ends_an_interval_and_a_later_backup_begins_another() {
    let wal = || (1..=9).filter(|number| *number != 5).map(|number| (1, number));
    let one = window(&[backup(1, 2, 3)], wal(), &[]);
    assert_eq!(shown(&one), ["1: 0/3800000 0/5000000 from 2"]);
    let missing = MissingWal { first: segment(1, 5), last: segment(1, 5), segments: 1, since: minute(5) };
    assert_eq!(one.gaps, [Gap { missing, until: None }]);
    let two = window(&[backup(1, 2, 3), backup(1, 7, 8)], wal(), &[]);
    assert_eq!(shown(&two), ["1: 0/3800000 0/5000000 from 2", "1: 0/8800000 0/A000000 from 7"]);
    assert_eq!(two.gaps, [Gap { missing, until: Some(lsn(8)) }]);
    let later = window(&[backup(1, 7, 8)], wal(), &[]);
    assert!(later.gaps.is_empty(), "before the first backup nothing can be recovered anyway");
}

#[test]
fn a_backup_whose_own_wal_is_incomplete_reaches_nothing() {
    for missing in [2, 3] {
        let wal = (1..=9).filter(|number| *number != missing).map(|number| (1, number));
        let window = window(&[backup(1, 2, 3)], wal, &[]);
        assert!(window.intervals.is_empty());
        assert_eq!(window.broken, [Broken { backup: 2, segment: segment(1, missing) }]);
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
fn damage_ends_an_interval_where_it_begins() {
    let both = window_with_damage(&[backup(1, 1, 2), backup(1, 7, 8)], 6);
    assert_eq!(shown(&both), ["1: 0/2800000 0/6800000 from 1", "1: 0/8800000 0/A000000 from 7"]);
    assert_eq!((both.damage, both.gaps), (vec![damaged(6)], Vec::new()));
    let later = window_with_damage(&[backup(1, 7, 8)], 6);
    assert!(later.damage.is_empty(), "nothing could be recovered there anyway");
}

#[test]
fn a_backup_with_damage_in_its_own_wal_is_broken() {
    let window = window_with_damage(&[backup(1, 3, 5)], 4);
    assert_eq!(window.broken, [Broken { backup: 3, segment: segment(1, 4) }]);
    assert!(window.intervals.is_empty());
}

#[test]
fn damage_before_the_branch_keeps_recovery_from_it_and_breaks_no_backup() {
    let history = [(2, "1\t0/6400000\tx\n")];
    for (at, expected) in [
        (0x610_0000, &["1: 0/3800000 0/7000000 from 2"][..]),
        (0x680_0000, &["1: 0/3800000 0/7000000 from 2", "2: 0/6400000 0/6800000 from 2"][..]),
    ] {
        let mut coverage = coverage((1..=6).map(|n| (1, n)).chain((6..=9).map(|n| (2, n))));
        coverage.add_damage(DamagedWal { name: segment(2, 6), at: Lsn::new(at), what: String::new() });
        let window = recovery_window(&[backup(1, 2, 3)], coverage, &tree(&history));
        assert_eq!(shown(&window), expected, "{at:X}");
        assert!(window.broken.is_empty());
    }
}

#[test]
fn the_missing_end_of_a_timeline_that_was_left_is_a_gap() {
    let history = [(2, "1\t0/6400000\tx\n")];
    let wal = |last: u64| (1..=last).map(|n| (1, n)).chain((6..=9).map(|n| (2, n)));
    let short = window(&[backup(1, 2, 3)], wal(3), &history);
    let missing = MissingWal { first: segment(1, 4), last: segment(1, 5), segments: 2, since: minute(4) };
    assert_eq!(short.gaps, [Gap { missing, until: None }]);
    assert!(window(&[backup(1, 2, 3)], wal(5), &history).gaps.is_empty(), "the segment in which it is left is copied");
}

#[test]
fn an_interval_ends_with_its_last_transaction_if_that_is_known() {
    let mut coverage = coverage((1..=9).map(|number| (1, number)));
    let contents = RunContents { last_end: Some(minute(9)), unverified: 2 };
    coverage.describe(|_| Ok::<_, Infallible>((contents, Vec::new()))).unwrap();
    let window = recovery_window(&[backup(1, 2, 3)], coverage, &TimelineTree::default());
    assert_eq!((window.intervals[0].end_time, window.intervals[0].unverified), (minute(9), Some(2)));
}

#[test]
fn behind_a_backup_that_is_kept_for_itself_nothing_is_missing() {
    let wal = || (1..=9).filter(|number| *number != 5).map(|number| (1, number));
    for (keep, gaps) in [(Keep::STANDALONE, 0), (Keep::FULL, 1)] {
        let mut kept = backup(1, 2, 3);
        kept.candidate.keep = Some(keep);
        let alone = window(&[kept, backup(1, 7, 8)], wal(), &[]);
        assert_eq!((alone.gaps.len(), alone.intervals.len()), (gaps, 2), "{keep:?}");
        let with_older = window(&[backup(1, 1, 1), kept, backup(1, 7, 8)], wal(), &[]);
        assert_eq!(with_older.gaps.len(), 1, "{keep:?}");
    }
}
