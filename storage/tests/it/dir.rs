//! Finding, reading and making what is below a directory, and not leaving it.

use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use barman_storage::{Dir, Error, Kind};
use rustix::fs::Mode;

use super::{contents, empty_directory, names, path};

#[test]
fn create_makes_the_directories_on_the_way_and_takes_those_that_exist() -> Result<(), Error> {
    let (root, _) = empty_directory();
    let deep = root.path().join("a/b/c");
    let dir = Dir::create(&deep, 0o700)?;
    assert_eq!(dir.path(), deep);
    assert_eq!(std::fs::metadata(&deep).expect("metadata").permissions().mode() & 0o7777, 0o700);
    Dir::create(&deep, 0o700)?;
    symlink(&deep, root.path().join("link")).expect("link");
    Dir::create(&root.path().join("link/d"), 0o700)?;
    assert_eq!(names(deep), ["d"]);
    Ok(())
}

#[test]
fn create_says_which_directory_is_in_the_way() {
    let (root, _) = empty_directory();
    std::fs::write(root.path().join("file"), b"").expect("file");
    let error = Dir::create(&root.path().join("file/below"), 0o700).expect_err("a file is in the way");
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn an_empty_path_is_the_current_directory() {
    assert_eq!(Dir::open(Path::new("")).expect("open").path(), Path::new("."));
}

#[test]
fn create_subdir_makes_the_directories_on_the_way() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    dir.create_subdir(&path("a/b"), 0o700)?;
    dir.create_subdir(&path("a/b/c"), 0o700)?.set_mode(0o711)?;
    assert_eq!(std::fs::metadata(root.path().join("a/b/c")).expect("metadata").permissions().mode() & 0o7777, 0o711);
    assert_eq!(dir.subdir(&path("a/b"))?.path(), root.path().join("a/b"));
    assert!(dir.subdir(&path("a/x")).is_err_and(|error| error.is_not_found()));
    Ok(())
}

#[test]
fn entries_are_sorted_and_tell_their_kind() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    for name in ["b", "B", ".hidden", "\u{e9}"] {
        std::fs::write(root.path().join(name), b"").expect("file");
    }
    dir.create_subdir(&path("a"), 0o700)?;
    dir.symlink(Path::new("a"), &path("c"))?;
    rustix::fs::mkfifoat(&dir, "pipe", Mode::RWXU).expect("pipe");
    let entries: Vec<_> = dir.entries()?.into_iter().map(|entry| (entry.name, entry.kind)).collect();
    let expected = [
        (".hidden", Kind::File),
        ("B", Kind::File),
        ("a", Kind::Directory),
        ("b", Kind::File),
        ("c", Kind::Symlink),
        ("pipe", Kind::Other),
        ("\u{e9}", Kind::File),
    ];
    assert_eq!(entries, expected.map(|(name, kind)| (name.into(), kind)));
    Ok(())
}

#[test]
fn stat_describes_a_link_itself_and_says_none_for_nothing() -> Result<(), Error> {
    let (_root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"12345")?;
    dir.symlink(Path::new("a"), &path("link"))?;
    let stat = dir.stat(&path("a"))?.expect("a file");
    assert_eq!((stat.kind, stat.size, stat.mode), (Kind::File, 5, 0o600));
    assert_eq!(dir.stat(&path("link"))?.expect("a link").kind, Kind::Symlink);
    assert_eq!(dir.stat(&path("nothing"))?, None);
    assert_eq!(dir.stat(&path("a/below a file"))?, None);
    Ok(())
}

#[test]
fn read_is_bounded() -> Result<(), Error> {
    let (_root, dir) = empty_directory();
    dir.replace(&path("a"), 0o600, b"12345")?;
    assert_eq!(dir.read(&path("a"), 5)?.as_deref(), Some(b"12345".as_slice()));
    let error = dir.read(&path("a"), 4).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(dir.read(&path("b"), 5)?, None);
    assert_eq!(dir.read(&path("a"), u64::MAX)?.map(|bytes| bytes.len()), Some(5));
    Ok(())
}

#[test]
fn reading_follows_links_and_neither_waits_for_a_pipe_nor_reads_a_directory() -> Result<(), Error> {
    let (root, dir) = empty_directory();
    let (elsewhere, other) = empty_directory();
    other.replace(&path("a"), 0o600, &contents(10, 0))?;
    symlink(elsewhere.path(), root.path().join("moved")).expect("link");
    let mut bytes = Vec::new();
    dir.open_file(&path("moved/a"))?.read_to_end(&mut bytes).expect("read");
    assert_eq!(bytes, contents(10, 0));

    rustix::fs::mkfifoat(&dir, "pipe", Mode::RWXU).expect("pipe");
    for name in ["pipe", "moved"] {
        assert_eq!(dir.open_file(&path(name)).expect_err(name).kind(), io::ErrorKind::InvalidInput);
    }
    Ok(())
}

#[test]
fn no_change_goes_through_a_link() {
    let (root, dir) = empty_directory();
    let (elsewhere, other) = empty_directory();
    other.replace(&path("a"), 0o600, b"untouched").expect("file");
    symlink(elsewhere.path(), root.path().join("out")).expect("link");
    symlink(elsewhere.path().join("a"), root.path().join("file")).expect("link");

    assert!(dir.subdir(&path("out")).is_err());
    assert!(dir.create_subdir(&path("out/new"), 0o700).is_err());
    assert!(dir.create_file(&path("out/new"), 0o600).is_err());
    assert!(dir.create_file(&path("file"), 0o600).is_err());
    assert!(dir.edit_file(&path("out/a")).is_err());
    assert!(dir.edit_file(&path("file")).is_err());
    assert!(dir.replace(&path("out/a"), 0o600, b"x").is_err());
    assert!(dir.append(&path("out/a"), 0o600, b"x").is_err());
    assert!(dir.append(&path("file"), 0o600, b"x").is_err());
    assert!(dir.remove_file(&path("out/a")).is_err());
    assert!(dir.rename_new(&path("out/a"), &dir, &path("b")).is_err());
    assert!(dir.symlink(Path::new("x"), &path("out/link")).is_err());
    dir.replace(&path("file"), 0o600, b"x").expect("the link itself is replaced");
    dir.remove_tree(&path("out")).expect("the link itself is removed");

    assert_eq!(names(elsewhere.path()), ["a"]);
    assert_eq!(std::fs::read(elsewhere.path().join("a")).expect("read"), b"untouched");
}

#[test]
fn a_link_that_is_there_already_will_do_if_it_is_the_same() -> Result<(), Error> {
    let (_root, dir) = empty_directory();
    dir.symlink(Path::new("/target"), &path("link"))?;
    dir.symlink(Path::new("/target"), &path("link"))?;
    assert!(dir.symlink(Path::new("/other"), &path("link")).is_err_and(|error| error.is_already_exists()));
    assert_eq!(dir.read_link(&path("link"))?.as_deref(), Some(Path::new("/target")));
    assert_eq!(dir.read_link(&path("nothing"))?, None);
    Ok(())
}

#[test]
fn free_space_is_known() {
    let (_root, dir) = empty_directory();
    assert!(dir.free_space().expect("free space") > 0);
}
