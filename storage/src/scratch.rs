//! Room on a disk for what is needed no longer than the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::{Dir, Error, Operation};

const MODE: u32 = 0o600;

/// A file that has no name: whatever becomes of the process, nothing of it is left (invariant 7).
///
/// Several threads may write and read it at the same time.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    /// The directory on whose file system it is; for messages.
    place: PathBuf,
    /// How many bytes were given out.
    end: AtomicU64,
}

impl Scratch {
    /// Makes one on the file system of a directory.
    ///
    /// # Errors
    /// Nothing can be made in that directory.
    pub fn create(dir: &Dir) -> Result<Self, Error> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(MODE);
        let unnamed = match rustix::fs::openat(dir, ".", flags | OFlags::TMPFILE, mode) {
            // Not every file system can, and a kernel that knows nothing of it takes it for opening the directory.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => create_and_unlink(dir, flags, mode),
            made => made.map(File::from),
        };
        let file = unnamed.map_err(|error| Error::new(Operation::Create, dir.path().join("(no name)"), error))?;
        Ok(Self { file, place: dir.path().to_owned(), end: AtomicU64::new(0) })
    }

    /// Returns where so many bytes can be written that nobody else writes.
    pub fn reserve(&self, bytes: u64) -> u64 {
        self.end.fetch_add(bytes, Ordering::Relaxed)
    }

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// The disk is full, for example.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| Error::new(Operation::Write, &self.place, error))
    }

    /// Reads as many bytes as the buffer takes, at an offset.
    ///
    /// # Errors
    /// So much was never written there, or cannot be read.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

fn create_and_unlink(dir: &Dir, flags: OFlags, mode: Mode) -> Result<File, Errno> {
    let name = format!(".barman-scratch.{}.tmp", std::process::id());
    let file = rustix::fs::openat(dir, &name, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
    rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_has_no_name() {
        let root = tempfile::tempdir().expect("directory");
        let dir = Dir::open(root.path()).expect("open");
        let unlinked = create_and_unlink(&dir, OFlags::RDWR, Mode::from_raw_mode(MODE)).expect("a file");
        let unlinked = Scratch { file: unlinked, place: PathBuf::new(), end: AtomicU64::new(0) };
        for scratch in [Scratch::create(&dir).expect("a file"), unlinked] {
            let (first, second) = (scratch.reserve(3), scratch.reserve(5));
            scratch.write_all_at(b"after", second).expect("room");
            scratch.write_all_at(b"one", first).expect("room");
            let mut all = [0; 8];
            scratch.read_exact_at(&mut all, first).expect("it was written");
            assert_eq!(&all, b"oneafter");
            scratch.read_exact_at(&mut all, second).expect_err("nothing is behind it");
            assert_eq!(std::fs::read_dir(root.path()).expect("listing").count(), 0);
        }
    }
}
