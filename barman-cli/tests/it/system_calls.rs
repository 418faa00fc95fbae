//! `kill -9` in front of each system call by which the receiver changes something: what it has acknowledged is readable.
//!
//! `BARMAN_KILLS` says at how many calls: 8 by default, 400 in `scripts/receiver-faults`, which are all of the first ones.

use crate::crash::{archiving_scene, assert_archive_equals};
use crate::scene::{PATIENCE, Scene, wait_until};
use std::path::{Path, PathBuf};
use std::time::Instant;
use test_support::SystemCallKill;

const MIB: u64 = 1 << 20;

/// From which call on there is nothing new: a start, some segments received and archived, one begun.
const CALLS: usize = 400;

fn kills() -> usize {
    std::env::var("BARMAN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

#[test]
fn wherever_the_receiver_is_killed_what_it_acknowledged_is_readable() {
    let (scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    scene.server.psql("create table t (row int, text text)");
    // Where the slot was made, which nobody has acknowledged.
    let begun = acknowledged(&scene);
    let mut verified = begun / MIB * MIB;
    let kills = kills().min(CALLS);
    for nth in (1..=kills).map(|number| number * CALLS / kills) {
        let mut command = scene.command();
        command.args(["receive-wal", "main"]);
        let receiver = SystemCallKill::start(&command, &scene.home.path(), nth);
        let started = Instant::now();
        while !receiver.has_ended() {
            assert!(started.elapsed() < PATIENCE, "killed at none of {} calls, wanted {nth}", receiver.counted());
            scene.server.psql("insert into t select row, md5(row::text) from generate_series(1, 1500) row");
            scene.server.psql("select pg_switch_wal()");
            scene.server.psql("insert into t values (0, 'begun')");
        }
        let call = receiver.wait();
        assert!(call.is_some(), "it ended by itself before call {nth}");
        wait_until("the server has noticed", || scene.server.psql("select active from pg_replication_slots") == "f");
        let acknowledged = acknowledged(&scene);
        if acknowledged > begun {
            assert_readable(&scene, kept.path(), verified, acknowledged, &format!("call {nth} ({call:?})"));
            verified = acknowledged / MIB * MIB;
        }
    }
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

/// The highest position that the receiver has reported as flushed, as far as the server got to hear of it.
fn acknowledged(scene: &Scene) -> u64 {
    let restart = scene.server.psql("select restart_lsn - '0/0' from pg_replication_slots");
    restart.parse().expect("a number of bytes")
}

fn assert_readable(scene: &Scene, kept: &Path, from: u64, to: u64, when: &str) {
    for segment in (from / MIB)..to.div_ceil(MIB) {
        let name = format!("00000001{:08X}{:08X}", segment / 4096, segment % 4096);
        let length = (to - segment * MIB).min(MIB) as usize;
        let written = scene.server.data_dir().join("pg_wal").join(&name);
        // What the server no longer has its own archiver keeps.
        let expected = || std::fs::read(&written).or_else(|_| std::fs::read(kept.join(&name))).unwrap_or_default();
        wait_until("the server's own copy is whole", || expected().len() as u64 == MIB);
        let expected = expected();
        let readable = copies(scene, &name)
            .iter()
            .any(|copy| std::fs::read(copy).is_ok_and(|bytes| bytes.get(..length) == expected.get(..length)));
        assert!(readable, "killed at {when}: of {name}, {length} bytes were acknowledged and cannot be read");
    }
}

/// Where a segment may be.
fn copies(scene: &Scene, name: &str) -> Vec<PathBuf> {
    let server = scene.home.path().join("main");
    let streaming = |suffix: &str| server.join("streaming").join(format!("{name}{suffix}"));
    vec![
        server.join("wals").join(&name[..16]).join(name),
        streaming(""),
        streaming(".partial"),
        streaming(".partial.tmp"),
    ]
}
