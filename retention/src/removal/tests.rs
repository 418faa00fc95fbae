//! The rules one by one. That they are Barman's is judged by Barman: see `tests/it` and `scripts/retention-differential`.

use super::*;
use crate::candidate::{Candidate, Keep, Stage, State};

const NOW: Timestamp = Timestamp::from_pg_micros(0);

/// A backup called after its first segment.
fn backup(id: u32, timeline: u32, stage: Stage) -> Backup<u32> {
    Backup {
        candidate: Candidate { id, state: State::Other, keep: None, root: None },
        stage,
        timeline: TimelineId::new(timeline),
        begin_wal: Some(segment(timeline, id)),
        end_wal: Some(segment(timeline, id + 1)),
        end_lsn: None,
        size: 0,
        marked: false,
        in_use: false,
    }
}

fn done(id: u32) -> Backup<u32> {
    backup(id, 1, Stage::Done)
}

fn standalone(id: u32) -> Backup<u32> {
    let mut backup = done(id);
    backup.candidate.keep = Some(Keep::STANDALONE);
    backup
}

fn segment(timeline: u32, segment: u32) -> SegmentName {
    SegmentName { timeline: TimelineId::new(timeline).unwrap(), log: 0, segment }
}

/// The segments 0 to 99 of timelines 1 to 3 that go with the backups `deleted`, in this order: `timeline:from-to`.
#[track_caller]
fn check(backups: &[Backup<u32>], deleted: &[u32], occasion: Occasion, expected: &str) {
    let mut remaining = Remaining::new(backups, NOW);
    let mut freed = Freed::default();
    for id in deleted {
        remaining.delete(id, occasion).into_iter().for_each(|removal| freed.add(id, removal));
    }
    let mut shown: Vec<(u32, u32, u32)> = Vec::new();
    for (timeline, number) in (1..=3).flat_map(|timeline| (0..100).map(move |number| (timeline, number))) {
        if freed.why(&WalFileName::Segment(segment(timeline, number))).is_none() {
            continue;
        }
        match shown.last_mut().filter(|last| (last.0, last.2 + 1) == (timeline, number)) {
            Some(last) => last.2 = number,
            None => shown.push((timeline, number, number)),
        }
    }
    let shown: Vec<_> = shown.iter().map(|(timeline, from, to)| format!("{timeline}:{from}-{to}")).collect();
    assert_eq!(shown.join(" "), expected);
}

use Occasion::{Command, Policy};

#[test]
fn the_oldest_backup_takes_the_wal_before_the_next_with_it() {
    check(&[done(10), done(20)], &[10], Policy, "1:0-19");
    check(&[done(10), done(20)], &[20], Policy, "");
    check(&[done(10), done(20), done(30)], &[10, 20], Policy, "1:0-29");
    check(&[done(10), done(20), done(30)], &[20, 10], Command, "1:0-29");
}

#[test]
fn the_last_backup_leaves_its_own_wal_and_what_follows() {
    check(&[done(10)], &[10], Policy, "1:0-9");
}

#[test]
fn a_backup_in_the_middle_frees_nothing() {
    check(&[done(10), done(20), done(30)], &[20], Policy, "");
}

#[test]
fn a_backup_that_waits_for_wal_is_the_next_and_one_that_failed_is_not() {
    check(&[done(10), backup(20, 1, Stage::WaitingForWals), done(30)], &[10], Policy, "1:0-19");
    check(&[done(10), backup(20, 1, Stage::Failed), done(30)], &[10], Policy, "1:0-29");
    check(&[done(10), backup(20, 1, Stage::Started)], &[10], Policy, "1:0-9");
}

#[test]
fn a_failed_backup_frees_what_is_before_the_next_unless_an_older_one_is_complete() {
    let failed = |id| backup(id, 1, Stage::Failed);
    check(&[failed(10), done(20)], &[10], Command, "1:0-19");
    check(&[failed(5), failed(10), done(20)], &[10], Command, "1:0-19");
    check(&[backup(5, 1, Stage::WaitingForWals), failed(10), done(20)], &[10], Command, "");
    check(&[done(5), failed(10), done(20)], &[10], Command, "");
    check(&[failed(5), done(10), done(20)], &[10], Command, "1:0-19");
}

#[test]
fn a_full_keep_holds_all_later_wal_and_a_standalone_one_its_own() {
    let mut full = done(10);
    full.candidate.keep = Some(Keep::FULL);
    check(&[full, done(20), done(30)], &[20], Policy, "");
    check(&[standalone(10), done(20), done(30)], &[20], Policy, "1:0-9 1:12-29");
    check(&[standalone(10), standalone(20), done(30), done(40)], &[30], Policy, "1:0-9 1:12-19 1:22-39");
    check(&[standalone(10), done(20), done(30)], &[20], Command, "");
}

#[test]
fn wal_on_the_timeline_of_another_backup_stays() {
    let backups = [done(10), backup(20, 2, Stage::Done), backup(30, 3, Stage::Done)];
    // The next backup is on timeline 2: timeline 1 goes, of timeline 2 what is before it.
    check(&backups, &[10], Policy, "1:0-99 2:0-19");
    check(&backups, &[10, 20], Policy, "1:0-99 2:0-99 3:0-29");
    let backups = [backup(10, 2, Stage::Done), done(20), backup(30, 2, Stage::Done)];
    check(&backups, &[10], Policy, "1:0-19");
    let failed = [done(10), backup(20, 2, Stage::Done), backup(30, 1, Stage::Failed)];
    check(&failed, &[10], Policy, "1:0-99 2:0-19");
    let started = [done(10), backup(20, 2, Stage::Done), backup(30, 1, Stage::Started)];
    check(&started, &[10], Policy, "2:0-19");
}

#[test]
fn what_is_not_there_frees_nothing() {
    check(&[done(10), done(20)], &[15], Policy, "");
    check(&[done(10), done(20), done(30)], &[10, 10], Policy, "1:0-19");
    check(&[], &[10], Policy, "");
}

#[test]
fn a_backup_that_does_not_say_what_it_needs_frees_nothing() {
    let mut unknown = done(20);
    unknown.begin_wal = None;
    check(&[done(10), unknown], &[10], Policy, "");
    let mut unknown = standalone(10);
    unknown.end_wal = None;
    check(&[unknown, done(20), done(30)], &[20], Policy, "");
}

#[test]
fn the_first_of_several_removals_is_the_reason() {
    let backups = [done(10), done(20), done(30)];
    let mut remaining = Remaining::new(&backups, NOW);
    let mut freed = Freed::default();
    for id in [10, 20] {
        freed.add(&id, remaining.delete(&id, Policy).expect("no older backup"));
    }
    let why = |name: &str| freed.why(&name.parse().unwrap()).copied();
    assert_eq!(why("000000010000000000000013"), Some(10));
    assert_eq!(why("000000010000000000000014"), Some(20));
    assert_eq!(why("00000001000000000000001E"), None);
    // 0x1D is 29: the last before the third backup.
    assert_eq!(why("00000001000000000000001D.partial"), Some(20));
    assert_eq!(why("00000001000000000000001E.00000028.backup"), None);
    assert_eq!(why("00000002.history"), None);
}
