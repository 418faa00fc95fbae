//! Every system call of an operation may fail: it is reported, and nothing half-made is left.

use barman_storage::testing::Recorder;
use barman_storage::{Dir, Error, PublishError, Published};
use rustix::io::Errno;

use super::{contents, empty_directory, names, path};

/// Lets each change of `operation` fail in turn, and calls `check` on what is left.
fn fail_each_change(
    prepare: impl Fn(&Dir),
    operation: impl Fn(&Dir) -> Result<(), PublishError>,
    check: impl Fn(&Dir, usize),
) {
    let changes = {
        let (root, dir) = empty_directory();
        prepare(&dir);
        let recorder = Recorder::start(root.path());
        operation(&Dir::open(root.path()).expect("open")).expect("without a fault");
        recorder.position()
    };
    for position in 0..changes {
        let (root, dir) = empty_directory();
        prepare(&dir);
        let recorder = Recorder::start(root.path());
        recorder.fail_at(position, Errno::IO.raw_os_error());
        let dir = Dir::open(root.path()).expect("open");
        assert!(operation(&dir).is_err(), "the fault at {position} is not reported");
        check(&dir, position);
        operation(&dir).unwrap_or_else(|error| panic!("the run after the fault at {position}: {error}"));
    }
}

fn read(dir: &Dir, name: &str) -> Option<Vec<u8>> {
    std::fs::read(dir.path().join(name)).ok()
}

fn publish(dir: &Dir) -> Result<(), PublishError> {
    let published = dir.publish_new(&path("a"), 0o600, |file| Ok(file.write_all(&contents(1500, 0))?));
    published.map(Published::into_value)
}

#[test]
fn publish_new_leaves_no_file_or_the_whole_one() {
    fail_each_change(
        |_| {},
        publish,
        |dir, position| {
            assert!(read(dir, "a").is_none_or(|bytes| bytes == contents(1500, 0)), "{position}");
            assert!(!names(dir.path()).contains(&".a.tmp".to_owned()), "{position}");
        },
    );
}

#[test]
fn replace_leaves_the_old_file_or_the_new_one() {
    fail_each_change(
        |dir| dir.replace(&path("a"), 0o600, b"old").expect("old"),
        |dir| Ok(dir.replace(&path("a"), 0o600, b"new")?),
        |dir, position| {
            let left = read(dir, "a").expect("a file");
            assert!(left == b"old" || left == b"new", "{position}");
            assert_eq!(names(dir.path()), ["a"], "{position}");
        },
    );
}

#[test]
fn rename_new_leaves_the_file_under_one_name() {
    fail_each_change(
        |dir| {
            dir.create_subdir(&path("to"), 0o700).expect("directory");
            dir.replace(&path("a"), 0o600, b"contents").expect("file");
        },
        |dir| match dir.rename_new(&path("a"), dir, &path("to/b")) {
            Err(PublishError::Storage(error)) if error.is_not_found() => Ok(()),
            renamed => renamed.map(drop),
        },
        |dir, position| {
            let left: Vec<_> = ["a", "to/b"].iter().filter_map(|name| read(dir, name)).collect();
            assert_eq!(left, [b"contents"], "{position}");
        },
    );
}

#[test]
fn append_keeps_its_former_length_when_writing_fails() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    dir.append(&path("a"), 0o600, b"first\n")?;
    let recorder = Recorder::start(root.path());
    recorder.fail_at(0, Errno::NOSPC.raw_os_error());
    let dir = Dir::open(root.path())?;
    let error = dir.append(&path("a"), 0o600, b"second\n").expect_err("the disk is full");
    assert!(error.is_disk_full());
    assert_eq!(read(&dir, "a").as_deref(), Some(b"first\n".as_slice()));
    assert_eq!(recorder.position(), 1, "cut off again, whatever the disk had taken");
    Ok(())
}

#[test]
fn rename_new_to_another_file_system_keeps_mode_and_time() -> Result<(), PublishError> {
    let (root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"contents")?;
    // More than the umask lets a new file have.
    dir.edit_file(&path("a"))?.set_mode(0o777)?;
    let before = dir.stat(&path("a"))?;
    let recorder = Recorder::start(root.path());
    // Sync, rename.
    recorder.fail_at(1, Errno::XDEV.raw_os_error());
    let dir = Dir::open(root.path())?;
    assert_eq!(dir.rename_new(&path("a"), &dir, &path("b"))?, Published::Created(()));
    assert_eq!(names(root.path()), ["b"]);
    assert_eq!(dir.stat(&path("b"))?, before);
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_synced_at_all_is_as_durable_as_it_gets() -> Result<(), Error> {
    let (root, _) = empty_directory();
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path())?;
    recorder.fail_at(0, Errno::INVAL.raw_os_error());
    dir.sync()?;
    recorder.fail_at(0, Errno::IO.raw_os_error());
    assert!(dir.sync().is_err());
    Ok(())
}

#[test]
fn a_failed_sync_of_a_file_is_never_made_good_by_another_one() -> Result<(), Error> {
    let (root, _) = empty_directory();
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path())?;
    let mut file = dir.create_file(&path("a"), 0o600)?;
    file.write_all(b"contents")?;
    recorder.fail_at(recorder.position(), Errno::IO.raw_os_error());
    assert!(file.sync_data().is_err());
    let recorded = recorder.position();
    assert!(file.sync_data().is_err());
    assert!(file.sync().is_err());
    assert_eq!(recorder.position(), recorded, "the kernel is not even asked");
    Ok(())
}

/// Whoever makes a directory, and whoever claims a name, tries first and looks then.
#[test]
fn a_fault_is_not_used_up_by_what_fails_by_itself() -> Result<(), PublishError> {
    let (root, dir) = empty_directory();
    dir.create_subdir(&path("below"), 0o700)?.replace(&path("a"), 0o600, b"contents")?;
    let recorder = Recorder::start(root.path());
    recorder.fail_at(0, Errno::IO.raw_os_error());
    let below = Dir::open(root.path())?.create_subdir(&path("below"), 0o700)?;
    below.symlink(root.path(), &path("a")).expect_err("the name is taken");
    below.create_file(&path("a"), 0o600).expect_err("the name is taken");
    below.remove_file(&path("absent"))?;
    assert_eq!(recorder.position(), 0);
    let error = below.create_file(&path("b"), 0o600).expect_err("the fault");
    assert_eq!(error.kind(), std::io::Error::from(Errno::IO).kind());
    Ok(())
}

#[test]
fn a_full_disk_is_told_from_other_errors() {
    let (root, _) = empty_directory();
    let recorder = Recorder::start(root.path());
    let dir = Dir::open(root.path()).expect("open");
    // Create, write.
    recorder.fail_at(1, Errno::NOSPC.raw_os_error());
    let error = publish(&dir).expect_err("the disk is full");
    assert!(matches!(error, PublishError::Storage(error) if error.is_disk_full()));
    assert!(names(root.path()).is_empty());
}
