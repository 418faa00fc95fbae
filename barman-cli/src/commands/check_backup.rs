//! `check-backup`

use crate::context::Context;
use crate::error::CommandError;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The backup: its id, its name, or a word such as `latest`
    backup_id: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let name = std::slice::from_ref(&arguments.server_name);
    context.for_each_server(name, crate::context::Inactive::Skipped, |name| {
        let server = context.server(name)?;
        let id = server.catalog().resolve(&arguments.backup_id)?.backup_id;
        server.check_backup(&id)?;
        Ok(())
    })
}
