//! Copying many files in parallel, checking them on the way.

use std::cmp::Reverse;
use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::{Cancel, Cancelled, Dir, Error, Operation, OutFile, RelativePath, Stat, Throttle};

mod existing;

/// Each thread reads and writes through one buffer of this many bytes. Of 128 KiB to 1 MiB,
/// the larger sizes were measured to be slower.
const BUFFER: usize = 256 * 1024;

/// A file to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyItem {
    /// Where it is, below the directory copied from.
    pub from: RelativePath,
    /// What it is to be called, below the directory copied to. The directories on the way exist.
    pub to: RelativePath,
    /// The length that it must have, in bytes.
    pub size: u64,
    /// The permission bits of the copy.
    pub mode: u32,
}

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// How many files are copied at a time.
    pub jobs: NonZeroUsize,
    /// Looked at once per buffer.
    pub cancel: Cancel,
    /// What becomes of files that have the names of copies already.
    pub existing: Existing,
    /// How fast bytes are written, if there is a limit.
    pub throttle: Option<Arc<Throttle>>,
}

/// What becomes of a file that has the name of a copy already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error: nothing is overwritten.
    Refuse,
    /// It stays if its check says that its bytes are the right ones; where nobody checks the file, it is compared with
    /// its original. Any other file is removed, and copied anew.
    KeepEqual,
}

/// What came of the bytes that were to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyProgress {
    /// So many more were written.
    Copied(u64),
    /// So many more were there already.
    Kept(u64),
}

/// Looks at the bytes of one file while they are copied, for example to compute their checksum.
pub trait FileCheck: Send {
    /// Takes the next bytes of the file.
    fn update(&mut self, bytes: &[u8]);

    /// Says, once all bytes were seen, whether they are the right ones.
    ///
    /// # Errors
    /// They are not; what was expected and what was found.
    fn finish(self: Box<Self>) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Why not all files were copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The file is not as long as it should be.
    #[error("{} has {found} bytes, expected {expected}", path.display())]
    WrongSize {
        /// The file copied from.
        path: PathBuf,
        /// The length it should have.
        expected: u64,
        /// The length it has.
        found: u64,
    },
    /// The check of the file refused its bytes.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file copied from.
        path: PathBuf,
        /// What the check says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A system call failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Copies files, the biggest first so that no thread is left with a big one at the end.
///
/// A copy gets the modification time of its original; what is there already is treated as [`CopyOptions::existing`]
/// says. For each file `check` is asked, by its index in `items`, for somebody who looks at its bytes, and once more for
/// a file that is compared first; `progress` is told the number of bytes after each write.
///
/// The copies are **not durable** on return: call [`Dir::sync_tree`] when everything is in place. Syncing file by file
/// would wait for the disk once per file, where the tree is mostly written back by the time it is synced.
///
/// # Errors
/// The first failure; other threads stop within a buffer. Copies that were made stay, the last ones in part.
pub fn copy_files<'c>(
    from: &Dir,
    to: &Dir,
    items: &[CopyItem],
    options: &CopyOptions,
    check: &(dyn Fn(usize) -> Option<Box<dyn FileCheck + 'c>> + Sync),
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<(), CopyError> {
    let work = Work { from, to, options, check, progress, queue: Queue::new(items), failure: OnceLock::new() };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.jobs.get().min(items.len().max(1)))
        .build()
        .map_err(|e| Error::new(Operation::Write, to.path(), io::Error::other(e)))?;
    pool.broadcast(|_| work.run());
    work.failure.into_inner().map_or(Ok(()), Err)
}

/// What the threads share.
struct Work<'a, 'c> {
    from: &'a Dir,
    to: &'a Dir,
    options: &'a CopyOptions,
    check: &'a (dyn Fn(usize) -> Option<Box<dyn FileCheck + 'c>> + Sync),
    progress: &'a (dyn Fn(CopyProgress) + Sync),
    queue: Queue<'a>,
    /// The first one stops all threads.
    failure: OnceLock<CopyError>,
}

impl<'c> Work<'_, 'c> {
    /// Copies one file after the other, until none is left or somebody failed.
    fn run(&self) {
        let mut buffer = vec![0; BUFFER];
        while let Some((index, item)) = self.queue.next() {
            if let Err(error) = self.take(index, item, &mut buffer) {
                // Another thread's failure came first: this one is only its consequence.
                let _ = self.failure.set(error);
                return;
            }
        }
    }

    /// Copies a file, unless it is there already.
    fn take(&self, index: usize, item: &CopyItem, buffer: &mut [u8]) -> Result<(), CopyError> {
        self.check_stop()?;
        // Opened first, so that nothing is removed for an original that is not what it should be.
        let source = Source::open(self.from, item)?;
        let copy = match self.to.create_file(&item.to, item.mode) {
            Err(error) if error.is_already_exists() && self.options.existing == Existing::KeepEqual => {
                if self.is_equal(index, item, buffer)? {
                    (self.progress)(CopyProgress::Kept(item.size));
                    return Ok(());
                }
                self.to.remove_tree(&item.to)?;
                self.to.create_file(&item.to, item.mode)?
            }
            created => created?,
        };
        self.copy(source, copy, (self.check)(index), buffer)
    }

    fn copy(
        &self,
        mut source: Source,
        mut copy: OutFile,
        mut check: Option<Box<dyn FileCheck + 'c>>,
        buffer: &mut [u8],
    ) -> Result<(), CopyError> {
        let mut write_back = WriteBack::default();
        while let Some(bytes) = source.next(buffer)? {
            self.check_stop()?;
            if let Some(check) = &mut check {
                check.update(bytes);
            }
            if let Some(throttle) = &self.options.throttle {
                throttle.pass(bytes.len() as u64, &self.options.cancel)?;
            }
            copy.write_all(bytes)?;
            write_back.wrote(&copy, bytes.len());
            (self.progress)(CopyProgress::Copied(bytes.len() as u64));
        }
        if let Some(check) = check {
            check.finish().map_err(|e| CopyError::Damaged { path: source.path, source: e })?;
        }
        write_back.start(&copy);
        copy.set_modified(source.modified)?;
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Cancelled> {
        self.options.cancel.check()?;
        self.failure.get().map_or(Ok(()), |_| Err(Cancelled))
    }
}

/// What of a copy has yet to be sent to the disk: it writes while the next bytes are read, and the sync at the end finds
/// little to do.
#[derive(Default)]
struct WriteBack {
    /// From here on.
    start: u64,
    /// So many bytes.
    length: u64,
}

impl WriteBack {
    /// So much at a time.
    const STEP: u64 = 8 << 20;

    fn wrote(&mut self, copy: &OutFile, bytes: usize) {
        self.length += bytes as u64;
        if self.length >= Self::STEP {
            self.start(copy);
        }
    }

    fn start(&mut self, copy: &OutFile) {
        copy.start_write_back(self.start, self.length);
        *self = Self { start: self.start + self.length, length: 0 };
    }
}

/// The files that nobody has taken yet.
struct Queue<'a> {
    /// With their indexes in the caller's list.
    items: Vec<(usize, &'a CopyItem)>,
    taken: AtomicUsize,
}

impl<'a> Queue<'a> {
    fn new(items: &'a [CopyItem]) -> Self {
        let mut items: Vec<_> = items.iter().enumerate().collect();
        items.sort_by_key(|(_, item)| Reverse(item.size));
        Self { items, taken: AtomicUsize::new(0) }
    }

    fn next(&self) -> Option<(usize, &'a CopyItem)> {
        self.items.get(self.taken.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

/// A file that is being copied, which has to have the length that it was announced with.
struct Source {
    file: File,
    path: PathBuf,
    modified: SystemTime,
    expected: u64,
    position: u64,
}

impl Source {
    fn open(dir: &Dir, item: &CopyItem) -> Result<Self, CopyError> {
        let path = dir.path_of(&item.from);
        let file = dir.open_file(&item.from)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| Error::new(Operation::LookUp, &path, e))?;
        let stat = Stat::from(stat);
        let source = Self { file, path, modified: stat.modified(), expected: item.size, position: 0 };
        // Here already, so that a file of the wrong length fails before anything of it is copied.
        source.check_size(stat.size)?;
        Ok(source)
    }

    /// Returns the next bytes, or `None` after the last one.
    fn next<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, CopyError> {
        let length = self.file.read(buffer).map_err(|e| Error::new(Operation::Read, &self.path, e))?;
        self.position += length as u64;
        if length == 0 || self.position > self.expected {
            self.check_size(self.position)?;
        }
        Ok(buffer.get(..length).filter(|bytes| !bytes.is_empty()))
    }

    fn check_size(&self, found: u64) -> Result<(), CopyError> {
        if found == self.expected {
            Ok(())
        } else {
            Err(CopyError::WrongSize { path: self.path.clone(), expected: self.expected, found })
        }
    }
}
