//! Checks that need no PostgreSQL, by way of an inactive server.

use crate::Home;
use barman_catalog::{BackupInfo, BackupTime, LocalZone, Status};
use barman_server::CheckReport;

fn check(home: &Home) -> CheckReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(home.server.check(None, at("2026-01-10 00:00:00+00:00").instant()))
}

fn at(text: &str) -> BackupTime {
    BackupTime::parse(text, &LocalZone::UTC).expect("a time")
}

#[track_caller]
fn assert_result(report: &CheckReport, name: &str, passed: bool, hint: &str) {
    let result = report.results.iter().find(|result| result.name == name);
    let result = result.unwrap_or_else(|| panic!("no check {name} in {report:?}"));
    assert_eq!((result.passed, result.hint.as_str()), (passed, hint), "{name}");
}

#[test]
fn age_size_and_number_of_backups_are_held_against_the_options() {
    let options = "active = off\narchiver = on\nminimum_redundancy = 2\nlast_backup_maximum_age = 2 DAYS\n\
                   last_backup_minimum_size = 1Ki\nlast_wal_maximum_age = 1 HOUR";
    let home = Home::with(options);
    let empty = check(&home);
    assert_result(
        &empty,
        "backup maximum age",
        false,
        "interval provided: 2 days, latest backup age: No available backups",
    );
    assert_result(
        &empty,
        "minimum redundancy requirements",
        false,
        "have 0 non-incremental backups, expected at least 2",
    );

    for (id, size) in [("20260107T230000", 1024), ("20260108T000000", 1023)] {
        let mut info = BackupInfo::new(id.parse().expect("an id"), "main");
        info.status = Status::Done;
        info.size = Some(size);
        info.end_time = Some(at("2026-01-08 00:00:00+00:00"));
        home.server.catalog().save(&info).expect("the home is ours");
        std::fs::create_dir_all(home.dir.path().join("main/base").join(id).join("data")).expect("the home is ours");
    }
    let report = check(&home);
    // Exactly at the limit is not over it.
    assert_result(&report, "backup maximum age", true, "interval provided: 2 days, latest backup age: 2 days");
    assert_result(&report, "backup minimum size", false, "last backup size 1023 B < 1.0 KiB minimum");
    assert_result(
        &report,
        "minimum redundancy requirements",
        true,
        "have 2 non-incremental backups, expected at least 2",
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let home = Home::with("active = off\narchiver = on");
    std::fs::write(home.dir.path().join("main"), "in the way").expect("the home is ours");
    let report = check(&home);
    let directories = report.results.iter().find(|result| result.name == "directories").expect("it is checked");
    assert!(!directories.passed && directories.hint.contains("main"), "{directories:?}");
}

#[test]
fn a_policy_that_cannot_be_read_fails_its_check() {
    let report = check(&Home::with("active = off\narchiver = on\nretention_policy = KEEP EVERYTHING"));
    assert_result(&report, "retention policy settings", false, "see log");
}
