//! Moving WAL that has arrived into the archive, and waiting for a segment to get there.

use crate::{Error, Server};
use barman_catalog::{IngestEvent, IngestOptions, Lock, NoHooks, WalSource};
use barman_config::Command;
use barman_storage::Cancel;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use wal_format::{Timestamp, WalFileName};

impl Server {
    /// Archives what is due in `streaming/`, then in `incoming/`, as far as the configuration uses them.
    ///
    /// # Errors
    /// An option is set that is not built, another archiver is at work, or a file could not be archived: that and those
    /// after it stay where they are.
    pub fn archive_wal(
        &self,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<(), Error> {
        self.refuse_unsupported(Command::ArchiveWal)?;
        self.catalog().create_directories()?;
        let _lock = self.lock("archive-wal", Lock::ArchiveWal)?;
        let config = self.config();
        let ways = [
            (config.streaming_archiver, WalSource::Streaming, config.streaming_archiver_batch_size),
            (config.archiver, WalSource::Incoming, config.archiver_batch_size),
        ];
        for (used, source, batch_size) in ways {
            if used {
                let batch_size = batch_size.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
                let options = IngestOptions { batch_size, system_id: None, now, hooks: &NoHooks, cancel };
                self.catalog().ingest(source, &options, events)?;
            }
        }
        Ok(())
    }

    /// Archives what has arrived, unless another process is doing so at this moment.
    ///
    /// # Errors
    /// As [`archive_wal`](Self::archive_wal), but for the other archiver.
    pub(crate) fn archive_wal_unless_busy(
        &self,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(IngestEvent<'_>),
    ) -> Result<(), Error> {
        match self.archive_wal(now, cancel, events) {
            Err(Error::Busy { .. }) => Ok(()),
            archived => archived,
        }
    }

    /// Archives again and again until the file `name` is in the archive.
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
        const POLL: Duration = Duration::from_millis(100);
        let started = Instant::now();
        loop {
            self.archive_wal_unless_busy(clock(), cancel, events)?;
            if self.catalog().find_archived(name)?.is_some() {
                return Ok(());
            }
            if let Some(timeout) = timeout.filter(|timeout| started.elapsed() >= *timeout) {
                return Err(Error::WalTimeout { name: name.to_string(), seconds: timeout.as_secs() });
            }
            cancel.check()?;
            tokio::time::sleep(POLL).await;
        }
    }
}
