//! Keeping backups whatever the retention policy says.

use crate::{Error, Server};
use barman_catalog::{BackupId, Status};
use barman_retention::Keep;
use wal_format::Timestamp;

impl Server {
    /// Keeps a backup from now on, as `keep` says and no other way.
    ///
    /// # Errors
    /// The backup is not complete, is incremental, or is being deleted; the keep would be over already; or it cannot be
    /// written.
    pub fn keep(&self, id: &BackupId, keep: Keep, now: Timestamp) -> Result<(), Error> {
        let info = self.catalog().backup(id)?;
        if info.status != Status::Done {
            return Err(Error::KeepUnfinished { id: *id, status: info.status });
        }
        if info.parent_backup_id.is_some() {
            return Err(Error::KeepIncremental { id: *id });
        }
        if !keep.holds(now) {
            return Err(Error::KeepUntilPast { id: *id });
        }
        Ok(self.catalog().set_keep(id, keep)?)
    }
}
