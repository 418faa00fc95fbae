//! WAL from before the first backup, which nothing can use.
//!
//! It goes as soon as the first backup counts, and what arrives later until all WAL of that backup is archived. A mark that is
//! made before the backup counts, and goes last, has `cron` do what is left or an interruption left undone. What comes later
//! still, delivered a second time, is removed with the oldest backup.

use crate::{Error, Server, one_line};
use barman_catalog::{BackupId, Lock, LockError};

impl Server {
    /// Notes durably that older WAL goes when backup `id` counts, if that is the first one.
    pub(super) fn announce_purge(&self, id: &BackupId) {
        if self.config().worm_mode {
            return;
        }
        if let Err(error) = self.catalog().mark_purge(id) {
            tracing::warn!(target: "barman.backup", "WAL before backup {id} may stay: {}", one_line(&error));
        }
    }

    /// Removes WAL that is older than backup `id`. Returns what was removed, or `None` if it is not the first backup. The
    /// backup is good by now, whatever becomes of older WAL.
    pub(super) fn purge_before_first(&self, id: &BackupId) -> Option<Vec<String>> {
        let purge = || {
            let Some(plan) = self.catalog().plan_purge(id)? else { return Ok(None) };
            let mut removed = Vec::new();
            self.catalog().purge(&plan, |name| removed.push(name.to_string()))?;
            Ok(Some(removed))
        };
        if self.config().worm_mode {
            return None;
        }
        purge().unwrap_or_else(|error: Error| {
            tracing::warn!(target: "barman.backup", "WAL before backup {id} stays for now: {}", one_line(&error));
            None
        })
    }

    /// Removes what is left of older WAL, if an announced purge is not finished (invariant 7). While another process takes or
    /// deletes a backup, that is left for later.
    ///
    /// # Errors
    /// The catalog cannot be read, or a file not removed.
    pub(crate) fn finish_purge_unless_busy(&self) -> Result<(), Error> {
        if self.config().worm_mode {
            return Ok(());
        }
        match self.catalog().lock(Lock::Backup) {
            Ok(_lock) => Ok(self.catalog().finish_purge()?),
            Err(LockError::Catalog(error)) => Err(error.into()),
            Err(_) => Ok(()),
        }
    }
}
