//! Runs that start over what another one left, killed at each of their first calls: of the same timeline, of one that the
//! server has left meanwhile, and where a sync had failed.
//!
//! `BARMAN_START_KILLS` says at how many calls: 4 by default, 120 in `scripts/receiver-faults`, which are all of the first ones.

use super::{
    EIO, MIB, acknowledged, assert_readable, failing, is_readable, load_until, originals, receive_and_archive,
    receiver, receiving_scene, rounds, segment_name, wait_until_left,
};
use crate::crash::{archiving_to, assert_archive_equals};
use crate::receiver_incidents::fall_behind;
use crate::scene::{PATIENCE, Scene, wait_until};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use test_support::{BarmanHome, CallKind, CommandExt, FaultyProgram, OsUser, Postgres, StopMode, TempDir};

/// From which call on a run is a steady one: it has begun the second segment behind the one that it started with.
const CALLS: usize = 120;

/// What a run left, to be started over again and again.
struct Left {
    copy: TempDir,
    /// What it had reported of timeline 1 as flushed, and where the server's own copies are.
    reported: Range<u64>,
    originals: Vec<PathBuf>,
}

impl Left {
    /// Keeps what is there now; nobody works on it.
    fn by(scene: &Scene, reported: Range<u64>, originals: Vec<PathBuf>) -> Self {
        let copy = TempDir::new();
        copy_tree(&scene.home.path().join("main"), &copy.path().join("main"));
        Self { copy, reported, originals }
    }

    /// Puts it in the place of what is there, and lets the slot begin anew: it stands nowhere until something is reported.
    fn put_back(&self, scene: &Scene) {
        let home = scene.home.path().join("main");
        std::fs::remove_dir_all(&home).expect("the home is ours");
        copy_tree(&self.copy.path().join("main"), &home);
        scene.server.psql("select pg_drop_replication_slot(slot_name) from pg_replication_slots");
        scene.server.psql("select pg_create_physical_replication_slot('barman')");
    }

    fn assert_kept(&self, scene: &Scene, when: &str) {
        assert_readable(scene, &self.originals, 1, self.reported.clone(), when);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    Command::new("cp").arg("-a").args([from, to]).succeed();
}

/// Kills a run over what was left at each of its first calls. The server, which has `originals`, is on `timeline` from `from`
/// on: what the run itself reports is of that, or of the timeline before.
fn kill_starts(scene: &Scene, left: &Left, timeline: u32, from: u64, originals: &[PathBuf]) {
    let kills = rounds("BARMAN_START_KILLS", 4).min(CALLS);
    for nth in (1..=kills).map(|number| number * CALLS / kills) {
        left.put_back(scene);
        let (command, _) = receiver(scene);
        let receiver = FaultyProgram::killed_at(&command, &scene.home.path(), nth);
        let started = Instant::now();
        while !receiver.has_ended() {
            assert!(started.elapsed() < PATIENCE, "killed at none of {} calls, wanted {nth}", receiver.counted());
            fill(&scene.server);
        }
        let call = receiver.wait();
        assert!(call.is_some(), "it ended by itself before call {nth}");
        wait_until_left(scene);
        let when = format!("killed at call {nth} ({call:?})");
        left.assert_kept(scene, &when);
        let has_reported = scene.server.psql("select restart_lsn is not null from pg_replication_slots") == "t";
        let reported = if has_reported { acknowledged(scene) } else { 0 };
        if reported > from {
            assert_readable(scene, originals, timeline, from / MIB * MIB..reported, &when);
        } else {
            assert_readable(scene, &left.originals, 1, left.reported.start..reported, &when);
        }
        assert_history_first(scene, &when);
    }
    eprintln!("{kills} of {kills} kills fired");
    receive_and_archive(scene);
}

/// WAL of a timeline is nowhere without the history that explains it.
fn assert_history_first(scene: &Scene, when: &str) {
    let home = scene.home.path().join("main");
    let (streaming, wals) = (home.join("streaming"), home.join("wals"));
    let directories = [streaming.clone(), wals.join("0000000200000000")];
    let names = directories.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    let mut names = names.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned());
    if names.any(|name| name.starts_with("00000002") && !name.contains("history")) {
        let history = "00000002.history";
        assert!(streaming.join(history).exists() || wals.join(history).exists(), "{when}: no {history}");
    }
}

fn fill(server: &Postgres) {
    server.psql("insert into t select row, md5(row::text) from generate_series(1, 1500) row");
    server.psql("select pg_switch_wal()");
    server.psql("insert into t values (0, 'begun')");
}

#[test]
fn a_start_over_the_segment_under_way_is_killed_and_nothing_acknowledged_is_lost() {
    let (scene, kept) = receiving_scene();
    keep_all_wal(&scene.server);
    let reported = receive_some(&scene, || {});
    let originals = originals(&scene, kept.path()).to_vec();
    let left = Left::by(&scene, reported, originals.clone());
    kill_starts(&scene, &left, 1, left.reported.start, &originals);
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn a_start_after_a_failed_sync_is_killed_and_nothing_acknowledged_is_lost() {
    let (scene, kept) = receiving_scene();
    keep_all_wal(&scene.server);
    let reported = receive_some(&scene, || {});
    let receiver = failing(&scene, CallKind::Sync, 1..usize::MAX, EIO);
    load_until(&scene, || receiver.has_ended());
    assert_eq!(receiver.wait(), None);
    let mark = format!("{}.partial.tmp", segment_name(1, reported.end / MIB));
    assert!(scene.home.path().join("main/streaming").join(mark).exists());

    let originals = originals(&scene, kept.path()).to_vec();
    let left = Left::by(&scene, reported, originals.clone());
    kill_starts(&scene, &left, 1, left.reported.start, &originals);
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn a_start_after_a_failover_is_killed_and_neither_surplus_nor_history_is_lost() {
    start_after_failover(true);
}

/// It goes on with the timeline that was left, up to its end.
#[test]
fn a_start_before_the_end_of_a_timeline_is_killed_and_nothing_acknowledged_is_lost() {
    start_after_failover(false);
}

fn start_after_failover(is_behind: bool) {
    let kept = TempDir::new();
    OsUser::of_servers().own_tree(kept.path());
    let primary = Postgres::builder().initdb_option("--wal-segsize=1").start();
    keep_all_wal(&primary);
    primary.psql("create table t (row int, text text)");
    let mut standby = archiving_to(kept.path()).start_standby_of(&primary);
    let mut scene = Scene { server: primary, home: BarmanHome::new() };
    scene.configure(&scene.server, &[]);
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let reported = receive_some(&scene, || {
        if is_behind {
            fall_behind(&standby);
        }
    });
    if !is_behind {
        standby.wait_until(&format!("select pg_last_wal_receive_lsn() - '0/0' >= {}", reported.end));
    }
    scene.server.stop(StopMode::Immediate);
    standby.promote();
    std::mem::swap(&mut scene.server, &mut standby);
    let left_behind = vec![standby.data_dir().join("pg_wal")];
    scene.configure(&scene.server, &[]);
    let switch = switch_point(&scene.server);
    assert_eq!(switch < reported.end, is_behind);

    let left = Left::by(&scene, reported, left_behind);
    kill_starts(&scene, &left, 2, switch, &originals(&scene, kept.path()));
    left.assert_kept(&scene, "after all of it");
    assert!(scene.home.path().join("main/wals/00000002.history").exists());
}

/// So that every start finds on the server what comes behind its files.
fn keep_all_wal(server: &Postgres) {
    server.psql("alter system set wal_keep_size = '1GB'");
    server.psql("select pg_reload_conf()");
}

/// Receives until `meanwhile` has been done, then some more segments and a part of one. Returns what has been reported.
fn receive_some(scene: &Scene, meanwhile: impl FnOnce()) -> Range<u64> {
    let begun = acknowledged(scene) / MIB * MIB;
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    fill(&scene.server);
    meanwhile();
    fill(&scene.server);
    let written = scene.server.psql("select pg_current_wal_flush_lsn() - '0/0'");
    let written: u64 = written.parse().expect("a number of bytes");
    let source = [scene.server.data_dir().join("pg_wal")];
    wait_until("it has all", || is_readable(scene, &source, 1, written / MIB, written % MIB));
    scene.succeed(&["receive-wal", "--stop", "main"]);
    wait_until_left(scene);
    begun..acknowledged(scene)
}

/// Where the server left timeline 1.
fn switch_point(server: &Postgres) -> u64 {
    let history = std::fs::read_to_string(server.data_dir().join("pg_wal/00000002.history")).expect("it was promoted");
    let lsn = history.split('\t').nth(1).expect("a position");
    server.psql(&format!("select pg_lsn '{lsn}' - '0/0'")).parse().expect("a number of bytes")
}
