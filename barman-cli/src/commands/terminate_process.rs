//! `terminate-process`

use crate::context::Context;
use crate::error::CommandError;
use barman_server::{Error, Process, Server};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// What the process does, as `list-processes` names it
    task: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    match context.single_active_server(&arguments.server_name)? {
        Some(server) => terminate(context, &server, &arguments.task),
        None => Ok(()),
    }
}

/// Ends what is busy with `task`, and says so.
pub(super) fn terminate(context: &Context, server: &Server, task: &str) -> Result<(), CommandError> {
    match server.terminate(task) {
        Ok(Process { task, pid }) => context.output.info(&format!("Stopped process {task}({pid})")),
        Err(Error::NotRunning { task, server }) => {
            let message = format!("Termination of {task} failed: no such process for server {server}");
            return Err(CommandError::new(message).hinted(format!("`barman list-processes {server}` says what runs")));
        }
        Err(Error::DoesNotStop { task, pid }) => {
            return Err(CommandError::new(format!("Cannot terminate process {task}({pid})"))
                .hinted("it was asked to end and may still do so"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
