//! What a backup says while it is taken.

use crate::commands::archive_wal::{IngestReport, Verbosity, waiting};
use crate::context::Context;
use crate::output::time::local;
use crate::progress::Progress;
use barman_backup::BaseBackupEvent;
use barman_server::{BackupEvent, WalPosition, human};

pub(super) struct BackupReport<'a> {
    context: &'a Context,
    server: &'a str,
    progress: Option<Progress>,
    archiving: IngestReport<'a>,
}

impl<'a> BackupReport<'a> {
    pub(super) fn new(context: &'a Context, server: &'a str) -> Self {
        let archiving = IngestReport::new(context, server, Verbosity::OnlyArchived);
        Self { context, server, progress: None, archiving }
    }

    pub(super) fn event(&mut self, event: &BackupEvent<'_>) {
        match event {
            BackupEvent::Copy(copy) => self.copy(copy),
            BackupEvent::Archive(event) => self.archiving.event(event),
            BackupEvent::ExternalConfiguration(files) => {
                let files = files.join(", ");
                self.context.output.warning(&format!(
                    "these configuration files lie outside the data directory and are not part of the backup: {files}"
                ));
            }
            BackupEvent::Retrying { reason, after } => {
                self.progress = None;
                let message = format!("{reason}; trying again in {} seconds", after.as_secs());
                self.context.output.warning(&message);
            }
            other => {
                self.progress = None;
                for line in self.lines(other) {
                    self.context.output.info(&line);
                }
            }
        }
    }

    fn copy(&mut self, event: &BaseBackupEvent) {
        match event {
            BaseBackupEvent::Started { total_bytes, .. } => {
                self.progress = Some(Progress::start(&self.context.output, "Copying", *total_bytes));
            }
            BaseBackupEvent::Received { bytes } => self.progress.iter().for_each(|progress| progress.set(*bytes)),
            BaseBackupEvent::Verified { files } => {
                self.context.output.debug(&format!("{files} files equal the server's manifest"));
            }
            _ => {}
        }
    }

    fn lines(&self, event: &BackupEvent<'_>) -> Vec<String> {
        let server = self.server;
        match event {
            BackupEvent::Starting { destination, .. } => {
                let destination = destination.display();
                vec![format!("Starting backup using postgres method for server {server} in {destination}")]
            }
            BackupEvent::StartPosition(position) => vec![format!("Backup start at LSN: {}", shown(position))],
            BackupEvent::CopyStarted(id) => vec![format!("Starting backup copy via pg_basebackup for {id}")],
            BackupEvent::CopyDone(elapsed) => {
                let copied = format!("Copy done (time: {})", human::duration(*elapsed));
                vec![copied, "Finalising the backup.".to_owned()]
            }
            BackupEvent::FirstBackup { removed } => first_backup(server, removed),
            BackupEvent::Size(bytes) => vec![format!("Backup size: {}", human::size_of(*bytes))],
            BackupEvent::EndPosition(position) => vec![format!("Backup end at LSN: {}", shown(position))],
            BackupEvent::Completed { start, elapsed } => {
                let (start, elapsed) = (local(*start), human::duration(*elapsed));
                vec![format!("Backup completed (start time: {start}, elapsed time: {elapsed})")]
            }
            BackupEvent::WaitingForWal { segment, timeout } => vec![waiting(segment, server, *timeout)],
            _ => Vec::new(),
        }
    }
}

fn first_backup(server: &str, removed: &[String]) -> Vec<String> {
    let mut lines = vec![format!("This is the first backup for server {server}")];
    if !removed.is_empty() {
        lines.push("WAL segments preceding the current backup have been found:".to_owned());
    }
    lines.extend(removed.iter().map(|name| format!("\t{name} from server {server} has been removed")));
    lines
}

/// `0/5000000 (000000010000000000000004, 00000000)`
fn shown(position: &WalPosition) -> String {
    format!("{} ({}, {:08X})", position.lsn, position.segment, position.offset)
}
