//! The mark of a backup that is being deleted: Barman's annotation `delete_this`.
//!
//! For Barman only its presence counts. Ours also says, below Barman's word, why the backup goes, and what its record was:
//! when that is gone, the mark is all from which the deletion can be finished.

use std::collections::BTreeSet;

use barman_retention::Occasion;
use barman_storage::LockFile;

use super::Deleting;
use crate::catalog::{FILE_MODE, existing, read_text};
use crate::{BackupId, BackupInfo, Catalog, Error, layout};

/// What Barman writes.
const WORD: &str = "delete";

const POLICY: &str = "policy";
const COMMAND: &str = "command";

impl Catalog {
    /// Every backup with a mark, ascending by id, whether it has a record or not.
    pub(crate) fn marked_for_deletion(&self) -> Result<BTreeSet<BackupId>, Error> {
        let Some(meta) = existing(&self.layout().meta_directory())? else { return Ok(BTreeSet::new()) };
        let entries = meta.entries()?;
        Ok(entries.iter().filter_map(|entry| layout::backup_of_delete_marker(entry.name.to_str()?)).collect())
    }

    pub(super) fn mark_deletion(&self, info: &BackupInfo, occasion: Occasion) -> Result<(), Error> {
        let why = match occasion {
            Occasion::Policy => POLICY,
            Occasion::Command => COMMAND,
        };
        let text = format!("{WORD}\n{why}\n{}", info.to_text());
        Ok(self.meta_dir()?.replace(&layout::delete_marker(&info.backup_id), FILE_MODE, text.as_bytes())?)
    }

    pub(super) fn unmark_deletion(&self, id: &BackupId) -> Result<(), Error> {
        let meta = self.meta_dir()?;
        meta.remove_file(&layout::delete_marker(id))?;
        Ok(meta.sync()?)
    }

    /// A deletion that was interrupted after the record was removed, as its mark describes it. `None` if it is finished by
    /// now.
    pub(super) fn interrupted_deletion(&self, id: BackupId, lock: LockFile) -> Result<Option<Deleting>, Error> {
        let meta = self.meta_dir()?;
        let path = layout::delete_marker(&id);
        let Some(text) = read_text(&meta, &path)? else { return Ok(None) };
        let mut parts = text.splitn(3, '\n').skip(1);
        let occasion = if parts.next() == Some(POLICY) { Occasion::Policy } else { Occasion::Command };
        // Barman's own mark says nothing of the backup: its data goes, and of the WAL nothing is known.
        let record = parts.next().unwrap_or_default();
        let invalid = |source| Error::BackupInfo { path: layout::shown(&meta, &path), source };
        let info = BackupInfo::parse(id, record, self.zone()).map_err(invalid)?;
        Ok(Some(Deleting { info, occasion, _lock: lock }))
    }
}
