//! What publishing, replacing, appending and renaming do when nothing goes wrong.

use std::convert::Infallible;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use barman_storage::{Dir, Error, NewNames, PublishError, Published, RelativePath};

use super::{contents, empty_directory, names, path};

fn publish(dir: &Dir, name: &RelativePath, bytes: &[u8]) -> Result<Published<()>, PublishError> {
    dir.publish_new(name, 0o600, |file| Ok(file.write_all(bytes)?))
}

#[test]
fn publish_new_creates_a_file_with_its_mode_and_returns_what_the_writer_returns() {
    let (root, dir) = empty_directory();
    let published = dir.publish_new(&path("a"), 0o400, |file| {
        file.write_all(b"first ")?;
        file.write_all(b"second")?;
        Ok::<_, PublishError>(42)
    });
    assert_eq!(published.expect("publish"), Published::Created(42));
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"first second");
    let mode = std::fs::metadata(root.path().join("a")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o7777, 0o400);
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn publish_new_takes_equal_bytes_for_success_and_keeps_the_old_file() {
    let (root, dir) = empty_directory();
    let bytes = contents(1_000_000, 0);
    publish(&dir, &path("a"), &bytes).expect("first");
    let inode = std::fs::metadata(root.path().join("a")).expect("metadata").ino();
    assert_eq!(publish(&dir, &path("a"), &bytes).expect("second"), Published::AlreadyThere(()));
    assert_eq!(std::fs::metadata(root.path().join("a")).expect("metadata").ino(), inode);
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn publish_new_refuses_different_bytes_wherever_they_differ() {
    let old = contents(300_000, 0);
    let differing = |index: usize| {
        let mut bytes = old.clone();
        bytes[index] ^= 0x80;
        bytes
    };
    let longer = [old.as_slice(), b"x"].concat();
    for new in [differing(0), differing(131_072), differing(299_999), old[..299_999].to_vec(), longer, Vec::new()] {
        let (root, dir) = empty_directory();
        publish(&dir, &path("a"), &old).expect("first");
        let error = publish(&dir, &path("a"), &new).expect_err("a conflict");
        assert!(matches!(&error, PublishError::Conflict { path } if *path == root.path().join("a")), "{error}");
        assert_eq!(std::fs::read(root.path().join("a")).expect("read"), old);
        assert_eq!(names(root.path()), ["a"]);
    }
}

#[test]
fn publish_new_leaves_nothing_when_the_writer_gives_up() {
    #[derive(Debug, thiserror::Error)]
    #[error("gave up")]
    struct GaveUp;
    impl From<PublishError> for GaveUp {
        fn from(_: PublishError) -> Self {
            Self
        }
    }

    let (root, dir) = empty_directory();
    let published = dir.publish_new(&path("a"), 0o600, |_| Err::<Infallible, _>(GaveUp));
    assert!(published.is_err());
    assert!(names(root.path()).is_empty());
}

#[test]
fn publish_new_goes_into_an_existing_directory_below_and_makes_none() {
    let (root, dir) = empty_directory();
    let error = publish(&dir, &path("wals/a"), b"x").expect_err("no directory");
    assert!(matches!(error, PublishError::Storage(error) if error.is_not_found()));
    dir.create_subdir(&path("wals"), 0o700).expect("directory");
    publish(&dir, &path("wals/a"), b"x").expect("publish");
    assert_eq!(std::fs::read(root.path().join("wals/a")).expect("read"), b"x");
}

#[test]
fn publish_new_takes_a_linked_copy_elsewhere_for_the_file() {
    let (root, dir) = empty_directory();
    dir.create_subdir(&path("elsewhere"), 0o700).expect("directory");
    publish(&dir, &path("elsewhere/a"), b"same").expect("publish");
    dir.symlink("elsewhere/a".as_ref(), &path("a")).expect("link");
    assert_eq!(publish(&dir, &path("a"), b"same").expect("publish"), Published::AlreadyThere(()));
    assert!(matches!(publish(&dir, &path("a"), b"other"), Err(PublishError::Conflict { .. })));
    assert!(root.path().join("a").is_symlink());
}

#[test]
fn many_writers_of_the_same_file_agree_on_one() {
    let (root, dir) = empty_directory();
    let bytes = contents(50_000, 0);
    let start = Barrier::new(8);
    let created = std::thread::scope(|scope| {
        let writer = || {
            start.wait();
            publish(&dir, &path("a"), &bytes).expect("publish")
        };
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(writer)).collect();
        let published = writers.into_iter().map(|writer| writer.join().expect("writer"));
        published.filter(|published| *published == Published::Created(())).count()
    });
    assert_eq!(created, 1);
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), bytes);
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_one() {
    let (root, dir) = empty_directory();
    std::fs::write(root.path().join(".a.tmp"), b"half of it").expect("leftover");
    std::fs::set_permissions(root.path().join(".a.tmp"), PermissionsExt::from_mode(0o400)).expect("permissions");
    publish(&dir, &path("a"), b"all of it").expect("publish");
    assert_eq!(names(root.path()), ["a"]);
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"all of it");
}

#[test]
fn a_replacement_that_is_dropped_leaves_the_old_file() {
    let (root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"old").expect("old");
    let name = path("a");
    let mut replacement = dir.replacement(&name, 0o600).expect("begin");
    replacement.file().write_all(b"new").expect("write");
    drop(replacement);
    assert_eq!(
        (names(root.path()), std::fs::read(root.path().join("a")).expect("read")),
        (vec!["a".into()], b"old".to_vec())
    );
    assert!(dir.replacement(&path("b/a"), 0o600).is_err(), "only names in the directory itself");
}

#[test]
fn replace_puts_a_new_file_in_place_of_the_old_one() {
    let (root, dir) = empty_directory();
    for bytes in [b"first".as_slice(), b"second, longer", b""] {
        dir.replace(&path("a"), 0o600, bytes).expect("replace");
        assert_eq!(std::fs::read(root.path().join("a")).expect("read"), bytes);
        assert_eq!(names(root.path()), ["a"]);
    }
}

#[test]
fn append_creates_a_file_and_continues_it() {
    let (root, dir) = empty_directory();
    dir.append(&path("a"), 0o600, b"first\n").expect("create");
    dir.append(&path("a"), 0o600, b"second\n").expect("append");
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"first\nsecond\n");
}

#[test]
fn rename_new_moves_a_file_within_and_between_directories() {
    let (root, dir) = empty_directory();
    let below = dir.create_subdir(&path("below"), 0o700).expect("directory");
    dir.replace(&path("a"), 0o600, b"x").expect("file");
    assert_eq!(dir.rename_new(&path("a"), &dir, &path("b")).expect("within"), Published::Created(()));
    assert_eq!(names(root.path()), ["b", "below"]);
    assert_eq!(dir.rename_new(&path("b"), &below, &path("c")).expect("between"), Published::Created(()));
    assert_eq!(names(root.path()), ["below"]);
    assert_eq!(std::fs::read(root.path().join("below/c")).expect("read"), b"x");
}

#[test]
fn rename_new_does_not_mind_when_an_equal_file_is_taken_away_while_it_is_compared() {
    let (root, dir) = empty_directory();
    let at = |name: &str| root.path().join(name);
    std::fs::write(at("kept"), contents(1_000_000, 0)).expect("write");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // An archiver, and whoever gives it files: the name is taken and free, for different times.
        scope.spawn(|| {
            for round in (0..20).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                let _ = std::fs::hard_link(at("kept"), at("b"));
                std::thread::sleep(Duration::from_micros(50 * round));
                let _ = std::fs::remove_file(at("b"));
            }
        });
        let renamed = (0..100).try_for_each(|_| {
            std::fs::hard_link(at("kept"), at("a")).expect("a name that is free");
            dir.rename_new(&path("a"), &dir, &path("b")).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        renamed.expect("it is renamed, or an equal file was there");
    });
}

#[test]
fn rename_new_finishes_what_was_begun_and_refuses_other_contents() {
    let (root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"same").expect("file");
    dir.replace(&path("b"), 0o600, b"same").expect("file");
    assert_eq!(dir.rename_new(&path("a"), &dir, &path("b")).expect("equal"), Published::AlreadyThere(()));
    assert_eq!(names(root.path()), ["b"]);

    dir.replace(&path("a"), 0o600, b"other").expect("file");
    assert!(matches!(dir.rename_new(&path("a"), &dir, &path("b")), Err(PublishError::Conflict { .. })));
    assert_eq!(names(root.path()), ["a", "b"]);
    assert_eq!(std::fs::read(root.path().join("b")).expect("read"), b"same");
}

#[test]
fn rename_new_to_the_same_name_keeps_the_file() {
    let (root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"x").expect("file");
    let same = Dir::open(root.path()).expect("open");
    assert_eq!(dir.rename_new(&path("a"), &same, &path("a")).expect("rename"), Published::AlreadyThere(()));
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"x");
}

#[test]
fn an_out_file_is_written_in_any_order_and_keeps_its_position() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    let mut file = dir.create_file(&path("a"), 0o600)?;
    file.allocate(10)?;
    assert_eq!(file.len()?, 10);
    file.write_all_at(8, b"89abc")?;
    file.write_all(b"01")?;
    file.write_all(b"23")?;
    file.allocate(5)?;
    assert_eq!(file.len()?, 13, "allocating never cuts");
    file.truncate(12)?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_000_000))?;
    file.set_mode(0o777)?;
    file.sync_data()?;
    file.sync()?;
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"0123\0\0\0\089ab");
    let stat = dir.stat(&path("a"))?.expect("a file");
    assert_eq!((stat.modified_seconds, stat.modified_nanoseconds), (1_000_000, 123_000_000));
    assert_eq!((stat.mode, stat.size, stat.links), (0o777, 12, 1));
    Ok(())
}

#[test]
fn room_is_reserved_without_writing_zeros() -> Result<(), Error> {
    const LENGTH: u64 = 1 << 20;
    let reserved_in = |root: tempfile::TempDir| -> Result<u64, Error> {
        Dir::open(root.path())?.create_file(&path("a"), 0o600)?.allocate(LENGTH)?;
        let file = std::fs::metadata(root.path().join("a")).expect("a file");
        assert_eq!(file.len(), LENGTH);
        Ok(file.blocks() * 512)
    };
    // Below target/ is a disk, for that is what the tests are built on.
    assert_eq!(reserved_in(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory"))?, LENGTH);
    assert_eq!(reserved_in(tempfile::tempdir_in("/dev/shm").expect("a directory"))?, 0, "each page would be filled");
    Ok(())
}

#[test]
fn an_edited_file_keeps_what_is_not_written() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"0123456789")?;
    dir.edit_file(&path("a"))?.write_all_at(3, b"xyz")?;
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"012xyz6789");
    assert!(dir.edit_file(&path("b")).is_err_and(|error| error.is_not_found()));
    assert!(dir.create_file(&path("a"), 0o600).is_err_and(|error| error.is_already_exists()));
    Ok(())
}

#[test]
fn a_link_is_a_second_name_or_finds_that_it_is_taken() {
    let (root, dir) = empty_directory();
    let link = |from: &str| {
        let mut new_names = NewNames::default();
        let linked = new_names.link(dir.named_file(&path(from))?, (&dir, &path("b")))?;
        new_names.sync()?;
        Ok::<_, PublishError>(linked)
    };
    publish(&dir, &path("a"), b"one").expect("first");
    assert_eq!(link("a").expect("linked"), Some(Published::Created(())));
    let inode = |name: &str| std::fs::metadata(root.path().join(name)).expect("metadata").ino();
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(link("a").expect("again"), Some(Published::AlreadyThere(())));
    publish(&dir, &path("c"), b"two").expect("another");
    assert!(matches!(link("c"), Err(PublishError::Conflict { .. })));
    assert_eq!(names(root.path()), ["a", "b", "c"]);

    let opened = dir.named_file(&path("c")).expect("there");
    dir.replace(&path("c"), 0o600, b"another").expect("replaced");
    assert_eq!(NewNames::default().link(opened, (&dir, &path("d"))).expect("nothing fails"), None);
    assert_eq!(names(root.path()), ["a", "b", "c"]);
}

#[test]
fn hand_over_takes_the_place_of_a_file_also_on_another_file_system() {
    let (root, dir) = empty_directory();
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let shared = Dir::open(elsewhere.path()).expect("open");
    for (to_dir, to_root) in [(&dir, root.path()), (&shared, elsewhere.path())] {
        std::fs::write(root.path().join("a"), b"new").expect("write");
        std::fs::write(to_root.join("b"), b"old").expect("write");
        dir.hand_over(&path("a"), to_dir, &path("b")).expect("hand over");
        assert_eq!(std::fs::read(to_root.join("b")).expect("read"), b"new");
        assert!(!root.path().join("a").exists());
        assert_eq!(names(to_root), ["b"]);
    }
    assert!(dir.hand_over(&path("a"), &shared, &path("b")).expect_err("gone").is_not_found());
}
