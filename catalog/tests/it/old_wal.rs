//! WAL that goes because of its age: what a crash leaves of it goes with the next deletion, and nothing else does.

use barman_catalog::{DeleteEvent, DeleteOptions, Lock, NoHooks};
use barman_retention::{Freed, Request, Rules, Timestamp, old_wal};
use barman_storage::Cancel;
use wal_format::{SegmentSize, TimelineTree};

use crate::crash::after_each_crash;
use crate::repository::{Repository, id, name};

const DAY: i64 = 86_400;
const NOW: Timestamp = Timestamp::from_unix_micros(20_000 * DAY * 1_000_000);

/// A server without backups: segments 1 to 8, each written a day after the one before, the last just now.
fn wal_only(repository: &Repository) {
    let mut index = String::new();
    for number in 1..=8 {
        repository.write(&format!("wals/0000000100000000/{}", name(number)), "wal");
        let days_ago = 8 - i64::try_from(number).expect("a small number");
        index.push_str(&format!("{}\t3\t{}.0\tNone\tNone\n", name(number), (20_000 - days_ago) * DAY));
    }
    repository.write("wals/main-xlog.db", index);
}

/// What is older than two days: segments 1 to 5.
fn old(repository: &Repository) -> Freed<Timestamp> {
    let rules: Rules = "REDUNDANCY 1 WAL FOR 2 DAYS".parse().expect("rules");
    old_wal::<u8>(&Request {
        rules: &rules,
        minimum_redundancy: 0,
        now: NOW,
        backups: &[],
        wal: &repository.catalog.archived_wal().expect("index"),
        damage: &[],
        timelines: &TimelineTree::default(),
        segment_size: SegmentSize::DEFAULT,
        zones: &|_: &str, _| None,
    })
}

fn remove(repository: &Repository) {
    repository.catalog.remove_wal(&old(repository), &[], &Cancel::new(), &mut |_| {}).expect("removed");
}

/// Finishes what was interrupted; returns what went.
fn finish(repository: &Repository) -> Vec<String> {
    let (cancel, mut went) = (Cancel::new(), Vec::new());
    let options = DeleteOptions { now: NOW, hooks: &NoHooks, cancel: &cancel };
    let mut event = |event: DeleteEvent<'_>| match event {
        DeleteEvent::OldWal(names) => went.extend(names.iter().map(ToString::to_string)),
        other => panic!("{other:?}"),
    };
    repository.catalog.finish_deletions(&options, &mut event).expect("finished");
    went
}

fn names(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(name).collect()
}

#[test]
fn whatever_a_crash_leaves_is_finished_by_the_next_deletion() {
    after_each_crash(wal_only, remove, |left, crash, returned| {
        let archived = left.archived();
        assert!(left.recorded().iter().all(|name| archived.contains(name)), "{crash:?}");
        assert!(!returned || archived == names(6..=8), "{crash:?}");
        finish(left);
        // Either nothing had been taken out of the index, and the policy decides anew, or all of it is gone.
        assert_eq!(left.archived(), left.recorded(), "{crash:?}");
        assert!([names(1..=8), names(6..=8)].contains(&left.archived()), "{crash:?}");
        assert!(!left.names(".").contains(&"removing".to_owned()), "{crash:?}");
        remove(left);
        assert_eq!((left.archived(), left.recorded()), (names(6..=8), names(6..=8)), "{crash:?}");
    });
}

/// Files without a line that no interrupted run has left may be somebody's only copy.
#[test]
fn only_what_the_mark_speaks_of_is_removed() {
    let repository = Repository::new();
    wal_only(&repository);
    repository.write("wals/0000000100000000/0000000100000000000000AA", "not recorded");
    assert!(finish(&repository).is_empty(), "without a mark");
    let interrupted = Cancel::new();
    interrupted.cancel();
    repository.catalog.remove_wal(&old(&repository), &[], &interrupted, &mut |_| {}).expect_err("interrupted");
    assert_eq!((repository.recorded(), repository.archived().len()), (names(6..=8), 9));
    assert_eq!(finish(&repository), names(1..=5));
    assert_eq!(repository.archived().len(), 4, "the one without a line is still there");
}

/// What was archived once more since then is in the index.
#[test]
fn what_is_recorded_again_stays() {
    let repository = Repository::new();
    wal_only(&repository);
    let interrupted = Cancel::new();
    interrupted.cancel();
    repository.catalog.remove_wal(&old(&repository), &[], &interrupted, &mut |_| {}).expect_err("interrupted");
    let again = format!("{}{}\t3\t1.0\tNone\tNone\n", repository.text("wals/main-xlog.db"), name(3));
    repository.write("wals/main-xlog.db", again);
    assert_eq!(finish(&repository), [name(1), name(2), name(4), name(5)]);
    assert!(repository.archived().contains(&name(3)));
}

/// Two at a time could take each other's mark away before its work is done.
#[test]
fn only_one_process_at_a_time_removes_old_wal() {
    let repository = Repository::new();
    wal_only(&repository);
    let other = repository.catalog.lock(Lock::RemoveWal).expect("free");
    remove(&repository);
    assert_eq!(repository.archived(), names(1..=8));
    drop(other);
    remove(&repository);
    assert_eq!(repository.archived(), names(6..=8));
}

#[test]
fn nothing_goes_if_a_backup_came_into_use_since_that_was_decided() {
    let repository = Repository::new();
    wal_only(&repository);
    let (before, backup) = ((repository.archived(), repository.recorded()), id("20261120T164416"));
    let lease = repository.catalog.lease(&backup).expect("free");
    let remove = || repository.catalog.remove_wal(&old(&repository), &[backup], &Cancel::new(), &mut |_| {});
    assert!(!remove().expect("asked"));
    assert_eq!((repository.archived(), repository.recorded()), before);
    assert!(finish(&repository).is_empty() && !repository.path("removing").exists());
    assert_eq!((repository.archived(), repository.recorded()), before);
    drop(lease);
    assert!(remove().expect("asked"));
    assert_eq!(repository.archived(), names(6..=8));
}
