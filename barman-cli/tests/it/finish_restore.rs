//! After the restore: how far recovery is, and a restored server that becomes one like any other.

use crate::feed::{Fed, all_rows, assert_gone, nest, rows};
use crate::scene::{Scene, wait_until};
use serde_json::Value;
use std::path::Path;
use test_support::{OsUser, Postgres, PostgresBuilder, StopMode, TempDir};

/// A server that archives, with a tablespace, a backup and a row behind it.
struct Original {
    scene: Scene,
    places: TempDir,
}

impl Original {
    fn start() -> Self {
        let builder = Postgres::builder().initdb_option("--wal-segsize=1").setting("archive_mode", "on");
        let scene = Scene::of(builder.setting("archive_command", "true").setting("work_mem", "5MB"));
        scene.start_streaming();
        let places = TempDir::new();
        let location = places.path().join("tablespace");
        std::fs::create_dir(&location).expect("directory");
        OsUser::of_servers().own_tree(&location);
        scene.server.psql(&format!("create tablespace tbs1 location '{}'", location.display()));
        scene.server.psql("alter system set maintenance_work_mem = '70MB'; create table t (row int) tablespace tbs1");
        scene.succeed(&["backup", "--wait", "main"]);
        scene.server.psql("insert into t values (1)");
        scene.archive_everything();
        Self { scene, places }
    }

    /// Restores with a tablespace of its own.
    fn restore(&self, number: u32, options: &[&str]) -> std::path::PathBuf {
        let location = self.places.path().join(format!("restored {number}"));
        let rule = format!("tbs1:{}", location.display());
        let data = self.scene.restore("latest", &[&["--tablespace", rule.as_str()], options].concat());
        OsUser::of_servers().own_tree(&location);
        data
    }

    fn finish(&self, data: &Path, options: &[&str]) -> test_support::Finished {
        self.scene.run(&[&["finish-restore", path(data)], options].concat())
    }
}

/// A plan of what is never restored.
const PLAN: [&str; 6] = ["plan", "--tablespace", "tbs1:/srv/nowhere/tbs1", "main", "latest", "/srv/nowhere/data"];

fn path(data: &Path) -> &str {
    data.to_str().expect("the path is text")
}

/// What the configuration files say, as the server reads them.
fn file_settings(server: &Postgres) -> String {
    server.psql("select name, setting from pg_file_settings order by seqno")
}

fn json(scene: &Scene, arguments: &[&str]) -> Value {
    serde_json::from_str(&scene.succeed(&[&["-f", "json"], arguments].concat())).expect("JSON")
}

fn small() -> PostgresBuilder {
    Postgres::builder()
}

#[test]
fn a_restored_server_becomes_what_the_original_was() {
    let original = Original::start();
    let scene = &original.scene;
    let expected = file_settings(&scene.server);
    for (number, options) in [
        (1, &["--target-immediate", "--target-action", "promote"][..]),
        (2, &["--target-tli", "latest", "--recovery-conf-filename", "postgresql.conf"]),
        (3, &["--standby-mode", "--target-tli", "latest"]),
        (4, &[]),
    ] {
        let data = original.restore(number, options);
        let early = original.finish(&data, &[]);
        assert_eq!(early.code, Some(1), "{options:?}: {early:?}");
        assert!(early.stderr.contains("no server was started") && early.stderr.contains("HINT"), "{early:?}");

        let mut server = small().start_existing(&data);
        if options.contains(&"--standby-mode") {
            let refused = original.finish(&data, &[]);
            assert!(refused.stderr.contains("recovers from the archive"), "{refused:?}");
            server.promote();
        }
        server.wait_until_recovered();
        // The state is written a moment after the first connection is let in.
        wait_until("recovery is over", || original.finish(&data, &["--dry-run"]).code == Some(0));
        assert!(data.join(".barman-restored").exists(), "a dry run changes nothing");
        let done = original.finish(&data, &[]);
        assert!(done.stdout.contains("archives nothing"), "{done:?}");
        // Without a target there were no settings to take out.
        assert_eq!(done.stdout.contains("pg_reload_conf"), !options.is_empty(), "{done:?}");
        assert_eq!(left_of_restore(&data), [".barman-restored"], "{options:?}");
        server.restart();
        let off = expected.replace("archive_command|true", "archive_command|false");
        assert_eq!(file_settings(&server), off, "{options:?}");
        assert!(original.finish(&data, &[]).stdout.contains("Nothing of the recovery is left"));

        if number == 4 {
            // Without a signal file the server goes on with the original's timeline, which the original goes on with, too.
            scene.server.psql("insert into t values (2)");
            scene.archive_everything();
            server.psql("insert into t values (3)");
            let refused = original.finish(&data, &["--archive"]);
            assert!(refused.code == Some(1) && refused.stderr.contains("other WAL than this server's"), "{refused:?}");
            assert!(refused.stderr.contains("HINT"), "{refused:?}");
            continue;
        }
        let on = original.finish(&data, &["--archive"]);
        assert_eq!(on.code, Some(0), "{on:?}");
        let unnamed = original.finish(&data, &["--archive"]);
        assert!(unnamed.code == Some(1) && unnamed.stderr.contains("does not say which server"), "{unnamed:?}");
        server.psql("select pg_reload_conf()");
        server.wait_until("select setting = 'true' from pg_settings where name = 'archive_command'");
        assert_eq!(file_settings(&server), expected, "{options:?}");
        server.stop(StopMode::Immediate);
    }
}

/// With what a helper left that was killed.
#[test]
fn nothing_is_left_of_the_way_in_which_a_server_was_fed() {
    let fed = Fed::shared();
    let target = ["--target-name", "end", "--target-action", "promote"];
    let data = fed.restored(&[&["--restore-command", fed.command.as_str()], &target[..]].concat());
    let settings = |file: &str| std::fs::read_to_string(data.join(file)).expect("settings");
    assert!(settings("postgresql.auto.conf").contains("get-wal --feed"), "recovery is fed by its own settings");
    let mut server = small().start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(rows(&server), all_rows());
    assert_gone(&data);
    std::fs::create_dir(nest(&data)).expect("directory");
    std::fs::write(nest(&data).join("000000010000000000000009"), "WAL").expect("file");
    OsUser::of_servers().own_tree(&nest(&data));

    let done = fed.scene.succeed(&["finish-restore", path(&data)]);
    assert!(done.contains("pg_reload_conf"), "{done}");
    assert!(!nest(&data).exists(), "the ring");
    // The record too, since this server never archived.
    assert_eq!(left_of_restore(&data), <[&str; 0]>::default());
    for file in ["postgresql.conf", "postgresql.auto.conf"] {
        let text = settings(file);
        let mut lines = text.lines().filter(|line| !line.starts_with('#') || line.starts_with("#BARMAN#"));
        let is_of_recovery =
            |line: &str| ["get-wal", "recovery_target", "#BARMAN#"].iter().any(|word| line.contains(word));
        let is_guard = |line: &str| line.starts_with("#BARMAN#archive_command");
        assert!(lines.all(|line| !is_of_recovery(line) || is_guard(line)), "{file}: {text}");
    }
    server.restart();
    assert_eq!(server.psql("select current_setting('restore_command') || pg_is_in_recovery()"), "false");
    assert_eq!(rows(&server), all_rows());
}

/// The names in a data directory that have to do with its restore.
fn left_of_restore(data: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(data).expect("directory").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.contains("barman") || name.ends_with(".origin")).collect()
}

/// Two servers were promoted onto timeline 2; one of them archives.
#[test]
fn only_one_life_of_a_timeline_gets_into_an_archive() {
    let mut original = Original::start();
    let to_target = ["--target-immediate", "--target-action", "promote"];
    let restored = [1, 2].map(|number| original.restore(number, &to_target));
    let mut servers = restored.each_ref().map(|data| small().start_existing(data));
    for server in &mut servers {
        server.wait_until_recovered();
        server.psql("checkpoint");
    }
    let [first, second] = servers;
    first.psql("insert into t values (11)");
    original.scene.succeed(&["receive-wal", "--stop", "main"]);
    original.scene.server = first;
    original.scene.configure(&original.scene.server, &[]);
    original.scene.start_streaming();
    let history = original.scene.home.path().join("main/wals/00000002.history");
    original.scene.archive_everything();
    wait_until("the new timeline's history is archived", || history.is_file());

    second.psql("insert into t values (22)");
    let refused = original.finish(&restored[1], &["--archive"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("the archive of server 'main' holds other WAL"), "{refused:?}");
    assert!(restored[1].join(".barman-restored").exists(), "nothing was changed");
    // Its own is no obstacle.
    let allowed = original.finish(&restored[0], &["--archive"]);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
}

#[test]
fn the_position_of_a_recovering_server_is_followed() {
    let original = Original::start();
    let scene = &original.scene;
    for row in 2..8 {
        scene.server.psql(&format!("insert into t select {row} from generate_series(1, 1000)"));
        scene.server.switch_wal();
    }
    scene.server.psql("select pg_create_restore_point('here')");
    scene.archive_everything();
    assert_eq!(json(scene, &PLAN)["main"]["restore"]["expected_seconds"]["replay"], Value::Null);
    let data = original.restore(1, &["--target-name", "here"]);
    let progress = || json(scene, &["recovery-progress", path(&data)]);
    assert_eq!(progress()["state"], "stopped");

    let slow = format!("sleep 0.4; cp {}/barman_wal/%f %p", data.display());
    let mut server = small().setting("restore_command", &slow).launch_existing(&data);
    wait_until("recovery is in the middle", || {
        let now = progress();
        let (done, total) = (now["replayed_bytes"].as_u64(), now["total_bytes"].as_u64());
        now["state"] != "stopped" && done > Some(1 << 20) && done < total
    });
    let followed = json(scene, &["recovery-progress", "--follow", path(&data)]);
    assert_eq!(followed["is_in_last_segment"], true, "{followed}");
    assert!(followed["measured_bytes"].as_u64() >= Some(1 << 20), "{followed}");
    server.wait_until_paused();
    let replayed = server.psql("select pg_last_wal_replay_lsn()");
    let paused = progress();
    assert_eq!(paused["end_lsn"], replayed.as_str(), "{paused}");
    assert_eq!(scene.succeed(&["recovery-progress", path(&data)]).lines().count(), 2);
    server.psql("select pg_wal_replay_resume()");
    server.wait_until_recovered();
    wait_until("recovery is over", || progress()["state"] == "over");

    // The next plan knows how long that took.
    let planned = json(scene, &PLAN);
    let expected = &planned["main"]["restore"]["expected_seconds"];
    assert!(expected["replay"].as_f64() > Some(0.0) && expected["data"].as_f64() > Some(0.0), "{planned}");
    let text = scene.succeed(&PLAN);
    assert!(text.contains("  Time: about ") && text.contains("as in 1 earlier restore"), "{text}");
}
