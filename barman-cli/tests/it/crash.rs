//! `kill -9` at random moments under load: nothing is missing, nothing is torn, and the next run completes.
//!
//! `BARMAN_CRASH_ROUNDS` says how often each is killed: 3 by default, 20 in `scripts/crash`.

use crate::scene::{Scene, wait_until};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};
use test_support::{OsUser, PgbenchLoad, Postgres, PostgresBuilder, TempDir};

fn rounds() -> u32 {
    std::env::var("BARMAN_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[test]
fn killed_receivers_leave_no_gap() {
    let (scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let load = under_load(&scene);
    for _ in 0..rounds() {
        let mut receiver = start(&scene, &["receive-wal", "main"]);
        scene.wait_until_streaming();
        kill_within(&mut receiver, Duration::from_millis(1500));
    }
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    load.stop();
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn what_a_killed_receiver_left_is_archived_before_what_comes_after() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let streamed = |name: &str| scene.home.path().join("main/streaming").join(name);
    let lock = scene.keep_archivers_away();
    let mut receiver = start(&scene, &["receive-wal", "main"]);
    scene.wait_until_streaming();
    let left = scene.server.switch_wal();
    wait_until("the segment is complete", || streamed(&left).exists());
    receiver.kill().expect("a child can be killed");
    receiver.wait().expect("a child can be waited for");
    drop(lock);

    let mut receiver = start(&scene, &["receive-wal", "main"]);
    scene.wait_until_streaming();
    let next = scene.server.switch_wal();
    wait_until("the next segment is archived", || listed_segments(&scene).contains(&next));
    let listed = listed_segments(&scene);
    assert!(listed.contains(&left) && listed.is_sorted(), "{left} before {next}: {listed:?}");
    receiver.kill().expect("a child can be killed");
    receiver.wait().expect("a child can be waited for");
}

#[test]
fn killed_archivers_lose_and_tear_nothing() {
    let (scene, kept) = archiving_scene();
    scene.configure(&scene.server, &[("archiver", "on"), ("streaming_archiver", "off")]);
    scene.run(&["check", "--check-timeout", "1", "main"]);
    let incoming = scene.home.path().join("main/incoming");
    OsUser::of_servers().own_tree(&incoming);
    let (kept_at, incoming) = (kept.path().display(), incoming.display());
    let deliver = format!("cp %p {kept_at}/%f && cp %p {incoming}/.%f.tmp && mv {incoming}/.%f.tmp {incoming}/%f");
    scene.server.psql(&format!("alter system set archive_command = '{deliver}'"));
    scene.server.psql("select pg_reload_conf()");
    let load = under_load(&scene);
    for _ in 0..rounds() {
        // Some segments to work on, so that the archiver is killed in the middle of one.
        for _ in 0..5 {
            scene.server.switch_wal();
        }
        let mut archiver = start(&scene, &["archive-wal", "main"]);
        kill_within(&mut archiver, Duration::from_millis(60));
        assert_archived_files_are_whole(&scene, kept.path());
    }
    load.stop();
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn killed_backups_end_as_failed_and_the_next_one_completes() {
    let (scene, kept) = archiving_scene();
    scene.start_streaming();
    scene.server.psql("create table t as select generate_series(1, 100) as row");
    let load = under_load(&scene);
    for round in 1..=rounds() {
        // At once, or it would mostly be killed while it waits for a checkpoint.
        let mut backup = start(&scene, &["backup", "--immediate-checkpoint", "main"]);
        wait_until("the backup is recorded", || statuses(&scene).len() as u32 == round);
        kill_within(&mut backup, Duration::from_millis(800));
        // Backup ids have a resolution of one second.
        std::thread::sleep(Duration::from_millis(1100));
    }
    scene.succeed(&["backup", "--immediate-checkpoint", "--wait", "main"]);
    load.stop();
    let after: Vec<String> = statuses(&scene);
    assert!(after.iter().all(|status| status == "DONE" || status == "FAILED"), "{after:?}");
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
    let data = scene.restore("latest", &[]);
    let mut server = Postgres::builder().start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(server.psql("select count(*) from t"), "100");
}

/// A server with small segments whose own archiver keeps a copy of every segment: the judge of what we archive.
pub(crate) fn archiving_scene() -> (Scene, TempDir) {
    let kept = TempDir::new();
    OsUser::of_servers().own_tree(kept.path());
    (Scene::of(archiving_to(kept.path()).initdb_option("--wal-segsize=1")), kept)
}

/// A server that keeps a copy of each segment in this directory.
pub(crate) fn archiving_to(kept: &Path) -> PostgresBuilder {
    let copy = format!("cp %p {}/%f", kept.display());
    Postgres::builder().setting("archive_mode", "on").setting("archive_command", &copy)
}

fn under_load(scene: &Scene) -> PgbenchLoad {
    PgbenchLoad::initialise(&scene.server, 1);
    PgbenchLoad::start(&scene.server, 2)
}

pub(crate) fn start(scene: &Scene, arguments: &[&str]) -> Child {
    let mut command = scene.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("our program can be started")
}

/// Kills the process at a moment that is different each time.
fn kill_within(process: &mut Child, longest: Duration) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    std::thread::sleep(longest.mul_f64(f64::from(now.subsec_micros() % 1000) / 1000.0));
    process.kill().expect("a child can be killed");
    process.wait().expect("a child can be waited for");
}

fn statuses(scene: &Scene) -> Vec<String> {
    let meta = scene.home.path().join("main/meta");
    let Ok(files) = std::fs::read_dir(meta) else {
        return Vec::new();
    };
    let records = files.map(|file| std::fs::read_to_string(file.expect("meta can be listed").path()));
    let records = records.filter_map(Result::ok);
    records.filter_map(|text| text.lines().find_map(|line| Some(line.strip_prefix("status=")?.to_owned()))).collect()
}

/// Every segment that PostgreSQL archived since the first one that we have is in our archive, with the same bytes, and
/// xlog.db names each file once.
pub(crate) fn assert_archive_equals(scene: &Scene, kept: &Path) {
    let archived = archived_segments(scene);
    let first = archived.first().expect("something was archived").clone();
    let last = archived.last().expect("something was archived").clone();
    wait_until("PostgreSQL has archived as much", || kept.join(&last).exists());
    let expected: BTreeSet<String> =
        segments_in(kept).into_iter().filter(|name| *name >= first && *name <= last).collect();
    assert_eq!(archived, expected);
    assert_archived_files_are_whole(scene, kept);
    let listed = listed_segments(scene);
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "a line of xlog.db is there twice");
    assert_eq!(unique, archived, "xlog.db and wals/ differ");
}

fn assert_archived_files_are_whole(scene: &Scene, kept: &Path) {
    for name in archived_segments(scene) {
        wait_until("PostgreSQL has archived the same segment", || kept.join(&name).exists());
        let ours = std::fs::read(archive(scene).join(&name[..16]).join(&name)).expect("it was just listed");
        // `cp` may still be writing its copy.
        wait_until("both copies are equal", || std::fs::read(kept.join(&name)).is_ok_and(|theirs| theirs == ours));
    }
}

fn archived_segments(scene: &Scene) -> BTreeSet<String> {
    let Ok(directories) = std::fs::read_dir(archive(scene)) else {
        return BTreeSet::new();
    };
    let paths = directories.map(|entry| entry.expect("wals can be listed").path());
    paths.filter(|path| path.is_dir()).flat_map(|path| segments_in(&path)).collect()
}

fn listed_segments(scene: &Scene) -> Vec<String> {
    let index = std::fs::read_to_string(archive(scene).join("main-xlog.db")).unwrap_or_default();
    let names = index.lines().filter_map(|line| line.split('\t').next());
    names.filter(|name| is_segment(name)).map(str::to_owned).collect()
}

fn segments_in(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("the directory can be listed");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned());
    names.filter(|name| is_segment(name)).collect()
}

fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn archive(scene: &Scene) -> PathBuf {
    scene.home.path().join("main/wals")
}
