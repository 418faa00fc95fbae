//! The real Barman 3.19.1 and this program on one home: each works with what the other made.

use crate::scene::{Scene, wait_until};
use crate::targets::{plan, replayed};
use std::path::Path;
use test_support::{Barman, Postgres};

#[test]
fn barman_lists_shows_checks_and_restores_a_backup_of_ours() {
    let scene = Scene::streaming();
    let barman = Barman::reference();
    scene.server.psql("create table t as select generate_series(1, 1000) as row");
    scene.succeed(&["backup", "--wait", "--name", "ours", "main"]);
    scene.server.psql("insert into t values (1001)");
    scene.archive_everything();

    for command in [
        &["list-backups", "main"][..],
        &["show-backup", "main", "latest"],
        &["list-backups", "--minimal", "main"],
        &["check-backup", "main", "ours"],
        &["list-servers"],
    ] {
        assert_eq!(barman.succeed(&scene.home, command), scene.succeed(command), "{command:?}");
        let json: Vec<&str> = [&["-f", "json"], command].concat();
        assert_eq!(barman.succeed(&scene.home, &json), scene.succeed(&json), "{json:?}");
    }
    let theirs = barman.run(&scene.home, &["check", "main"]);
    assert_eq!((theirs.code, failed_checks(&theirs.stdout)), (Some(0), Vec::new()), "{theirs:?}");

    let data = scene.destination();
    barman.succeed(&scene.home, &["restore", "main", "latest", text(&data)]);
    assert_eq!(row_count(&data), "1001");
}

#[test]
fn we_list_show_check_and_restore_a_backup_of_barmans() {
    let scene = Scene::of(Postgres::builder());
    let barman = Barman::reference();
    barman.succeed(&scene.home, &["receive-wal", "--create-slot", "main"]);
    barman.succeed(&scene.home, &["cron"]);
    scene.wait_until_streaming();
    scene.server.psql("create table t as select generate_series(1, 1000) as row");
    // Barman takes no backup before some WAL is archived.
    barman.succeed(&scene.home, &["switch-wal", "--force", "--archive", "main"]);
    barman.succeed(&scene.home, &["backup", "--wait", "--name", "theirs", "main"]);
    barman.succeed(&scene.home, &["receive-wal", "--stop", "main"]);

    // Our receiver goes on where Barman's pg_receivewal stopped.
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.server.psql("insert into t values (1001)");
    scene.archive_everything();

    assert!(scene.succeed(&["list-backups", "main"]).contains("'theirs' - F - "));
    assert!(scene.succeed(&["show-backup", "main", "theirs"]).contains("Status                 : DONE"));
    scene.succeed(&["check", "main"]);
    let data = scene.restore("theirs", &[]);
    assert_eq!(row_count(&data), "1001");
}

#[test]
fn both_print_the_same_report_of_checks() {
    let scene = Scene::streaming();
    scene.server.psql("create table t ()");
    scene.succeed(&["backup", "--wait", "main"]);
    let ours = scene.succeed(&["check", "main"]);
    let theirs = Barman::reference().succeed(&scene.home, &["check", "main"]);
    assert_eq!(check_names(&ours), check_names(&theirs));
}

fn check_names(report: &str) -> Vec<&str> {
    report.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name).collect()
}

fn failed_checks(report: &str) -> Vec<&str> {
    report.lines().filter(|line| line.contains("FAILED")).collect()
}

fn row_count(data: &Path) -> String {
    let mut server = Postgres::builder().start_existing(data);
    server.wait_until_recovered();
    server.psql("select count(*) from t")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[test]
fn what_a_backup_and_a_restore_report_has_barmans_keys() {
    let scene = Scene::streaming();
    let barman = Barman::reference();
    scene.server.psql("create table t ()");
    scene.archive_everything();
    let ours = scene.succeed(&["-f", "json", "backup", "--wait", "--immediate-checkpoint", "main"]);
    let theirs = barman.succeed(&scene.home, &["-f", "json", "backup", "--wait", "--immediate-checkpoint", "main"]);
    assert_eq!(keys(&ours), keys(&theirs));

    let (first, second) = (scene.destination(), scene.destination().with_extension("theirs"));
    let restore = ["-f", "json", "restore", "--get-wal", "main", "latest"];
    let ours = scene.succeed(&[&restore[..], &[text(&first)]].concat());
    let theirs = barman.succeed(&scene.home, &[&restore[..], &[text(&second)]].concat());
    assert_eq!(keys(&ours), keys(&theirs));
    for key in ["changes", "changes_count", "missing_files", "warnings", "warnings_count", "_WARNING"] {
        assert_eq!(value(&ours, key), value(&theirs, key), "{key}");
    }
    let record = |data: &Path| std::fs::read_to_string(data.join(".barman-recover.info")).expect("the record");
    assert_eq!(record(&first), record(&second));

    let (first, second) = (first.with_extension("text"), second.with_extension("text-theirs"));
    let restore = ["restore", "--target-immediate", "--target-tli", "current", "main", "latest"];
    let ours = scene.succeed(&[&restore[..], &[text(&first)]].concat());
    let theirs = barman.succeed(&scene.home, &[&restore[..], &[text(&second)]].concat());
    let (where_it_stops, lines): (Vec<_>, Vec<_>) = without_times_and_places(&ours).into_iter().partition(says_where);
    assert_eq!(lines, without_times_and_places(&theirs));
    // What Barman does not know.
    assert_eq!(where_it_stops.len(), 3, "{where_it_stops:?}");
}

/// By Barman's record its backup ends where the server was when it had the backup: behind a segment's border.
#[test]
fn a_backup_of_barmans_is_consistent_where_the_plan_says() {
    let scene = Scene::streaming();
    scene.server.psql("create table t as select generate_series(1, 1000) as row");
    scene.archive_everything();
    Barman::reference().succeed(&scene.home, &["backup", "--wait", "--immediate-checkpoint", "main"]);
    scene.server.psql("insert into t values (1001)");
    scene.archive_everything();
    check_immediate(&scene);
}

/// Nor does a standby write a record that ends a backup.
#[test]
fn a_backup_of_barmans_of_a_standby_is_consistent_where_the_plan_says() {
    let mut scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    let standby = Postgres::builder().start_standby_of(&scene.server);
    let primary = std::mem::replace(&mut scene.server, standby);
    scene.configure(&scene.server, &[("primary_conninfo", &primary.conninfo())]);
    scene.start_streaming();
    primary.psql("create table t as select generate_series(1, 1000) as row; select pg_switch_wal(); checkpoint");
    let wals = scene.home.path().join("main/wals/0000000100000000");
    wait_until("WAL is archived", || wals.is_dir());
    Barman::reference().succeed(&scene.home, &["backup", "main"]);
    primary.psql("insert into t values (1001); select pg_switch_wal()");
    check_immediate(&scene);
}

/// Recovers the latest backup until it is consistent.
fn check_immediate(scene: &Scene) {
    let stop = plan(scene, "latest", &["--target-immediate"])["stop"].clone();
    let mut server = Postgres::builder().start_existing(&scene.restore("latest", &["--target-immediate"]));
    server.wait_until_paused();
    assert_eq!(stop["replayed_to_lsn"], replayed(&server).as_str(), "{stop}\n{}", server.log());
    assert_eq!(server.psql("select count(*) from t"), "1000");
}

fn without_times_and_places(text: &str) -> Vec<&str> {
    let varies = |line: &&str| line.starts_with("Destination directory") || line.starts_with("Restore operation");
    text.lines().filter(|line| !varies(line)).collect()
}

fn says_where(line: &&str) -> bool {
    const STARTS: [&str; 3] = ["Recovery stops ", "Last transaction in: ", "First one left out: "];
    STARTS.iter().any(|start| line.starts_with(start))
}

fn keys(json: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(json).expect("the output is JSON");
    document.as_object().expect("the document is an object").keys().cloned().collect()
}

fn value(json: &str, key: &str) -> serde_json::Value {
    let document: serde_json::Value = serde_json::from_str(json).expect("the output is JSON");
    document[key].clone()
}
