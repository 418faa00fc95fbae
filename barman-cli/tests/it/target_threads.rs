//! What users of other programs ran into with recovery targets, each ending in a plan that is right or in a reason of one line.

use crate::scene::Scene;
use crate::targets::plan;

/// Two backups, and moments before, between and after them. Each has a transaction right before it.
struct History {
    scene: Scene,
    first: String,
    second: String,
    /// While the second backup was running, or right before.
    before_second: String,
    after_second: String,
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
        scene.server.psql("insert into t values (3)");
        let idle = scene.server.psql("select pg_sleep(0.05); select clock_timestamp(); select pg_sleep(1.1)");
        scene.server.psql("checkpoint");
        scene.archive_everything();
        Self { scene, first, second, before_second, after_second, idle: idle.trim().to_owned() }
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
    assert!(planned["stop"]["record_lsn"].is_string(), "{planned}");
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
    assert!(text.contains("UTC") || text.contains("+00:00"), "{text}");
}
