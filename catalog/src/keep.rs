//! Backups that no retention policy removes.

use crate::catalog::{existing, read_text};
use wal_format::Timestamp;

use crate::{BackupId, BackupTime, Catalog, Error, layout};

/// For what a backup is kept beyond the retention policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// For recovery to any later moment: all WAL from its start on is kept as well.
    Full,
    /// For itself: only the WAL between its start and its end is kept as well.
    Standalone,
}

impl Keep {
    /// Returns the word in the annotation and in Barman's output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Standalone => "standalone",
        }
    }
}

impl Catalog {
    /// Returns whether and for what backup `id` is kept. Annotations are looked for where Barman puts them, and where it
    /// put them before 3.13.3.
    ///
    /// # Errors
    /// The annotation cannot be read, or says something else. Taking that for "not kept" could cost a backup.
    pub fn keep(&self, id: &BackupId) -> Result<Option<Keep>, Error> {
        let places = [
            (self.layout().meta_directory(), layout::keep(id)),
            (self.layout().basebackups_directory.clone(), layout::old_keep(id)),
        ];
        for (directory, path) in places {
            let Some(dir) = existing(&directory)? else { continue };
            if let Some(text) = read_text(&dir, &path)? {
                let invalid =
                    || Error::Keep { path: layout::shown(&dir, &path), found: text.chars().take(40).collect() };
                return parse(text.trim()).map(Some).ok_or_else(invalid);
            }
        }
        Ok(None)
    }

    /// Returns until when a backup is kept that is kept in full; `None` if for ever. The annotation is one of ours: for
    /// Barman the backup is kept until somebody releases it.
    ///
    /// # Errors
    /// The annotation cannot be read, or is no time.
    pub fn keep_until(&self, id: &BackupId) -> Result<Option<Timestamp>, Error> {
        let Some(meta) = existing(&self.layout().meta_directory())? else { return Ok(None) };
        let path = layout::keep_until(id);
        let Some(text) = read_text(&meta, &path)? else { return Ok(None) };
        let invalid =
            |_| Error::KeepUntil { path: layout::shown(&meta, &path), found: text.chars().take(40).collect() };
        BackupTime::parse(text.trim(), self.zone()).map(|until| Some(until.instant())).map_err(invalid)
    }
}

fn parse(text: &str) -> Option<Keep> {
    [Keep::Full, Keep::Standalone].into_iter().find(|keep| keep.as_str() == text)
}
