//! A file that is being written.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Advice, FallocateFlags, FsWord, Mode, Timespec, Timestamps};
use rustix::io::Errno;

use crate::change::{Change, Gate, NodeId};
use crate::{Error, Operation};

/// A file opened for writing by a [`Dir`](crate::Dir). Closing it does not sync it.
#[derive(Debug)]
pub struct OutFile {
    file: File,
    /// The name it was opened by; for messages.
    path: PathBuf,
    gate: Gate,
    node: NodeId,
    /// Where `write_all` continues, in bytes from the beginning.
    position: u64,
    /// Set by a failed sync, after which the kernel forgets what it could not write.
    sync_failed: bool,
    /// Whether nothing has changed since the last sync, which did not fail.
    is_synced: bool,
}

impl OutFile {
    pub(crate) fn new(file: File, path: PathBuf, gate: Gate) -> Self {
        let node = gate.file(&path);
        Self { file, path, gate, node, position: 0, sync_failed: false, is_synced: false }
    }

    /// Returns the path that the file was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all bytes after those of the previous call, beginning at the start of the file.
    ///
    /// # Errors
    /// The system took only a part of the bytes, or none, for example because the disk is full.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write_all_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Writes all bytes at `offset`, counted from the beginning of the file; what lies between is read as zeros.
    ///
    /// # Errors
    /// As for [`write_all`](Self::write_all).
    pub fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.is_synced = false;
        let describe = || Change::Write { node: self.node, offset, bytes };
        self.gate.pass(describe, || self.file.write_all_at(bytes, offset)).map_err(|e| self.failed(Operation::Write, e))
    }

    /// Makes the file at least `length` bytes long and reserves the space, so that writing so far cannot fill the disk.
    /// New bytes are read as zeros. Where the file system cannot reserve, or would write all the zeros at once, the space is
    /// taken only when it is written to.
    ///
    /// # Errors
    /// The disk is full.
    pub fn allocate(&mut self, length: u64) -> Result<(), Error> {
        let now = self.len()?;
        if length <= now {
            return Ok(());
        }
        self.is_synced = false;
        let describe = || Change::SetLength { node: self.node, length };
        let reserve = || {
            let reserved = if self.is_in_memory() {
                Err(Errno::OPNOTSUPP)
            } else {
                rustix::fs::fallocate(&self.file, FallocateFlags::empty(), now, length - now)
            };
            match reserved {
                // At least the length is what the caller expects.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => rustix::fs::ftruncate(&self.file, length),
                reserved => reserved,
            }
        };
        self.gate.pass(describe, reserve).map_err(|e| self.failed(Operation::SetLength, e))
    }

    /// Returns whether the file lies in memory (tmpfs), where reserving space is to fill it with zeros.
    fn is_in_memory(&self) -> bool {
        /// `TMPFS_MAGIC` of Linux' `magic.h`.
        const TMPFS: FsWord = 0x0102_1994;
        rustix::fs::fstatfs(&self.file).is_ok_and(|system| system.f_type == TMPFS)
    }

    /// Has the system begin to write these bytes to the disk, without waiting for it, so that a sync that comes later has
    /// less to do. What is on the disk already may leave the cache.
    ///
    /// It is a hint that promises nothing, and so it cannot fail.
    pub fn start_write_back(&self, offset: u64, length: u64) {
        // Linux writes what is dirty before it looks at what the cache could do without (`generic_fadvise` in
        // `mm/fadvise.c`). Its call for this alone, `sync_file_range`, has no safe wrapper.
        if let Some(length) = NonZeroU64::new(length) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(length), Advice::DontNeed);
        }
    }

    /// Cuts the file to `length` bytes, or continues it with zeros up to there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn truncate(&mut self, length: u64) -> Result<(), Error> {
        self.is_synced = false;
        let describe = || Change::SetLength { node: self.node, length };
        self.gate
            .pass(describe, || rustix::fs::ftruncate(&self.file, length))
            .map_err(|e| self.failed(Operation::SetLength, e))
    }

    /// Makes contents, length, mode and time durable. The name is durable only after a sync of the directory.
    ///
    /// A second time in a row does nothing: the disk is asked to empty its cache by each.
    ///
    /// # Errors
    /// The sync failed, or an earlier one of this file did: nothing written since the last good one is to be believed,
    /// and it has to be written again into a new file (invariant 2).
    pub fn sync(&mut self) -> Result<(), Error> {
        if !self.is_synced {
            self.sync_with(false, |file| rustix::fs::fsync(file))?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// Makes contents and length durable, and saves the work that [`sync`](Self::sync) spends on mode and time.
    ///
    /// # Errors
    /// As for [`sync`](Self::sync).
    pub fn sync_data(&mut self) -> Result<(), Error> {
        self.sync_with(true, |file| rustix::fs::fdatasync(file))
    }

    fn sync_with(
        &mut self,
        contents_only: bool,
        sync: impl FnOnce(&File) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        if self.sync_failed {
            // The kernel reports a failed write-back once and then believes the file to be clean.
            return Err(self.failed(Operation::Sync, io::Error::other("an earlier sync of this file failed")));
        }
        let describe = || Change::Sync { node: self.node, contents_only };
        let synced = self.gate.pass(describe, || sync(&self.file));
        self.sync_failed = synced.is_err();
        synced.map_err(|e| self.failed(Operation::Sync, e))
    }

    /// Sets the time of the last modification. Later writes change it again.
    ///
    /// # Errors
    /// The file belongs to somebody else.
    pub fn set_modified(&mut self, modified: SystemTime) -> Result<(), Error> {
        self.is_synced = false;
        let time = timespec(modified);
        let times = Timestamps { last_access: time, last_modification: time };
        let describe = || Change::SetModified { node: self.node, modified };
        self.gate
            .pass(describe, || rustix::fs::futimens(&self.file, &times))
            .map_err(|e| self.failed(Operation::SetModified, e))
    }

    /// Sets the permission bits, whatever the umask is.
    ///
    /// # Errors
    /// The file belongs to somebody else.
    pub fn set_mode(&mut self, mode: u32) -> Result<(), Error> {
        self.is_synced = false;
        let describe = || Change::SetMode { node: self.node, mode };
        self.gate
            .pass(describe, || rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode)))
            .map_err(|e| self.failed(Operation::SetMode, e))
    }

    /// Returns the length of the file in bytes.
    ///
    /// # Errors
    /// The file system does not say.
    #[allow(clippy::len_without_is_empty, reason = "asking a file system is not like asking a collection")]
    pub fn len(&self) -> Result<u64, Error> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|e| self.failed(Operation::LookUp, e))
    }

    pub(crate) fn fd(&self) -> impl AsFd + '_ {
        &self.file
    }

    fn failed(&self, operation: Operation, source: impl Into<io::Error>) -> Error {
        Error::new(operation, &self.path, source)
    }
}

/// Splits a time as the kernel wants it: whole seconds, rounded down, and nanoseconds that count upwards from there.
fn timespec(time: SystemTime) -> Timespec {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let nanoseconds = |duration: Duration| i64::from(duration.subsec_nanos());
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Timespec { tv_sec: seconds(after), tv_nsec: nanoseconds(after) },
        Err(error) => {
            let before = error.duration();
            let borrow = i64::from(before.subsec_nanos() > 0);
            Timespec { tv_sec: -seconds(before) - borrow, tv_nsec: borrow * 1_000_000_000 - nanoseconds(before) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_round_down() {
        let check = |time, tv_sec, tv_nsec| assert_eq!(timespec(time), Timespec { tv_sec, tv_nsec });
        check(SystemTime::UNIX_EPOCH + Duration::new(7, 5), 7, 5);
        check(SystemTime::UNIX_EPOCH - Duration::from_secs(1), -1, 0);
        check(SystemTime::UNIX_EPOCH - Duration::from_millis(750), -1, 250_000_000);
    }
}
