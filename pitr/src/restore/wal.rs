//! Putting WAL where the new server looks for it.

use barman_storage::{CopyItem, Dir, RelativePath};

use super::{DIRECTORY_MODE, FILE_MODE, Restore, RestoreError, RestoreEvent, create_empty, plain_name};
use crate::plan::{PlannedWal, PlannedWalFile};

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
        for (source, files) in &wal.sources {
            let items: Vec<_> = files.iter().map(item).collect();
            self.copy(source, to, &items, &|_| None)?;
        }
        Ok(())
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
