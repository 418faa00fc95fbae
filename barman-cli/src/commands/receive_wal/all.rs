//! `receive-wal all`: one process for every server that streams.
//!
//! Barman ends a receiver by a SIGINT to the process that its lock file names, and waits until that process is gone. With
//! all receivers in one process that would end all of them, so each one's lock file names a process of its own: a
//! [`StandIn`], which does nothing but wait to be signalled.

use super::report;
use crate::context::{Context, Disabled, Inactive, clock};
use crate::error::CommandError;
use crate::stand_in::StandIn;
use barman_server::{Error, ReceiveWal, ReceiveWalEvent, Server, one_line};
use barman_storage::Cancel;
use std::convert::Infallible;
use std::time::Duration;

/// How long until a receiver that ended with an error is started again: as long as `cron` would take.
const RETRY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

pub(super) fn receive(context: &Context) -> Result<(), CommandError> {
    let selected = context.select(&["all".to_owned()], Inactive::Skipped, Disabled::Skipped)?;
    let streaming = selected.into_iter().filter(|config| config.streaming_archiver && !config.passive);
    let servers = streaming.map(|config| context.server(&config.name)).collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err(CommandError::new("no active server has streaming_archiver on")
            .hinted("set streaming_archiver = on for those whose WAL is to be streamed"));
    }
    let cancel = Cancel::new();
    context.run_until_signal(&cancel, || {
        std::thread::scope(|scope| {
            for server in &servers {
                scope.spawn(|| receive_from(context, server, &cancel));
            }
        });
    })
}

/// Receives from one server until it is told to end or everything is.
fn receive_from(context: &Context, server: &Server, everything: &Cancel) {
    let name = server.name();
    context.output.info(&format!("Starting receive-wal for server {name}"));
    let mut last = String::new();
    while !everything.is_cancelled() {
        let error = match context.block_on(receive_once(context, server, everything)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => one_line(&error),
            Err(error) => return error.report(&context.output),
        };
        // Once, and not every minute until somebody mends the cause.
        if error != last {
            context.output.warning(&format!("{name}: {error}; trying again every {} seconds", RETRY.as_secs()));
        }
        last = error;
        wait(RETRY, everything);
    }
}

async fn receive_once(context: &Context, server: &Server, everything: &Cancel) -> Result<(), Error> {
    let stand_in = StandIn::start(server.name()).map_err(|source| Error::StandIn { source })?;
    let cancel = Cancel::new();
    let events = |event: &ReceiveWalEvent<'_>| report::event(&context.output, server.name(), event);
    let receive = ReceiveWal { clock, cancel: &cancel, process: Some(stand_in.id()), events: &events };
    let told = async {
        tokio::select! {
            () = stand_in.gone() => {}
            () = cancelled(everything) => {}
        }
        cancel.cancel();
        // The receiver says when it has ended.
        std::future::pending::<Infallible>().await
    };
    let ended = tokio::select! {
        ended = server.receive_wal(&receive) => ended,
        never = told => match never {},
    };
    // Only now, with the lock released: whoever signalled it waits for its end.
    stand_in.end();
    match ended {
        // It was told to end before WAL flowed.
        Err(Error::Cancelled(_)) => Ok(()),
        ended => ended,
    }
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(POLL).await;
    }
}

fn wait(longest: Duration, cancel: &Cancel) {
    let started = std::time::Instant::now();
    while started.elapsed() < longest && !cancel.is_cancelled() {
        std::thread::sleep(POLL);
    }
}
