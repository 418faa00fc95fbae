//! Deleting backups because a user says so.

use crate::{Error, Server};
use barman_catalog::{
    BackupId, BackupInfo, DeleteEvent, DeleteOptions, Lock, NoHooks, PlannedDeletion, Status, deletion_order,
};
use barman_config::Command;
use barman_retention::Occasion;
use barman_storage::{Cancel, LockFile};
use wal_format::Timestamp;

/// A deletion that nothing speaks against. While it is there, no backup is taken, and no other is deleted by command.
#[derive(Debug)]
pub struct Deletion {
    now: Timestamp,
    /// The backup, and before it those that build on it.
    order: Vec<BackupId>,
    _lock: LockFile,
}

impl Deletion {
    /// Tells whether other backups go with it, because they build on it.
    #[must_use]
    pub fn is_of_a_tree(&self) -> bool {
        self.order.len() > 1
    }

    fn wanted(&self) -> Vec<(BackupId, Occasion)> {
        self.order.iter().map(|id| (*id, Occasion::Command)).collect()
    }
}

impl Server {
    /// Finds out whether a backup may be deleted now, together with those that build on it.
    ///
    /// # Errors
    /// A user keeps it, minimum redundancy needs it, or a backup is being taken or deleted.
    pub fn prepare_deletion(&self, id: &BackupId, now: Timestamp) -> Result<Deletion, Error> {
        self.refuse_unsupported(Command::Delete)?;
        let lock = self.lock("backup", Lock::Backup)?;
        let backups = self.catalog().backups()?;
        let info = self.catalog().backup(id)?;
        if self.catalog().keep(id)?.is_some_and(|keep| keep.holds(now)) {
            return Err(Error::Kept { server: self.name().to_owned(), id: *id });
        }
        self.refuse_too_few(&info, &backups)?;
        Ok(Deletion { now, order: deletion_order(&backups, id), _lock: lock })
    }

    fn refuse_too_few(&self, info: &BackupInfo, backups: &[BackupInfo]) -> Result<(), Error> {
        let orphans = self.catalog().orphans(backups)?.records;
        let counts = |info: &&BackupInfo| {
            info.status == Status::Done && info.parent_backup_id.is_none() && !orphans.contains(&info.backup_id)
        };
        let minimum = self.config().minimum_redundancy;
        let current = backups.iter().filter(counts).count();
        if counts(&info) && u64::from(minimum) >= current as u64 {
            let server = self.name().to_owned();
            return Err(Error::MinimumRedundancy { server, id: info.backup_id, minimum, current });
        }
        Ok(())
    }

    /// Says what a deletion would remove, and removes nothing.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn plan_deletion(&self, deletion: &Deletion) -> Result<Vec<PlannedDeletion>, Error> {
        Ok(self.catalog().plan_deletion(&deletion.wanted(), deletion.now)?)
    }

    /// Deletes a backup with its WAL, and those that build on it before it. First, what interrupted deletions have left is
    /// removed.
    ///
    /// # Errors
    /// The backup is in use, or something cannot be removed: then the next `cron` or `delete` goes on.
    pub fn delete(
        &self,
        deletion: &Deletion,
        cancel: &Cancel,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        let options = DeleteOptions { now: deletion.now, hooks: &NoHooks, cancel };
        self.catalog().finish_deletions(&options, events)?;
        Ok(self.catalog().delete_backups(&deletion.wanted(), &options, events)?)
    }
}
