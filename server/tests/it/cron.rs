//! What is due, and what a killed process left behind.

use crate::Home;
use barman_catalog::{BackupId, BackupInfo, Lock, Status};
use barman_server::{Error, Task};

const STREAMING: &str = "streaming_archiver = on\nslot_name = barman";

fn save(home: &Home, id: &str, status: Status) -> BackupId {
    let mut info = BackupInfo::new(id.parse().expect("an id"), "main");
    info.status = status;
    home.server.catalog().create_directories().expect("the home is ours");
    home.server.catalog().save(&info).expect("the home is ours");
    info.backup_id
}

#[test]
fn what_is_idle_is_started() {
    let tasks = |options| Home::with(options).server.maintenance().expect("nobody else is at work");
    assert_eq!(tasks(STREAMING), [Task::ArchiveWal, Task::ReceiveWal]);
    assert_eq!(tasks("archiver = on"), [Task::ArchiveWal]);
}

#[test]
fn what_runs_already_is_not_started_again() {
    let home = Home::with(STREAMING);
    home.server.catalog().create_directories().expect("the home is ours");
    let archiver = home.server.catalog().lock(Lock::ArchiveWal).expect("nobody holds it");
    assert_eq!(home.server.maintenance().expect("cron may run"), [Task::ReceiveWal]);
    drop(archiver);
    let _receiver = home.server.catalog().lock(Lock::ReceiveWal).expect("nobody holds it");
    assert_eq!(home.server.maintenance().expect("cron may run"), [Task::ArchiveWal]);
}

#[test]
fn one_cron_at_a_time_looks_after_a_server() {
    let home = Home::with(STREAMING);
    home.server.catalog().create_directories().expect("the home is ours");
    let _cron = home.server.catalog().lock(Lock::Cron).expect("nobody holds it");
    assert!(matches!(home.server.maintenance(), Err(Error::Busy { .. })));
}

#[test]
fn every_backup_that_waits_for_wal_is_checked() {
    let home = Home::with("archiver = on");
    let first = save(&home, "20260101T000000", Status::WaitingForWals);
    save(&home, "20260102T000000", Status::Done);
    let second = save(&home, "20260103T000000", Status::WaitingForWals);
    let tasks = home.server.maintenance().expect("nobody else is at work");
    assert_eq!(tasks, [Task::ArchiveWal, Task::CheckBackup(first), Task::CheckBackup(second)]);
}

#[test]
fn an_interrupted_backup_is_marked_as_failed_unless_one_is_running() {
    let home = Home::with("archiver = on");
    let id = save(&home, "20260101T000000", Status::Started);
    let status = || home.server.catalog().backup(&id).expect("it is there").status;

    let running = home.server.catalog().lock(Lock::Backup).expect("nobody holds it");
    home.server.maintenance().expect("cron may run beside a backup");
    assert_eq!(status(), Status::Started);

    drop(running);
    home.server.maintenance().expect("nobody else is at work");
    assert_eq!(status(), Status::Failed);
}
