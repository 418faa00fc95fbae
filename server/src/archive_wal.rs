//! Moving WAL that has arrived into the archive, and waiting for a segment to get there.

use crate::{Error, Server};
use barman_catalog::{IngestEvent, IngestOptions, Lock, NoHooks, WalSource};
use barman_config::Command;
use barman_storage::{Cancel, LockFile};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use wal_format::{SystemId, Timestamp, WalFileName};

impl Server {
    /// Archives what is due in `streaming/`, then in `incoming/`, as far as the configuration uses them. `connected` is what
    /// [`ask_for_cluster`](Self::ask_for_cluster) returned.
    ///
    /// # Errors
    /// An option is set that is not built, another archiver is at work, or a file could not be archived: that stays where it
    /// is, and if the archive is to blame so do those after it.
    pub fn archive_wal(
        &self,
        connected: Option<SystemId>,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<(), Error> {
        self.archive_under(|| self.lock("archive-wal", Lock::ArchiveWal), connected, now, cancel, events)
    }

    /// Does the same, but waits while another archiver is at work.
    ///
    /// # Errors
    /// As [`archive_wal`](Self::archive_wal); the other archiver only if it takes very long.
    pub(crate) fn archive_wal_in_turn(
        &self,
        connected: Option<SystemId>,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<(), Error> {
        self.archive_under(|| self.wait_for_archive_lock(cancel), connected, now, cancel, events)
    }

    /// Archives until the file `name` is in the archive.
    ///
    /// # Errors
    /// `timeout` passed, the wait was cancelled, or archiving failed.
    pub async fn wait_for_wal(
        &self,
        name: &WalFileName,
        timeout: Option<Duration>,
        clock: &dyn Fn() -> Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<(), Error> {
        let mut is_archived = || Ok(self.catalog().find_archived(name)?.map(drop));
        self.archive_until(&mut is_archived, name, timeout, clock, cancel, events).await
    }

    /// Archives again and again until `found` finds something, and returns that. `name` is what is waited for.
    pub(crate) async fn archive_until<T>(
        &self,
        found: &mut dyn FnMut() -> Result<Option<T>, Error>,
        name: &WalFileName,
        timeout: Option<Duration>,
        clock: &dyn Fn() -> Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<T, Error> {
        const POLL: Duration = Duration::from_millis(100);
        let started = Instant::now();
        let connected = self.ask_for_cluster().await?;
        loop {
            self.archive_wal_in_turn(connected, clock(), cancel, events)?;
            if let Some(found) = found()? {
                return Ok(found);
            }
            if let Some(timeout) = timeout.filter(|timeout| started.elapsed() >= *timeout) {
                return Err(Error::WalTimeout { name: *name, seconds: timeout.as_secs() });
            }
            cancel.check()?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until no other archiver is at work: each would do right, but their reports would tell of files that vanish.
    ///
    /// # Errors
    /// The other one does not come to an end, or the wait was cancelled.
    pub(crate) fn wait_for_archive_lock(&self, cancel: &Cancel) -> Result<LockFile, Error> {
        const PATIENCE: Duration = Duration::from_secs(60);
        const POLL: Duration = Duration::from_millis(20);
        let started = Instant::now();
        loop {
            match self.lock("archive-wal", Lock::ArchiveWal) {
                Err(Error::Busy { .. }) if started.elapsed() < PATIENCE => {
                    cancel.check()?;
                    std::thread::sleep(POLL);
                }
                locked => return locked,
            }
        }
    }

    fn archive_under(
        &self,
        lock: impl FnOnce() -> Result<LockFile, Error>,
        system_id: Option<SystemId>,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<(), Error> {
        self.refuse_unsupported(Command::ArchiveWal)?;
        self.refuse_storage_fault()?;
        self.catalog().create_directories()?;
        let _lock = lock()?;
        let config = self.config();
        let ways = [
            (config.streaming_archiver, WalSource::Streaming, config.streaming_archiver_batch_size),
            (config.archiver, WalSource::Incoming, config.archiver_batch_size),
        ];
        let mut archived = Ok(());
        for (_, source, batch_size) in ways.into_iter().filter(|(used, ..)| *used) {
            let batch_size = batch_size.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
            let options = IngestOptions { batch_size, system_id, now, hooks: &NoHooks, cancel };
            // What is wrong in one directory keeps nothing waiting in the other.
            archived = archived.and(self.catalog().ingest(source, &options, events).map(drop));
        }
        Ok(archived?)
    }
}
