//! Removing the WAL before the oldest backup.

use barman_catalog::{Error, PurgePlan, Status};

use crate::repository::{Repository, id, name};

const BACKUP: &str = "20260101T000000";

fn repository(names: &[&str]) -> Repository {
    let repository = Repository::new();
    for name in names {
        let directory = if name.ends_with(".history") { "wals".to_owned() } else { format!("wals/{}", &name[..16]) };
        repository.write(&format!("{directory}/{name}"), "wal");
    }
    repository.recorded();
    repository
}

fn plan(repository: &Repository, backup: &str) -> Option<PurgePlan> {
    repository.catalog.plan_purge(&id(backup)).expect("readable")
}

fn files(plan: &PurgePlan) -> Vec<String> {
    plan.files.iter().map(ToString::to_string).collect()
}

#[test]
fn everything_before_the_backup_goes_except_history() {
    let old = ["0000000100000000000000FE", "0000000100000000000000FF", "0000000100000000000000FF.00000028.backup"];
    let kept = [
        "000000010000000100000000.00000028.backup",
        "000000010000000100000001",
        "000000010000000100000001.partial",
        "000000020000000000000001",
    ];
    let all = [&old[..], &["000000010000000100000000"], &kept, &["00000002.history"]].concat();
    let repository = repository(&all);
    repository.backup(BACKUP, "000000010000000100000000", "000000010000000100000001", Status::Done);
    let plan = plan(&repository, BACKUP).expect("a plan");
    assert_eq!(files(&plan), old);
    let mut removed = Vec::new();
    repository.catalog.purge(&plan, |name| removed.push(name.to_string())).expect("purged");
    assert_eq!(removed, old);
    let mut left = [&["000000010000000100000000", "00000002.history"], &kept[..]].concat();
    left.sort_unstable();
    let left: Vec<_> = left.into_iter().map(str::to_owned).collect();
    let mut recorded = repository.recorded();
    recorded.sort();
    assert_eq!((repository.archived(), recorded), (left.clone(), left));
    assert!(!repository.path("wals/0000000100000000").exists());
}

#[test]
fn only_the_oldest_complete_backup_purges() {
    let repository = repository(&[&name(1), &name(2), &name(3)]);
    repository.backup("20251231T000000", &name(1), &name(1), Status::Failed);
    repository.backup(BACKUP, &name(2), &name(2), Status::WaitingForWals);
    repository.backup("20260102T000000", &name(3), &name(3), Status::Done);
    assert_eq!(plan(&repository, "20260102T000000"), None);
    assert_eq!(plan(&repository, "20251231T000000"), None);
    assert_eq!(files(&plan(&repository, BACKUP).expect("a plan")), [name(1)]);
}

#[test]
fn a_plan_for_another_state_of_the_catalog_removes_nothing() {
    let repository = repository(&[&name(1), &name(2)]);
    repository.backup(BACKUP, &name(2), &name(2), Status::Done);
    let plan = plan(&repository, BACKUP).expect("a plan");
    repository.backup("20251231T000000", &name(1), &name(1), Status::Done);
    assert!(matches!(repository.catalog.purge(&plan, |_| {}), Err(Error::PlanOutdated { .. })));
    assert_eq!(repository.archived(), [name(1), name(2)]);
}

#[test]
fn files_without_an_entry_go_too() {
    let repository = repository(&[&name(1), &name(2)]);
    repository.write("wals/main-xlog.db", "");
    repository.backup(BACKUP, &name(2), &name(2), Status::Done);
    assert_eq!(files(&plan(&repository, BACKUP).expect("a plan")), [name(1)]);
}

/// What `cron` makes of the archive: names, and whether the mark is gone.
fn finished(repository: &Repository) -> (Vec<String>, bool) {
    repository.catalog.finish_purge().expect("finished");
    (repository.archived(), !repository.path("purging").exists())
}

#[test]
fn what_an_interrupted_purge_left_goes_without_its_backup_being_deleted() {
    let repository = repository(&[&name(1), &name(2), &name(3)]);
    repository.catalog.mark_purge(&id(BACKUP)).expect("marked");
    repository.backup(BACKUP, &name(3), &name(3), Status::Done);
    // Killed when the lines were gone, and one file.
    repository.write("wals/main-xlog.db", format!("{}\t3\t1.0\tNone\tNone\n", name(3)));
    std::fs::remove_file(repository.path(&format!("wals/0000000100000000/{}", name(1)))).expect("it is there");
    assert_eq!(finished(&repository), (vec![name(3)], true));
    repository.write(&format!("wals/0000000100000000/{}", name(2)), "what Barman archived and did not record");
    assert_eq!(finished(&repository), (vec![name(2), name(3)], true));
}

#[test]
fn what_the_server_wrote_before_the_backup_and_delivers_late_goes_too() {
    let repository = repository(&[&name(1), &name(3)]);
    repository.catalog.mark_purge(&id(BACKUP)).expect("marked");
    repository.backup(BACKUP, &name(3), &name(4), Status::WaitingForWals);
    assert_eq!(finished(&repository), (vec![name(3)], false));
    for late in [2, 4] {
        repository.write(&format!("wals/0000000100000000/{}", name(late)), "wal");
    }
    repository.catalog.rebuild_index().expect("rebuilt");
    repository.backup(BACKUP, &name(3), &name(4), Status::Done);
    assert_eq!(finished(&repository), (vec![name(3), name(4)], true));
}

#[test]
fn a_purge_before_a_backup_that_never_counted_removes_nothing() {
    let repository = repository(&[&name(1), &name(2)]);
    repository.catalog.mark_purge(&id(BACKUP)).expect("marked");
    repository.backup(BACKUP, &name(2), &name(2), Status::Failed);
    assert_eq!(finished(&repository), (vec![name(1), name(2)], true));
}

#[test]
fn only_the_first_backup_that_counts_is_marked() {
    let repository = repository(&[&name(1), &name(2)]);
    repository.backup("20251231T000000", &name(1), &name(1), Status::Done);
    repository.catalog.mark_purge(&id(BACKUP)).expect("nothing to do");
    assert!(!repository.path("purging").exists());
}
