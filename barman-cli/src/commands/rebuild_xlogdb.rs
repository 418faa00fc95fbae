//! `rebuild-xlogdb`

use crate::context::{Context, Inactive};
use crate::error::CommandError;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    context.for_each_server(&arguments.server_name, Inactive::Skipped, |name| {
        context.output.info(&format!("Rebuilding xlogdb for server {name}"));
        let rebuilt = context.server(name)?.rebuild_xlogdb()?;
        let (histories, labels) = (rebuilt.histories, rebuilt.labels);
        let counts = format!("(history: {histories}, backup_labels: {labels}, wal_file: {})", rebuilt.segments);
        context.output.info(&format!("Done rebuilding xlogdb for server {name} {counts}"));
        Ok(())
    })
}
