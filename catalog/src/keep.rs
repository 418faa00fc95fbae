//! Backups that no retention policy removes.
//!
//! The annotation is Barman's, `meta/<id>-keep`, with its word `full` or `standalone`. Ours may go on behind the word:
//! `standalone until 2033-01-01 00:00:00+01:00`. Barman takes whatever is not `standalone` for `full`, and shows it; so it
//! keeps such a backup until somebody releases it, and never deletes what we keep. One file for both, so that neither
//! program can leave one half behind.

use std::collections::BTreeMap;

use barman_retention::{Keep, Target};
use barman_storage::{Dir, RelativePath};

use crate::catalog::{FILE_MODE, existing, read_text};
use crate::side_by_side::on_all_cores;
use crate::{BackupId, BackupInfo, BackupTime, Catalog, Error, LocalZone, layout};

/// Between the target and the time in an annotation.
const UNTIL: &str = " until ";

impl Catalog {
    /// Returns how backup `id` is kept, if it is. Annotations are looked for where Barman puts them, and where it put them
    /// before 3.13.3: that one counts, as it does for Barman, which moves it over the other.
    ///
    /// # Errors
    /// The annotation cannot be read, or says something else. Taking that for "not kept" could cost a backup.
    pub fn keep(&self, id: &BackupId) -> Result<Option<Keep>, Error> {
        let places = [
            (self.layout().basebackups_directory.clone(), layout::old_keep(id)),
            (self.layout().meta_directory(), layout::keep(id)),
        ];
        for (directory, path) in places {
            let Some(dir) = existing(&directory)? else { continue };
            if let Some(keep) = self.annotation(&dir, &path)? {
                return Ok(Some(keep));
            }
        }
        Ok(None)
    }

    /// Returns the same of those of `backups`, which ascend by id, that are kept at all: few of very many, mostly.
    pub(crate) fn keeps(&self, backups: &[BackupInfo]) -> Result<BTreeMap<BackupId, Keep>, Error> {
        let mut keeps = BTreeMap::new();
        // The old places first: an annotation that is moved meanwhile is in the new place before it leaves the old one.
        if let Some(dir) = existing(&self.layout().basebackups_directory)? {
            let found = |BackupInfo { backup_id: id, .. }: &BackupInfo| {
                Ok(self.annotation(&dir, &layout::old_keep(id))?.map(|keep| (*id, keep)))
            };
            keeps.extend(on_all_cores(backups, found)?.into_iter().flatten());
        }
        if let Some(dir) = existing(&self.layout().meta_directory())? {
            let entries = dir.entries()?;
            for id in entries.iter().filter_map(|entry| layout::backup_of_keep(entry.name.to_str()?)) {
                if !keeps.contains_key(&id) && backups.binary_search_by_key(&id, |info| info.backup_id).is_ok() {
                    keeps.extend(self.annotation(&dir, &layout::keep(&id))?.map(|keep| (id, keep)));
                }
            }
        }
        Ok(keeps)
    }

    fn annotation(&self, dir: &Dir, path: &RelativePath) -> Result<Option<Keep>, Error> {
        let Some(text) = read_text(dir, path)? else { return Ok(None) };
        let invalid = || Error::Keep { path: layout::shown(dir, path), found: text.chars().take(60).collect() };
        parse(text.trim(), self.zone()).map(Some).ok_or_else(invalid)
    }

    /// Keeps a backup from now on, as `keep` says and no other way. When this returns, that is durable.
    ///
    /// While it is written the backup is leased, so that nobody is deleting it.
    ///
    /// # Errors
    /// The backup is being deleted or changed, or is gone, or the annotation cannot be written.
    pub fn set_keep(&self, id: &BackupId, keep: Keep) -> Result<(), Error> {
        let _lease = self.lease_unless_in_use(id)?;
        self.backup(id)?;
        let meta = self.meta_dir()?;
        // The old one would count. Removed first it could leave the backup without any.
        if let Some((old, text)) = self.old_annotation(id)? {
            meta.replace(&layout::keep(id), FILE_MODE, text.as_bytes())?;
            remove_old(&old, id)?;
        }
        Ok(meta.replace(&layout::keep(id), FILE_MODE, text_of(keep, self.zone()).as_bytes())?)
    }

    /// Leaves a backup to the retention policy again; nothing happens if nobody keeps it.
    ///
    /// # Errors
    /// An annotation cannot be removed.
    pub fn release_keep(&self, id: &BackupId) -> Result<(), Error> {
        if let Some((old, _)) = self.old_annotation(id)? {
            remove_old(&old, id)?;
        }
        let Some(meta) = existing(&self.layout().meta_directory())? else { return Ok(()) };
        meta.remove_file(&layout::keep(id))?;
        Ok(meta.sync()?)
    }

    /// The annotation where Barman put it before 3.13.3, and the directory below which that is.
    fn old_annotation(&self, id: &BackupId) -> Result<Option<(Dir, String)>, Error> {
        let Some(backups) = existing(&self.layout().basebackups_directory)? else { return Ok(None) };
        Ok(read_text(&backups, &layout::old_keep(id))?.map(|text| (backups, text)))
    }
}

fn remove_old(backups: &Dir, id: &BackupId) -> Result<(), Error> {
    backups.remove_file(&layout::old_keep(id))?;
    Ok(backups.subdir(&layout::old_annotations(id))?.sync()?)
}

fn text_of(keep: Keep, zone: &LocalZone) -> String {
    let until = keep.until.map(|until| format!("{UNTIL}{}", BackupTime::in_zone(until, zone)));
    format!("{}{}", keep.target.as_str(), until.unwrap_or_default())
}

fn parse(text: &str, zone: &LocalZone) -> Option<Keep> {
    let (word, until) = text.split_once(UNTIL).map_or((text, None), |(word, until)| (word, Some(until)));
    let target = [Target::Full, Target::Standalone].into_iter().find(|target| target.as_str() == word)?;
    let until = until.map(|until| BackupTime::parse(until, zone)).transpose().ok()?;
    Some(Keep { target, until: until.map(BackupTime::instant) })
}

#[cfg(test)]
mod tests {
    use barman_retention::Timestamp;

    use super::*;

    #[test]
    fn an_annotation_says_for_what_and_until_when() {
        let new_year = Timestamp::from_unix_micros(1_798_761_600_000_000);
        for (text, keep) in [
            ("full", Keep::FULL),
            ("standalone", Keep::STANDALONE),
            ("full until 2027-01-01 00:00:00+00:00", Keep::FULL.until(new_year)),
            ("standalone until 2027-01-01 00:00:00+00:00", Keep::STANDALONE.until(new_year)),
        ] {
            assert_eq!(parse(text, &LocalZone::UTC), Some(keep), "{text}");
            assert_eq!(text_of(keep, &LocalZone::UTC), text);
        }
    }

    #[test]
    fn what_an_annotation_cannot_say_is_refused() {
        for text in
            ["", "for ever", "full until", "full until tomorrow", "full  until 2027-01-01 00:00:00+00:00", "Full"]
        {
            assert_eq!(parse(text, &LocalZone::UTC), None, "{text}");
        }
    }
}
