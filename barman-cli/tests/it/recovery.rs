//! Real recoveries: every kind of target, inclusive and exclusive, and across a change of timeline.

use crate::scene::{Scene, ours, wait_until};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use test_support::{CommandExt as _, OsUser, Postgres, Sshd, TempDir};

/// The rows of a history with one row before the backup and two after it.
struct History {
    scene: Scene,
    /// When the first row after the backup was committed.
    time: String,
    /// The transaction that inserted it.
    xid: String,
    /// Where its commit record starts.
    lsn: String,
}

impl History {
    fn write() -> Self {
        let scene = Scene::streaming();
        let server = &scene.server;
        server.psql("create extension pg_walinspect; create table t (row int); insert into t values (0)");
        scene.succeed(&["backup", "--wait", "main"]);
        let before = server.psql("select pg_current_wal_insert_lsn()");
        let xid = server.psql("insert into t values (1) returning xmin");
        let time = server.psql(&format!("select pg_xact_commit_timestamp('{xid}')"));
        let lsn = server.psql(&format!(
            "select start_lsn from pg_get_wal_records_info('{before}', pg_current_wal_flush_lsn()) \
             where xid = '{xid}' and resource_manager = 'Transaction'"
        ));
        scene.server.psql("select pg_create_restore_point('after_row_1')");
        scene.server.psql("select pg_sleep(0.01)");
        scene.server.psql("insert into t values (2)");
        scene.archive_everything();
        Self { scene, time, xid, lsn }
    }

    /// Restores to a target, starts the server, and returns its rows.
    fn rows_at(&self, target: &[&str]) -> String {
        let mut options = target.to_vec();
        options.extend(["--target-action", "promote"]);
        let data = self.scene.restore("latest", &options);
        rows(&started(&data))
    }
}

fn started(data: &Path) -> Postgres {
    let mut server = Postgres::builder().start_existing(data);
    server.wait_until_recovered();
    server
}

fn rows(server: &Postgres) -> String {
    server.psql("select string_agg(row::text, ' ' order by row) from t")
}

#[test]
fn every_kind_of_target_is_reached() {
    let history = History::write();
    let History { time, xid, lsn, .. } = &history;
    let cases: [(&[&str], &str); 8] = [
        (&["--target-time", time], "0 1"),
        (&["--target-time", time, "--exclusive"], "0"),
        (&["--target-xid", xid], "0 1"),
        (&["--target-xid", xid, "--exclusive"], "0"),
        (&["--target-lsn", lsn], "0 1"),
        (&["--target-lsn", lsn, "--exclusive"], "0"),
        (&["--target-name", "after_row_1"], "0 1"),
        (&["--target-immediate"], "0"),
    ];
    for (target, expected) in cases {
        assert_eq!(history.rows_at(target), expected, "{target:?}");
    }
}

#[test]
fn a_restore_without_target_replays_all_that_was_archived() {
    let history = History::write();
    let data = history.scene.restore("oldest", &[]);
    assert_eq!(rows(&started(&data)), "0 1 2");
}

#[test]
fn recovery_crosses_a_change_of_timeline() {
    let mut history = History::write();
    let data = history.scene.restore("latest", &["--target-xid", &history.xid, "--target-action", "promote"]);
    let promoted = started(&data);
    assert_eq!(promoted.psql("select timeline_id from pg_control_checkpoint()"), "2");

    // The promoted server takes the place of the old one, and is archived in its turn.
    history.scene.succeed(&["receive-wal", "--stop", "main"]);
    history.scene.server = promoted;
    let scene = &history.scene;
    scene.configure(&scene.server, &[]);
    scene.start_streaming();
    scene.server.psql("insert into t values (3)");
    scene.archive_everything();
    let wals = scene.home.path().join("main/wals");
    wait_until("the new timeline's history is archived", || wals.join("00000002.history").is_file());

    let across = scene.restore("latest", &["--target-tli", "latest"]);
    assert_eq!(rows(&started(&across)), "0 1 3");
    let first_timeline_only = scene.restore("latest", &["--target-tli", "1"]);
    assert_eq!(rows(&started(&first_timeline_only)), "0 1 2");
}

#[test]
fn a_standby_and_a_server_with_get_wal_fetch_from_the_archive() {
    let history = History::write();
    let scene = &history.scene;
    let fetch = give_home_to_servers(scene);

    let recovered =
        scene.restore("latest", &["--get-wal", "--target-name", "after_row_1", "--target-action", "promote"]);
    let mut server = Postgres::builder().setting("restore_command", &fetch).start_existing(&recovered);
    server.wait_until_recovered();
    assert_eq!(rows(&server), "0 1");

    let standby = scene.restore("latest", &["--standby-mode", "--get-wal"]);
    let server = Postgres::builder().setting("restore_command", &fetch).start_existing(&standby);
    wait_until("the standby replays what is archived", || rows(&server) == "0 1 2");
    assert_eq!(server.psql("select pg_is_in_recovery()"), "t");
}

/// It is known before anything is copied.
#[test]
fn directories_that_the_user_may_not_fill_are_refused() {
    let scene = Scene::streaming();
    scene.server.psql("create table t ()");
    scene.succeed(&["backup", "--wait", "main"]);
    give_home_to_servers(&scene);
    let places = TempDir::new();
    OsUser::of_servers().own_tree(places.path());
    let made = |name: &str, mode| {
        let place = places.path().join(name);
        std::fs::create_dir(&place).expect("a directory");
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        place
    };
    let (locked, foreign, closed) = (made("locked", 0o555), made("foreign", 0o777), made("closed", 0o700));
    std::fs::write(closed.join("something"), "").expect("it is ours");
    let there = Sshd::start();
    // On this host, and on another one.
    for options in [&[][..], &["--remote-ssh-command", &there.command()]] {
        let refused_with = |more: &[&str], destination: &Path| {
            let place = destination.to_str().expect("the path is text");
            let mut restore = ours().command(&scene.home);
            let refused = restore.arg("restore").args(options).args(more).args(["main", "latest", place]).finish();
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains("HINT"), "{refused:?}");
            refused.stderr
        };
        let refused = |destination: &Path| refused_with(&[], destination);
        assert!(refused(&locked.join("data")).contains("no right to write into"));
        let (wal, data) = (locked.join("wal"), places.path().join("data"));
        let staged = ["--target-immediate", "--staging-wal-directory", wal.to_str().expect("the path is text")];
        assert!(refused_with(&staged, &data).contains("no right to write into") && !data.exists());
        // Only root can make a directory that is somebody else's.
        if OsUser::current() != OsUser::of_servers() {
            assert!(refused(&foreign).contains("belongs to user 0, expected"));
            assert!(refused(&closed).contains("no right to write into"));
        }
        assert_eq!(std::fs::read_dir(&foreign).expect("a directory").count(), 0);
    }
}

/// Lets the servers' user run `barman get-wal`, and returns the command that does.
pub(crate) fn give_home_to_servers(scene: &Scene) -> String {
    let user = OsUser::of_servers();
    scene.succeed(&["receive-wal", "--stop", "main"]);
    let config = std::fs::read_to_string(scene.home.config_file()).expect("the home has a configuration");
    let own = format!("barman_user = {}", OsUser::current().name());
    let config = config.replace(&own, &format!("barman_user = {}", user.name()));
    std::fs::write(scene.home.config_file(), config).expect("the home can be written");
    user.own_tree(&scene.home.path());
    user.own_tree(scene.destination().parent().expect("it lies in a directory"));
    let log = scene.home.log_file();
    user.own_tree(&log);
    let program = env!("CARGO_BIN_EXE_barman");
    format!("{program} -c {} get-wal -P main %f > %p", scene.home.config_file().display())
}

#[test]
fn commits_that_wait_for_the_receiver_do_not_wait_long() {
    let scene = Scene::streaming();
    scene.succeed(&["receive-wal", "--stop", "main"]);
    scene.server.psql("alter system set synchronous_standby_names = 'barman_receive_wal'");
    scene.server.psql("select pg_reload_conf()");
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    let started = std::time::Instant::now();
    scene.server.psql("create table t (row int); insert into t values (1); insert into t values (2)");
    // Without a sync for each, every commit would wait for the next status message, up to ten seconds.
    assert!(started.elapsed() < std::time::Duration::from_secs(8), "three commits took {:?}", started.elapsed());
    scene.server.psql("alter system reset synchronous_standby_names");
    scene.server.psql("select pg_reload_conf()");
}
