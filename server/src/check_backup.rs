//! Whether a backup has all the WAL it needs.

use crate::{Error, Server};
use barman_catalog::{BackupId, BackupInfo, CheckBackupError, LockError, Status};
use barman_config::Command;

impl Server {
    /// Looks for the WAL that a backup needs, and brings its status up to date. Returns the record: `DONE` where all of
    /// it is archived, `WAITING_FOR_WALS` where the end is still on its way. While another process works on the backup,
    /// the record is returned as it is: that is no error, and the other may well be doing the same.
    ///
    /// # Errors
    /// There is no such backup, it failed, or a segment is missing for good, so that it is `FAILED` from now on.
    pub fn check_backup(&self, id: &BackupId) -> Result<BackupInfo, Error> {
        self.refuse_unsupported(Command::Show)?;
        let info = match self.catalog().check_backup(id) {
            Err(CheckBackupError::Lock(LockError::Busy { .. })) => self.catalog().backup(id)?,
            checked => checked?,
        };
        match info.status {
            Status::Failed => Err(Error::WalMissing { id: *id, reason: info.error.unwrap_or_default() }),
            _ => Ok(info),
        }
    }
}
