//! `show-backup`

mod json;
mod text;

use crate::context::{Context, Disabled};
use crate::error::CommandError;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The backup: its id, its name, or a word such as `latest`
    backup_id: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let name = &arguments.server_name;
    let server = context.single_server(name, Disabled::Included)?;
    let detail = server.show_backup(&arguments.backup_id, context.now())?;
    context.output.result(name, || json::of(&detail), || text::of(&detail));
    Ok(())
}
