//! Bringing the status of a backup up to date.

use barman_catalog::{CheckBackupError, LockError, Status, WalSource};

use crate::repository::{Repository, backup, id, name, segment};

const BACKUP: &str = "20260101T000000";

fn deliver(repository: &Repository, numbers: &[u64]) {
    for number in numbers {
        repository.write(&format!("incoming/{}", name(*number)), segment(&name(*number), 7));
    }
    repository.ingest(WalSource::Incoming).expect("a run");
}

fn status(repository: &Repository) -> Status {
    let checked = repository.catalog.check_backup(&id(BACKUP)).expect("checked");
    assert_eq!(repository.catalog.backup(&id(BACKUP)).expect("a record"), checked);
    checked.status
}

#[test]
fn a_backup_is_done_when_its_wal_is_archived() {
    let repository = Repository::new();
    repository.backup(BACKUP, &name(2), &name(3), Status::WaitingForWals);
    assert_eq!(status(&repository), Status::WaitingForWals);
    deliver(&repository, &[1, 2]);
    assert_eq!(status(&repository), Status::WaitingForWals);
    deliver(&repository, &[3]);
    assert_eq!(status(&repository), Status::Done);
}

#[test]
fn a_backup_with_a_hole_has_failed() {
    let repository = Repository::new();
    repository.backup(BACKUP, &name(2), &name(4), Status::WaitingForWals);
    deliver(&repository, &[2, 4]);
    assert_eq!(status(&repository), Status::Failed);
    let error = repository.catalog.backup(&id(BACKUP)).expect("a record").error.expect("a reason");
    assert_eq!(error, format!("At least one WAL file is missing. The first missing WAL file is {}", name(3)));
    assert!(matches!(repository.catalog.check_backup(&id(BACKUP)), Err(CheckBackupError::Failed { .. })));
}

#[test]
fn a_segment_that_waits_to_be_archived_is_no_hole() {
    let repository = Repository::new();
    repository.backup(BACKUP, &name(2), &name(4), Status::WaitingForWals);
    deliver(&repository, &[2, 4]);
    repository.write(&format!("streaming/{}", name(3)), segment(&name(3), 7));
    assert_eq!(status(&repository), Status::WaitingForWals);
}

#[test]
fn a_segment_that_is_listed_and_lost_is_a_hole() {
    for lost in 2..=4 {
        let repository = Repository::new();
        repository.backup(BACKUP, &name(2), &name(4), Status::WaitingForWals);
        deliver(&repository, &[2, 3, 4, 5]);
        let archived = repository.path(&format!("wals/0000000100000000/{}", name(lost)));
        let arriving = repository.path(&format!("incoming/{}", name(lost)));
        std::fs::rename(&archived, &arriving).expect("renamed");
        assert_eq!(status(&repository), Status::WaitingForWals);
        std::fs::remove_file(&arriving).expect("removed");
        assert_eq!(status(&repository), Status::Failed);
        let error = repository.catalog.backup(&id(BACKUP)).expect("a record").error.expect("a reason");
        assert!(error.ends_with(&name(lost)), "{error}");
    }
}

#[test]
fn a_backup_whose_data_is_not_complete_does_not_become_so() {
    let repository = Repository::new();
    deliver(&repository, &[2, 3, 5]);
    for incomplete in [Status::Started, Status::Syncing, Status::Empty] {
        for end in [3, 5] {
            let info = backup(BACKUP, &name(2), &name(end), incomplete);
            repository.write(&format!("meta/{BACKUP}-backup.info"), info.to_text());
            assert_eq!(status(&repository), incomplete);
        }
    }
}

#[test]
fn a_backup_in_use_is_not_checked() {
    let repository = Repository::new();
    repository.backup(BACKUP, &name(2), &name(3), Status::WaitingForWals);
    let _lease = repository.catalog.lease(&id(BACKUP)).expect("free");
    let checked = repository.catalog.check_backup(&id(BACKUP));
    assert!(matches!(checked, Err(CheckBackupError::Lock(LockError::Busy { .. }))));
}
