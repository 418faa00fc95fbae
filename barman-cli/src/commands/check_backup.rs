//! `check-backup`

use crate::context::Context;
use crate::error::CommandError;
use barman_catalog::Status;

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
        let info = server.catalog().check_backup(&id).map_err(barman_server::Error::from)?;
        match info.error.filter(|_| info.status == Status::Failed) {
            None => Ok(()),
            Some(reason) => {
                let message = format!("This backup has been marked as FAILED due to the following reason: {reason}");
                Err(CommandError::new(message).hinted("look for the segment on the server and deliver it by hand"))
            }
        }
    })
}
