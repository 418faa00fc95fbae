//! Archives what the receiver completes, at once: the next `cron` may be a minute away.

use crate::{Error, Server, one_line};
use barman_catalog::{IngestOptions, Lock, NoHooks, WalSource};
use barman_config::Command;
use barman_storage::{Cancel, LockFile};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wal_format::{Timestamp, WalFileName};

/// A thread that archives segments and history files in the order in which they are completed.
///
/// It is a convenience: what it cannot archive stays in `streaming/`, where `archive-wal` finds it.
pub(super) struct Archiver {
    /// `None` once the thread has been told to end.
    files: Option<Sender<WalFileName>>,
    thread: Option<JoinHandle<()>>,
}

impl Archiver {
    pub(super) fn start(server: Server, clock: fn() -> Timestamp, cancel: Cancel) -> Self {
        let (files, completed) = channel();
        let thread = std::thread::spawn(move || archive_all(&server, &completed, clock, &cancel));
        Self { files: Some(files), thread: Some(thread) }
    }

    /// Leaves a file to the thread. This never waits: the receiver's own task calls it.
    pub(super) fn archive(&self, file: WalFileName) {
        // The thread ends only after the sender is gone.
        let _ = self.files.as_ref().map(|files| files.send(file));
    }
}

impl Drop for Archiver {
    /// Waits for the file under way: the process may end next, and must not do so in the middle of one.
    fn drop(&mut self) {
        self.files = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic itself.
            let _ = thread.join();
        }
    }
}

fn archive_all(server: &Server, completed: &Receiver<WalFileName>, clock: fn() -> Timestamp, cancel: &Cancel) {
    for file in completed {
        if cancel.is_cancelled() {
            return;
        }
        if let Err(error) = archive(server, file, clock(), cancel) {
            tracing::warn!(target: "barman.wal_archiver", "{file} is left to archive-wal: {}", one_line(&error));
        }
    }
}

fn archive(server: &Server, file: WalFileName, now: Timestamp, cancel: &Cancel) -> Result<(), Error> {
    server.refuse_unsupported(Command::ArchiveWal)?;
    let _lock = wait_for_lock(server, cancel)?;
    let options = IngestOptions { batch_size: None, system_id: None, now, hooks: &NoHooks, cancel };
    if server.catalog().find_archived(&file)?.is_none() {
        server.catalog().ingest_file(WalSource::Streaming, file, &options, &mut |_| {})?;
        tracing::info!(target: "barman.wal_archiver", "archived {file} from streaming");
    }
    Ok(())
}

/// Waits a little for another archiver: both would do the same, but the log of one of them would tell of files that
/// vanished under it.
fn wait_for_lock(server: &Server, cancel: &Cancel) -> Result<LockFile, Error> {
    const PATIENCE: Duration = Duration::from_secs(30);
    const POLL: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match server.lock("archive-wal", Lock::ArchiveWal) {
            Err(Error::Busy { .. }) if Instant::now() < deadline => {
                cancel.check()?;
                std::thread::sleep(POLL);
            }
            locked => return locked,
        }
    }
}
