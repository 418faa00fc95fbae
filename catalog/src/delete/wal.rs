//! Removing the WAL that goes with deleted backups.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use barman_retention::Freed;
use barman_storage::Cancel;
use wal_format::WalFileName;

use crate::archive::for_each_archived;
use crate::xlog_db::{Shrunk, Snapshot};
use crate::{BackupId, Catalog, Error, layout};

/// How many files are removed before archivers have their turn: at a few milliseconds each, far less than 100 ms.
const BATCH: usize = 16;

/// WAL that the index does not name any more.
pub(super) struct FreedWal {
    by_backup: BTreeMap<BackupId, Vec<WalFileName>>,
    /// The index as it is without it.
    pub(super) index: Snapshot,
}

impl FreedWal {
    /// Takes WAL out of the index, and if asked for adds what lies in the archive without a line. `None` if a backup of
    /// `idle` has come into use.
    pub(super) fn take(
        catalog: &Catalog,
        freed: &Freed<BackupId>,
        idle: &[BackupId],
        unrecorded: bool,
    ) -> Result<Option<Self>, Error> {
        if freed.is_empty() {
            return Ok(Some(Self { by_backup: BTreeMap::new(), index: catalog.xlog_snapshot()? }));
        }
        let Some((mut removed, index)) = take(catalog, &|name| freed.why(name).is_some(), idle)? else {
            return Ok(None);
        };
        if unrecorded {
            removed = with_unrecorded(catalog, freed, removed)?;
        }
        let mut by_backup: BTreeMap<BackupId, Vec<WalFileName>> = BTreeMap::new();
        for name in removed {
            if let Some(id) = freed.why(&name) {
                by_backup.entry(*id).or_default().push(name);
            }
        }
        by_backup.values_mut().for_each(|names| *names = by_directory(std::mem::take(names)));
        Ok(Some(Self { by_backup, index }))
    }

    /// The files that go with a backup.
    pub(super) fn of(&self, id: &BackupId) -> &[WalFileName] {
        self.by_backup.get(id).map_or(&[], Vec::as_slice)
    }
}

/// Takes the files that `goes` says yes to out of the index, if nobody works with a backup of `idle`; returns them in the order
/// of the index, and the index as it is then.
///
/// Who restores a backup holds its lease first, and then looks whether all that it needs is in the index; here it is the other
/// way round, under the lock of the index. So one of the two sees the other (invariant 6).
pub(super) fn take(
    catalog: &Catalog,
    goes: &dyn Fn(&WalFileName) -> bool,
    idle: &[BackupId],
) -> Result<Option<(Vec<WalFileName>, Snapshot)>, Error> {
    let shrunk = catalog.shrink_index(goes, &|| catalog.are_idle(idle))?;
    Ok(shrunk.map(|Shrunk { removed, index }| (removed, index)))
}

/// Removes files from the archive. When this returns they are gone for good.
///
/// Each batch is removed under the lock of the index, so that no archiver is about to put a file into a directory that
/// vanishes. What has been archived once more meanwhile stays: it is in the index again.
pub(super) fn remove(catalog: &Catalog, index: &Snapshot, names: &[WalFileName], cancel: &Cancel) -> Result<(), Error> {
    let wals = catalog.wals_dir()?;
    for batch in names.chunks(BATCH) {
        cancel.check()?;
        let db = catalog.xlog_db()?;
        let again = RefCell::new(BTreeSet::new());
        db.scan_since(index, |line| {
            again.borrow_mut().insert(line.name().to_owned());
            Ok::<_, Error>(())
        })?;
        let again = again.into_inner();
        for name in batch.iter().filter(|name| !again.contains(&name.to_string())) {
            wals.remove_file(&layout::archived(name))?;
        }
        for directory in batch.iter().filter_map(layout::hash_directory).collect::<BTreeSet<_>>() {
            wals.remove_empty_dir(&directory)?;
        }
    }
    // A file that is in no directory of its own, such as a history, is in this one.
    let mut is_changed = names.iter().any(|name| layout::hash_directory(name).is_none());
    for directory in names.iter().filter_map(layout::hash_directory).collect::<BTreeSet<_>>() {
        match wals.subdir(&directory) {
            Err(error) if error.is_not_found() => is_changed = true,
            directory => directory?.sync()?,
        }
    }
    if is_changed {
        wals.sync()?;
    }
    if names.is_empty() { Ok(()) } else { catalog.forget_facts(&catalog.xlog_db()?, names) }
}

/// Adds the files that lie in the archive without a line in the index and go all the same: what an interrupted run took
/// out of the index and did not remove.
fn with_unrecorded(
    catalog: &Catalog,
    freed: &Freed<BackupId>,
    removed: Vec<WalFileName>,
) -> Result<Vec<WalFileName>, Error> {
    let mut names: BTreeSet<_> = removed.into_iter().collect();
    for_each_archived(&catalog.wals_dir()?, |file| {
        names.extend(Some(file.name).filter(|name| freed.why(name).is_some()));
        Ok::<_, Error>(())
    })?;
    Ok(names.into_iter().collect())
}

/// Files by their directories, in the order in which the first of each appears: how Barman removes and lists them.
pub(super) fn by_directory(names: Vec<WalFileName>) -> Vec<WalFileName> {
    let mut places: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut placed: Vec<_> = names
        .into_iter()
        .map(|name| {
            let next = places.len();
            (*places.entry(name.hash_directory()).or_insert(next), name)
        })
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, name)| name).collect()
}
