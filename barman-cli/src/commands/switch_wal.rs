//! `switch-wal`

use crate::context::{Context, Inactive};
use crate::error::CommandError;
use barman_server::WalSwitch;
use std::time::Duration;
use wal_format::WalFileName;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,

    /// Force a checkpoint first, so that there is something to switch
    #[arg(long)]
    force: bool,

    /// Wait until the closed segment has been archived
    #[arg(long)]
    archive: bool,

    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    archive_timeout: u64,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    context.for_each_server(&arguments.server_name, Inactive::Skipped, |name| switch(context, name, arguments))
}

fn switch(context: &Context, name: &str, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.server(name)?;
    let output = &context.output;
    match context.block_on(server.switch_wal(arguments.force))?? {
        WalSwitch::Closed(segment) => {
            output.info(&format!("The WAL file {segment} has been closed on server '{name}'"));
            if arguments.archive {
                let timeout = Duration::from_secs(arguments.archive_timeout);
                super::archive_wal::wait_for(context, &server, &WalFileName::Segment(segment), Some(timeout))?;
            }
        }
        WalSwitch::NotRequired => output.info(&format!("No switch required for server '{name}'")),
        WalSwitch::Standby => output.info(&format!("No switch performed because server '{name}' is a standby.")),
    }
    Ok(())
}
