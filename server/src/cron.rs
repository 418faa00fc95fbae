//! What is due for a server each minute. Deciding is done here; the command line starts the processes.

use crate::{Error, Server};
use barman_catalog::{BackupId, Lock, Status};

/// A process to start in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Archive the WAL that has arrived.
    ArchiveWal,
    /// Receive WAL.
    ReceiveWal,
    /// See whether this backup has all its WAL by now.
    CheckBackup(BackupId),
}

impl Task {
    /// Returns the command that carries it out.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Self::ArchiveWal => "archive-wal",
            Self::ReceiveWal => "receive-wal",
            Self::CheckBackup(_) => "check-backup",
        }
    }
}

impl Server {
    /// Returns what is due and not being done already, and finishes what a killed process left behind.
    ///
    /// # Errors
    /// The catalog cannot be read, or another `cron` is at work on this server.
    pub fn maintenance(&self) -> Result<Vec<Task>, Error> {
        let _lock = self.lock("cron", Lock::Cron)?;
        self.catalog().create_directories()?;
        // While a backup runs, what looks interrupted is that backup.
        if let Ok(_lock) = self.catalog().lock(Lock::Backup) {
            self.fail_interrupted_backups()?;
        }
        let mut tasks = Vec::new();
        if self.is_idle(Lock::ArchiveWal)? {
            tasks.push(Task::ArchiveWal);
        }
        if self.config().streaming_archiver && self.is_idle(Lock::ReceiveWal)? {
            tasks.push(Task::ReceiveWal);
        }
        if !self.config().streaming_archiver && !self.is_idle(Lock::ReceiveWal)? {
            self.stop_receive_wal()?;
        }
        let backups = self.catalog().backups()?;
        let waiting = backups.iter().filter(|info| info.status == Status::WaitingForWals);
        tasks.extend(waiting.map(|info| Task::CheckBackup(info.backup_id)));
        Ok(tasks)
    }

    fn is_idle(&self, lock: Lock) -> Result<bool, Error> {
        Ok(self.catalog().lock_holder(lock)?.is_none())
    }
}
