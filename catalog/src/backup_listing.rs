//! The files that a backup consists of, and the WAL that goes with it.

use std::path::PathBuf;

use barman_storage::Kind;
use wal_format::{SegmentName, TimelineId, WalFileName};

use crate::{BackupFile, BackupInfo, Catalog, Error, layout, next_backup};

/// Which files of a backup are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupPart {
    /// Its data, and the WAL that it cannot be restored without.
    Standalone,
    /// Its data.
    Data,
    /// The WAL from its begin to the end of the next backup, and all histories.
    Wal,
    /// Its data and that WAL.
    Full,
}

impl Catalog {
    /// Returns where the files of a backup are: tablespaces, data directory, WAL in the order of the index. Directories
    /// that are empty are among them if that is asked for.
    ///
    /// # Errors
    /// The backup or the index cannot be read.
    pub fn list_files(
        &self,
        info: &BackupInfo,
        part: BackupPart,
        empty_directories: bool,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        if part != BackupPart::Wal {
            files = self.data_paths(info, empty_directories)?;
        }
        if part != BackupPart::Data {
            files.extend(self.wal_paths(info, part)?);
        }
        Ok(files)
    }

    fn data_paths(&self, info: &BackupInfo, empty_directories: bool) -> Result<Vec<PathBuf>, Error> {
        let backup = self.backup_data(info)?;
        let mut paths = Vec::new();
        for (dir, files) in backup.tablespaces.iter().map(|(oid, dir)| (dir, backup.tablespace_files(*oid))) {
            paths.extend(shown(&files?, empty_directories).map(|file| layout::shown(dir, &file.path)));
        }
        let files = backup.data_files()?;
        paths.extend(shown(&files, empty_directories).map(|file| layout::shown(&backup.data, &file.path)));
        Ok(paths)
    }

    fn wal_paths(&self, info: &BackupInfo, part: BackupPart) -> Result<Vec<PathBuf>, Error> {
        let (Some(begin), Some(end)) = (info.begin_wal, info.end_wal) else { return Ok(Vec::new()) };
        let backups = self.backups()?;
        let next = next_backup(&backups, &info.backup_id).and_then(|next| next.end_wal);
        let last = if part == BackupPart::Standalone { Some(end) } else { next };
        let within = |name: SegmentName| {
            name.timeline == begin.timeline && name >= begin && last.is_none_or(|last| name <= last)
        };
        let belongs = |name: &WalFileName| match *name {
            WalFileName::Segment(name) => within(name),
            WalFileName::History(_) => part != BackupPart::Standalone,
            WalFileName::Partial(_) | WalFileName::BackupLabel { .. } => false,
        };
        let names = self.archived_wal()?.into_iter().map(|wal| wal.name).filter(belongs);
        let wals = &self.layout().wals_directory;
        Ok(names.map(|name| wals.join(layout::archived(&name))).collect())
    }

    /// Counts the archived files of a timeline and of all later ones; without one, all that are archived.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn count_archived_from(&self, timeline: Option<TimelineId>) -> Result<usize, Error> {
        let counts = |name: &WalFileName| timeline.is_none_or(|least| name.timeline() >= least);
        Ok(self.archived_wal()?.iter().filter(|wal| counts(&wal.name)).count())
    }
}

/// Files; and directories in which there is nothing.
fn shown(files: &[BackupFile], empty_directories: bool) -> impl Iterator<Item = &BackupFile> {
    files.iter().enumerate().filter_map(move |(index, file)| {
        // What is in a directory follows it.
        let has_contents =
            || files.get(index + 1).is_some_and(|next| next.path.as_path().starts_with(file.path.as_path()));
        let shown = match file.kind {
            Kind::File => true,
            Kind::Directory => empty_directories && !has_contents(),
            Kind::Symlink | Kind::Other => false,
        };
        shown.then_some(file)
    })
}
