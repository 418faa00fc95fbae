//! Who works on what: Barman's own lock files.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use barman_storage::{Dir, Kind, LockFile, RelativePath};

use crate::catalog::DIRECTORY_MODE;
use crate::{BackupId, Catalog, Error};

/// What one process at a time may do. The files are Barman's, so its processes and ours exclude each other.
///
/// Whoever needs several takes them in the order of this list, so that no two wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    /// Look after the server in the background.
    Cron,
    /// Take or delete a backup.
    Backup,
    /// Change or delete this backup. Held shared, it is a lease: see [`Catalog::lease`].
    BackupId(BackupId),
    /// Move WAL into the archive.
    ArchiveWal,
    /// Receive WAL from the server.
    ReceiveWal,
    /// Remove WAL because of its age. Barman has no such lock, and does no such thing.
    RemoveWal,
    /// Read or change xlog.db. Taken for moments only, and waited for: [`Catalog::xlog_db`] does so.
    XlogDb,
}

/// A lock that was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is held by {}", path.display(), holder(*pid))]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// The process, if it could be found out.
        pid: Option<u32>,
    },
    /// The lock file cannot be opened or made.
    #[error(transparent)]
    Catalog(#[from] Error),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Catalog {
    /// Takes a lock, without waiting. It is held until the returned value is dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// Another process holds it, or the lock file cannot be opened.
    pub fn lock(&self, lock: Lock) -> Result<LockFile, LockError> {
        self.lock_within(Duration::ZERO, lock)
    }

    /// Takes a lock, and waits so long for another process that holds it.
    pub(crate) fn lock_within(&self, patience: Duration, lock: Lock) -> Result<LockFile, LockError> {
        self.take(patience, lock, LockFile::try_exclusive)
    }

    /// Takes a lease on a backup: while it is held nobody deletes the backup (invariant 6), neither we nor Barman.
    /// Several processes can hold one at a time.
    ///
    /// A process that brings the status of the backup up to date has it to itself for a moment; a restore must not fail for
    /// that. So this waits, for three seconds.
    ///
    /// # Errors
    /// A process is changing or deleting the backup, or the lock file cannot be opened.
    pub fn lease(&self, id: &BackupId) -> Result<LockFile, LockError> {
        const PATIENCE: Duration = Duration::from_secs(3);
        self.take(PATIENCE, Lock::BackupId(*id), LockFile::try_shared)
    }

    /// As [`lease`](Self::lease), for what has no error of its own for a backup that somebody changes or deletes.
    pub(crate) fn lease_unless_in_use(&self, id: &BackupId) -> Result<LockFile, Error> {
        self.lease(id).map_err(|error| match error {
            LockError::Busy { .. } => Error::InUse { server: self.layout().server.clone(), id: *id },
            LockError::Catalog(error) => error,
        })
    }

    fn take(
        &self,
        patience: Duration,
        lock: Lock,
        attempt: fn(&Dir, &RelativePath) -> Result<Option<LockFile>, barman_storage::Error>,
    ) -> Result<LockFile, LockError> {
        const PAUSE: Duration = Duration::from_millis(50);
        let (dir, name) = (self.lock_dir()?, self.layout().lock(&lock)?);
        let mut waited = Duration::ZERO;
        loop {
            if let Some(held) = attempt(&dir, &name).map_err(Error::from)? {
                return Ok(held);
            }
            if waited >= patience {
                return Err(self.busy(lock)?);
            }
            thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }

    /// Returns the process that holds a lock, or `None` if nobody does.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn lock_holder(&self, lock: Lock) -> Result<Option<u32>, Error> {
        Ok(LockFile::holder(&self.lock_dir()?, &self.layout().lock(&lock)?)?)
    }

    /// Waits for Barman's lock on xlog.db.
    pub(crate) fn lock_xlog_db(&self) -> Result<LockFile, Error> {
        Ok(LockFile::exclusive(&self.lock_dir()?, &self.layout().lock(&Lock::XlogDb)?)?)
    }

    /// Removes the lock files of all servers that nobody holds, as Barman's cron does. A process that opened one just
    /// before finds out that it is gone and makes a new one: see [`LockFile`].
    ///
    /// # Errors
    /// The directory cannot be read, or a file not removed.
    pub fn clean_lock_directory(&self) -> Result<(), Error> {
        let dir = self.lock_dir()?;
        for entry in dir.entries()? {
            let name = entry.name.as_bytes();
            if entry.kind != Kind::File || !name.starts_with(b".") || !name.ends_with(b".lock") {
                continue;
            }
            if let Some(_held) = LockFile::try_exclusive(&dir, &entry.path())? {
                dir.remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn lock_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().lock_directory, DIRECTORY_MODE)?)
    }

    fn busy(&self, lock: Lock) -> Result<LockError, Error> {
        let path = crate::layout::shown(&self.lock_dir()?, &self.layout().lock(&lock)?);
        Ok(LockError::Busy { path, pid: self.lock_holder(lock)? })
    }
}
