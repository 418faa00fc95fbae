//! `receive-wal`

mod all;
mod report;

use super::terminate_process::terminate;
use crate::context::{Context, Disabled, Inactive, clock};
use crate::error::CommandError;
use barman_server::{Error, ReceiveWal, ReceiveWalEvent, Reset, Server};
use barman_storage::Cancel;
use replication_client::ErrorKind;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Arguments {
    /// Stop the receiver that is running
    #[arg(long)]
    stop: bool,

    /// Align the streaming directory with the server's position
    #[arg(long)]
    reset: bool,

    /// Create the replication slot
    #[arg(long, conflicts_with = "drop_slot")]
    create_slot: bool,

    /// With --create-slot: a slot that exists is no error
    #[arg(long, requires = "create_slot")]
    if_not_exists: bool,

    /// Drop the replication slot
    #[arg(long)]
    drop_slot: bool,

    /// The server; `all` receives from each of them in one process
    server_name: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.stop && arguments.reset {
        return Err(CommandError::new("--stop and --reset options are not compatible").hinted("give one of them"));
    }
    let name = &arguments.server_name;
    if arguments.stop {
        return terminate(context, &context.single_server(name, Disabled::Refused)?, "receive-wal");
    }
    if arguments.create_slot {
        return create_slot(context, &context.single_server(name, Disabled::Refused)?, arguments.if_not_exists);
    }
    if arguments.drop_slot {
        return drop_slot(context, &context.single_server(name, Disabled::Refused)?);
    }
    if arguments.reset {
        return reset(context, &context.single_server(name, Disabled::Refused)?);
    }
    if name == "all" {
        return all::receive(context);
    }
    match context.select(std::slice::from_ref(name), Inactive::Skipped, Disabled::Refused)?.first() {
        Some(_) => receive(context, &context.server(name)?),
        None => Ok(()),
    }
}

fn receive(context: &Context, server: &Server) -> Result<(), CommandError> {
    let (name, output) = (server.name(), &context.output);
    output.info(&format!("Starting receive-wal for server {name}"));
    let cancel = Cancel::new();
    let events = |event: &ReceiveWalEvent<'_>| report::event(output, name, event);
    let receive = ReceiveWal { clock, cancel: &cancel, process: None, events: &events };
    Ok(context.block_on_until_signal(&cancel, server.receive_wal(&receive))??)
}

fn reset(context: &Context, server: &Server) -> Result<(), CommandError> {
    let (name, output) = (server.name(), &context.output);
    match context.block_on(server.reset_receive_wal())? {
        Ok(Reset::Aligned) => output.info("Nothing to do. Position of receive-wal is aligned."),
        Ok(Reset::Done { removed, created }) => {
            output.info("Resetting receive-wal directory status");
            if let Some(removed) = removed {
                output.info(&format!("Removing status file {}", removed.display()));
            }
            output.info(&format!("Creating status file {}", created.display()));
        }
        Err(Error::Busy { .. }) => {
            let message =
                format!("Unable to reset the status of receive-wal for server {name}. Process is still running");
            return Err(CommandError::new(message).hinted(format!("`barman receive-wal --stop {name}` ends it")));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn create_slot(context: &Context, server: &Server, if_not_exists: bool) -> Result<(), CommandError> {
    let (name, slot, output) = (server.name(), server.slot_name()?, &context.output);
    output.info(&format!("Creating physical replication slot '{slot}' on server '{name}'"));
    match context.block_on(server.create_slot())? {
        Ok(_) => output.info(&format!("Replication slot '{slot}' created")),
        Err(Error::Postgres(error)) if if_not_exists && matches!(error.kind(), ErrorKind::SlotExists { .. }) => {
            let exists = format!("Replication slot '{slot}' already exists");
            output.info(&format!("{exists} and --if-not-exists was specified. Skipping creation"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn drop_slot(context: &Context, server: &Server) -> Result<(), CommandError> {
    let (name, slot, output) = (server.name(), server.slot_name()?, &context.output);
    output.info(&format!("Dropping physical replication slot '{slot}' on server '{name}'"));
    match context.block_on(server.drop_slot())? {
        Ok(_) => output.info(&format!("Replication slot '{slot}' dropped")),
        Err(Error::Postgres(error)) if matches!(error.kind(), ErrorKind::SlotMissing { .. }) => {
            return Err(CommandError::new(format!("Replication slot '{slot}' does not exist"))
                .hinted("there is nothing to drop"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
