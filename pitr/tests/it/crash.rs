//! Crashes at every instruction of a restore, with any loss of what was not synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use barman_pitr::{RestoreRequest, StopPoint, WalFetch, WalSupply};
use barman_storage::testing::{Crash, Loss, Recorder, Survivors};

use crate::archives::pack_backup;
use crate::chains::{CHAIN, chain};
use crate::fixture::{BACKUP, Fixture, tablespace, write_file};

/// What has to be there before the control file is: every file with its contents, and every directory and link.
fn finished(root: &Path, place: &str) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.join(place)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("directory") {
            let path = entry.expect("entry").path();
            let relative = path.strip_prefix(root).expect("below").to_owned();
            let contents = path.is_file().then(|| std::fs::read(&path).expect("file"));
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            }
            found.insert(relative, contents);
        }
    }
    found
}

/// Invariant 4.
fn is_whole_or_does_not_start(survivors: &Survivors, finished: &BTreeMap<PathBuf, Option<Vec<u8>>>) -> bool {
    let is_there = |(path, contents): (&PathBuf, &Option<Vec<u8>>)| match contents {
        Some(contents) => survivors.file(path) == Some(contents.as_slice()),
        None => survivors.contains(path),
    };
    !survivors.contains("restored/global/pg_control") || finished.iter().all(is_there)
}

/// A home with a backup that has a tablespace, whose place is beside the data directory.
fn with_tablespace() -> Fixture {
    let fixture = Fixture::new();
    let location = fixture.target().join("restored-tbs1");
    fixture.add_backup(BACKUP, |info| info.tablespaces = Some(vec![tablespace(&location)]));
    fixture.add_wal(1, 4..=5);
    fixture
}

fn check(fixture: &Fixture, request: &RestoreRequest) {
    let plan = fixture.plan(request).expect("a plan");
    let recorder = Recorder::start(&fixture.target());
    fixture.restore(&plan).expect("a restore");
    let recording = recorder.recording();

    let expected = tree(&fixture.target());
    assert!(expected.contains_key(Path::new("restored/global/pg_control")));
    let is_safe = |_: usize, survivors: &Survivors| is_whole_or_does_not_start(survivors, &expected);
    assert_eq!(recording.find_crash(3, is_safe), None);

    // Once it has returned, nothing of it can be lost.
    let position = recording.len();
    for loss in [Loss::Nothing, Loss::Everything].into_iter().chain((0..20).map(Loss::Seed)) {
        let survivors = recording.survivors(Crash { position, loss });
        assert!(survivors.contains("restored/global/pg_control"), "{loss:?}");
    }
}

/// Incremental backups, in files and in archives.
fn incremental() -> [Fixture; 2] {
    let [in_files, in_archives] = [chain("restored-tbs1"), chain("restored-tbs1")];
    CHAIN.iter().for_each(|id| pack_backup(&in_archives, id, "none"));
    [in_files, in_archives]
}

#[test]
fn an_unfinished_plain_restore_never_starts() {
    let fixture = with_tablespace();
    check(&fixture, &fixture.request());
}

#[test]
fn an_unfinished_restore_to_a_target_never_starts() {
    let fixture = with_tablespace();
    check(&fixture, &fixture.request_to(StopPoint::Immediate));
}

#[test]
fn an_unfinished_restore_of_an_incremental_backup_never_starts() {
    for fixture in incremental() {
        check(&fixture, &fixture.request());
    }
}

/// The test of the test: if nothing were synced, a crash would be found.
#[test]
fn the_syncs_before_the_control_file_are_needed() {
    let fixture = Fixture::with_backup();
    let wal = WalSupply::GetWal(WalFetch::local("barman"));
    let plan = fixture.plan(&RestoreRequest { wal, ..fixture.request() }).expect("a plan");
    let recorder = Recorder::start(&fixture.target());
    fixture.restore(&plan).expect("a restore");
    let recording = recorder.recording();
    let expected = finished(&fixture.target(), "restored");
    let is_safe = |_: usize, survivors: &Survivors| is_whole_or_does_not_start(survivors, &expected);
    assert_eq!(recording.find_crash(50, is_safe), None);
    let unsynced = recording.syncs().into_iter().fold(recording.clone(), |kept, sync| kept.without_sync(sync));
    assert!(unsynced.find_crash(50, is_safe).is_some());
}

/// A restored directory whose server went on, and of which files were lost.
fn make_older(fixture: &Fixture) {
    fixture.restored(&fixture.request());
    let destination = fixture.destination();
    write_file(&destination.join("base/5/16384"), b"another");
    write_file(&destination.join("base/6/1"), b"a database that the backup does not have");
    std::fs::remove_file(destination.join("PG_VERSION")).expect("a file");
    write_file(&destination.join("PG_VERSION"), b"15\n");
    std::fs::remove_file(destination.join("global/1262")).expect("a file");
    write_file(&fixture.target().join("restored-tbs1/PG_15_202209061/5/16390"), b"a table elseWhere");
}

#[test]
fn an_unfinished_restore_over_an_older_directory_never_starts() {
    let fixture = with_tablespace();
    make_older(&fixture);
    // As long as the old control file is there, everything else is, too.
    let request = RestoreRequest { delta: true, ..fixture.request() };
    let plan = fixture.plan(&request).expect("a plan");
    let before = tree(&fixture.target());
    let recorder = Recorder::start(&fixture.target());
    fixture.restore(&plan).expect("a restore");
    let recording = recorder.recording();
    let after = tree(&fixture.target());
    let is_safe = |_: usize, survivors: &Survivors| {
        is_whole_or_does_not_start(survivors, &before) || is_whole_or_does_not_start(survivors, &after)
    };
    assert_eq!(recording.find_crash(3, is_safe), None);
}

/// All that is to be restored.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = finished(root, "restored");
    found.extend(finished(root, "restored-tbs1"));
    found.retain(|path, _| !path.ends_with(".barman-restore"));
    found
}

/// Invariant 7: whatever a crash leaves, the same command finishes it.
fn check_continued(fixture: &Fixture, request: &RestoreRequest) {
    let plan = fixture.plan(request).expect("a plan");
    let recorder = Recorder::start(&fixture.target());
    fixture.restore(&plan).expect("a restore");
    let recording = recorder.recording();
    drop(recorder);
    let expected = tree(&fixture.target());
    for position in 0..recording.len() {
        // Which loss is drawn at which position does not matter: together they are many.
        let losses = [Loss::Nothing, Loss::Everything, Loss::Seed(position as u64)];
        let survivors = recording.survivors(Crash { position, loss: losses[position % losses.len()] });
        if survivors.contains("restored/global/pg_control") {
            continue;
        }
        std::fs::remove_dir_all(fixture.target()).expect("a directory");
        survivors.write_to(&fixture.target()).expect("a tree");
        let plan = fixture.plan(request).unwrap_or_else(|error| panic!("after {position} changes: {error}"));
        fixture.restore(&plan).unwrap_or_else(|error| panic!("after {position} changes: {error}"));
        assert!(tree(&fixture.target()) == expected, "after {position} changes");
        assert!(!fixture.destination().join(".barman-restore").exists());
    }
}

#[test]
fn running_again_finishes_a_restore_whatever_a_crash_left() {
    let fixture = with_tablespace();
    let wal = WalSupply::GetWal(WalFetch::local("barman"));
    check_continued(&fixture, &RestoreRequest { wal, ..fixture.request() });
}

#[test]
fn running_again_finishes_a_delta_restore_whatever_a_crash_left() {
    let fixture = with_tablespace();
    make_older(&fixture);
    let wal = WalSupply::GetWal(WalFetch::local("barman"));
    check_continued(&fixture, &RestoreRequest { delta: true, wal, ..fixture.request() });
}

#[test]
fn running_again_finishes_a_restore_of_an_incremental_backup_whatever_a_crash_left() {
    for fixture in incremental() {
        let wal = WalSupply::GetWal(WalFetch::local("barman"));
        check_continued(&fixture, &RestoreRequest { wal, ..fixture.request() });
    }
}
