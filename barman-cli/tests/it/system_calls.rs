//! `kill -9` in front of each system call by which the receiver changes something, and such calls that fail: what it has
//! acknowledged is readable.
//!
//! `BARMAN_KILLS` says at how many calls: 8 by default, 400 in `scripts/receiver-faults`, which are all of the first ones.
//! `BARMAN_FAILURES` says how many syncs and writes fail, one in each run: 3 by default, 40 there.

use crate::crash::{archiving_scene, assert_archive_equals};
use crate::scene::{PATIENCE, Scene, wait_until};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;
use test_support::{CallKind, FailingCalls, FaultyProgram, NotedCall, TempDir};

const MIB: u64 = 1 << 20;

/// From which call on there is nothing new: a start, some segments received and archived, one begun.
const CALLS: usize = 400;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How often: what the environment says, or else the short version.
fn rounds(variable: &str, short: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

#[test]
fn wherever_the_receiver_is_killed_what_it_acknowledged_is_readable() {
    let (scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    scene.server.psql("create table t (row int, text text)");
    // Where the slot was made, which nobody has acknowledged.
    let begun = acknowledged(&scene);
    let mut verified = begun / MIB * MIB;
    let kills = rounds("BARMAN_KILLS", 8).min(CALLS);
    for nth in (1..=kills).map(|number| number * CALLS / kills) {
        let mut command = scene.command();
        command.args(["receive-wal", "main"]);
        let receiver = FaultyProgram::killed_at(&command, &scene.home.path(), nth);
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
    eprintln!("{kills} of {kills} kills fired");
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn what_a_sync_failed_to_keep_is_written_again_into_a_new_file_and_not_reported_before() {
    let (scene, kept) = receiving_scene();
    // The first ones are those of a start, of segments that are begun, and of segments that are finished.
    let failures = rounds("BARMAN_FAILURES", 3);
    for nth in 1..=failures {
        // The archiver syncs the directory, too, when it has removed something, and nothing rests on that.
        let lock = std::fs::File::create(scene.home.path().join(".main-archive-wal.lock")).expect("the home is ours");
        lock.lock().expect("nobody archives yet");
        let receiver = failing(&scene, CallKind::Sync, nth..nth + 1, EIO);
        load_until(&scene, || after_failure(&receiver.calls()).1.iter().any(is_good_sync));
        assert_rewritten(&receiver.calls(), nth);
        drop(lock);
        scene.archive_everything();
        receiver.interrupt();
        assert_eq!((receiver.failed(), receiver.wait()), (1, None));
        assert_archive_equals(&scene, kept.path());
    }
    eprintln!("{failures} of {failures} syncs failed");
}

#[test]
fn a_disk_that_takes_nothing_ends_the_receiver_and_nothing_more_is_reported() {
    let (scene, kept) = receiving_scene();
    let receiver = failing(&scene, CallKind::Sync, 4..usize::MAX, EIO);
    load_until(&scene, || receiver.has_ended());
    let calls = receiver.calls();
    assert!(receiver.failed() >= 2, "{}", receiver.failed());
    assert_eq!(receiver.wait(), None);
    let (before, after) = after_failure(&calls);
    assert!(highest_flush(before).is_some());
    assert!(highest_flush(after) <= highest_flush(before), "{calls:?}");
    let log = std::fs::read_to_string(scene.home.log_file()).unwrap_or_default();
    assert!(log.contains("cannot make segment"), "{log}");
    // Another disk, or the same one mended.
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn a_write_that_finds_no_room_is_made_up_for() {
    let (scene, kept) = receiving_scene();
    let failures = rounds("BARMAN_FAILURES", 3);
    for nth in 1..=failures {
        let receiver = failing(&scene, CallKind::Write, nth..nth + 1, ENOSPC);
        load_until(&scene, || receiver.failed() == 1);
        scene.archive_everything();
        receiver.interrupt();
        assert_eq!(receiver.wait(), None);
        assert_archive_equals(&scene, kept.path());
    }
    eprintln!("{failures} of {failures} writes failed");
}

/// A scene with a slot and something to insert into, where no receiver runs yet.
fn receiving_scene() -> (Scene, TempDir) {
    let (scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    scene.server.psql("create table t (row int, text text)");
    std::fs::create_dir_all(scene.home.path().join("main/streaming")).expect("the home is ours");
    (scene, kept)
}

/// Starts a receiver of which calls for files in the streaming directory fail.
fn failing(scene: &Scene, kind: CallKind, which: Range<usize>, errno: i32) -> FaultyProgram {
    let mut command = scene.command();
    command.args(["receive-wal", "main"]);
    let streaming = scene.home.path().join("main/streaming");
    FaultyProgram::failing(&command, &streaming, FailingCalls { kind, which, errno })
}

fn load_until(scene: &Scene, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "nothing failed");
        scene.server.psql("insert into t select row, md5(row::text) from generate_series(1, 1500) row");
        scene.server.psql("select pg_switch_wal()");
        scene.server.psql("insert into t values (0, 'begun')");
    }
}

fn is_good_sync(call: &NotedCall) -> bool {
    matches!(call, NotedCall::Synced(_, true))
}

/// Parts what was done before the first sync that failed from the rest.
fn after_failure(calls: &[NotedCall]) -> (&[NotedCall], &[NotedCall]) {
    let failure = calls.iter().position(|call| matches!(call, NotedCall::Synced(_, false)));
    calls.split_at(failure.unwrap_or(calls.len()))
}

/// After the sync that failed comes a new file before any other sync, and until a sync has succeeded nothing is reported that
/// was not reported before.
#[track_caller]
fn assert_rewritten(calls: &[NotedCall], nth: usize) {
    let (before, after) = after_failure(calls);
    let sync = after.iter().position(is_good_sync).expect("others succeeded");
    let (meanwhile, _) = after.split_at(sync);
    let created =
        |call: &NotedCall| matches!(call, NotedCall::Created(path) if path.to_string_lossy().ends_with(".partial.tmp"));
    assert!(meanwhile.iter().any(created), "sync {nth} failed, and this was done: {meanwhile:?}");
    assert!(highest_flush(meanwhile) <= highest_flush(before), "sync {nth} failed, and this was said: {meanwhile:?}");
}

/// The highest flush position in standby status updates, if there were any.
fn highest_flush(calls: &[NotedCall]) -> Option<u64> {
    // CopyData of this length: `r`, three positions, a time, and whether an answer is wanted.
    const UPDATE: &[u8] = b"d\0\0\0\x26r";
    let sent = calls.iter().filter_map(|call| if let NotedCall::Sent(bytes) = call { Some(bytes) } else { None });
    let updates = sent.flat_map(|bytes| bytes.windows(39).filter(|bytes| bytes.starts_with(UPDATE)));
    updates.map(|update| u64::from_be_bytes(update[14..22].try_into().expect("eight bytes"))).max()
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
