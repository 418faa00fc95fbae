//! `cron`

use crate::commands::delete::DeleteReport;
use crate::context::{Context, Disabled, Inactive};
use crate::detached;
use crate::error::CommandError;
use barman_server::{Error, Server, Task};
use barman_storage::Cancel;
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Let the processes started here keep standard output and error
    #[arg(long)]
    keep_descriptors: bool,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    for config in context.select(&["all".to_owned()], Inactive::Skipped, Disabled::Skipped)? {
        // One server's trouble must not keep the others from their maintenance.
        if let Err(error) = maintain(context, &config.name, arguments) {
            error.report(&context.output);
        }
    }
    clean_lock_directory(context)
}

/// All servers share the directory, so any of them will do.
fn clean_lock_directory(context: &Context) -> Result<(), CommandError> {
    match context.all_servers().next().filter(|_| context.configuration.global.lock_directory_cleanup) {
        Some(config) => Ok(context.server(&config.name)?.catalog().clean_lock_directory()?),
        None => Ok(()),
    }
}

fn maintain(context: &Context, name: &str, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.server(name)?;
    let due = match server.maintenance() {
        Err(Error::Busy { .. }) => {
            let running =
                format!("Another cron process is already running on server {name}. Skipping to the next server");
            context.output.info(&running);
            return Ok(());
        }
        due => due?,
    };
    for task in &due.tasks {
        announce(context, name, task);
        let command = command_line(context, name, task);
        detached::spawn(&command, arguments.keep_descriptors)
            .map_err(|error| CommandError::new(format!("cannot start {}: {error}", task.command())))?;
    }
    for problem in due.problems {
        CommandError::from(problem).report(&context.output);
    }
    clean_up(context, &server)
}

/// Last, since deleting can take long.
fn clean_up(context: &Context, server: &Server) -> Result<(), CommandError> {
    let cancel = Cancel::new();
    let mut report = DeleteReport::of_policy(context, server.name());
    let now = context.now();
    let cleaned =
        context.run_until_signal(&cancel, || server.clean_up(now, &cancel, &mut |event| report.event(&event)))?;
    Ok(cleaned?)
}

fn announce(context: &Context, name: &str, task: &Task) {
    let message = match task {
        Task::ArchiveWal => format!("Starting WAL archiving for server {name}"),
        Task::ReceiveWal => format!("Starting streaming archiver for server {name}"),
        Task::CheckBackup(id) => format!("Starting check-backup for backup {id} of server {name}"),
    };
    context.output.info(&message);
}

/// Returns the arguments with which this program carries `task` out.
fn command_line(context: &Context, server: &str, task: &Task) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["-c".into(), context.config_file.clone().into(), "-q".into()];
    words.push(task.command().into());
    words.push(server.into());
    if let Task::CheckBackup(id) = task {
        words.push(id.to_string().into());
    }
    words
}
