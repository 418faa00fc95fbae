//! The files of a backup: which they are, and whether they are what they were.

use crate::{Error, Server};
use barman_catalog::{BackupFault, BackupInfo, BackupPart};
use barman_config::Command;
use barman_storage::Cancel;
use std::path::PathBuf;
use wal_format::TimelineId;

impl Server {
    /// Returns where the files of a backup are.
    ///
    /// # Errors
    /// The catalog cannot be read, or an option asks for another way to read it.
    pub fn list_files(
        &self,
        info: &BackupInfo,
        part: BackupPart,
        empty_directories: bool,
    ) -> Result<Vec<PathBuf>, Error> {
        self.refuse_unsupported(Command::Show)?;
        Ok(self.catalog().list_files(info, part, empty_directories)?)
    }

    /// Compares a backup with its manifest. Returns the data directory, and why the comparison ended early, if it did.
    ///
    /// # Errors
    /// The backup is not there, or an option asks for another way to read it.
    pub fn verify_backup(
        &self,
        info: &BackupInfo,
        cancel: &Cancel,
        found: &mut dyn FnMut(&BackupFault),
    ) -> Result<(PathBuf, Result<(), Error>), Error> {
        self.refuse_unsupported(Command::Show)?;
        let data = self.catalog().backup_data(info)?.data.path().to_owned();
        Ok((data, self.catalog().verify_backup(info, cancel, found).map_err(Error::from)))
    }

    /// Writes the manifest of a backup that has none.
    ///
    /// # Errors
    /// It has one, or a file cannot be read or written.
    pub fn generate_manifest(&self, info: &BackupInfo, cancel: &Cancel) -> Result<PathBuf, Error> {
        self.refuse_unsupported(Command::Show)?;
        Ok(self.catalog().generate_manifest(info, cancel)?)
    }

    /// Counts the archived files of a timeline and of all later ones; without one, all that are archived.
    ///
    /// # Errors
    /// The index cannot be read, or an option asks for another way to read it.
    pub fn count_archived_from(&self, timeline: Option<TimelineId>) -> Result<usize, Error> {
        self.refuse_unsupported(Command::Show)?;
        Ok(self.catalog().count_archived_from(timeline)?)
    }
}
