//! `rebuild-ledger`

use crate::context::{Context, Inactive};
use crate::error::CommandError;
use barman_catalog::{Facts, Verdict};
use barman_storage::Cancel;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let cancel = Cancel::new();
    context.for_each_server(&arguments.server_name, Inactive::Included, |name| {
        let server = context.server(name)?;
        let mut read = |facts: &Facts| {
            if let Verdict::Damaged { at, what } = &facts.verdict {
                let place = format!("WAL at {at} cannot be believed: {what}");
                context.output.warning(&format!("{} of server '{name}' is damaged: {place}", facts.name));
            }
        };
        let work = || server.rebuild_ledger(context.now(), &cancel, &mut read);
        let done = context.run_until_signal(&cancel, work)??;
        context.output.result(
            name,
            || json!({"files": done.read, "damaged": done.damaged}),
            || format!("Read {} archived files of server {name}: {} damaged", done.read, done.damaged),
        );
        Ok(())
    })
}
