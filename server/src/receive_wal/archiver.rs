//! Archives what the receiver completes, at once: the next `cron` may be a minute away.

use crate::{Error, Server, one_line};
use barman_catalog::{IngestEvent, IngestOptions, NoHooks, WalSource};
use barman_config::Command;
use barman_storage::Cancel;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use wal_format::{SystemId, Timestamp, WalFileName};

/// A thread that archives what is complete in `streaming/`, in the order of the WAL, whenever something is added.
///
/// It is a convenience: what it cannot archive stays in `streaming/`, where its next turn or `archive-wal` finds it.
pub(super) struct Archiver {
    files: Sender<WalFileName>,
    thread: JoinHandle<()>,
    /// Ends the thread early: what it has not done, somebody else will.
    end: Cancel,
}

impl Archiver {
    /// Starts the thread. All WAL must be of cluster `system`.
    pub(super) fn start(server: Server, system: SystemId, clock: fn() -> Timestamp) -> Self {
        let (files, completed) = channel();
        let end = Cancel::new();
        let turns = Turns { server, system, clock, end: end.clone() };
        let thread = std::thread::spawn(move || turns.run(&completed));
        Self { files, thread, end }
    }

    /// Tells the thread that a file is complete. This never waits: the receiver's own task calls it.
    pub(super) fn archive(&self, file: WalFileName) {
        // The thread ends only after the sender is gone, or with a panic that has been reported.
        let _ = self.files.send(file);
    }

    /// Ends the thread: the file under way is archived or left as it was, never half.
    pub(super) async fn finish(self) {
        self.end.cancel();
        drop(self.files);
        let thread = self.thread;
        // A panic there was reported by the panic itself.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// What the thread works with.
struct Turns {
    server: Server,
    system: SystemId,
    clock: fn() -> Timestamp,
    end: Cancel,
}

impl Turns {
    fn run(&self, completed: &Receiver<WalFileName>) {
        for file in completed {
            if self.end.is_cancelled() {
                return;
            }
            if let Err(error) = self.archive_up_to(file) {
                tracing::warn!(target: "barman.wal_archiver", "{file} is left to archive-wal: {}", one_line(&error));
            }
        }
    }

    /// Archives everything that is complete, what an earlier receiver left included, and `file` last. The order matters:
    /// whoever finds a segment in the archive takes it that those before it are there as well.
    fn archive_up_to(&self, file: WalFileName) -> Result<(), Error> {
        self.server.refuse_unsupported(Command::ArchiveWal)?;
        self.server.refuse_storage_fault()?;
        let _lock = self.server.wait_for_archive_lock(&self.end)?;
        let options = IngestOptions {
            batch_size: None,
            system_id: Some(self.system),
            now: (self.clock)(),
            hooks: &NoHooks,
            cancel: &self.end,
        };
        let catalog = self.server.catalog();
        catalog.ingest(WalSource::Streaming, &options, &mut |event| log(&event))?;
        // Without a `.partial` behind it, a run over the directory leaves the newest segment: nobody but the receiver can
        // know that it is complete.
        if catalog.find_archived(&file)?.is_none() {
            catalog.ingest_file(WalSource::Streaming, file, &options, &mut |event| log(&event))?;
        }
        Ok(())
    }
}

fn log(event: &IngestEvent<'_>) {
    match event {
        IngestEvent::Archived(entry) => {
            tracing::info!(target: "barman.wal_archiver", "archived {} from streaming", entry.name);
        }
        IngestEvent::Unverified(name, reason) => {
            tracing::warn!(target: "barman.wal_archiver", "{name} is archived unverified: {}", one_line(*reason));
        }
        IngestEvent::Damaged { name, at, what } => {
            tracing::error!(target: "barman.wal_archiver", "{name} is archived with damage in it: WAL at {at} cannot be believed: {what}");
        }
        IngestEvent::Gap(gap) => tracing::error!(target: "barman.wal_archiver", "{gap}"),
        IngestEvent::Refused { name, moved_to, reason } => {
            let moved_to = moved_to.as_path().display();
            tracing::error!(target: "barman.wal_archiver", "{name} moved to errors/{moved_to}: {}", one_line(*reason));
        }
        IngestEvent::Unreadable { name, error } => {
            tracing::error!(target: "barman.wal_archiver", "{name} cannot be archived: {}", one_line(*error));
        }
        IngestEvent::Unknown(names) => {
            tracing::warn!(target: "barman.wal_archiver", "moved to errors/, not WAL: {names:?}");
        }
        _ => {}
    }
}
