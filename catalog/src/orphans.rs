//! Backups of which one half is missing: the record has no data, or the data no record.

use std::collections::BTreeSet;

use barman_storage::Dir;

use crate::catalog::existing;
use crate::side_by_side::on_all_cores;
use crate::{BackupId, BackupInfo, BackupType, Catalog, Error, Status, layout};

/// What of a catalog has lost its other half.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Backups whose record says that they are complete, and whose directory is gone, or has nothing in it but a record at its old
    /// place: they cannot be restored.
    pub records: BTreeSet<BackupId>,
    /// Directories of backups that have no record, and that nobody is deleting: no reader looks at them.
    pub data: BTreeSet<BackupId>,
}

impl Orphans {
    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.data.is_empty()
    }
}

impl Catalog {
    /// Returns what misses its other half. `backups` are all the backups of the server, as [`Catalog::backups`] returned them.
    ///
    /// # Errors
    /// The directory of the backups, or that of the records, cannot be listed.
    pub fn orphans(&self, backups: &[BackupInfo]) -> Result<Orphans, Error> {
        let directories = self.directory_ids()?;
        let recorded: BTreeSet<_> = backups.iter().map(|info| info.backup_id).collect();
        let unrecorded: Vec<_> = directories.difference(&recorded).copied().collect();
        let base = existing(&self.layout().basebackups_directory)?;
        let expected: Vec<_> = backups.iter().filter(|info| has_data(info)).map(|info| info.backup_id).collect();
        let is_missing = |id: &BackupId| match base.as_ref().filter(|_| directories.contains(id)) {
            Some(base) => is_bare(base, id),
            None => Ok(true),
        };
        let missing = on_all_cores(&expected, is_missing)?;
        let records = expected.into_iter().zip(missing).filter_map(|(id, missing)| missing.then_some(id)).collect();
        if unrecorded.is_empty() {
            return Ok(Orphans { records, data: BTreeSet::new() });
        }
        // Whoever makes a backup or deletes one writes that down first; the record may be there by now.
        let begun = self.backup_ids()?;
        let deleting = self.marked_for_deletion()?;
        let data = unrecorded.into_iter().filter(|id| !begun.contains(id) && !deleting.contains(id)).collect();
        Ok(Orphans { records, data })
    }
}

/// Whether nothing is left in a backup's directory but a record at its old place. Of thousands of backups each costs a look
/// for `data`, and no more.
fn is_bare(base: &Dir, id: &BackupId) -> Result<bool, Error> {
    if base.stat(&layout::backup(id).join(&layout::data()))?.is_some() {
        return Ok(false);
    }
    let record = layout::old_backup_info(id);
    let Some(directory) = existing(&base.path().join(layout::backup(id)))? else { return Ok(true) };
    Ok(directory.entries()?.iter().all(|entry| entry.name == record.file_name()))
}

/// Whether a backup should have a directory: those that are being made may have none yet, and a cloud provider keeps its own.
fn has_data(info: &BackupInfo) -> bool {
    matches!(info.status, Status::Done | Status::WaitingForWals) && info.backup_type() != Some(BackupType::Snapshot)
}
