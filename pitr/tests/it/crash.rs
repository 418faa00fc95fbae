//! Crashes at every instruction of a restore, with any loss of what was not synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use barman_pitr::{RestoreRequest, StopPoint, WalFetch, WalSupply};
use barman_storage::testing::{Crash, Loss, Recorder, Survivors};

use crate::fixture::{BACKUP, Fixture, tablespace};

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

fn check(request: impl FnOnce(&Fixture) -> RestoreRequest) {
    let fixture = Fixture::new();
    let location = fixture.target().join("restored-tbs1");
    fixture.add_backup(BACKUP, |info| info.tablespaces = Some(vec![tablespace(&location)]));
    fixture.add_wal(1, 4..=5);
    let request = request(&fixture);
    let plan = fixture.plan(&request).expect("a plan");
    let recorder = Recorder::start(&fixture.target());
    fixture.restore(&plan).expect("a restore");
    let recording = recorder.recording();

    let mut expected = finished(&fixture.target(), "restored");
    expected.extend(finished(&fixture.target(), "restored-tbs1"));
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

#[test]
fn an_unfinished_plain_restore_never_starts() {
    check(Fixture::request);
}

#[test]
fn an_unfinished_restore_to_a_target_never_starts() {
    check(|fixture| fixture.request_to(StopPoint::Immediate));
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
