//! Locks and leases.

use std::time::Duration;

use barman_catalog::{Lock, LockError, Status};

use crate::repository::{Repository, id};

#[test]
fn a_lock_is_held_until_it_is_dropped() {
    let repository = Repository::new();
    let held = repository.catalog.lock(Lock::ArchiveWal).expect("free");
    let name = repository.home.join(".main-archive-wal.lock");
    assert_eq!(std::fs::read_to_string(&name).expect("readable"), format!("{}\n", std::process::id()));
    match repository.catalog.lock(Lock::ArchiveWal) {
        Err(LockError::Busy { path, pid }) => assert_eq!((path, pid), (name, Some(std::process::id()))),
        other => panic!("{other:?}"),
    }
    assert_eq!(repository.catalog.lock_holder(Lock::ArchiveWal).expect("readable"), Some(std::process::id()));
    drop(held);
    assert_eq!(repository.catalog.lock_holder(Lock::ArchiveWal).expect("readable"), None);
    drop(repository.catalog.lock(Lock::ArchiveWal).expect("free again"));
}

#[test]
fn leases_coexist_and_keep_deletion_out() {
    let repository = Repository::new();
    let backup = id("20261120T164416");
    let first = repository.catalog.lease(&backup).expect("free");
    let second = repository.catalog.lease(&backup).expect("shared");
    drop(first);
    assert!(matches!(repository.catalog.lock(Lock::BackupId(backup)), Err(LockError::Busy { .. })));
    drop(second);
    let deletion = repository.catalog.lock(Lock::BackupId(backup)).expect("free");
    assert!(matches!(repository.catalog.lease(&backup), Err(LockError::Busy { pid: Some(_), .. })));
    drop(deletion);
}

#[test]
fn whoever_uses_a_backup_for_a_moment_is_waited_for() {
    let repository = Repository::new();
    let backup = repository.backup("20261120T164416", "", "", Status::Done).backup_id;
    let moment = Duration::from_millis(300);
    let checking = repository.catalog.lock(Lock::BackupId(backup)).expect("free");
    std::thread::scope(|scope| {
        let lease = scope.spawn(|| repository.catalog.lease(&backup));
        std::thread::sleep(moment);
        drop(checking);
        let lease = lease.join().expect("no panic").expect("free in time");
        let checked = scope.spawn(|| repository.catalog.check_backup(&backup));
        std::thread::sleep(moment);
        drop(lease);
        checked.join().expect("no panic").expect("free in time");
    });
}

#[test]
fn different_locks_do_not_exclude_each_other() {
    let repository = Repository::new();
    let locks = [Lock::Cron, Lock::Backup, Lock::BackupId(id("20261120T164416")), Lock::ArchiveWal, Lock::ReceiveWal];
    let held: Vec<_> = locks.into_iter().map(|lock| repository.catalog.lock(lock).expect("free")).collect();
    assert_eq!(held.len(), 5);
}

#[test]
fn only_lock_files_that_nobody_holds_are_cleaned_away() {
    let repository = Repository::new();
    let backup = id("20261120T164416");
    drop(repository.catalog.lock(Lock::Cron).expect("free"));
    let _held = repository.catalog.lock(Lock::ArchiveWal).expect("free");
    let _lease = repository.catalog.lease(&backup).expect("free");
    std::fs::write(repository.home.join("other.lock"), "not hidden, so not a lock of ours").expect("the home is ours");

    repository.catalog.clean_lock_directory().expect("the home is ours");
    let exists = |name: &str| repository.home.join(name).exists();
    assert!(!exists(".main-cron.lock"));
    assert!(exists(".main-archive-wal.lock") && exists(".main-20261120T164416.lock") && exists("other.lock"));
    drop(repository.catalog.lock(Lock::Cron).expect("a removed lock can be taken again"));
}
