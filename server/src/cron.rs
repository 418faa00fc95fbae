//! What is due for a server each minute. Deciding is done here; the command line starts the processes.

use crate::{Error, Server};
use barman_catalog::{BackupId, DeleteEvent, Lock, LockError, Status};
use barman_config::Command;
use barman_storage::Cancel;
use wal_format::Timestamp;

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

/// What is due for a server.
#[derive(Debug, Default)]
pub struct Maintenance {
    /// What is due and not being done already, WAL first.
    pub tasks: Vec<Task>,
    /// What went wrong on the way. It keeps nothing else from being done: WAL must go on arriving whatever else is broken.
    pub problems: Vec<Error>,
}

impl Server {
    /// Returns what is due, and finishes what a killed process left behind.
    ///
    /// # Errors
    /// The server is of a kind that is not built, or another `cron` is at work on it.
    pub fn maintenance(&self) -> Result<Maintenance, Error> {
        if self.config().passive {
            // Its WAL comes from another Barman host: a receiver here would take that host's place at the slot.
            self.refuse_unsupported(Command::Cron)?;
        }
        let _lock = self.lock("cron", Lock::Cron)?;
        let mut due = Maintenance::default();
        due.add(self.wal_tasks());
        due.add(self.stop_unwanted_receiver().map(|()| Vec::new()));
        due.add(self.fail_interrupted_backups_unless_busy().map(|()| Vec::new()));
        due.add(self.finish_purge_unless_busy().map(|()| Vec::new()));
        due.add(self.waiting_backups());
        Ok(due)
    }

    /// Deletes what the retention policy does not need any more, and finishes deletions that were interrupted. Called after
    /// [`maintenance`](Self::maintenance), whose tasks are running by then: WAL must go on arriving however long this takes.
    ///
    /// # Errors
    /// Another `cron` is at work on the server, or as for [`enforce_retention`](Self::enforce_retention).
    pub fn clean_up(
        &self,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        let _lock = self.lock("cron", Lock::Cron)?;
        self.enforce_retention(now, cancel, events)
    }

    fn wal_tasks(&self) -> Result<Vec<Task>, Error> {
        let mut tasks = Vec::new();
        if self.is_idle(Lock::ArchiveWal)? {
            tasks.push(Task::ArchiveWal);
        }
        if self.config().streaming_archiver && self.is_idle(Lock::ReceiveWal)? {
            tasks.push(Task::ReceiveWal);
        }
        Ok(tasks)
    }

    /// Ends a receiver that the configuration no longer wants. One that ends by itself meanwhile is as good.
    fn stop_unwanted_receiver(&self) -> Result<(), Error> {
        if self.config().streaming_archiver {
            return Ok(());
        }
        match self.terminate("receive-wal") {
            Err(Error::NotRunning { .. }) => Ok(()),
            stopped => stopped.map(drop),
        }
    }

    /// While a backup runs, what looks interrupted is that backup.
    fn fail_interrupted_backups_unless_busy(&self) -> Result<(), Error> {
        match self.catalog().lock(Lock::Backup) {
            Ok(_lock) => self.fail_interrupted_backups(),
            Err(LockError::Catalog(error)) => Err(error.into()),
            Err(_) => Ok(()),
        }
    }

    fn waiting_backups(&self) -> Result<Vec<Task>, Error> {
        let mut tasks = Vec::new();
        for info in self.catalog().backups()? {
            if info.status == Status::WaitingForWals && self.is_idle(Lock::BackupId(info.backup_id))? {
                tasks.push(Task::CheckBackup(info.backup_id));
            }
        }
        Ok(tasks)
    }

    fn is_idle(&self, lock: Lock) -> Result<bool, Error> {
        Ok(self.catalog().lock_holder(lock)?.is_none())
    }
}

impl Maintenance {
    fn add(&mut self, found: Result<Vec<Task>, Error>) {
        match found {
            Ok(tasks) => self.tasks.extend(tasks),
            Err(error) => self.problems.push(error),
        }
    }
}
