//! The temporary file that becomes a published one.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use crate::{Dir, Error, Operation, OutFile, PublishError, Published, RelativePath};

/// How many processes may write the same file at the same time before the next one gives up. Barman's locks let one.
const MAXIMUM_WRITERS: usize = 16;

/// A file beside the one that it is to become. Dropping it removes it, unless it got its final name.
///
/// Its name starts with a dot and ends with `.tmp`, which Barman ignores. It follows from the final name, so that a
/// later run finds what a killed one left and removes it (invariant 7). While it is written it is locked with `flock`:
/// that is how a file which somebody still writes is told from one that nobody will finish.
#[derive(Debug)]
pub(crate) struct Temporary {
    dir: Dir,
    name: OsString,
    final_name: OsString,
    file: OutFile,
    in_place: bool,
}

impl Temporary {
    pub(crate) fn create(dir: &Dir, final_name: &OsStr, mode: u32) -> Result<Self, Error> {
        for writer in 0..MAXIMUM_WRITERS {
            let name = temporary_name(final_name, writer);
            if let Some(file) = claim(dir, &name, mode)? {
                let (dir, final_name) = (dir.clone(), final_name.to_owned());
                return Ok(Self { dir, name, final_name, file, in_place: false });
            }
        }
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "too many processes are writing it");
        Err(dir.failed(Operation::Create, final_name, busy))
    }

    pub(crate) fn file(&mut self) -> &mut OutFile {
        &mut self.file
    }

    pub(crate) const fn directory(&self) -> &Dir {
        &self.dir
    }

    pub(crate) fn path(&self) -> RelativePath {
        RelativePath::listed(&self.name)
    }

    /// Gives the file its final name unless that is taken; either way the contents are durable on return, but not the
    /// name.
    pub(crate) fn put_in_place(&mut self) -> Result<Published<()>, PublishError> {
        self.file.sync()?;
        let published = self.dir.rename_or_compare(&self.name, &self.dir, &self.final_name)?;
        self.in_place = published == Published::Created(());
        Ok(published)
    }

    /// Does the same, and makes the name durable too.
    pub(crate) fn publish(mut self) -> Result<Published<()>, PublishError> {
        let published = self.put_in_place()?;
        // The name itself lives in the directory. Without this sync a crash can lose a segment that PostgreSQL has
        // already removed, because we reported it as archived (invariant 1).
        self.dir.sync()?;
        Ok(published)
    }

    /// Gives the file its final name, in place of what may have had it.
    pub(crate) fn replace(mut self) -> Result<(), Error> {
        self.file.sync()?;
        self.dir.rename_over(&self.name, &self.final_name)?;
        self.in_place = true;
        self.dir.sync()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Where it was moved elsewhere, somebody else may write a file of that name by now.
        if !self.in_place && is_named(&self.dir, &self.name, &self.file).unwrap_or(false) {
            // A failure leaves a file that the next writer of the same name removes.
            let _ = self.dir.remove_child(&self.name, AtFlags::empty());
        }
    }
}

fn temporary_name(final_name: &OsStr, writer: usize) -> OsString {
    let mut name = OsString::from(".");
    name.push(final_name);
    if writer > 0 {
        name.push(format!(".{writer}"));
    }
    name.push(".tmp");
    name
}

/// Makes the file and locks it, or returns `None` if somebody else is writing a file of that name.
fn claim(dir: &Dir, name: &OsStr, mode: u32) -> Result<Option<OutFile>, Error> {
    loop {
        match dir.create_new_file(name, mode) {
            Ok(file) if !lock(dir, name, &file)? => return Ok(None),
            // Between the two calls it looked like a leftover, and somebody may have removed it.
            Ok(file) if is_named(dir, name, &file)? => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.is_already_exists() && remove_leftover(dir, name)? => {}
            Err(error) if error.is_already_exists() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Removes the file unless somebody writes it. A file that a crash left may be another name of the published one, so it
/// is never written to again. Returns whether the name is free now.
fn remove_leftover(dir: &Dir, name: &OsStr) -> Result<bool, Error> {
    let open = |access| dir.open_out(name, access | OFlags::NOFOLLOW);
    // NFS locks exclusively only what is open for writing; elsewhere a file that even its owner may not write can be
    // locked.
    let file = match open(OFlags::WRONLY).or_else(|_| open(OFlags::RDONLY)) {
        Ok(file) => file,
        Err(error) => return Ok(error.is_not_found()),
    };
    if !lock(dir, name, &file)? {
        return Ok(false);
    }
    if is_named(dir, name, &file)? {
        dir.remove_child(name, AtFlags::empty())?;
    }
    Ok(true)
}

fn lock(dir: &Dir, name: &OsStr, file: &OutFile) -> Result<bool, Error> {
    match rustix::fs::flock(file.fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(dir.failed(Operation::Lock, name, e)),
    }
}

fn is_named(dir: &Dir, name: &OsStr, file: &OutFile) -> Result<bool, Error> {
    dir.is_name_of(name, file.fd()).map_err(|e| dir.failed(Operation::LookUp, name, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn names(dir: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).expect("listing").map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_is_hidden_and_ends_with_tmp() {
        assert_eq!(temporary_name(OsStr::new("a"), 0), ".a.tmp");
        assert_eq!(temporary_name(OsStr::new("a"), 3), ".a.3.tmp");
    }

    #[test]
    fn two_writers_use_two_names_and_dropping_removes_them() {
        let root = tempfile::tempdir().expect("directory");
        let dir = Dir::open(root.path()).expect("open");
        let first = Temporary::create(&dir, OsStr::new("a"), 0o600).expect("first");
        let second = Temporary::create(&dir, OsStr::new("a"), 0o600).expect("second");
        assert_eq!(names(root.path()), [".a.1.tmp", ".a.tmp"]);
        drop((first, second));
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn one_that_was_moved_elsewhere_leaves_its_name_to_the_next_writer() {
        let root = tempfile::tempdir().expect("directory");
        let dir = Dir::open(root.path()).expect("open");
        let first = Temporary::create(&dir, OsStr::new("a"), 0o600).expect("first");
        dir.rename_over(OsStr::new(".a.tmp"), OsStr::new("elsewhere")).expect("rename");
        let second = Temporary::create(&dir, OsStr::new("a"), 0o600).expect("second");
        drop(first);
        assert_eq!(names(root.path()), [".a.tmp", "elsewhere"]);
        drop(second);
    }

    #[test]
    fn a_leftover_that_shares_its_contents_with_the_published_file_is_not_written_to() {
        let root = tempfile::tempdir().expect("directory");
        let dir = Dir::open(root.path()).expect("open");
        dir.replace(&crate::RelativePath::literal("a"), 0o600, b"published").expect("replace");
        // What a crash between linking and unlinking leaves.
        rustix::fs::linkat(&dir, "a", &dir, ".a.tmp", AtFlags::empty()).expect("link");
        let mut temporary = Temporary::create(&dir, OsStr::new("a"), 0o600).expect("create");
        temporary.file().write_all(b"something else").expect("write");
        assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"published");
    }

    #[test]
    fn a_name_that_is_taken_by_something_else_is_left_alone() {
        let root = tempfile::tempdir().expect("directory");
        let dir = Dir::open(root.path()).expect("open");
        dir.create_subdir(&crate::RelativePath::literal(".a.tmp"), 0o700).expect("directory");
        dir.symlink(Path::new("/nowhere"), &crate::RelativePath::literal(".a.1.tmp")).expect("link");
        let temporary = Temporary::create(&dir, OsStr::new("a"), 0o600).expect("create");
        assert_eq!(temporary.name, ".a.2.tmp");
    }
}
