//! `receive-wal`

use super::unbuilt::UnbuiltOptions;
use crate::context::{Context, Disabled, Inactive, clock};
use crate::error::CommandError;
use barman_backup::{ReceiverEvent, StartReason};
use barman_server::{Error, Server, one_line};
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

    /// The server
    server_name: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.stop && arguments.reset {
        return Err(CommandError::new("--stop and --reset options are not compatible").hinted("give one of them"));
    }
    UnbuiltOptions::default().option("--reset", arguments.reset).refuse()?;
    let name = &arguments.server_name;
    if arguments.stop {
        return stop(context, &context.single_server(name, Disabled::Refused)?);
    }
    if arguments.create_slot {
        return create_slot(context, &context.single_server(name, Disabled::Refused)?, arguments.if_not_exists);
    }
    if arguments.drop_slot {
        return drop_slot(context, &context.single_server(name, Disabled::Refused)?);
    }
    match context.select(std::slice::from_ref(name), Inactive::Skipped, Disabled::Refused)?.first() {
        Some(_) => receive(context, &context.server(name)?),
        None => Ok(()),
    }
}

fn receive(context: &Context, server: &Server) -> Result<(), CommandError> {
    let (name, output) = (server.name(), &context.output);
    output.info(&format!("Starting receive-wal for server {name}"));
    let events = |event: &ReceiverEvent<'_>| {
        if let Some(line) = line_of(event) {
            output.info(&format!("{name}: {line}"));
        }
    };
    let cancel = Cancel::new();
    Ok(context.block_on_until_signal(&cancel, server.receive_wal(clock, &cancel, &events))??)
}

fn line_of(event: &ReceiverEvent<'_>) -> Option<String> {
    Some(match event {
        ReceiverEvent::Connected { timeline, start, reason: StartReason::Branch { left, at }, .. } => format!(
            "the server left timeline {left} at {at}: what was received beyond is kept, and log streaming starts at \
             {start} (timeline {timeline})"
        ),
        ReceiverEvent::Connected { timeline, start, .. } => {
            format!("starting log streaming at {start} (timeline {timeline})")
        }
        ReceiverEvent::SegmentFinished { segment } => format!("finished segment {segment}"),
        ReceiverEvent::HistoryStored { timeline } => format!("stored the history of timeline {timeline}"),
        ReceiverEvent::TimelineSwitch { from, to, at } => format!("switched from timeline {from} to {to} at {at}"),
        ReceiverEvent::SyncFailed { error } => {
            format!("{}; receiving again what was not synced", one_line(error))
        }
        ReceiverEvent::Reconnecting { error, after } => {
            format!("{}; trying again in {} seconds", one_line(error), after.as_secs())
        }
        _ => return None,
    })
}

fn stop(context: &Context, server: &Server) -> Result<(), CommandError> {
    match server.stop_receive_wal() {
        Ok(pid) => context.output.info(&format!("Stopped process receive-wal({pid})")),
        Err(Error::NotRunning { server, .. }) => {
            let message = format!("Termination of receive-wal failed: no such process for server {server}");
            return Err(CommandError::new(message).hinted(format!("`barman check {server}` says what runs")));
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
