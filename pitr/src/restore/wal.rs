//! Putting WAL where the new server looks for it.

use std::io::Read as _;

use barman_catalog::{ArchivedSegment, Encoding, Partial};
use barman_storage::{CopyError, CopyItem, Dir, Operation, RelativePath};

use super::{DIRECTORY_MODE, FILE_MODE, Restore, RestoreError, RestoreEvent, create_empty, plain_name};
use crate::plan::{PlannedWaitingWal, PlannedWal, PlannedWalFile};

/// How much of a file is read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

impl Restore<'_> {
    /// Makes `pg_wal` and copies the WAL of the plan; returns the directory for it if that is not `pg_wal`.
    pub(super) fn copy_wal(&self, data: &Dir) -> Result<Option<Dir>, RestoreError> {
        let pg_wal = data.create_subdir(&RelativePath::literal("pg_wal"), DIRECTORY_MODE)?;
        let archive_status = pg_wal.create_subdir(&RelativePath::literal("archive_status"), DIRECTORY_MODE)?;
        let Some(wal) = &self.plan.wal else { return Ok(None) };
        (self.events)(RestoreEvent::CopyingWal { bytes: self.plan.wal_bytes() });
        if !wal.is_archived {
            let staging = create_empty(&wal.destination)?;
            self.copy_wal_files(wal, &staging)?;
            return Ok(Some(staging));
        }
        self.copy_wal_files(wal, &pg_wal)?;
        (self.events)(RestoreEvent::WritingArchiveStatus);
        self.mark_as_archived(wal, &archive_status)?;
        Ok(None)
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
        wal.waiting.iter().try_for_each(|waiting| self.copy_waiting(waiting, to))
    }

    /// Copies a file from wherever it is by now; of an incomplete segment there may be more, or all.
    fn copy_waiting(&self, waiting: &PlannedWaitingWal, to: &Dir) -> Result<(), RestoreError> {
        let is_usable = |found: &ArchivedSegment| found.encoding == Encoding::Plain && found.size == waiting.file.size;
        let moved = self.catalog.find_wal(&waiting.file.name, Partial::Include)?.filter(is_usable);
        let stored = moved.as_ref().unwrap_or(&waiting.stored);
        let unreadable = |error| barman_storage::Error::new(Operation::Read, stored.display_path(), error);
        let mut source = stored.open()?;
        let modified = source.metadata().and_then(|metadata| metadata.modified()).map_err(unreadable)?;
        let mut copy = to.create_file(&plain_name(waiting.file.name), FILE_MODE)?;
        let (mut buffer, mut copied) = (vec![0; BUFFER_BYTES], 0);
        loop {
            self.options.cancel.check()?;
            let length = source.read(&mut buffer).map_err(unreadable)?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            copy.write_all(bytes)?;
            copied += bytes.len() as u64;
            (self.events)(RestoreEvent::Copied { bytes: bytes.len() as u64 });
        }
        if copied != waiting.file.size {
            let (path, expected) = (stored.display_path(), waiting.file.size);
            return Err(CopyError::WrongSize { path, expected, found: copied }.into());
        }
        Ok(copy.set_modified(modified)?)
    }

    /// Without these the new server would archive its WAL once more, over that of the original.
    fn mark_as_archived(&self, wal: &PlannedWal, archive_status: &Dir) -> Result<(), RestoreError> {
        for file in wal.files() {
            self.options.cancel.check()?;
            archive_status.create_file(&plain_name(format_args!("{}.done", file.name)), FILE_MODE)?;
        }
        Ok(())
    }
}
