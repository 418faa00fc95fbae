//! Many receivers in one process, their ends, and `--reset`, beside the real Barman.

use crate::crash::{archiving_scene, assert_archive_equals};
use crate::scene::{Scene, ours, wait_until};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use test_support::{Barman, BarmanHome, Postgres};

/// Sixteen sections for one server, each with a slot of its own.
struct Many {
    server: Postgres,
    home: BarmanHome,
    receivers: Child,
}

impl Many {
    fn start() -> Self {
        let builder = Postgres::builder().initdb_option("--wal-segsize=1").setting("max_wal_senders", "40");
        let server = builder.setting("max_replication_slots", "40").start();
        let home = BarmanHome::new();
        let conninfo = server.conninfo();
        for name in Self::names() {
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
        let many = Self { server, home, receivers };
        wait_until("all stream", || many.streaming().len() == 16);
        many
    }

    fn names() -> impl Iterator<Item = String> {
        (0..16).map(|number| format!("s{number:02}"))
    }

    /// Those whose slots are in use, and the processes that use them: a receiver that was started anew has another one.
    fn streaming(&self) -> Vec<String> {
        let active = "select slot_name || ' ' || active_pid from pg_replication_slots where active order by 1";
        self.server.psql(active).lines().map(str::to_owned).collect()
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
        (&barman, &["receive-wal", "--stop", "s03"][..], "s03 "),
        (&barman, &["terminate-process", "s04", "receive-wal"], "s04 "),
        (&ours(), &["receive-wal", "--stop", "s05"], "s05 "),
    ] {
        let said = program.succeed(&many.home, arguments);
        assert!(said.starts_with("Stopped process receive-wal("), "{said}");
        expected.retain(|active| !active.starts_with(name));
        wait_until("it has ended", || many.streaming() == expected);
        let listed = barman.succeed(&many.home, &["list-processes", name.trim()]);
        assert!(listed.starts_with("No active subprocesses"), "{listed}");
    }
    assert_eq!(expected.len(), 13);
    let listed = barman.succeed(&many.home, &["list-processes", "s06"]);
    assert!(listed.contains(" receive-wal"), "{listed}");
    // They really receive.
    let segment = many.server.switch_wal();
    for active in &expected {
        let name = active.split(' ').next().expect("a name");
        let archived = many.home.path().join(name).join("wals").join(&segment[..16]).join(&segment);
        wait_until("the segment is archived", || archived.exists());
    }
    // The end of the process is the end of all, and of those that stand in for them.
    many.receivers.kill().expect("a child can be killed");
    many.receivers.wait().expect("a child can be waited for");
    wait_until("all have ended", || many.streaming().is_empty());
    let listed = || barman.succeed(&many.home, &["list-processes", "s06"]);
    assert!(listed().starts_with("No active subprocesses"), "{}", listed());
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
