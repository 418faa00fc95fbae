//! What each operation promises must hold after a crash at any moment, with any permitted loss; and each of its syncs
//! must be needed for that: without it, some crash breaks the promise.

use std::path::Path;
use std::time::{Duration, SystemTime};

use barman_storage::testing::{Crash, Loss, Recorder, Recording, Survivors};
use barman_storage::{Dir, Error, NewNames, OutFile, PublishError, Published};
use rustix::io::Errno;

use super::{contents, empty_directory, path};

/// How many different losses are tried at each position.
const SEEDS: u64 = 100;

/// Several sectors, so that a write can be torn.
fn old() -> Vec<u8> {
    contents(1500, 1)
}

fn new() -> Vec<u8> {
    contents(2000, 2)
}

/// A recording in which the operation in question begins and returns at known positions.
struct Trial {
    recording: Recording,
    begun: usize,
    returned: usize,
}

impl Trial {
    /// Records `unsynced`, which prepares what a killed run may have left, and then the operation. What `durable` makes
    /// is there before.
    fn record(
        durable: impl FnOnce(&Dir) -> Result<(), Error>,
        unsynced: impl FnOnce(&Dir) -> Result<(), Error>,
        operation: impl FnOnce(&Dir),
    ) -> Self {
        Self::record_with_fault(durable, unsynced, operation, None)
    }

    /// As above; the change of the operation that `fault` counts fails with its error number.
    fn record_with_fault(
        durable: impl FnOnce(&Dir) -> Result<(), Error>,
        unsynced: impl FnOnce(&Dir) -> Result<(), Error>,
        operation: impl FnOnce(&Dir),
        fault: Option<(usize, Errno)>,
    ) -> Self {
        let (root, dir) = empty_directory();
        durable(&dir).expect("what is there before");
        let recorder = Recorder::start(root.path());
        let dir = Dir::open(root.path()).expect("open");
        unsynced(&dir).expect("what a killed run left");
        let begun = recorder.position();
        if let Some((change, error)) = fault {
            recorder.fail_at(begun + change, error.raw_os_error());
        }
        operation(&dir);
        let returned = recorder.position();
        Self { recording: recorder.recording(), begun, returned }
    }

    /// Checks `before` at every crash until the operation has returned, and `after` at every one from then on; and that
    /// each sync of the operation is needed for that.
    #[track_caller]
    fn check(&self, before: impl Fn(&Survivors) -> bool, after: impl Fn(&Survivors) -> bool) {
        let needed = self.check_promise(before, after);
        assert!(!needed.is_empty() && needed.iter().all(|needed| *needed), "{needed:?} of {:?}", self.recording);
    }

    /// Checks the same promise, and returns of each sync of the operation whether some crash breaks it without that
    /// sync.
    #[track_caller]
    fn check_promise(&self, before: impl Fn(&Survivors) -> bool, after: impl Fn(&Survivors) -> bool) -> Vec<bool> {
        let is_kept = |position: usize, survivors: &Survivors| {
            if position < self.returned { before(survivors) } else { after(survivors) }
        };
        assert_eq!(self.recording.find_crash(SEEDS, is_kept), None, "the promise is broken");
        let syncs = self.recording.syncs().into_iter().filter(|&sync| sync >= self.begun);
        syncs.map(|sync| self.recording.without_sync(sync).find_crash(SEEDS, is_kept).is_some()).collect()
    }
}

fn nothing(_: &Dir) -> Result<(), Error> {
    Ok(())
}

fn is(survivors: &Survivors, file: &str, contents: &[u8]) -> bool {
    survivors.file(file) == Some(contents)
}

fn is_absent_or(survivors: &Survivors, file: &str, contents: &[u8]) -> bool {
    !survivors.contains(file) || is(survivors, file, contents)
}

fn write_unsynced(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), Error> {
    dir.create_file(&path(name), 0o600)?.write_all(bytes)
}

fn publish(dir: &Dir) -> Published<()> {
    let published = dir.publish_new(&path("a"), 0o600, |file| {
        // In two pieces, either of which may be lost.
        file.write_all(&new()[..1200])?;
        Ok::<_, PublishError>(file.write_all(&new()[1200..])?)
    });
    published.expect("publish")
}

#[test]
fn publish_new_of_a_new_file() {
    let trial = Trial::record(nothing, nothing, |dir| assert_eq!(publish(dir), Published::Created(())));
    trial.check(|left| is_absent_or(left, "a", &new()), |left| is(left, "a", &new()));
}

#[test]
fn publish_new_by_linking_where_renaming_without_replacing_is_not_known() {
    // Create, write twice, sync, rename.
    let fault = Some((4, Errno::INVAL));
    let operation = |dir: &Dir| assert_eq!(publish(dir), Published::Created(()));
    let trial = Trial::record_with_fault(nothing, nothing, operation, fault);
    trial.check(|left| is_absent_or(left, "a", &new()), |left| is(left, "a", &new()));
}

#[test]
fn publish_new_of_a_file_that_a_killed_run_left_without_a_sync() {
    let operation = |dir: &Dir| assert_eq!(publish(dir), Published::AlreadyThere(()));
    let trial = Trial::record(nothing, |dir| write_unsynced(dir, "a", &new()), operation);
    // What another program writes under the final name may be torn; not so once we said that it is there.
    let needed = trial.check_promise(|_| true, |left| is(left, "a", &new()));
    assert_eq!(needed, [false, true, true], "that of the temporary file, the file, the directory");
}

#[test]
fn replace_of_an_absent_file() {
    let operation = |dir: &Dir| dir.replace(&path("a"), 0o600, &new()).expect("replace");
    let trial = Trial::record(nothing, nothing, operation);
    trial.check(|left| is_absent_or(left, "a", &new()), |left| is(left, "a", &new()));
}

#[test]
fn replace_of_an_old_file() {
    let durable = |dir: &Dir| dir.replace(&path("a"), 0o600, &old());
    let operation = |dir: &Dir| dir.replace(&path("a"), 0o600, &new()).expect("replace");
    let trial = Trial::record(durable, nothing, operation);
    trial.check(|left| is(left, "a", &old()) || is(left, "a", &new()), |left| is(left, "a", &new()));
}

#[test]
fn replacement_of_an_old_file_in_two_steps() {
    let durable = |dir: &Dir| dir.replace(&path("a"), 0o600, &old());
    let operation = |dir: &Dir| {
        let name = path("a");
        let mut replacement = dir.replacement(&name, 0o600).expect("begin");
        let half = new().len() / 2;
        replacement.file().write_all(&new()[..half]).expect("write");
        replacement.file().sync().expect("sync");
        replacement.file().write_all(&new()[half..]).expect("write");
        replacement.commit().expect("commit");
    };
    let trial = Trial::record(durable, nothing, operation);
    // The first sync only makes the last one short.
    let needed =
        trial.check_promise(|left| is(left, "a", &old()) || is(left, "a", &new()), |left| is(left, "a", &new()));
    assert_eq!(needed, [false, true, true]);
}

#[test]
fn append_to_an_absent_file() {
    let trial = Trial::record(nothing, nothing, |dir| dir.append(&path("a"), 0o600, &new()).expect("append"));
    trial.check(|left| left.file("a").is_none_or(|file| file.len() <= new().len()), |left| is(left, "a", &new()));
}

#[test]
fn append_to_an_old_file_never_touches_what_it_holds() {
    let durable = |dir: &Dir| dir.append(&path("a"), 0o600, &old());
    let trial = Trial::record(durable, nothing, |dir| dir.append(&path("a"), 0o600, &new()).expect("append"));
    let before = |left: &Survivors| left.file("a").is_some_and(|file| file.starts_with(&old()));
    trial.check(before, |left| is(left, "a", &[old(), new()].concat()));
}

#[test]
fn append_to_an_empty_file_that_a_killed_run_left() {
    let unsynced = |dir: &Dir| dir.create_file(&path("a"), 0o600).map(drop);
    let trial = Trial::record(nothing, unsynced, |dir| dir.append(&path("a"), 0o600, &new()).expect("append"));
    trial.check(|_| true, |left| is(left, "a", &new()));
}

/// Two directories and a file in the first.
fn two_directories(dir: &Dir) -> Result<(), Error> {
    dir.create_subdir(&path("to"), 0o700)?;
    dir.create_subdir(&path("from"), 0o700)?;
    dir.replace(&path("from/a"), 0o600, &new())
}

fn rename(dir: &Dir) -> Published<()> {
    dir.rename_new(&path("from/a"), dir, &path("to/b")).expect("rename")
}

/// The file has one of its names and only whole contents under either.
fn is_somewhere(left: &Survivors) -> bool {
    let (from, to) = (is_absent_or(left, "from/a", &new()), is_absent_or(left, "to/b", &new()));
    from && to && (left.contains("from/a") || left.contains("to/b"))
}

fn is_moved(left: &Survivors) -> bool {
    is(left, "to/b", &new()) && !left.contains("from/a")
}

#[test]
fn rename_new_between_directories() {
    let trial = Trial::record(two_directories, nothing, |dir| assert_eq!(rename(dir), Published::Created(())));
    let needed = trial.check_promise(is_somewhere, is_moved);
    assert_eq!(needed, [false, true, true], "the file, which was durable before, and both directories");
}

#[test]
fn rename_new_of_a_file_that_nobody_synced() {
    let unsynced = |dir: &Dir| write_unsynced(dir, "a", &new());
    let operation = |dir: &Dir| {
        dir.rename_new(&path("a"), dir, &path("b")).expect("rename");
    };
    let trial = Trial::record(nothing, unsynced, operation);
    let after = |left: &Survivors| is(left, "b", &new()) && !left.contains("a");
    trial.check(|left| is_absent_or(left, "b", &new()), after);
}

#[test]
fn rename_new_to_another_file_system() {
    let fault = Some((1, Errno::XDEV));
    let operation = |dir: &Dir| assert_eq!(rename(dir), Published::Created(()));
    let trial = Trial::record_with_fault(two_directories, nothing, operation, fault);
    let needed = trial.check_promise(is_somewhere, is_moved);
    assert_eq!(needed, [false, true, true, true], "the original, the copy, and both directories");
}

#[test]
fn rename_new_to_a_name_that_a_killed_run_gave_to_a_copy() {
    let unsynced = |dir: &Dir| write_unsynced(dir, "to/b", &new());
    let operation = |dir: &Dir| assert_eq!(rename(dir), Published::AlreadyThere(()));
    let trial = Trial::record(two_directories, unsynced, operation);
    let before = |left: &Survivors| is(left, "from/a", &new()) || is(left, "to/b", &new());
    let needed = trial.check_promise(before, is_moved);
    assert_eq!(needed, [false, true, true, true], "the original, the copy, and both directories");
}

fn try_link(dir: &Dir, from: &str, to: &str) -> Result<Option<Published<()>>, PublishError> {
    let mut names = NewNames::default();
    let linked = names.link(dir.named_file(&path(from))?, (dir, &path(to)))?;
    names.sync()?;
    Ok(linked)
}

fn link(dir: &Dir) -> Option<Published<()>> {
    try_link(dir, "from/a", "to/b").expect("link")
}

#[test]
fn a_link_to_a_file_that_nobody_synced() {
    let unsynced = |dir: &Dir| write_unsynced(dir, "to/a", &new());
    let operation = |dir: &Dir| {
        try_link(dir, "to/a", "from/b").expect("link");
    };
    let trial = Trial::record(two_directories, unsynced, operation);
    trial.check(|left| is_absent_or(left, "from/b", &new()), |left| is(left, "from/b", &new()));
}

#[test]
fn a_link_keeps_the_first_name_at_every_moment() {
    let trial = Trial::record(two_directories, nothing, |dir| assert_eq!(link(dir), Some(Published::Created(()))));
    let before = |left: &Survivors| is(left, "from/a", &new()) && is_absent_or(left, "to/b", &new());
    let needed = trial.check_promise(before, |left| is(left, "from/a", &new()) && is(left, "to/b", &new()));
    assert_eq!(needed, [false, true], "the file, which was durable before, and its new directory");
}

#[test]
fn a_link_to_what_a_killed_run_linked() {
    let unsynced = |dir: &Dir| try_link(dir, "from/a", "to/b").map(drop).map_err(unexpected);
    let mut trial =
        Trial::record(two_directories, unsynced, |dir| assert_eq!(link(dir), Some(Published::AlreadyThere(()))));
    // The first run did not come to its sync of the directory.
    trial.recording = trial.recording.without_sync(trial.begun - 1);
    let needed = trial.check_promise(|left| is(left, "from/a", &new()), |left| is(left, "to/b", &new()));
    assert_eq!(needed.last(), Some(&true), "{needed:?}");
}

#[test]
fn it_is_left_to_the_caller_to_copy_what_cannot_be_linked() {
    for error in [Errno::XDEV, Errno::PERM, Errno::MLINK, Errno::OPNOTSUPP] {
        // Sync, link.
        let fault = Some((1, error));
        Trial::record_with_fault(two_directories, nothing, |dir| assert_eq!(link(dir), None), fault);
    }
}

/// Two files of one directory and one of another get their names.
fn publish_together(dir: &Dir) {
    let mut names = NewNames::default();
    for name in ["from/b", "from/c", "to/b"] {
        let written = |file: &mut OutFile| Ok::<_, PublishError>(file.write_all(&new())?);
        let (file, ()) = dir.prepare_new(&path(name), 0o600, written).expect("written");
        assert_eq!(names.publish(file).expect("published"), Published::Created(()));
    }
    names.sync().expect("synced");
}

#[test]
fn names_that_files_get_together_take_one_sync_of_each_directory() {
    let trial = Trial::record(two_directories, nothing, publish_together);
    let files = ["from/b", "from/c", "to/b"];
    let before = |left: &Survivors| files.iter().all(|file| is_absent_or(left, file, &new()));
    let needed = trial.check_promise(before, |left| files.iter().all(|file| is(left, file, &new())));
    assert_eq!(needed, [true; 5], "three files, and two directories");
}

fn unexpected(error: PublishError) -> Error {
    match error {
        PublishError::Storage(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn create_subdir_of_new_directories() {
    let trial = Trial::record(nothing, nothing, |dir| drop(dir.create_subdir(&path("a/b"), 0o700).expect("create")));
    trial.check(|_| true, |left| left.contains("a/b"));
}

#[test]
fn create_subdir_of_one_that_a_killed_run_left() {
    let create = |dir: &Dir| dir.create_subdir(&path("a"), 0o700).map(drop);
    let mut trial = Trial::record(nothing, create, |dir| create(dir).expect("create"));
    // The first run did not come to its sync.
    trial.recording = trial.recording.without_sync(trial.begun - 1);
    trial.check(|_| true, |left| left.contains("a"));
}

#[test]
fn create_of_one_that_a_killed_run_left() {
    let create = |dir: &Dir| Dir::create(&dir.path().join("a"), 0o700).map(drop);
    let mut trial = Trial::record(nothing, create, |dir| create(dir).expect("create"));
    trial.recording = trial.recording.without_sync(trial.begun - 1);
    trial.check(|_| true, |left| left.contains("a"));
}

#[test]
fn a_directory_with_something_in_it_is_not_synced_again() {
    let fill = |dir: &Dir| dir.create_subdir(&path("a/b"), 0o700).map(drop);
    let create = |dir: &Dir| {
        dir.create_subdir(&path("a"), 0o700).expect("create");
        Dir::create(&dir.path().join("a"), 0o700).expect("create");
    };
    assert!(Trial::record(fill, nothing, create).recording.is_empty());
}

#[test]
fn create_of_a_deep_directory() {
    let create = |dir: &Dir| drop(Dir::create(&dir.path().join("a/b/c"), 0o700).expect("create"));
    Trial::record(nothing, nothing, create).check(|_| true, |left| left.contains("a/b/c"));
}

#[test]
fn remove_file_is_durable_after_a_sync_of_the_directory() {
    let durable = |dir: &Dir| dir.replace(&path("a"), 0o600, &old());
    let operation = |dir: &Dir| {
        dir.remove_file(&path("a")).expect("remove");
        dir.sync().expect("sync");
    };
    let trial = Trial::record(durable, nothing, operation);
    trial.check(|left| is_absent_or(left, "a", &old()), |left| !left.contains("a"));
}

#[test]
fn sync_data_makes_contents_and_length_durable_and_sync_the_rest_as_well() {
    let operation = |dir: &Dir| {
        let mut file = dir.create_file(&path("a"), 0o600).expect("create");
        dir.sync().expect("sync");
        file.allocate(4096).expect("allocate");
        file.write_all(&new()).expect("write");
        file.sync_data().expect("sync");
    };
    let trial = Trial::record(nothing, nothing, operation);
    let mut padded = new();
    padded.resize(4096, 0);
    trial.check(|_| true, |left| is(left, "a", &padded));
}

#[test]
fn mode_and_time_are_durable_only_after_a_sync_of_everything() {
    let (root, _) = empty_directory();
    std::fs::write(root.path().join("a"), b"contents").expect("write");
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path()).expect("open");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let mut file = dir.edit_file(&path("a")).expect("edit");
    file.set_mode(0o400).expect("mode");
    file.set_modified(time).expect("time");
    file.sync_data().expect("sync");
    let contents_synced = recorder.position();
    file.sync().expect("sync");
    let everything_synced = recorder.position();

    for (position, is_durable) in [(contents_synced, false), (everything_synced, true)] {
        let (target, dir) = empty_directory();
        let crash = Crash { position, loss: Loss::Everything };
        recorder.recording().replay(crash, target.path()).expect("replay");
        let stat = dir.stat(&path("a")).expect("stat").expect("a file");
        assert_eq!((stat.mode == 0o400, stat.modified() == time), (is_durable, is_durable));
    }
}

#[test]
fn a_replayed_tree_is_what_survived() {
    let (root, _) = empty_directory();
    std::fs::write(root.path().join("before"), b"before").expect("write");
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path()).expect("open");
    dir.create_subdir(&path("below"), 0o750).expect("directory");
    dir.replace(&path("below/a"), 0o640, b"contents").expect("replace");
    dir.symlink(Path::new("below/a"), &path("link")).expect("link");
    let recording = recorder.recording();

    let (target, _) = empty_directory();
    let crash = Crash { position: recording.len(), loss: Loss::Nothing };
    recording.replay(crash, target.path()).expect("replay");
    assert_eq!(super::names(target.path()), ["before", "below", "link"]);
    assert_eq!(std::fs::read(target.path().join("link")).expect("read"), b"contents");
    let crash = Crash { loss: Loss::Everything, ..crash };
    let survivors = recording.survivors(crash);
    let paths: Vec<_> = survivors.paths().collect();
    assert_eq!(paths, [Path::new("before"), Path::new("below"), Path::new("below/a")], "the link was not synced");
}
