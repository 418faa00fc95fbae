//! A handle on a directory: finding, reading and making what is below it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, DirEntry, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::change::{Change, Gate};
use crate::{Entry, Error, Kind, Operation, OutFile, RelativePath, Stat};

/// An open directory. Clones share the handle.
///
/// Everything below it is named by a [`RelativePath`], and on the way to what it changes it follows no symbolic link:
/// neither a hostile path nor a hostile link leads a change out of the directory (invariant 8). Reading does follow
/// links, since administrators move parts of a repository to other disks that way.
///
/// Nothing is durable before the call that says so has returned. [`publish_new`](Self::publish_new),
/// [`replace`](Self::replace), [`append`](Self::append), [`rename_new`](Self::rename_new), [`create`](Self::create) and
/// [`create_subdir`](Self::create_subdir) sync what they did; everything else is made durable by
/// [`OutFile::sync`], [`sync`](Self::sync) or [`sync_tree`](Self::sync_tree).
///
/// The `mode` of what is created is reduced by the umask of the process, as usual.
#[derive(Clone)]
pub struct Dir(Arc<Handle>);

struct Handle {
    fd: OwnedFd,
    /// As it was opened; for messages and for recorders, never for finding a file.
    path: PathBuf,
    gate: Gate,
}

impl Dir {
    /// Opens an existing directory. Symbolic links are followed: the path is one that the administrator chose.
    ///
    /// # Errors
    /// The directory is absent, not a directory, or may not be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Without this, "" would be an error where `Path::parent` means the current directory by it.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::new(Operation::Open, path, e))?;
        Ok(Self(Arc::new(Handle { fd, path: path.to_path_buf(), gate: Gate::of_directory(path) })))
    }

    /// Opens a directory; makes it, and the directories above it, where they are missing. On return its name and those
    /// of the directories made are durable.
    ///
    /// # Errors
    /// A directory can be neither opened nor made, or a sync failed.
    pub fn create(path: &Path, mode: u32) -> Result<Self, Error> {
        let above = || path.parent().unwrap_or(Path::new("/"));
        match Self::open(path) {
            Ok(dir) => {
                dir.sync_name_if_empty(|| Self::open(above()))?;
                Ok(dir)
            }
            Err(error) if error.is_not_found() => {
                let name = path.file_name().ok_or(error)?;
                Self::create(above(), mode)?.create_child(name, mode)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the path that the directory was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Opens a directory below this one. A symbolic link, also on the way, is refused.
    ///
    /// It goes name by name, which works on every kernel and refuses links that stay below this directory too: one rule
    /// for all systems, where `openat2` with a fallback would have two.
    ///
    /// # Errors
    /// The directory is absent, not a directory, or may not be read.
    pub fn subdir(&self, path: &RelativePath) -> Result<Self, Error> {
        path.as_path().iter().try_fold(self.clone(), |dir, name| dir.child(name))
    }

    /// Opens a directory below this one; makes it, and those on the way, where they are missing. On return all their
    /// names are durable.
    ///
    /// # Errors
    /// A directory can be neither opened nor made, or a sync failed.
    pub fn create_subdir(&self, path: &RelativePath, mode: u32) -> Result<Self, Error> {
        path.as_path().iter().try_fold(self.clone(), |dir, name| dir.create_child(name, mode))
    }

    /// Makes a directory below this one, in one that is there; one of that name will do. Its name is not durable before
    /// [`sync`](Self::sync) of the directory that holds it, or [`sync_tree`](Self::sync_tree) above it: for many
    /// directories of which none is relied on before all are there.
    ///
    /// # Errors
    /// It cannot be made, or something else has the name.
    pub fn make_subdir(&self, path: &RelativePath, mode: u32) -> Result<Self, Error> {
        let (dir, name) = self.locate(path)?;
        match dir.make_child(name, mode) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(dir.failed(Operation::CreateDirectory, name, e)),
            _ => dir.child(name),
        }
    }

    /// Returns the names in this directory in byte order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for listed in self.list()? {
            let listed = listed?;
            let name = OsStr::from_bytes(listed.file_name().to_bytes());
            // Absent: it was removed since the directory was listed.
            entries.extend(self.kind(name, listed.file_type())?.map(|kind| Entry { name: name.into(), kind }));
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// Returns what the file system knows of a file, or `None` if there is none. A symbolic link is described itself.
    ///
    /// # Errors
    /// The file system does not say, for example because a directory on the way may not be searched.
    pub fn stat(&self, path: &RelativePath) -> Result<Option<Stat>, Error> {
        match rustix::fs::statat(self, path.as_path(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(self.failed(Operation::LookUp, path.as_path(), e)),
        }
    }

    /// Opens a regular file for reading. Symbolic links are followed.
    ///
    /// # Errors
    /// The file is absent, not a regular file, or may not be read.
    pub fn open_file(&self, path: &RelativePath) -> Result<File, Error> {
        self.open_regular(path.as_path(), OFlags::RDONLY).map(|(file, _)| file)
    }

    /// Returns the contents of a file of at most `limit` bytes, or `None` if there is no such file.
    ///
    /// # Errors
    /// The file is longer than `limit`, not a regular file, or cannot be read.
    pub fn read(&self, path: &RelativePath, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let (file, length) = match self.open_regular(path.as_path(), OFlags::RDONLY) {
            Ok(opened) => opened,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let failed = |e: io::Error| self.failed(Operation::Read, path.as_path(), e);
        let mut bytes = Vec::new();
        // Room for all of it: without, a file of 600 bytes takes seven system calls, and a catalog has thousands of them.
        let room = usize::try_from(length.min(limit)).unwrap_or(usize::MAX).saturating_add(1);
        bytes.try_reserve_exact(room).map_err(|e| failed(e.into()))?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes"))));
        }
        Ok(Some(bytes))
    }

    /// Returns where a symbolic link points to, or `None` if nothing has that name.
    ///
    /// # Errors
    /// It is not a symbolic link, or cannot be read.
    pub fn read_link(&self, path: &RelativePath) -> Result<Option<PathBuf>, Error> {
        match rustix::fs::readlinkat(self, path.as_path(), Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsStr::from_bytes(target.to_bytes())))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(self.failed(Operation::Read, path.as_path(), e)),
        }
    }

    /// Makes a new, empty file. Neither its contents nor its name are durable yet.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be made.
    pub fn create_file(&self, path: &RelativePath, mode: u32) -> Result<OutFile, Error> {
        let (dir, name) = self.locate(path)?;
        dir.create_new_file(name, mode)
    }

    /// Opens an existing regular file for writing, positioned at its beginning.
    ///
    /// # Errors
    /// The file is absent, not a regular file, or may not be written.
    pub fn edit_file(&self, path: &RelativePath) -> Result<OutFile, Error> {
        let (dir, name) = self.locate(path)?;
        dir.open_out(name, OFlags::WRONLY | OFlags::NOFOLLOW)
    }

    /// Makes a symbolic link. One that is there already and points to the same place will do. Not durable before
    /// [`sync`](Self::sync) of the directory that holds it.
    ///
    /// # Errors
    /// The name is taken by something else, or the link cannot be made.
    pub fn symlink(&self, target: &Path, path: &RelativePath) -> Result<(), Error> {
        let (dir, name) = self.locate(path)?;
        let describe = || Change::CreateLink { path: dir.path_of(name), target };
        match dir.gate().pass(describe, || rustix::fs::symlinkat(target, &dir, name)) {
            Err(e)
                if e.kind() == io::ErrorKind::AlreadyExists
                    && rustix::fs::readlinkat(&dir, name, Vec::new())
                        .is_ok_and(|found| found.to_bytes() == target.as_os_str().as_bytes()) =>
            {
                Ok(())
            }
            made => made.map_err(|e| dir.failed(Operation::CreateLink, name, e)),
        }
    }

    /// Sets the permission bits of this directory itself.
    ///
    /// # Errors
    /// The directory belongs to somebody else.
    pub fn set_mode(&self, mode: u32) -> Result<(), Error> {
        let describe = || Change::SetMode { node: self.gate().directory(self.path()), mode };
        self.gate()
            .pass(describe, || rustix::fs::fchmod(self, Mode::from_raw_mode(mode)))
            .map_err(|e| Error::new(Operation::SetMode, self.path(), e))
    }

    /// Makes the names in this directory durable: what was created, renamed or removed in it.
    ///
    /// # Errors
    /// The sync failed. What happened since the last good one may be lost, and another sync would not tell
    /// (invariant 2).
    pub fn sync(&self) -> Result<(), Error> {
        let describe = || Change::Sync { node: self.gate().directory(self.path()), contents_only: false };
        match self.gate().pass(describe, || rustix::fs::fsync(self)) {
            // Some network file systems cannot sync a directory. As PostgreSQL (`fsync_fname_ext` in fd.c) and Barman,
            // we take it that they do not need to.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced.map_err(|e| Error::new(Operation::Sync, self.path(), e)),
        }
    }

    /// Returns how many bytes the file system of this directory still takes from an ordinary user.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn free_space(&self) -> Result<u64, Error> {
        let stat = rustix::fs::fstatvfs(self).map_err(|e| Error::new(Operation::FreeSpace, self.path(), e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// For the other modules of this crate: the steps that work on a single name in this directory.
impl Dir {
    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn failed(&self, operation: Operation, name: impl AsRef<Path>, source: impl Into<io::Error>) -> Error {
        Error::new(operation, self.path_of(name), source)
    }

    /// Returns the directory in which the last name of `path` is to be changed, and that name.
    pub(crate) fn locate<'a>(&self, path: &'a RelativePath) -> Result<(Self, &'a OsStr), Error> {
        let dir = path.parent().map_or_else(|| Ok(self.clone()), |parent| self.subdir(&parent))?;
        Ok((dir, path.file_name()))
    }

    pub(crate) fn child(&self, name: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(self, name, flags, Mode::empty()).map_err(|e| self.failed(Operation::Open, name, e))?;
        Ok(Self(Arc::new(Handle { fd, path: self.path_of(name), gate: self.gate().clone() })))
    }

    fn create_child(&self, name: &OsStr, mode: u32) -> Result<Self, Error> {
        match self.make_child(name, mode) {
            Ok(()) => {
                self.sync()?;
                self.child(name)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let dir = self.child(name)?;
                dir.sync_name_if_empty(|| Ok(self.clone()))?;
                Ok(dir)
            }
            Err(e) => Err(self.failed(Operation::CreateDirectory, name, e)),
        }
    }

    fn make_child(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let describe = || Change::CreateDirectory { path: self.path_of(name), mode };
        self.gate().pass(describe, || rustix::fs::mkdirat(self, name, Mode::from_raw_mode(mode)))
    }

    /// Makes the name of this directory durable, unless it must be durable already.
    ///
    /// A run that was killed between making a directory and syncing its name leaves it empty, because nothing is put
    /// into a directory before that sync. So an empty directory needs one, and the others cost nothing (invariants 1
    /// and 7).
    fn sync_name_if_empty(&self, above: impl FnOnce() -> Result<Self, Error>) -> Result<(), Error> {
        if self.list()?.next().transpose()?.is_some() {
            return Ok(());
        }
        match above() {
            // Making a directory in one that we may not read is not possible for us either: somebody else made this
            // one.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            above => above?.sync(),
        }
    }

    /// Makes a new, empty file in this directory.
    pub(crate) fn create_new_file(&self, name: &OsStr, mode: u32) -> Result<OutFile, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let describe = || Change::CreateFile { path: self.path_of(name), mode };
        let fd = self
            .gate()
            .pass(describe, || rustix::fs::openat(self, name, flags, Mode::from_raw_mode(mode)))
            .map_err(|e| self.failed(Operation::Create, name, e))?;
        Ok(OutFile::new(File::from(fd), self.path_of(name), self.gate().clone()))
    }

    /// Opens a regular file in this directory to change or to sync it.
    pub(crate) fn open_out(&self, name: &OsStr, flags: OFlags) -> Result<OutFile, Error> {
        let (file, _) = self.open_regular(Path::new(name), flags)?;
        Ok(OutFile::new(file, self.path_of(name), self.gate().clone()))
    }

    /// Opens a regular file; returns its length as well.
    pub(crate) fn open_regular(&self, path: &Path, flags: OFlags) -> Result<(File, u64), Error> {
        // NONBLOCK: opening a named pipe that somebody put there must not wait for its other end.
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |e: io::Error| self.failed(Operation::Open, path, e);
        let fd = rustix::fs::openat(self, path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let stat = Stat::from(rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?);
        if stat.kind == Kind::File {
            Ok((File::from(fd), stat.size))
        } else {
            Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
        }
    }

    /// Returns whether `name` still stands for the open file, and not for another one or none.
    pub(crate) fn is_name_of(&self, name: &OsStr, file: impl AsFd) -> rustix::io::Result<bool> {
        let open = rustix::fs::fstat(file)?;
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Removes a name in this directory; one that is absent already will do.
    pub(crate) fn remove_child(&self, name: &OsStr, flags: AtFlags) -> Result<(), Error> {
        let describe = || Change::Remove { path: self.path_of(name) };
        match self.gate().pass(describe, || rustix::fs::unlinkat(self, name, flags)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|e| self.failed(Operation::Remove, name, e)),
        }
    }

    /// Returns what the directory holds, in the order of the file system.
    fn list(&self) -> Result<impl Iterator<Item = Result<DirEntry, Error>> + '_, Error> {
        let failed = |e| Error::new(Operation::List, self.path(), e);
        let listed = rustix::fs::Dir::read_from(self).map_err(failed)?;
        let is_name = |listed: &DirEntry| !matches!(listed.file_name().to_bytes(), b"." | b"..");
        Ok(listed.map(move |listed| listed.map_err(failed)).filter(move |listed| listed.as_ref().map_or(true, is_name)))
    }

    /// Returns the kind of a listed name, asking the file system only where the listing does not say.
    fn kind(&self, name: &OsStr, listed: FileType) -> Result<Option<Kind>, Error> {
        if listed == FileType::Unknown {
            Ok(self.stat(&RelativePath::listed(name))?.map(|stat| stat.kind))
        } else {
            Ok(Some(listed.into()))
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dir").field(&self.path()).finish()
    }
}
