//! `kill -9` in front of each system call by which the receiver changes something, and such calls that fail: what it has
//! acknowledged is readable.
//!
//! `BARMAN_KILLS` says at how many calls: 8 by default, 400 in `scripts/receiver-faults`, which are all of the first ones.
//! `BARMAN_FAILURES` says how many syncs and writes fail, one in each run: 3 by default, 40 there.

mod starts;

use crate::crash::{archiving_scene, assert_archive_equals};
use crate::scene::{PATIENCE, Scene, wait_until};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
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
        wait_until_left(&scene);
        let acknowledged = acknowledged(&scene);
        if acknowledged > begun {
            let when = format!("killed at call {nth} ({call:?})");
            assert_readable(&scene, &originals(&scene, kept.path()), 1, verified..acknowledged, &when);
            verified = acknowledged / MIB * MIB;
        }
    }
    eprintln!("{kills} of {kills} kills fired");
    assert_all_arrives(&scene, kept.path());
}

#[test]
fn what_a_sync_failed_to_keep_is_written_again_into_a_new_file_and_not_reported_before() {
    let (scene, kept) = receiving_scene();
    // The first ones are those of a start, of segments that are begun, and of segments that are finished.
    let failures = rounds("BARMAN_FAILURES", 3);
    for nth in 1..=failures {
        // The archiver syncs the directory, too, when it has removed something, and nothing rests on that.
        let lock = scene.keep_archivers_away();
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

/// Killed before it has left the mark that has the next run distrust the file, and then at one of the calls behind.
#[test]
fn what_was_acknowledged_before_a_sync_failed_outlives_a_kill_behind_that() {
    let (scene, kept) = receiving_scene();
    let mut verified = acknowledged(&scene) / MIB * MIB;
    let kills = rounds("BARMAN_FAILURES", 3);
    for nth in 1..=kills {
        let behind = if nth <= kills.div_ceil(2) { 1 } else { nth % 8 + 2 };
        let _lock = scene.keep_archivers_away();
        let calls = FailingCalls { kind: CallKind::Sync, which: nth..nth + 1, errno: EIO };
        let (command, streaming) = receiver(&scene);
        let receiver = FaultyProgram::failing_then_killed(&command, &streaming, calls, behind);
        load_until(&scene, || receiver.has_ended());
        let call = receiver.wait();
        assert!(call.is_some(), "it ended by itself behind sync {nth}, which failed");
        assert!(behind > 1 || !has_mark(&streaming), "the mark was there before call 1 behind sync {nth}");
        wait_until_left(&scene);
        let acknowledged = acknowledged(&scene);
        let when = format!("killed at call {behind} ({call:?}) behind sync {nth}, which failed");
        assert_readable(&scene, &originals(&scene, kept.path()), 1, verified..acknowledged, &when);
        verified = acknowledged / MIB * MIB;
    }
    eprintln!("{kills} of {kills} kills fired");
    assert_all_arrives(&scene, kept.path());
}

/// The next receiver goes on without a gap.
fn assert_all_arrives(scene: &Scene, kept: &Path) {
    receive_and_archive(scene);
    assert_archive_equals(scene, kept);
}

fn receive_and_archive(scene: &Scene) {
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.archive_everything();
}

fn has_mark(streaming: &Path) -> bool {
    let mut entries = std::fs::read_dir(streaming).expect("it is there");
    entries.any(|entry| entry.expect("it can be listed").path().to_string_lossy().ends_with(".partial.tmp"))
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
    assert_all_arrives(&scene, kept.path());
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
    let (command, streaming) = receiver(scene);
    FaultyProgram::failing(&command, &streaming, FailingCalls { kind, which, errno })
}

/// The receiver, and the directory that it works in.
fn receiver(scene: &Scene) -> (Command, PathBuf) {
    let mut command = scene.command();
    command.args(["receive-wal", "main"]);
    (command, scene.home.path().join("main/streaming"))
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

fn wait_until_left(scene: &Scene) {
    wait_until("the server has noticed", || scene.server.psql("select active from pg_replication_slots") == "f");
}

/// Where the server's own copies are of what it sent: what it no longer has its archiver keeps.
fn originals(scene: &Scene, kept: &Path) -> [PathBuf; 2] {
    [scene.server.data_dir().join("pg_wal"), kept.to_owned()]
}

/// Compares what was acknowledged of a timeline with the server's own copies.
#[track_caller]
fn assert_readable(scene: &Scene, originals: &[PathBuf], timeline: u32, acknowledged: Range<u64>, when: &str) {
    for segment in (acknowledged.start / MIB)..acknowledged.end.div_ceil(MIB) {
        let length = (acknowledged.end - segment * MIB).min(MIB);
        let readable = is_readable(scene, originals, timeline, segment, length);
        assert!(readable, "{when}: of segment {segment}, {length} bytes were acknowledged and cannot be read");
    }
}

/// Whether so many bytes of a segment are here as the server has them.
fn is_readable(scene: &Scene, originals: &[PathBuf], timeline: u32, segment: u64, length: u64) -> bool {
    let name = segment_name(timeline, segment);
    let length = length as usize;
    let expected = || originals.iter().find_map(|dir| std::fs::read(dir.join(&name)).ok()).unwrap_or_default();
    wait_until("the server's own copy is whole", || expected().len() as u64 == MIB);
    let expected = expected();
    let copies = copies(scene, &name);
    copies.iter().any(|copy| std::fs::read(copy).is_ok_and(|bytes| bytes.get(..length) == expected.get(..length)))
}

/// The name of a segment by its number.
fn segment_name(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}{:08X}{:08X}", number / 4096, number % 4096)
}

/// Where a segment may be, also as surplus of a timeline that was left.
fn copies(scene: &Scene, name: &str) -> Vec<PathBuf> {
    let server = scene.home.path().join("main");
    let archived = server.join("wals").join(&name[..16]);
    let streaming = server.join("streaming");
    let suffixes = ["", ".partial", ".partial.tmp"];
    let files =
        suffixes.iter().flat_map(|suffix| [&streaming, &archived].map(|dir| dir.join(format!("{name}{suffix}"))));
    files.collect()
}
