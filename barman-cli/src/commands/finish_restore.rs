//! `finish-restore`: what recovery left goes, once the restored server is on its own.

mod report;

use crate::error::CommandError;
use crate::os_user;
use crate::output::Output;
use crate::start_up::Surroundings;
use barman_pitr::{FinishPlan, finish, plan_finish, server_of_restore};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Let the server archive again, unless its archive holds WAL of this timeline from somebody else
    #[arg(long)]
    archive: bool,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// The data directory that was restored
    destination_directory: PathBuf,

    /// With --archive, the server in whose archive to look, if not the one that was restored
    server_name: Option<String>,
}

/// Needs no configuration, unless an archive is to be looked at, and runs as whoever the data directory belongs to: that is
/// rarely the user of the backups.
pub(crate) fn run(output: &Output, surroundings: &Surroundings<'_>, arguments: &Arguments) -> Result<(), CommandError> {
    let destination = std::path::absolute(&arguments.destination_directory)
        .map_err(|error| CommandError::new(format!("the data directory is unusable: {error}")))?;
    let plan = plan(surroundings, arguments, &destination)?;
    if !arguments.dry_run {
        // What was read may have taken the rights of root; what is written belongs to the server's user.
        os_user::become_owner_of(&destination)
            .map_err(|error| CommandError::from_error(&error).hinted("run it as root or as the server's user"))?;
        finish(&plan)?;
    }
    report::show(output, &plan, arguments.dry_run);
    Ok(())
}

fn plan(
    surroundings: &Surroundings<'_>,
    arguments: &Arguments,
    destination: &Path,
) -> Result<FinishPlan, CommandError> {
    if !arguments.archive {
        return Ok(plan_finish(destination, None)?);
    }
    let named = match &arguments.server_name {
        Some(name) => Some(name.clone()),
        None => server_of_restore(destination)?,
    };
    let name = named.ok_or_else(|| {
        CommandError::new(format!("{} does not say which server was restored", destination.display()))
            .hinted("name the server behind the directory")
    })?;
    let server = surroundings.server(&name)?;
    Ok(plan_finish(destination, Some(server.catalog()))?)
}
