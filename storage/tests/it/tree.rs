//! Syncing and removing whole trees.

use std::num::NonZeroUsize;
use std::path::Path;

use barman_storage::testing::Recorder;
use barman_storage::{Dir, Error, RelativePath};

use super::{contents, empty_directory, names, path};

/// Some files and links in directories below one another; nothing is synced but the names of the directories.
fn grow(dir: &Dir) -> Result<Vec<RelativePath>, Error> {
    let mut files = Vec::new();
    for directory in ["base", "base/1", "base/2", "empty", "deep/er/still"] {
        dir.create_subdir(&path(directory), 0o700)?;
        for name in ["x", "y"].into_iter().filter(|_| directory != "empty") {
            let file = path(directory).join(&path(name));
            dir.create_file(&file, 0o600)?.write_all(&contents(700, 0))?;
            files.push(file);
        }
    }
    dir.symlink(Path::new("/nowhere"), &path("base/link"))?;
    Ok(files)
}

#[test]
fn sync_tree_makes_every_file_and_name_durable_and_each_of_its_syncs_is_needed() -> Result<(), Error> {
    let (root, _) = empty_directory();
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path())?;
    let files = grow(&dir)?;
    let before = recorder.position();
    dir.sync_tree(NonZeroUsize::new(2).expect("not zero"))?;
    let after = recorder.position();

    let recording = recorder.recording();
    let is_whole = |position: usize, survivors: &barman_storage::testing::Survivors| {
        let is_there = |file: &RelativePath| survivors.file(file) == Some(&contents(700, 0));
        position < after || (files.iter().all(is_there) && survivors.contains("base/link"))
    };
    assert_eq!(recording.find_crash(20, is_whole), None);
    // The root, `deep` and `deep/er` hold only directories, which were synced when they were made; `empty` holds
    // nothing.
    let spare = 4;
    let needed = recording.syncs().into_iter().filter(|&sync| sync >= before);
    let needed = needed.filter(|&sync| recording.without_sync(sync).find_crash(20, is_whole).is_some()).count();
    assert_eq!(needed, after - before - spare);
    Ok(())
}

#[test]
fn sync_tree_fails_with_the_first_sync_that_fails() -> Result<(), Error> {
    let (root, _) = empty_directory();
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path())?;
    grow(&dir)?;
    let before = recorder.position();
    dir.sync_tree(NonZeroUsize::MIN)?;
    for position in before..recorder.position() {
        let recorder = Recorder::start(root.path());
        recorder.fail_at(position - before, rustix::io::Errno::IO.raw_os_error());
        let dir = Dir::open(root.path())?;
        assert!(dir.sync_tree(NonZeroUsize::MIN).is_err(), "at {position}");
    }
    Ok(())
}

#[test]
fn remove_tree_removes_everything_below_and_no_more() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    let (elsewhere, other) = empty_directory();
    other.replace(&path("kept"), 0o600, b"x")?;
    grow(&dir)?;
    dir.symlink(elsewhere.path(), &path("base/1/out"))?;
    dir.remove_tree(&path("base"))?;
    assert_eq!(names(root.path()), ["deep", "empty"]);
    assert_eq!(names(elsewhere.path()), ["kept"]);
    dir.remove_tree(&path("base"))?;
    dir.remove_tree(&path("deep/er/still/x"))?;
    assert_eq!(names(root.path().join("deep/er/still")), ["y"]);
    Ok(())
}

#[test]
fn remove_empty_dir_removes_empty_directories_only() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    grow(&dir)?;
    assert!(!dir.remove_empty_dir(&path("deep"))?);
    assert!(dir.remove_empty_dir(&path("empty"))?);
    assert!(dir.remove_empty_dir(&path("empty"))?, "absent will do");
    assert!(dir.remove_empty_dir(&path("absent/too"))?);
    assert_eq!(names(root.path()), ["base", "deep"]);
    Ok(())
}

#[test]
fn a_tree_of_any_depth_is_synced_and_removed() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    let mut deepest = dir.clone();
    for _ in 0..400 {
        rustix::fs::mkdirat(&deepest, "d", rustix::fs::Mode::RWXU).expect("directory");
        deepest = deepest.subdir(&path("d"))?;
    }
    dir.sync_tree(NonZeroUsize::MIN)?;
    dir.remove_tree(&path("d"))?;
    assert!(names(root.path()).is_empty());
    Ok(())
}

#[test]
fn removing_what_is_absent_is_done_already() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"x")?;
    dir.remove_file(&path("a"))?;
    dir.remove_file(&path("a"))?;
    dir.remove_file(&path("no/such/directory"))?;
    assert!(names(root.path()).is_empty());
    dir.create_subdir(&path("directory"), 0o700)?;
    assert!(dir.remove_file(&path("directory")).is_err());
    Ok(())
}
