//! What users of other programs ran into with recovery targets, each ending in a plan that is right or in a reason of one line.

use crate::scene::Scene;
use crate::targets::plan;
use serde_json::Value;

/// Two backups, and moments before, between and after them. Each has a transaction right before it.
struct History {
    scene: Scene,
    first: String,
    second: String,
    /// While the second backup was running, or right before.
    before_second: String,
    after_second: String,
    /// A transaction that ended right before `after_second`, and the next one.
    around_after_second: (u64, u64),
    /// After the last transaction, before a checkpoint.
    idle: String,
}

impl History {
    fn write() -> Self {
        let scene = Scene::streaming();
        let moment = |row: u32| {
            let sql = format!("insert into t values ({row}); select pg_sleep(0.05); select clock_timestamp()");
            scene.server.psql(&sql).trim().to_owned()
        };
        scene.server.psql("create table t (row int)");
        let first = backup(&scene);
        let before_second = moment(1);
        // Ids count seconds.
        scene.server.psql("select pg_sleep(1.1)");
        let second = backup(&scene);
        let after_second = moment(2);
        let xid = |row: u32| scene.server.psql(&format!("select xmin from t where row = {row}")).parse();
        scene.server.psql("insert into t values (3)");
        let around_after_second = (xid(2).expect("a number"), xid(3).expect("a number"));
        let idle = scene.server.psql("select pg_sleep(0.05); select clock_timestamp(); select pg_sleep(1.1)");
        scene.server.psql("checkpoint");
        scene.archive_everything();
        let idle = idle.trim().to_owned();
        Self { scene, first, second, before_second, after_second, around_after_second, idle }
    }

    fn refusal(&self, backup: &str, target: &[&str]) -> String {
        let refused = self.scene.run(&[&["plan"], target, &["main", backup]].concat());
        assert_eq!(refused.code, Some(1), "{refused:?}");
        refused.stderr
    }
}

fn backup(scene: &Scene) -> String {
    scene.succeed(&["backup", "--wait", "main"]);
    scene.succeed(&["show-backup", "main", "latest"]).lines().next().map(id_in).expect("a line")
}

/// `Backup 20260101T000000:`
fn id_in(line: &str) -> String {
    line.split_whitespace().last().expect("an id").trim_end_matches(':').to_owned()
}

#[test]
fn threads_about_targets_end_in_a_plan_or_in_a_reason() {
    let history = History::write();
    the_latest_backup_is_chosen_even_if_it_is_newer_than_the_target_time(&history);
    requested_stop_point_is_before_consistent_recovery_point(&history);
    no_commit_after_the_target_time(&history);
    recovery_ended_before_the_target_was_reached(&history);
    a_time_without_zone_is_read_in_some_zone(&history);
    the_target_time_is_earlier_than_every_backup(&history);
    the_required_time_was_noted_after_each_change(&history);
    a_standby_was_promoted_by_accident(&history);
    the_moment_at_which_the_command_is_run(&history);
    nobody_knows_when_the_table_was_deleted(&history);
    the_time_before_a_database_was_dropped_is_not_before_it_is_lost(&history);
}

/// pgbackrest/pgbackrest#817.
fn the_latest_backup_is_chosen_even_if_it_is_newer_than_the_target_time(history: &History) {
    let chosen = |time: &str| plan(&history.scene, "auto", &["--target-time", time])["backup_id"].clone();
    assert_eq!(chosen(&history.before_second), history.first.as_str());
    assert_eq!(chosen(&history.after_second), history.second.as_str());
}

/// pgbackrest/pgbackrest#733, EnterpriseDB/barman#209.
fn requested_stop_point_is_before_consistent_recovery_point(history: &History) {
    let refusal = history.refusal(&history.second, &["--target-time", &history.before_second]);
    assert!(refusal.lines().next().is_some_and(|line| line.contains("is before the backup end time")), "{refusal}");
    assert!(refusal.contains("HINT"), "{refusal}");
}

/// EnterpriseDB/barman#881: PostgreSQL looks for a later commit, finds none, and fails at the end of recovery.
fn no_commit_after_the_target_time(history: &History) {
    let planned = plan(&history.scene, "auto", &["--target-time", &history.idle]);
    assert_eq!(planned["stop"]["reason"], "equivalent_lsn", "{planned}");
    assert!(planned["stop"]["recovery_target_lsn"].is_string(), "{planned}");
}

/// pgbackrest/pgbackrest#1526, #1592 and #1934: it is known before anything is copied.
fn recovery_ended_before_the_target_was_reached(history: &History) {
    let refusal = history.refusal("auto", &["--target-time", "2199-01-01 00:00:00Z"]);
    assert!(refusal.contains("the last transaction in the archive ended at"), "{refusal}");
}

/// pgbackrest/pgbackrest#2452, cloudnative-pg/cloudnative-pg#2701: one program reads the time in one zone, and PostgreSQL in
/// another. The plan names the zone, and the settings have an offset.
fn a_time_without_zone_is_read_in_some_zone(history: &History) {
    let local = history.after_second.split(['+', 'Z']).next().expect("a time");
    let text = history.scene.succeed(&["plan", "--target-time", local, "main", "auto"]);
    assert!(text.contains("(times without a zone are "), "{text}");
    let destination = history.scene.destination();
    let arguments = ["-f", "json", "plan", "--target-time", local, "main", "auto"];
    let text = history.scene.succeed(&[&arguments[..], &[destination.to_str().expect("the path is text")]].concat());
    let planned: Value = serde_json::from_str(&text).expect("plan prints JSON");
    let settings = planned["main"]["restore"]["settings"].as_array().expect("a list");
    let has_offset = |line: &str| line.starts_with("recovery_target_time = ") && line.ends_with("+00:00'");
    assert!(settings.iter().filter_map(Value::as_str).any(has_offset), "{text}");
}

/// pgbackrest/pgbackrest#1582: the restore went on to the latest moment instead.
fn the_target_time_is_earlier_than_every_backup(history: &History) {
    let destination = history.scene.destination();
    let target = ["restore", "--target-time", "2001-01-01 00:00:00Z", "main", "auto"];
    let refused = history.scene.run(&[&target[..], &[destination.to_str().expect("the path is text")]].concat());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.lines().next().is_some_and(|line| line.contains("Cannot find any candidate backup")),
        "{refused:?}"
    );
    assert!(!destination.exists());
}

/// pgbackrest/pgbackrest#593: the first change is to be in and the second one not.
fn the_required_time_was_noted_after_each_change(history: &History) {
    let stop = plan(&history.scene, "auto", &["--target-time", &history.after_second])["stop"].clone();
    let (last, next) = history.around_after_second;
    assert_eq!((&stop["last_transaction"]["xid"], &stop["first_left_out"]["xid"]), (&last.into(), &next.into()));
}

/// pgbackrest/pgbackrest#1372, #2064 and #2669: "requested timeline 2 is not a child of this server's history", once all is copied.
fn a_standby_was_promoted_by_accident(history: &History) {
    let sent = history.scene.home.path().join("main/wals/00000002.history");
    std::fs::write(&sent, "1\t0/100000\tno recovery target specified\n").expect("the archive is ours");
    let target = ["--target-time", &history.after_second];
    let refusal = history.refusal(&history.second, &target);
    let reason = refusal.lines().next().expect("a line");
    assert!(reason.contains("timeline 2") && reason.contains("it branched off at 0/100000"), "{refusal}");
    assert!(refusal.contains("--target-tli current"), "{refusal}");
    let stays = plan(&history.scene, "auto", &[&target[..], &["--target-tli", "current"]].concat());
    assert_eq!(stays["stop"]["last_transaction"]["xid"], history.around_after_second.0);
    std::fs::remove_file(sent).expect("it was just made");
}

/// wal-g/wal-g#1244: the server goes on, and recovery to the latest moment never catches up with it.
fn the_moment_at_which_the_command_is_run(history: &History) {
    let now = history.scene.server.psql("select clock_timestamp()");
    let planned = || plan(&history.scene, "auto", &["--get-wal", "--target-time", &now])["stop"].clone();
    let mut stops = Vec::new();
    for row in 4..6 {
        history.scene.server.psql(&format!("insert into t values ({row})"));
        history.scene.archive_everything();
        stops.push(planned());
    }
    assert_eq!(stops[0], stops[1]);
    assert_eq!(stops[0]["first_left_out"]["committed"], true, "{}", stops[0]);
}

/// pgbackrest/pgbackrest#1850: the command that is printed ends in a plan which stops right before it.
fn nobody_knows_when_the_table_was_deleted(history: &History) {
    let xid = history.scene.server.psql("begin; select pg_current_xact_id(); drop table t; commit");
    let xid = xid.lines().find_map(|line| line.parse::<u64>().ok()).expect("a number");
    history.scene.archive_everything();
    let text = history.scene.succeed(&["find-target", "--drop-of", "public.t", "main"]);
    let (_, command) = text.rsplit_once("DESTINATION ").expect("a command");
    let target: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(plan(&history.scene, "auto", &target)["stop"]["first_left_out"]["xid"], xid, "{text}");
}

/// pgbackrest/pgbackrest#2531: "cannot connect to invalid database"; #1350: the restored database is listed and has no files.
fn the_time_before_a_database_was_dropped_is_not_before_it_is_lost(history: &History) {
    let server = &history.scene.server;
    server.psql("create database shop;\n\\connect shop\ncreate table orders (i int)");
    let before = server.psql("select pg_sleep(0.05); select clock_timestamp()");
    server.psql("drop database shop");
    history.scene.archive_everything();
    let planned = |target: &[&str]| {
        let planned = history.scene.run(&[&["plan"], target, &["main", "auto"]].concat());
        assert_eq!(planned.code, Some(0), "{planned:?}");
        planned.stderr.contains("within DROP DATABASE")
    };
    assert!(planned(&["--target-time", before.trim()]));
    let text = history.scene.succeed(&["find-target", "--drop-of", "shop.public.orders", "main"]);
    let (_, command) = text.rsplit_once("DESTINATION ").expect("a command");
    assert!(!planned(&command.split_whitespace().collect::<Vec<_>>()), "{text}");
}
