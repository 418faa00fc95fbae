//! Many receivers in one process, their ends, and `--reset`, beside the real Barman.

use crate::crash::{archiving_scene, assert_archive_equals};
use crate::scene::{Scene, ours, wait_until};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use test_support::{Barman, BarmanHome, Postgres};

/// Four clusters and four sections for each of them, each with a slot of its own.
struct Many {
    servers: Vec<Postgres>,
    home: BarmanHome,
    receivers: Child,
}

impl Many {
    fn start() -> Self {
        let cluster = || Postgres::builder().initdb_option("--wal-segsize=1").own_system_identifier().start();
        let servers: Vec<Postgres> = std::iter::repeat_with(cluster).take(4).collect();
        let home = BarmanHome::new();
        for (number, name) in Self::names().enumerate() {
            let conninfo = servers[number % 4].conninfo();
            home.server(
                &name,
                &[
                    ("conninfo", &conninfo),
                    ("streaming_conninfo", &conninfo),
                    ("backup_method", "postgres"),
                    ("streaming_archiver", "on"),
                    ("slot_name", &name),
                    ("create_slot", "auto"),
                ],
            );
        }
        let mut command = ours().command(&home);
        command.args(["receive-wal", "all"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let receivers = command.spawn().expect("our program can be started");
        let many = Self { servers, home, receivers };
        wait_until("all stream", || many.streaming().len() == 16);
        many
    }

    fn names() -> impl Iterator<Item = String> {
        (0..16).map(|number| format!("s{number:02}"))
    }

    /// Those whose slots are in use, and the processes that use them: a receiver that was started anew has another one.
    fn streaming(&self) -> Vec<String> {
        let active = "select slot_name || ' ' || active_pid from pg_replication_slots where active";
        let streaming = self.servers.iter().map(|server| server.psql(active));
        let mut streaming: Vec<String> =
            streaming.flat_map(|rows| rows.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        streaming.sort();
        streaming
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        let _ = self.receivers.kill();
        let _ = self.receivers.wait();
    }
}

#[test]
fn one_of_sixteen_receivers_is_stopped_by_barman_and_by_us_and_fifteen_go_on() {
    let mut many = Many::start();
    let mut expected = many.streaming();
    let barman = Barman::reference();
    for (program, arguments, name) in [
        (&barman, &["receive-wal", "--stop", "s03"][..], "s03"),
        (&barman, &["terminate-process", "s04", "receive-wal"], "s04"),
        (&ours(), &["receive-wal", "--stop", "s05"], "s05"),
        (&ours(), &["terminate-process", "s06", "receive-wal"], "s06"),
    ] {
        let said = program.succeed(&many.home, arguments);
        assert!(said.starts_with("Stopped process receive-wal("), "{said}");
        expected.retain(|active| !active.starts_with(name));
        wait_until("it has ended", || many.streaming() == expected);
        assert_same(&many.home, &["list-processes", name]);
    }
    assert_eq!(expected.len(), 12);
    let listed = assert_same(&many.home, &["list-processes", "s07"]);
    assert!(listed.contains(" receive-wal"), "{listed}");
    // They really receive.
    let segments: Vec<String> = many.servers.iter().map(Postgres::switch_wal).collect();
    for active in &expected {
        let name = active.split(' ').next().expect("a name");
        let number: usize = name[1..].parse().expect("a number");
        let segment = &segments[number % 4];
        let archived = many.home.path().join(name).join("wals").join(&segment[..16]).join(segment);
        wait_until("the segment is archived", || archived.exists());
    }
    // The end of the process is the end of all, and of those that stand in for them.
    many.receivers.kill().expect("a child can be killed");
    many.receivers.wait().expect("a child can be waited for");
    wait_until("all have ended", || many.streaming().is_empty());
    let listed = assert_same(&many.home, &["list-processes", "s07"]);
    assert!(listed.starts_with("No active subprocesses"), "{listed}");
    for arguments in [
        &["terminate-process", "s07", "receive-wal"][..],
        &["terminate-process", "s07", "nonsense"],
        &["terminate-process", "all", "cron"],
        &["list-processes", "all"],
        &["list-processes", "nobody"],
    ] {
        assert_same(&many.home, arguments);
    }
}

/// Asserts that Barman and we say the same, as text and as JSON, and returns the text.
#[track_caller]
fn assert_same(home: &BarmanHome, arguments: &[&str]) -> String {
    let said = |program: &Barman, arguments: &[&str]| {
        let finished = program.run(home, arguments);
        let errors: Vec<String> =
            finished.stderr.lines().filter(|line| !line.starts_with("HINT: ")).map(str::to_owned).collect();
        (finished.code, finished.stdout, errors)
    };
    let text = said(&ours(), arguments);
    assert_eq!(text, said(&Barman::reference(), arguments), "{arguments:?}");
    let in_json = [&["-f", "json"], arguments].concat();
    let (ours, theirs) = (said(&ours(), &in_json), said(&Barman::reference(), &in_json));
    let document = |text: &str| {
        let mut document: serde_json::Value = serde_json::from_str(text).expect("the output is JSON");
        document.as_object_mut().expect("it is an object").remove("_HINT");
        document
    };
    assert_eq!((ours.0, document(&ours.1)), (theirs.0, document(&theirs.1)), "{arguments:?}");
    text.1
}

#[test]
fn a_completed_segment_is_in_the_archive_within_a_second() {
    let scene = Scene::streaming();
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let segment = scene.server.switch_wal();
            let (completed, archive) = (Instant::now(), scene.home.path().join("main/wals"));
            let archived = archive.join(&segment[..16]).join(&segment);
            while !archived.exists() {
                assert!(completed.elapsed() < Duration::from_secs(60), "{segment} is not archived");
                std::thread::sleep(Duration::from_millis(5));
            }
            completed.elapsed()
        })
        .collect();
    times.sort();
    // Other tests may keep the disk busy for longer.
    assert!(times[3] < Duration::from_secs(1), "{times:?}");
}

#[test]
fn commits_that_would_wait_for_ever_are_warned_of_by_check_and_by_the_receiver() {
    const WARNING: &str = "commits may wait for ever: synchronous_standby_names lists 'barman_receive_wal'";
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let checked = || {
        let report = scene.run(&["check", "main"]).stdout;
        report.lines().find(|line| line.contains("synchronous_commit")).map(str::to_owned)
    };
    let set = |setting: &str, value: &str| {
        scene.server.psql(&format!("alter system set {setting} = '{value}'"));
        scene.server.psql("select pg_reload_conf()");
    };
    set("synchronous_standby_names", "barman_receive_wal");
    assert_eq!(checked(), None);
    set("synchronous_commit", "remote_apply");
    let line = checked().expect("there is a line");
    assert!(line.trim().starts_with(&format!("synchronous_commit: OK (WARNING: {WARNING}")), "{line}");

    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    let log = || std::fs::read_to_string(scene.home.log_file()).unwrap_or_default();
    wait_until("the receiver warns", || log().contains(&format!("main: {WARNING}")));
    set("synchronous_standby_names", "another");
    assert_eq!(checked(), None);
}

#[test]
fn resetting_says_and_does_what_barman_says_and_does() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let restart = scene.server.psql("select pg_walfile_name(restart_lsn) from pg_replication_slots");
    let streaming = scene.home.path().join("main/streaming");
    let partial = format!("{restart}.partial");
    let aligned = [partial.as_str()];
    for files in [
        &[][..],
        &aligned,
        &[restart.as_str()],
        &["000000010000000000000000.partial"],
        &["000000010000000000000000"],
        &["00000001000000000000000F.partial"],
    ] {
        let run = |program: &Barman| {
            let _ = std::fs::remove_dir_all(&streaming);
            std::fs::create_dir_all(&streaming).expect("our own directory");
            files.iter().for_each(|file| std::fs::write(streaming.join(file), "").expect("our own directory"));
            let finished = program.run(&scene.home, &["receive-wal", "--reset", "main"]);
            let entries = std::fs::read_dir(&streaming).expect("it is there");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            let errors: Vec<_> = finished.stderr.lines().filter(|line| !line.starts_with("HINT: ")).collect();
            (finished.code, finished.stdout.clone(), errors.join("\n"), names)
        };
        assert_eq!(run(&ours()), run(&Barman::reference()), "{files:?}");
    }
    let finished = scene.run(&["receive-wal", "--reset", "--stop", "main"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

#[test]
fn a_receiver_that_runs_is_not_reset() {
    let scene = Scene::streaming();
    let refused = |program: &Barman| {
        let finished = program.run(&scene.home, &["receive-wal", "--reset", "main"]);
        (finished.code, finished.stderr.lines().next().map(str::to_owned))
    };
    assert_eq!(refused(&ours()), refused(&Barman::reference()));
}

#[test]
fn barman_and_we_take_turns() {
    let (scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    scene.server.psql("create table t (row int, text text)");
    for turn in 0..4 {
        let program = if turn % 2 == 0 { ours() } else { Barman::reference() };
        program.succeed(&scene.home, &["cron"]);
        scene.wait_until_streaming();
        scene.server.psql("insert into t select row, md5(row::text) from generate_series(1, 20000) row");
        let segment = scene.server.switch_wal();
        scene.server.psql("insert into t values (0, 'begun')");
        let received = || {
            let server = scene.home.path().join("main");
            let archived = server.join("wals").join(&segment[..16]).join(&segment);
            archived.exists() || server.join("streaming").join(&segment).exists()
        };
        wait_until("the segment is received", received);
        // Who starts does not stop: each stops the other's.
        let other = if turn % 2 == 0 { Barman::reference() } else { ours() };
        other.succeed(&scene.home, &["receive-wal", "--stop", "main"]);
    }
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}
