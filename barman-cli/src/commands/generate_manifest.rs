//! `generate-manifest`

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use barman_storage::Cancel;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The backup: its id, its name, or a word such as `latest`
    backup_id: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let (name, backup) = (&arguments.server_name, &arguments.backup_id);
    let server = context.single_server(name, Disabled::Refused)?;
    let info = server.catalog().resolve(backup)?;
    let cancel = Cancel::new();
    context.run_until_signal(&cancel, || server.generate_manifest(&info, &cancel))??;
    context.output.info(&format!("Backup manifest for backup '{backup}' successfully generated for server '{name}'"));
    Ok(())
}
