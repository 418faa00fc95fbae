//! Putting WAL where the new server looks for it.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use barman_catalog::{ArchivedSegment, Encoding, Partial};
use barman_storage::{CopyError, CopyItem, Dir, Kind, Operation, RelativePath};
use wal_format::WalFileName;

use super::destination::Places;
use super::{DIRECTORY_MODE, FILE_MODE, Restore, RestoreError, RestoreEvent, plain_name};
use crate::plan::{PlannedWaitingWal, PlannedWal, PlannedWalFile, PlannedWrappedWal, Standing};

/// How much of a file is read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

impl Restore<'_> {
    /// Makes `pg_wal` and copies the WAL of the plan.
    pub(super) fn copy_wal(&self, places: &Places) -> Result<(), RestoreError> {
        let pg_wal = places.data.create_subdir(&RelativePath::literal("pg_wal"), DIRECTORY_MODE)?;
        let archive_status = pg_wal.create_subdir(&RelativePath::literal("archive_status"), DIRECTORY_MODE)?;
        let Some(wal) = &self.plan.wal else { return Ok(()) };
        (self.events)(RestoreEvent::CopyingWal { bytes: self.plan.wal_bytes() });
        if wal.is_archived {
            self.copy_wal_files(wal, &pg_wal)?;
            (self.events)(RestoreEvent::WritingArchiveStatus);
            return self.mark_as_archived(wal, &archive_status);
        }
        match (&places.staging, self.wal_in_data()) {
            (Some(staging), _) => self.copy_wal_files(wal, staging),
            (None, Some(path)) => self.copy_wal_files(wal, &places.data.create_subdir(&path, DIRECTORY_MODE)?),
            (None, None) => Ok(()),
        }
    }

    fn copy_wal_files(&self, wal: &PlannedWal, to: &Dir) -> Result<(), RestoreError> {
        let item = |file: &PlannedWalFile| CopyItem {
            from: file.from.clone(),
            to: plain_name(file.name),
            size: file.size,
            mode: FILE_MODE,
        };
        for (source, files) in &wal.archived {
            let items: Vec<_> = files.iter().map(item).collect();
            self.copy(source, to, &items, &|_| None)?;
        }
        self.unwrap_all(&wal.wrapped, to)?;
        wal.waiting.iter().try_for_each(|waiting| self.copy_waiting(waiting, to))
    }

    /// Decompresses and decrypts files, several at a time.
    fn unwrap_all(&self, files: &[PlannedWrappedWal], to: &Dir) -> Result<(), RestoreError> {
        let next = AtomicUsize::new(0);
        self.in_parallel(files.len(), &|| {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.unwrap(file, to)?;
            }
            Ok(())
        })
    }

    fn unwrap(&self, file: &PlannedWrappedWal, to: &Dir) -> Result<(), RestoreError> {
        let stored = self.find_archived(&file.archived)?;
        let expected = matches!(file.name, WalFileName::Segment(_)).then_some(file.size);
        self.write_contents(&stored, file.name, expected, to)
    }

    /// Returns a file of the archive that was planned with.
    pub(super) fn find_archived(&self, name: &WalFileName) -> Result<ArchivedSegment, RestoreError> {
        Ok(self.catalog.find_archived(name)?.ok_or_else(|| {
            let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
            barman_storage::Error::new(Operation::Open, name.to_string(), gone)
        })?)
    }

    fn copy_waiting(&self, waiting: &PlannedWaitingWal, to: &Dir) -> Result<(), RestoreError> {
        let moved = self.find_waiting(waiting)?;
        let stored = moved.as_ref().unwrap_or(&waiting.stored);
        self.write_contents(stored, waiting.file.name, Some(waiting.file.size), to)
    }

    /// Returns a file from wherever it is by now, if it has moved; of an incomplete segment there may be more, or all.
    pub(super) fn find_waiting(&self, waiting: &PlannedWaitingWal) -> Result<Option<ArchivedSegment>, RestoreError> {
        let is_usable = |found: &ArchivedSegment| found.encoding != Encoding::Plain || found.size == waiting.file.size;
        Ok(self.catalog.find_wal(&waiting.file.name, Partial::Include)?.filter(is_usable))
    }

    /// Writes what a stored file holds, which has to be `expected` bytes where that is known.
    fn write_contents(
        &self,
        stored: &ArchivedSegment,
        name: WalFileName,
        expected: Option<u64>,
        to: &Dir,
    ) -> Result<(), RestoreError> {
        let unreadable = |error| barman_storage::Error::new(Operation::Read, stored.display_path(), error);
        if self.plan.standing != Standing::Free {
            if let Some(bytes) = is_there(stored, name, to)? {
                (self.events)(RestoreEvent::Kept { bytes });
                return Ok(());
            }
            to.remove_tree(&plain_name(name))?;
        }
        let modified = stored.open()?.metadata().and_then(|metadata| metadata.modified()).map_err(unreadable)?;
        let mut source = stored.contents()?;
        let mut copy = to.create_file(&plain_name(name), FILE_MODE)?;
        let (mut buffer, mut copied) = (vec![0; BUFFER_BYTES], 0);
        loop {
            self.options.cancel.check()?;
            let length = source.read(&mut buffer).map_err(unreadable)?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            if let Some(throttle) = &self.throttle {
                throttle.pass(bytes.len() as u64, &self.options.cancel)?;
            }
            copy.write_all(bytes)?;
            copied += bytes.len() as u64;
            (self.events)(RestoreEvent::Copied { bytes: bytes.len() as u64 });
        }
        if let Some(expected) = expected.filter(|expected| *expected != copied) {
            return Err(CopyError::WrongSize { path: stored.display_path(), expected, found: copied }.into());
        }
        Ok(copy.set_modified(modified)?)
    }

    /// Without these the new server would archive its WAL once more, over that of the original.
    fn mark_as_archived(&self, wal: &PlannedWal, archive_status: &Dir) -> Result<(), RestoreError> {
        for (name, _) in wal.files() {
            self.options.cancel.check()?;
            archive_status.create_file(&plain_name(format_args!("{name}.done")), FILE_MODE)?;
        }
        Ok(())
    }
}

/// Returns the length of the file of that name if it holds what the stored file holds.
fn is_there(stored: &ArchivedSegment, name: WalFileName, to: &Dir) -> Result<Option<u64>, RestoreError> {
    let path = plain_name(name);
    let Some(stat) = to.stat(&path)?.filter(|stat| stat.kind == Kind::File) else { return Ok(None) };
    let failed = |error| barman_storage::Error::new(Operation::Read, stored.display_path(), error);
    let (mut source, mut there) = (stored.contents()?, to.open_file(&path)?.take(stat.size));
    let (mut expected, mut found) = (vec![0; BUFFER_BYTES], Vec::with_capacity(BUFFER_BYTES));
    loop {
        let length = source.read(&mut expected).map_err(failed)?;
        found.clear();
        let compared = (&mut there).take(length.max(1) as u64).read_to_end(&mut found);
        compared.map_err(|error| barman_storage::Error::new(Operation::Read, to.path().join(path.as_path()), error))?;
        if expected.get(..length) != Some(found.as_slice()) {
            return Ok(None);
        }
        if length == 0 {
            return Ok(Some(stat.size));
        }
    }
}
