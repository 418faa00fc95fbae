//! `plan`: what a restore would do, and where recovery would stop.

use super::restore::recovery_plan::{self, Shown};
use super::restore::{backup_choice, relocation};
use super::restore::{remote, target};
use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::exit_code;
use barman_pitr::{RecoveryRequest, RestoreRequest, WalSupply};
use barman_server::Server;
use barman_storage::RelativePath;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,

    /// As a standby server
    #[arg(long)]
    standby_mode: bool,

    /// Put a tablespace elsewhere: NAME:LOCATION (repeatable)
    #[arg(long, value_name = "NAME:LOCATION")]
    tablespace: Vec<String>,

    /// Restore over an older data directory of the same cluster
    #[arg(long)]
    delta_restore: bool,

    /// Let the server fetch WAL from Barman
    #[arg(long, overrides_with = "no_get_wal")]
    get_wal: bool,

    /// Copy WAL to the server
    #[arg(long)]
    no_get_wal: bool,

    /// Count unfinished segments, too
    #[arg(long)]
    partial_wal: bool,

    #[command(flatten)]
    remote: remote::Arguments,

    /// The server
    server_name: String,

    /// The backup: its id, its name, a word such as `latest`, or `auto` for the one that suits the target
    #[arg(default_value = "auto")]
    backup_id: String,

    /// The new data directory; without it, only recovery is planned
    destination_directory: Option<PathBuf>,
}

/// Says what `restore` would do with the same arguments. Nothing is created.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    let target = arguments.target.parse(&context.zone)?;
    let backup = backup_choice(&server, &arguments.backup_id)?;
    let (standby_mode, wal) = (arguments.standby_mode, supply(context, &server, arguments)?);
    let zone = context.zone.to_string();
    let Some(destination) = &arguments.destination_directory else {
        let request = RecoveryRequest { backup, target: &target, standby_mode, wal: &wal };
        let plan = server.plan_recovery(&request)?;
        return show(context, &server, &Shown { recovery: &plan, restore: None, zone: &zone });
    };
    let request = RestoreRequest {
        backup,
        host: arguments.remote.host(&server)?,
        destination: arguments.remote.destination(destination)?,
        delta: arguments.delta_restore || server.config().delta_restore,
        target,
        standby_mode,
        wal,
        relocations: arguments.tablespace.iter().map(|rule| relocation(rule)).collect::<Result<_, _>>()?,
        recovery_conf_file: RelativePath::literal(RestoreRequest::RECOVERY_CONF_FILE),
        scratch: server.config().local_staging_path.clone(),
    };
    let plan = server.plan_restore_only(&request)?;
    show(context, &server, &Shown { recovery: &plan.recovery, restore: Some(&plan), zone: &zone })
}

fn supply(context: &Context, server: &Server, arguments: &Arguments) -> Result<WalSupply, CommandError> {
    Ok(if arguments.get_wal || (server.config().get_wal && !arguments.no_get_wal) {
        WalSupply::GetWal(arguments.remote.fetch(&context.configuration.global.barman_user)?)
    } else {
        WalSupply::Copy { staging: None, partial: arguments.partial_wal }
    })
}

fn show(context: &Context, server: &Server, shown: &Shown<'_>) -> Result<(), CommandError> {
    for warning in shown.warnings() {
        context.output.warning(&super::restore::warning_text(warning));
    }
    context.output.result(server.name(), || recovery_plan::json(shown), || recovery_plan::text(server.name(), shown));
    if shown.restore.is_some_and(|plan| plan.space.iter().any(|space| !space.suffices())) {
        context.output.set_exit_code(exit_code::FAILURE);
    }
    Ok(())
}
