//! A file on its way to another host: read, checked and counted as it goes.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use barman_catalog::ArchivedSegment;
use barman_storage::{Cancel, CopyError, Dir, FileCheck, Operation, RelativePath, Throttle};
use tar::{EntryType, Header};
use wal_format::{Checksum, ChecksumAlgorithm, Hasher, WalFileName};

use super::combination::Combination;
use super::manifest_check::check;
use super::{LONGEST_FILE_BYTES, Restore, RestoreError, RestoreEvent};
use crate::plan::{PlannedCombination, PlannedWaitingWal, PlannedWrappedWal};

/// A file to send.
pub(super) struct Parcel<'a> {
    /// Where it goes, below the directory that is filled.
    pub(super) to: RelativePath,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Its length in bytes; of WAL files that are no segments that is a guess.
    pub(super) size: u64,
    /// What its contents have to add up to, where that is known.
    pub(super) checksum: Option<&'a Checksum>,
    pub(super) contents: Contents<'a>,
}

/// Where the contents of a file come from.
pub(super) enum Contents<'a> {
    /// A file, which is sent as it is.
    Stored(&'a Dir, &'a RelativePath),
    /// What an archived file holds, decompressed and decrypted.
    Wrapped(&'a PlannedWrappedWal),
    /// A file that waits to be archived, or has been by now.
    Waiting(&'a PlannedWaitingWal),
    /// Blocks of several backups, with the directory that the whole file is in.
    Combined(&'a PlannedCombination, &'a Dir),
}

impl Parcel<'_> {
    /// Opens it for reading, by which everything is accounted for as `account` says.
    pub(super) fn open<'r>(
        &'r self,
        restore: &'r Restore<'_>,
        account: Account<'r>,
    ) -> Result<ParcelReader<'r>, RestoreError> {
        let opened = match &self.contents {
            Contents::Stored(dir, path) => {
                let file = dir.open_file(path)?;
                let (modified, path) = (modified(&file), dir.path().join(path.as_path()));
                Opened { source: Box::new(file), size: self.size, modified, path }
            }
            Contents::Wrapped(wal) => open_wal(&restore.find_archived(&wal.archived)?, wal.name, wal.size)?,
            Contents::Waiting(wal) => {
                let moved = restore.find_waiting(wal)?;
                open_wal(moved.as_ref().unwrap_or(&wal.stored), wal.file.name, wal.file.size)?
            }
            Contents::Combined(file, dir) => {
                let whole = Box::new(dir.open_file(&file.whole.path)?);
                Opened::combined(file, Combination::of(file, whole, restore.staged.as_ref())?)
            }
        };
        Ok(ParcelReader::new(opened, self.checksum, account))
    }

    /// Returns the SHA-256 of the contents, which are checked as they would be on their way.
    pub(super) fn sha256(&self, restore: &Restore<'_>) -> Result<Option<Checksum>, RestoreError> {
        self.open(restore, Account { cancel: &restore.options.cancel, throttle: None, events: UNHEARD })?.sha256()
    }
}

/// How much of a file is read at a time.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// The contents of a file, and what is known of it.
pub(super) struct Opened<'a> {
    pub(super) source: Box<dyn Read + 'a>,
    /// In bytes.
    pub(super) size: u64,
    pub(super) modified: SystemTime,
    /// For messages.
    pub(super) path: PathBuf,
}

impl<'a> Opened<'a> {
    /// A file that is put together while it is read.
    pub(super) fn combined(planned: &PlannedCombination, source: Combination<'a>) -> Self {
        let (size, modified, path) = (source.size(), source.modified(), planned.to.as_path().to_owned());
        Self { source: Box::new(source), size, modified, path }
    }
}

/// Of a segment the length is known; anything else is short, and has to be read before that can be said.
fn open_wal<'a>(stored: &ArchivedSegment, name: WalFileName, size: u64) -> Result<Opened<'a>, RestoreError> {
    let (path, modified) = (stored.display_path(), modified(&stored.open()?));
    let mut source = stored.contents()?;
    if matches!(name, WalFileName::Segment(_)) {
        return Ok(Opened { source, size, modified, path });
    }
    let mut bytes = Vec::new();
    let unreadable = |error| barman_storage::Error::new(Operation::Read, &path, error);
    source.by_ref().take(LONGEST_FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Opened { size: bytes.len() as u64, source: Box::new(Cursor::new(bytes)), modified, path })
}

/// Why reading failed, where the reader itself says that the bytes are wrong, too.
pub(super) fn failure(error: io::Error, path: &Path) -> RestoreError {
    match error.downcast::<CopyError>() {
        Ok(error) => error.into(),
        Err(error) => barman_storage::Error::new(Operation::Read, path, error).into(),
    }
}

pub(super) fn modified(file: &File) -> SystemTime {
    // Whoever cannot say is as old as can be.
    file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH)
}

/// What is done for every byte that is read.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) cancel: &'a Cancel,
    pub(super) throttle: Option<&'a Throttle>,
    pub(super) events: &'a (dyn Fn(RestoreEvent) + Sync),
}

/// For bytes that are only looked at.
const UNHEARD: &(dyn Fn(RestoreEvent) + Sync) = &|_| {};

/// Reads the contents of a parcel: exactly as many bytes as it says, and the right ones, or an error.
pub(super) struct ParcelReader<'a> {
    opened: Opened<'a>,
    read: u64,
    check: Option<Box<dyn FileCheck>>,
    account: Account<'a>,
    /// What the last error of [`Read`] stands for.
    failure: Option<RestoreError>,
}

impl<'a> ParcelReader<'a> {
    pub(super) fn new(opened: Opened<'a>, checksum: Option<&Checksum>, account: Account<'a>) -> Self {
        Self { opened, read: 0, check: checksum.and_then(check), account, failure: None }
    }

    /// Its length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.opened.size
    }

    /// Where it comes from, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.opened.path
    }

    /// When the file was last changed.
    pub(super) fn modified(&self) -> SystemTime {
        self.opened.modified
    }

    /// Returns what went wrong on this side, if anything did.
    pub(super) fn failure(self) -> Option<RestoreError> {
        self.failure
    }

    /// Returns the entry of a tar archive for a file of these permissions, without its name.
    pub(super) fn header(&self, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(self.opened.size);
        header.set_mode(mode);
        header.set_mtime(self.opened.modified.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs());
        header
    }

    /// Reads all of it, piece by piece.
    pub(super) fn read_all(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.next(&mut buffer)? {
                0 => return Ok(()),
                length => take(buffer.get(..length).unwrap_or_default())?,
            }
        }
    }

    /// Reads all of it, which goes nowhere, and returns its SHA-256.
    pub(super) fn sha256(mut self) -> Result<Option<Checksum>, RestoreError> {
        self.account = Account { throttle: None, events: UNHEARD, ..self.account };
        let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
        self.read_all(&mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(hasher.finish())
    }

    /// Returns how many of the next bytes were read; 0 at the end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, RestoreError> {
        self.account.cancel.check()?;
        let Opened { source, size, path, .. } = &mut self.opened;
        let length = source.read(buffer).map_err(|error| failure(error, path))?;
        self.read += length as u64;
        if self.read > *size || (length == 0 && self.read < *size) {
            let (path, expected, found) = (path.clone(), *size, self.read);
            return Err(CopyError::WrongSize { path, expected, found }.into());
        }
        if let Some(check) = &mut self.check {
            check.update(buffer.get(..length).unwrap_or_default());
        }
        // Now, and not when somebody asks for more: an archive is told the length, and never does.
        if let Some(check) = self.check.take_if(|_| self.read == *size) {
            check.finish().map_err(|source| CopyError::Damaged { path: path.clone(), source })?;
        }
        if let Some(throttle) = self.account.throttle {
            throttle.pass(length as u64, self.account.cancel)?;
        }
        (self.account.events)(RestoreEvent::Copied { bytes: length as u64 });
        Ok(length)
    }
}

impl Read for ParcelReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("the file cannot be sent")
        })
    }
}
