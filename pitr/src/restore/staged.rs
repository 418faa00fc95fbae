//! Changed blocks of backups in archives, on their way to the files that they are changes of.
//!
//! Archives are read once, those of newer backups first. So when a whole file passes by, all changes of it are here.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use barman_catalog::BackupInfo;
use barman_storage::{CopyError, Dir, Scratch};
use wal_format::ControlFile;

use super::parcel::ParcelReader;
use super::{DIRECTORY_MODE, RestoreError};
use crate::plan::{PlannedPart, PlannedScratch, block_size, major};

/// What is kept of archives.
pub(super) struct Staged {
    scratch: Scratch,
    /// By their paths in the archives.
    changes: Mutex<HashMap<PathBuf, Place>>,
    /// How long a block is, in bytes, where the control file that says so is in an archive.
    block_size: OnceLock<u32>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Where it begins in the scratch file.
    offset: u64,
    mode: u32,
    modified: SystemTime,
}

/// A file that is kept.
pub(super) struct StagedFile<'a> {
    scratch: &'a Scratch,
    place: Place,
}

impl Staged {
    pub(super) fn create(planned: &PlannedScratch) -> Result<Self, RestoreError> {
        let scratch = Scratch::create(&Dir::create(&planned.place, DIRECTORY_MODE)?)?;
        Ok(Self { scratch, changes: Mutex::default(), block_size: OnceLock::new() })
    }

    /// Keeps a file. It can be found when all of it was read, and so was compared with the manifest.
    pub(super) fn keep(&self, path: PathBuf, mode: u32, mut contents: ParcelReader<'_>) -> Result<(), RestoreError> {
        let offset = self.scratch.reserve(contents.size());
        let mut position = offset;
        contents.read_all(&mut |bytes| {
            self.scratch.write_all_at(bytes, position)?;
            position += bytes.len() as u64;
            Ok(())
        })?;
        let place = Place { offset, mode, modified: contents.modified() };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).insert(path, place);
        Ok(())
    }

    /// Whether it is kept already: of an attempt before the connection to another host was lost.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.place(path).is_some()
    }

    /// Finds a file that was kept.
    pub(super) fn find(&self, part: &PlannedPart) -> Option<StagedFile<'_>> {
        let place = self.place(&part.full_path())?;
        Some(StagedFile { scratch: &self.scratch, place })
    }

    fn place(&self, path: &Path) -> Option<Place> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied()
    }

    /// Learns from the control file of a backup how long blocks are.
    pub(super) fn learn_block_size(&self, info: &BackupInfo, path: &Path, bytes: &[u8]) -> Result<(), CopyError> {
        let said = major(info).and_then(|major| block_size(&ControlFile::parse(bytes, major).ok()?));
        let unreadable = || "it does not say how long a block is, as that of this version of PostgreSQL does".into();
        let said = said.ok_or_else(|| CopyError::Damaged { path: path.to_owned(), source: unreadable() })?;
        // On a second attempt it is the same.
        let _ = self.block_size.set(said);
        Ok(())
    }

    pub(super) fn block_size(&self) -> Option<u32> {
        self.block_size.get().copied()
    }
}

impl StagedFile<'_> {
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.scratch.read_exact_at(buffer, self.place.offset + offset)
    }

    /// Its permission bits in the archive.
    pub(super) fn mode(&self) -> u32 {
        self.place.mode
    }

    /// When it was last changed, as the archive says.
    pub(super) fn modified(&self) -> SystemTime {
        self.place.modified
    }
}
