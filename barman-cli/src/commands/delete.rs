//! `delete`

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::output::Output;
use crate::output::time::ctime;
use barman_catalog::{BackupId, BackupTime, DeleteEvent, PlannedDeletion};
use barman_server::{Deletion, Error, Server, human};
use barman_storage::Cancel;
use serde_json::json;
use std::time::Instant;
use wal_format::WalFileName;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The backup: its id, its name, or a word such as `oldest`
    backup_id: String,

    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    let id = server.catalog().resolve(&arguments.backup_id)?.backup_id;
    let deletion = prepare(context, &server, &id)?;
    if deletion.is_of_a_tree() {
        context.output.warning(&format!(
            "Backup {id} has incremental backups which depend on it. Deleting all backups in the tree"
        ));
    }
    if arguments.dry_run {
        show(context, &server, &server.plan_deletion(&deletion)?);
        return Ok(());
    }
    let cancel = Cancel::new();
    let mut report = DeleteReport::new(context, server.name());
    let deleted =
        context.run_until_signal(&cancel, || server.delete(&deletion, &cancel, &mut |event| report.event(&event)))?;
    deleted.map_err(|error| refused(context, &server, &id, error))
}

fn prepare(context: &Context, server: &Server, id: &BackupId) -> Result<Deletion, CommandError> {
    server.prepare_deletion(id, context.now()).map_err(|error| refused(context, server, id, error))
}

/// Says why a backup is not deleted, as Barman does: first the reason, then that it is not.
fn refused(context: &Context, server: &Server, id: &BackupId, error: Error) -> CommandError {
    let (name, output) = (server.name(), &context.output);
    let (reason, hint) = match &error {
        Error::Kept { .. } => (
            format!(
                "Skipping delete of backup {id} for server {name} as it has a current keep request. If you really want \
                 to delete this backup please remove the keep and try again."
            ),
            format!("`barman keep --release {name} {id}` removes the keep"),
        ),
        Error::MinimumRedundancy { minimum, current, .. } => (
            format!(
                "Skipping delete of backup {id} for server {name} due to minimum redundancy requirements (minimum \
                 redundancy = {minimum}, current redundancy = {current})"
            ),
            "take another backup first, or lower minimum_redundancy".to_owned(),
        ),
        Error::Busy { .. } => {
            output.error(&format!("Another process in running on server {name}. Impossible to delete the backup."));
            return not_deleted(name, id).hinted("wait until the backup that is being taken or deleted is finished");
        }
        Error::Catalog(barman_catalog::Error::InUse { id: busy, .. }) => {
            output.error(&format!("Another process is holding the lock for backup {busy} of server {name}."));
            return not_deleted(name, id).hinted("a restore or a verification uses it: wait until that is finished");
        }
        _ => return error.into(),
    };
    output.warning(&reason);
    not_deleted(name, id).hinted(hint)
}

fn not_deleted(server: &str, id: &BackupId) -> CommandError {
    CommandError::new(format!("Cannot delete backup ({server} {id})"))
}

fn show(context: &Context, server: &Server, planned: &[PlannedDeletion]) {
    let name = server.name();
    let json = || {
        let of_one = |planned: &PlannedDeletion| {
            json!({
                "backup_id": planned.info.backup_id.to_string(),
                "size_bytes": planned.info.deduplicated_size.or(planned.info.size),
                "wal": planned.wal.iter().map(WalFileName::to_string).collect::<Vec<_>>(),
                "wal_size_bytes": planned.wal_bytes,
            })
        };
        json!({ "would_delete": planned.iter().map(of_one).collect::<Vec<_>>() })
    };
    context.output.result(name, json, || planned.iter().map(|planned| text_of(name, planned)).collect());
}

fn text_of(server: &str, planned: &PlannedDeletion) -> String {
    let info = &planned.info;
    let size = human::size_of(info.deduplicated_size.or(info.size).unwrap_or(0));
    let mut text = format!("Would delete backup {} for server {server} ({size})\n", info.backup_id);
    if !planned.wal.is_empty() {
        text.push_str(&format!("Would delete associated WAL segments ({}):\n", human::size_of(planned.wal_bytes)));
        planned.wal.iter().for_each(|name| text.push_str(&format!("\t{name}\n")));
    }
    text
}

/// Says what is deleted, in Barman's words.
pub(super) struct DeleteReport<'a> {
    context: &'a Context,
    output: &'a Output,
    server: &'a str,
    /// Whether the policy is named as the reason.
    for_policy: bool,
    begun: (Instant, BackupTime),
}

impl<'a> DeleteReport<'a> {
    pub(super) fn new(context: &'a Context, server: &'a str) -> Self {
        let begun = (Instant::now(), BackupTime::in_zone(context.now(), &context.zone));
        Self { context, output: &context.output, server, for_policy: false, begun }
    }

    /// For deletions that the retention policy asked for.
    pub(super) fn of_policy(context: &'a Context, server: &'a str) -> Self {
        Self { for_policy: true, ..Self::new(context, server) }
    }

    pub(super) fn event(&mut self, event: &DeleteEvent<'_>) {
        let (server, output) = (self.server, self.output);
        match event {
            DeleteEvent::InUse(id) => output.warning(&format!(
                "Another action is in progress for the backup {id} of server {server}, skipping retention policy \
                 application"
            )),
            DeleteEvent::Begun(info) => {
                let id = info.backup_id;
                self.begun = (Instant::now(), BackupTime::in_zone(self.context.now(), &self.context.zone));
                if self.for_policy {
                    output.info(&format!("Enforcing retention policy: removing backup {id} for server {server}"));
                }
                output.info(&format!("Deleting backup {id} for server {server}"));
            }
            DeleteEvent::Wal(names) => self.wal("Delete associated WAL segments:", names),
            DeleteEvent::OldWal(names) => {
                self.wal("Enforcing retention policy: delete WAL segments that are too old:", names);
            }
            DeleteEvent::Deleted(info) => {
                let (started, at) = &self.begun;
                output.info(&format!(
                    "Deleted backup {} (start time: {}, elapsed time: {})",
                    info.backup_id,
                    ctime(*at),
                    human::duration(started.elapsed())
                ));
            }
            DeleteEvent::Kept(id) => output.info(&format!("Backup {id} of server {server} is kept by now")),
            DeleteEvent::Stopped(id) => output.warning(&format!("A hook script keeps backup {id} of server {server}")),
            _ => {}
        }
    }

    fn wal(&self, title: &str, names: &[WalFileName]) {
        self.output.info(title);
        names.iter().for_each(|name| self.output.info(&format!("\t{name}")));
    }
}
