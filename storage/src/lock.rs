//! Lock files that Barman's own processes respect, and whose locks we respect.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{Dir, Error, Operation, RelativePath};

/// Looking for the holder of a lock takes the lock itself for some microseconds, and so does Barman's cleaning of its
/// lock directory. Whoever finds the lock taken therefore looks again this often ...
const ATTEMPTS: usize = 3;
/// ... with this pause.
const PAUSE: Duration = Duration::from_millis(5);

/// A process number and a line end are shorter than this many bytes.
const MAXIMUM_CONTENT: u64 = 32;

/// A lock that is held until this is dropped, or the process ends in whatever way.
///
/// It is what Barman 3.19 takes: `flock` on a file that is made with mode 0600, holds the process number of the last
/// one that had it exclusively, and stays when the lock is released. Lock files are not part of what has to survive a
/// crash: they are never synced, and recorders do not see them.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct LockFile(File);

impl LockFile {
    /// Takes the lock for this process alone, or returns `None` if somebody has it, exclusively or shared.
    ///
    /// # Errors
    /// The lock file cannot be made or written, or the file system knows no locks.
    pub fn try_exclusive(dir: &Dir, path: &RelativePath) -> Result<Option<Self>, Error> {
        let lock = attempt(|| acquire(dir, path, FlockOperation::NonBlockingLockExclusive))?;
        lock.map(|lock| lock.signed(dir, path)).transpose()
    }

    /// Takes the lock for this process alone, and waits as long as somebody has it.
    ///
    /// # Errors
    /// As for [`try_exclusive`](Self::try_exclusive).
    pub fn exclusive(dir: &Dir, path: &RelativePath) -> Result<Self, Error> {
        loop {
            if let Some(lock) = acquire(dir, path, FlockOperation::LockExclusive)? {
                return lock.signed(dir, path);
            }
        }
    }

    /// Takes the lock together with others that share it, or returns `None` if somebody has it exclusively. The
    /// contents of the file stay as they are.
    ///
    /// # Errors
    /// As for [`try_exclusive`](Self::try_exclusive).
    pub fn try_shared(dir: &Dir, path: &RelativePath) -> Result<Option<Self>, Error> {
        attempt(|| acquire(dir, path, FlockOperation::NonBlockingLockShared))
    }

    /// Returns the number of the process that has the lock exclusively; `None` if nobody has, or if its holder has not
    /// written its number yet. Those who share the lock are not known by number.
    ///
    /// # Errors
    /// The lock file cannot be read, or the file system knows no locks.
    pub fn holder(dir: &Dir, path: &RelativePath) -> Result<Option<u32>, Error> {
        let file = match dir.open_file(path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            // Closing the file releases it.
            Ok(true) => Ok(None),
            Ok(false) => read_number(file).map_err(|e| dir.failed(Operation::Read, path, e)),
            Err(e) => Err(dir.failed(Operation::Lock, path, e)),
        }
    }

    /// Makes the file name another process than this one, which still has the lock: whoever wants the work to end signals
    /// the process that the file names, and may have to end one of several works of a process.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub fn name_process(&self, number: u32) -> io::Result<()> {
        let number = format!("{number}\n");
        // In this order, as Barman: in between, the first line is the new number already.
        self.0.write_all_at(number.as_bytes(), 0)?;
        self.0.set_len(number.len() as u64)
    }

    /// Writes the number of this process into the file, for people and for Barman's list of processes.
    fn signed(self, dir: &Dir, path: &RelativePath) -> Result<Self, Error> {
        self.name_process(std::process::id()).map_err(|e| dir.failed(Operation::Write, path, e))?;
        Ok(self)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child process that was forked at this very moment and has not yet
        // started its program.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

fn attempt(mut acquire: impl FnMut() -> Result<Option<LockFile>, Error>) -> Result<Option<LockFile>, Error> {
    for _ in 1..ATTEMPTS {
        if let Some(lock) = acquire()? {
            return Ok(Some(lock));
        }
        thread::sleep(PAUSE);
    }
    acquire()
}

/// Opens the file, or makes it, and locks it. `None` if somebody has the lock, or removed the file in the meantime.
fn acquire(dir: &Dir, path: &RelativePath, operation: FlockOperation) -> Result<Option<LockFile>, Error> {
    let (dir, name) = dir.locate(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|e| dir.failed(Operation::Open, name, e))?;
    let failed = |e: io::Error| dir.failed(Operation::Lock, name, e);
    if !flock(&file, operation).map_err(failed)? {
        return Ok(None);
    }
    // Barman's lock-directory-cleanup removes files that nobody has locked. A lock on a removed file excludes nobody.
    let lock = LockFile(file);
    let is_there = dir.is_name_of(name, &lock.0).map_err(|e| failed(e.into()))?;
    Ok(is_there.then_some(lock))
}

/// Returns whether the lock was taken.
fn flock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            // A signal that the program handles; waiting goes on.
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn read_number(file: File) -> io::Result<Option<u32>> {
    let mut content = Vec::new();
    file.take(MAXIMUM_CONTENT).read_to_end(&mut content)?;
    let first_line = str::from_utf8(&content).ok().and_then(|text| text.lines().next());
    Ok(first_line.and_then(|line| line.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_who_only_looks_is_waited_for() {
        let root = tempfile::tempdir().expect("directory");
        let dir = Dir::open(root.path()).expect("open");
        let mut looked = 0;
        let lock = attempt(|| {
            looked += 1;
            if looked < ATTEMPTS { Ok(None) } else { LockFile::try_shared(&dir, &RelativePath::literal("lock")) }
        });
        assert!(lock.expect("lock").is_some());
    }
}
