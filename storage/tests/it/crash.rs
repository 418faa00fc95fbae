//! An operation that was killed at any moment can simply be run again (invariant 7).

use barman_storage::testing::{Crash, Loss, Recorder};
use barman_storage::{Dir, PublishError};

use super::{contents, empty_directory, names, path};

/// Kills `operation` after each of its changes, runs it again on what is left, and calls `check` on the result.
fn run_again_after_each_change(
    prepare: impl Fn(&Dir),
    operation: impl Fn(&Dir) -> Result<(), PublishError>,
    check: impl Fn(&Dir, Crash),
) {
    let (root, dir) = empty_directory();
    prepare(&dir);
    let recorder = Recorder::start(root.path());
    operation(&Dir::open(root.path()).expect("open")).expect("the first run");
    let recording = recorder.recording();
    for position in 0..=recording.len() {
        for loss in [Loss::Nothing, Loss::Everything, Loss::Seed(1), Loss::Seed(2), Loss::Seed(3)] {
            let crash = Crash { position, loss };
            let (left, dir) = empty_directory();
            recording.replay(crash, left.path()).expect("replay");
            operation(&dir).unwrap_or_else(|error| panic!("{crash:?}: {error}"));
            check(&dir, crash);
        }
    }
}

#[test]
fn publish_new_runs_again() {
    run_again_after_each_change(
        |_| {},
        |dir| {
            let written = dir.publish_new(&path("a"), 0o600, |file| Ok(file.write_all(&contents(1500, 0))?));
            written.map(barman_storage::Published::into_value)
        },
        |dir, crash| {
            assert_eq!(std::fs::read(dir.path().join("a")).expect("read"), contents(1500, 0), "{crash:?}");
            assert_eq!(names(dir.path()), ["a"], "{crash:?}");
        },
    );
}

#[test]
fn replace_runs_again() {
    run_again_after_each_change(
        |dir| dir.replace(&path("a"), 0o600, b"old").expect("old"),
        |dir| Ok(dir.replace(&path("a"), 0o600, &contents(1500, 0))?),
        |dir, crash| {
            assert_eq!(std::fs::read(dir.path().join("a")).expect("read"), contents(1500, 0), "{crash:?}");
            assert_eq!(names(dir.path()), ["a"], "{crash:?}");
        },
    );
}

#[test]
fn rename_new_runs_again_unless_it_was_done() {
    run_again_after_each_change(
        |dir| {
            dir.create_subdir(&path("to"), 0o700).expect("directory");
            dir.replace(&path("a"), 0o600, b"contents").expect("file");
        },
        |dir| match dir.rename_new(&path("a"), dir, &path("to/b")) {
            Err(PublishError::Storage(error)) if error.is_not_found() => Ok(()),
            renamed => renamed.map(drop),
        },
        |dir, crash| {
            assert_eq!(std::fs::read(dir.path().join("to/b")).expect("read"), b"contents", "{crash:?}");
            assert_eq!(names(dir.path()), ["to"], "{crash:?}");
        },
    );
}
