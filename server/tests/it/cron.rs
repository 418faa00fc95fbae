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

/// What cron starts, where nothing is in its way.
fn due(home: &Home) -> Vec<Task> {
    let due = home.server.maintenance().expect("nobody else is at work");
    assert!(due.problems.is_empty(), "{:?}", due.problems);
    due.tasks
}

#[test]
fn what_is_idle_is_started() {
    let tasks = |options| due(&Home::with(options));
    assert_eq!(tasks(STREAMING), [Task::ArchiveWal, Task::ReceiveWal]);
    assert_eq!(tasks("archiver = on"), [Task::ArchiveWal]);
}

#[test]
fn what_runs_already_is_not_started_again() {
    let home = Home::with(STREAMING);
    home.server.catalog().create_directories().expect("the home is ours");
    let archiver = home.server.catalog().lock(Lock::ArchiveWal).expect("nobody holds it");
    assert_eq!(due(&home), [Task::ReceiveWal]);
    drop(archiver);
    let _receiver = home.server.catalog().lock(Lock::ReceiveWal).expect("nobody holds it");
    assert_eq!(due(&home), [Task::ArchiveWal]);
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
    assert_eq!(due(&home), [Task::ArchiveWal, Task::CheckBackup(first), Task::CheckBackup(second)]);
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

#[test]
fn wal_goes_on_arriving_whatever_else_is_broken() {
    let home = Home::with("streaming_archiver = on\nslot_name = barman\nretention_policy = REDUNDANCY 2");
    save(&home, "20260101T000000", Status::Done);
    let record = home.dir.path().join("main/meta/20260101T000000-backup.info");
    std::fs::write(record, "no record at all").expect("the home is ours");
    let due = home.server.maintenance().expect("nobody else is at work");
    assert_eq!(due.tasks, [Task::ArchiveWal, Task::ReceiveWal]);
    assert!(due.problems.iter().any(|problem| matches!(problem, Error::Catalog(_))), "{:?}", due.problems);
}

#[test]
fn a_passive_server_gets_no_receiver() {
    let home = Home::with("streaming_archiver = on\nslot_name = barman\nprimary_ssh_command = ssh barman@primary");
    assert!(matches!(home.server.maintenance(), Err(Error::UnsupportedOption { .. })));
}
