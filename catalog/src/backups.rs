//! The records of all backups: reading, finding, saving.

use std::collections::BTreeSet;

use barman_storage::{Dir, OutFile, Published, RelativePath};
use wal_format::Timestamp;

use crate::catalog::{FILE_MODE, existing, read_text};
use crate::resolve::{Found, find};
use crate::side_by_side::on_all_cores;
use crate::{BackupId, BackupInfo, Catalog, Error, ResolveError, Status, layout};

/// Names the record of a backup.
type RecordName = fn(&BackupId) -> RelativePath;

impl Catalog {
    /// Returns the records of all backups, ascending by id.
    ///
    /// # Errors
    /// A record cannot be read or understood. It is not left out: what its backup needs would be taken for superfluous.
    pub fn backups(&self) -> Result<Vec<BackupInfo>, Error> {
        let ids: Vec<BackupId> = self.backup_ids()?.into_iter().collect();
        let places = self.record_places()?;
        let records = on_all_cores(&ids, |id| self.read_record(&places, id))?;
        Ok(records.into_iter().flatten().collect())
    }

    /// Returns the record of backup `id`, or `None` if there is none.
    ///
    /// # Errors
    /// The record cannot be read or understood.
    pub fn find_backup(&self, id: &BackupId) -> Result<Option<BackupInfo>, Error> {
        self.read_record(&self.record_places()?, id)
    }

    /// The directories in which records lie, those that there are, and how a record is called in each. The record in `meta/`
    /// wins: when one is saved there, the old one stays as it was.
    fn record_places(&self) -> Result<Vec<(Dir, RecordName)>, Error> {
        let directories: [(_, RecordName); 2] = [
            (self.layout().meta_directory(), layout::backup_info),
            (self.layout().basebackups_directory.clone(), layout::old_backup_info),
        ];
        let mut places = Vec::new();
        for (directory, name) in directories {
            places.extend(existing(&directory)?.map(|dir| (dir, name)));
        }
        Ok(places)
    }

    fn read_record(&self, places: &[(Dir, RecordName)], id: &BackupId) -> Result<Option<BackupInfo>, Error> {
        for (dir, name) in places {
            let path = name(id);
            if let Some(text) = read_text(dir, &path)? {
                return self.parse_info(id, &text, dir, &path).map(Some);
            }
        }
        Ok(None)
    }

    /// Returns the record of backup `id`.
    ///
    /// # Errors
    /// There is none, or it cannot be read or understood.
    pub fn backup(&self, id: &BackupId) -> Result<BackupInfo, Error> {
        let missing = || Error::NoBackup { server: self.layout().server.clone(), id: *id };
        self.find_backup(id)?.ok_or_else(missing)
    }

    /// Returns the backup a user means by a shortcut such as `latest`, an id, or a name.
    ///
    /// # Errors
    /// The word means none or several, or the catalog cannot be read.
    pub fn resolve(&self, word: &str) -> Result<BackupInfo, ResolveError> {
        self.resolve_among(&self.backups()?, word).cloned()
    }

    /// Returns the same of `backups`, which are all the backups of the server, ascending by id.
    ///
    /// # Errors
    /// The word means none or several.
    pub fn resolve_among<'a>(&self, backups: &'a [BackupInfo], word: &str) -> Result<&'a BackupInfo, ResolveError> {
        let server = || self.layout().server.clone();
        match find(backups, word) {
            Found::One(info) => Ok(info),
            Found::Nothing => Err(ResolveError::Unknown { word: word.to_owned(), server: server() }),
            Found::Several(ids) => Err(ResolveError::Ambiguous { word: word.to_owned(), server: server(), ids }),
        }
    }

    /// Writes the record of a backup; an older one is replaced. When this returns, the new one is durable.
    ///
    /// With status [`Status::Empty`] a backup begins, and its record replaces none: that would be another backup's.
    ///
    /// # Errors
    /// The record cannot be written, or is the first of a backup whose id is taken; then the older one is still there.
    pub fn save(&self, info: &BackupInfo) -> Result<(), Error> {
        // Invariant 2: whoever reads meanwhile, or after a crash, sees the older record or this one, whole.
        let path = layout::backup_info(&info.backup_id);
        let (meta, text) = (self.meta_dir()?, info.to_text());
        if info.status != Status::Empty {
            return Ok(meta.replace(&path, FILE_MODE, text.as_bytes())?);
        }
        let taken = || Error::Conflict { path: layout::shown(&meta, &path) };
        if self.find_backup(&info.backup_id)?.is_some() {
            return Err(taken());
        }
        let write = |file: &mut OutFile| Ok::<_, Error>(file.write_all(text.as_bytes())?);
        match meta.publish_new(&path, FILE_MODE, write)? {
            Published::Created(()) => Ok(()),
            Published::AlreadyThere(()) => Err(taken()),
        }
    }

    /// Returns the id for a backup that starts at `now`: the local time, or as little later as makes it the newest.
    ///
    /// The clock shows an hour twice in autumn, and two backups can start in one second. Order of ids is order of
    /// backups everywhere, so an id is never given twice and never sorts before one given in the last three hours. Files
    /// without a record, such as a backup leaves whose deletion was interrupted, take an id as well.
    ///
    /// # Errors
    /// The catalog cannot be read, or all ids of the next hours are taken.
    pub fn next_backup_id(&self, now: Timestamp) -> Result<BackupId, Error> {
        const STEPS_SECONDS: i64 = 3 * 3600;
        let mut taken = self.backup_ids()?;
        taken.extend(self.directory_ids()?);
        let later = |seconds: i64| {
            let moment = now.unix_micros().saturating_add(seconds * 1_000_000);
            BackupId::from_local_time(Timestamp::from_unix_micros(moment), self.zone())
        };
        let newest = taken.range(..=later(STEPS_SECONDS)).next_back();
        let free = |id: &BackupId| newest.is_none_or(|newest| id > newest) && !taken.contains(id);
        // Twice as far: the newest may be the last that is looked at, and others may follow it.
        let id = (0..=2 * STEPS_SECONDS).map(later).find(free);
        id.ok_or_else(|| Error::NoFreeId { server: self.layout().server.clone(), first: later(0) })
    }

    /// The ids of all backups that have a record.
    pub(crate) fn backup_ids(&self) -> Result<BTreeSet<BackupId>, Error> {
        let mut ids = BTreeSet::new();
        if let Some(meta) = existing(&self.layout().meta_directory())? {
            let entries = meta.entries()?;
            ids.extend(entries.iter().filter_map(|entry| layout::backup_of_info(entry.name.to_str()?)));
        }
        if let Some(backups) = existing(&self.layout().basebackups_directory)? {
            for id in self.directory_ids()? {
                if !ids.contains(&id) && backups.stat(&layout::old_backup_info(&id))?.is_some() {
                    ids.insert(id);
                }
            }
        }
        Ok(ids)
    }

    /// The ids that have a directory, with a record or without.
    pub(crate) fn directory_ids(&self) -> Result<BTreeSet<BackupId>, Error> {
        let Some(backups) = existing(&self.layout().basebackups_directory)? else { return Ok(BTreeSet::new()) };
        let entries = backups.entries()?;
        Ok(entries.iter().filter_map(|entry| entry.name.to_str()?.parse().ok()).collect())
    }

    fn parse_info(&self, id: &BackupId, text: &str, dir: &Dir, path: &RelativePath) -> Result<BackupInfo, Error> {
        let invalid = |source| Error::BackupInfo { path: layout::shown(dir, path), source };
        BackupInfo::parse(*id, text, self.zone()).map_err(invalid)
    }
}

/// Returns the last backup before `id` whose data is complete. `backups` ascend by id.
#[must_use]
pub fn previous_backup<'a>(backups: &'a [BackupInfo], id: &BackupId) -> Option<&'a BackupInfo> {
    backups.iter().rev().find(|info| info.backup_id < *id && info.status.is_copied())
}

/// Returns the first backup after `id` whose data is complete. `backups` ascend by id.
#[must_use]
pub fn next_backup<'a>(backups: &'a [BackupInfo], id: &BackupId) -> Option<&'a BackupInfo> {
    backups.iter().find(|info| info.backup_id > *id && info.status.is_copied())
}
