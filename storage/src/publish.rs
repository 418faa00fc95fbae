//! The ways in which a file gets its name and contents so that no crash leaves half of either (invariant 2).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::change::Change;
use crate::temporary::Temporary;
use crate::{Dir, Error, Operation, OutFile, PublishError, RelativePath};

/// Files are compared through two buffers of this many bytes.
const COMPARE_BUFFER: usize = 128 * 1024;

/// What became of a file that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published<T> {
    /// It has its name now.
    Created(T),
    /// A file with the same bytes had the name already, and is durable.
    AlreadyThere(T),
}

impl<T> Published<T> {
    /// Returns what the caller's writing returned, whichever it was.
    pub fn into_value(self) -> T {
        match self {
            Self::Created(value) | Self::AlreadyThere(value) => value,
        }
    }

    /// Returns the same outcome with another value.
    fn with<U>(self, value: U) -> Published<U> {
        match self {
            Self::Created(_) => Published::Created(value),
            Self::AlreadyThere(_) => Published::AlreadyThere(value),
        }
    }
}

/// A file that is written, but has no name yet. Dropping it removes it.
#[derive(Debug)]
pub struct Unpublished {
    temporary: Temporary,
}

impl Unpublished {
    /// Where it lies meanwhile, in the directory in which it is to have its name. Whoever reads it there sees what was
    /// written; and it may be moved elsewhere from there.
    #[must_use]
    pub fn path(&self) -> RelativePath {
        self.temporary.path()
    }

    /// Syncs the file and gives it its name, as [`Dir::publish_new`] does.
    ///
    /// # Errors
    /// As there.
    pub fn publish(self) -> Result<Published<()>, PublishError> {
        self.temporary.publish()
    }

    pub(crate) const fn directory(&self) -> &Dir {
        self.temporary.directory()
    }

    /// Does the same, but does not sync the directory.
    pub(crate) fn put_in_place(mut self) -> Result<Published<()>, PublishError> {
        self.temporary.put_in_place()
    }
}

impl Dir {
    /// Writes a file that must not replace another one.
    ///
    /// `write` fills a temporary file in the same directory, which is then synced and renamed without replacing.
    /// Whenever this returns without an error, the contents are durable under their name, also where an equal file was
    /// there before. A crash at any moment leaves no file, or the whole one.
    ///
    /// # Errors
    /// Whatever `write` returns; [`PublishError::Conflict`] if the name is taken by a file with different bytes; a
    /// [`PublishError::Storage`] for a failed system call. In each case the name stands for what it did before, except
    /// that after a failed sync of the directory the new file may be there, not to be relied on.
    pub fn publish_new<T, E: From<PublishError>>(
        &self,
        path: &RelativePath,
        mode: u32,
        write: impl FnOnce(&mut OutFile) -> Result<T, E>,
    ) -> Result<Published<T>, E> {
        let (file, value) = self.prepare_new(path, mode, write)?;
        Ok(file.publish()?.with(value))
    }

    /// Does the first half of [`publish_new`](Self::publish_new): what takes long, and may be done before the file's turn
    /// has come. Returns what `write` returned, too; if that synced the file, publishing need not.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_new<T, E: From<PublishError>>(
        &self,
        path: &RelativePath,
        mode: u32,
        write: impl FnOnce(&mut OutFile) -> Result<T, E>,
    ) -> Result<(Unpublished, T), E> {
        let (dir, name) = self.locate(path).map_err(PublishError::from)?;
        let mut temporary = Temporary::create(&dir, name, mode).map_err(PublishError::from)?;
        let value = write(temporary.file())?;
        Ok((Unpublished { temporary }, value))
    }

    /// Writes a file in place of the one that has the name, if any. Only for files whose old version may vanish.
    ///
    /// A crash at any moment leaves the old file or the new one, whole. On return the new one is durable.
    ///
    /// # Errors
    /// A system call failed. The old file is still there, except that after a failed sync of the directory it may be
    /// the new one, not to be relied on.
    pub fn replace(&self, path: &RelativePath, mode: u32, bytes: &[u8]) -> Result<(), Error> {
        self.replace_with(path, mode, |file| file.write_all(bytes))
    }

    /// Does the same with a file that `write` fills.
    ///
    /// # Errors
    /// Whatever `write` returns, and as for [`replace`](Self::replace).
    pub fn replace_with<E: From<Error>>(
        &self,
        path: &RelativePath,
        mode: u32,
        write: impl FnOnce(&mut OutFile) -> Result<(), E>,
    ) -> Result<(), E> {
        let (dir, name) = self.locate(path)?;
        let mut temporary = Temporary::create(&dir, name, mode)?;
        write(temporary.file())?;
        Ok(temporary.replace()?)
    }

    /// Writes bytes to the end of a file, which is made if it is absent. On return they are durable.
    ///
    /// A crash before leaves any part of `bytes` at the end; what the file held before is not touched. The caller holds
    /// the lock that keeps other writers out.
    ///
    /// # Errors
    /// A system call failed. If it was the writing, for example because the disk is full, the file has its former
    /// length.
    pub fn append(&self, path: &RelativePath, mode: u32, bytes: &[u8]) -> Result<(), Error> {
        let (dir, name) = self.locate(path)?;
        let mut file = dir.open_to_append(name, mode)?;
        let end = file.len()?;
        if end == 0 {
            // The first bytes are written only after the name is durable. So a run that was killed in between leaves an
            // empty file, and a file that is not empty never needs this sync again (invariants 1 and 7).
            dir.sync()?;
        }
        file.write_all_at(end, bytes).inspect_err(|_| {
            // Half a line would be misread by Barman. If this fails too, the error of the writing is still the cause.
            let _ = file.truncate(end);
        })?;
        file.sync_data()
    }

    /// Gives a file another name, possibly in another directory or file system, without replacing what may have that
    /// name.
    ///
    /// On return the contents are durable under the new name, and the old name is gone for good. If the new name stands
    /// for a file with the same bytes, as it does after a run that was killed halfway, only the old name is removed.
    ///
    /// # Errors
    /// [`PublishError::Conflict`] if the new name is taken by a file with different bytes; [`PublishError::Storage`]
    /// for a failed system call. In each case no name stands for other bytes than before, and the file has one name at
    /// least.
    pub fn rename_new(
        &self,
        from: &RelativePath,
        to_dir: &Self,
        to: &RelativePath,
    ) -> Result<Published<()>, PublishError> {
        let (from_dir, from) = self.locate(from)?;
        let (to_dir, to) = to_dir.locate(to)?;
        let mut file = from_dir.open_out(from, OFlags::RDONLY | OFlags::NOFOLLOW)?;
        file.sync()?;
        let within_directory = from_dir.is_same_directory(&to_dir)?;
        if within_directory && from == to {
            from_dir.sync()?;
            return Ok(Published::AlreadyThere(()));
        }
        let (published, is_moved) = match from_dir.rename_or_compare(from, &to_dir, to) {
            Err(PublishError::Storage(error)) if error.kind() == io::ErrorKind::CrossesDevices => {
                (from_dir.copy_new(from, &to_dir, to)?, false)
            }
            renamed => renamed.map(|published| (published, published == Published::Created(())))?,
        };
        // First the new name, so that there is no moment at which a crash leaves neither.
        to_dir.sync()?;
        if !is_moved {
            from_dir.remove_child(from, AtFlags::empty())?;
        }
        if !(is_moved && within_directory) {
            from_dir.sync()?;
        }
        Ok(published)
    }

    /// Gives a file another name, possibly in another directory or file system, in place of what may have that name. Nothing
    /// is durable: this is for a file that can be fetched again, handed to somebody who syncs it before relying on it.
    ///
    /// # Errors
    /// A system call failed. The name stands for the old file or for the new one, whole.
    pub fn hand_over(&self, from: &RelativePath, to_dir: &Self, to: &RelativePath) -> Result<(), Error> {
        let (from_dir, from) = self.locate(from)?;
        let (to_dir, to) = to_dir.locate(to)?;
        match from_dir.rename_into(from, &to_dir, to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let copy = from_dir.copy_beside(from, &to_dir, to)?;
                to_dir.rename_into(copy.path().file_name(), &to_dir, to)?;
                from_dir.remove_child(from, AtFlags::empty())
            }
            renamed => renamed,
        }
    }
}

/// The steps of the above.
impl Dir {
    /// Renames a file, or makes sure that the name it was to have stands for the same bytes and that these are durable.
    /// The directories are not synced yet.
    pub(crate) fn rename_or_compare(
        &self,
        from: &OsStr,
        to_dir: &Self,
        to: &OsStr,
    ) -> Result<Published<()>, PublishError> {
        loop {
            if self.rename_if_free(from, to_dir, to)? {
                return Ok(Published::Created(()));
            }
            // Without an answer it was removed since the rename found it.
            if let Some(published) = self.compare(from, to_dir, to)? {
                return Ok(published);
            }
        }
    }

    /// Gives a file a second name, or makes sure that the one it was to have stands for the same bytes and that these are
    /// durable; `None` if it cannot be linked there. The directory is not synced yet.
    pub(crate) fn link_or_compare(
        &self,
        from: &OsStr,
        to_dir: &Self,
        to: &OsStr,
    ) -> Result<Option<Published<()>>, PublishError> {
        match self.link(from, to_dir, to) {
            Ok(true) => Ok(Some(Published::Created(()))),
            // If it is removed since the link found it, there is no second try.
            Ok(false) => self.compare(from, to_dir, to),
            Err(error) if needs_copy(&error) => Ok(None),
            Err(error) => Err(to_dir.failed(Operation::Rename, to, error).into()),
        }
    }

    /// Makes sure that a name which is taken stands for the same bytes and that these are durable; `None` if it is free.
    fn compare(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> Result<Option<Published<()>>, PublishError> {
        match self.has_same_contents(from, to_dir, to)? {
            // Whoever wrote it may have been killed before its sync.
            Some(true) => match to_dir.open_out(to, OFlags::RDONLY) {
                Ok(mut file) => Ok(file.sync().map(|()| Some(Published::AlreadyThere(())))?),
                // An archiver may take it away while it is compared.
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error.into()),
            },
            Some(false) => Err(PublishError::Conflict { path: to_dir.path_of(to) }),
            None => Ok(None),
        }
    }

    /// Renames a file in this directory over another one, or to a name that is free.
    pub(crate) fn rename_over(&self, from: &OsStr, to: &OsStr) -> Result<(), Error> {
        self.rename_into(from, self, to)
    }

    fn rename_into(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> Result<(), Error> {
        let describe = || Change::Rename { from: self.path_of(from), to: to_dir.path_of(to), replaces: true };
        self.gate()
            .pass(describe, || rustix::fs::renameat(self, from, to_dir, to))
            .map_err(|e| to_dir.failed(Operation::Rename, to, e))
    }

    /// Renames a file unless the name is taken. Returns whether it did.
    fn rename_if_free(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> Result<bool, Error> {
        let describe = || Change::Rename { from: self.path_of(from), to: to_dir.path_of(to), replaces: false };
        let rename = || rustix::fs::renameat_with(self, from, to_dir, to, RenameFlags::NOREPLACE);
        match self.gate().pass(describe, rename) {
            Err(e) if is_unsupported(&e) => self.link_if_free(from, to_dir, to),
            renamed => unless_taken(renamed).map_err(|e| to_dir.failed(Operation::Rename, to, e)),
        }
    }

    /// Does the same on file systems that cannot rename without replacing, such as NFS.
    fn link_if_free(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> Result<bool, Error> {
        let linked = self.link(from, to_dir, to).map_err(|e| to_dir.failed(Operation::Rename, to, e))?;
        if linked {
            self.remove_child(from, AtFlags::empty())?;
        }
        Ok(linked)
    }

    /// Gives a file a second name unless that is taken. Returns whether it did.
    fn link(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> io::Result<bool> {
        let describe = || Change::AddName { existing: self.path_of(from), path: to_dir.path_of(to) };
        unless_taken(self.gate().pass(describe, || rustix::fs::linkat(self, from, to_dir, to, AtFlags::empty())))
    }

    /// Makes a copy of a file in a directory of another file system, which is not synced yet.
    fn copy_new(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> Result<Published<()>, PublishError> {
        self.copy_beside(from, to_dir, to)?.put_in_place()
    }

    /// Makes a copy of a file, with its mode and time, beside the name that it is to have.
    fn copy_beside(&self, from: &OsStr, to_dir: &Self, to: &OsStr) -> Result<Temporary, Error> {
        let (mut source, _) = self.open_regular(Path::new(from), OFlags::RDONLY | OFlags::NOFOLLOW)?;
        let failed = |e| self.failed(Operation::Read, from, e);
        let stat = crate::Stat::from(rustix::fs::fstat(&source).map_err(|e| failed(e.into()))?);
        let mut copy = Temporary::create(to_dir, to, stat.mode)?;
        let mut buffer = vec![0; COMPARE_BUFFER];
        loop {
            let length = source.read(&mut buffer).map_err(failed)?;
            let Some(bytes @ [_, ..]) = buffer.get(..length) else { break };
            copy.file().write_all(bytes)?;
        }
        copy.file().set_mode(stat.mode)?;
        copy.file().set_modified(stat.modified())?;
        Ok(copy)
    }

    fn open_to_append(&self, name: &OsStr, mode: u32) -> Result<OutFile, Error> {
        loop {
            match self.open_out(name, OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW) {
                Err(error) if error.is_not_found() => {}
                opened => return opened,
            }
            match self.create_new_file(name, mode) {
                // Made by somebody else since.
                Err(error) if error.is_already_exists() => {}
                created => return created,
            }
        }
    }

    /// Compares two files byte by byte; `None` if the second one is absent.
    fn has_same_contents(&self, name: &OsStr, other: &Self, other_name: &OsStr) -> Result<Option<bool>, Error> {
        let (ours, _) = self.open_regular(Path::new(name), OFlags::RDONLY)?;
        let (theirs, _) = match other.open_regular(Path::new(other_name), OFlags::RDONLY) {
            Ok(theirs) => theirs,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        are_equal(ours, theirs).map(Some).map_err(|e| other.failed(Operation::Read, other_name, e))
    }

    pub(crate) fn is_same_directory(&self, other: &Self) -> Result<bool, Error> {
        let identity = |dir: &Self| {
            let stat = rustix::fs::fstat(dir).map_err(|e| Error::new(Operation::LookUp, dir.path(), e))?;
            Ok((stat.st_dev, stat.st_ino))
        };
        Ok(identity(self)? == identity(other)?)
    }
}

/// Returns whether a file system said that it cannot rename without replacing.
fn is_unsupported(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Returns whether a file cannot be linked, which says nothing of whether it can be copied.
fn needs_copy(error: &io::Error) -> bool {
    const REFUSALS: [Errno; 6] = [Errno::XDEV, Errno::PERM, Errno::MLINK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|error| REFUSALS.contains(&error))
}

/// Takes "the name is taken" for an answer instead of an error.
fn unless_taken(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

/// Returns whether two files hold the same bytes.
pub(crate) fn are_equal(mut left: File, mut right: File) -> io::Result<bool> {
    // Only so that most different files are known without reading them.
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let (mut left_bytes, mut right_bytes) = (Vec::new(), Vec::new());
    loop {
        fill(&mut left, &mut left_bytes)?;
        fill(&mut right, &mut right_bytes)?;
        if left_bytes != right_bytes || left_bytes.is_empty() {
            return Ok(left_bytes == right_bytes);
        }
    }
}

/// Reads the next bytes: as many as fit, fewer only at the end of the file.
fn fill(file: &mut File, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    file.take(COMPARE_BUFFER as u64).read_to_end(buffer).map(drop)
}
