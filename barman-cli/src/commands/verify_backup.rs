//! `verify-backup`

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

/// Says what Barman says, although no other program is called.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let (name, backup) = (&arguments.server_name, &arguments.backup_id);
    let server = context.single_server(name, Disabled::Refused)?;
    let info = server.catalog().resolve(backup)?;
    context.output.info(&format!("Verifying backup '{backup}' on server ['{name}']"));
    context.output.info("Calling pg_verifybackup");
    let (cancel, mut faults) = (Cancel::new(), Vec::new());
    let verify = || server.verify_backup(&info, &cancel, &mut |fault| faults.push(fault.to_string()));
    let (data, verified) = context.run_until_signal(&cancel, verify)??;
    if let Err(error) = verified {
        faults.push(barman_server::one_line(&error));
    }
    if faults.is_empty() {
        context.output.info("backup successfully verified");
        return Ok(());
    }
    context.output.error(&format!("verify backup failure on directory '{}'", data.display()));
    let lines: String = faults.iter().map(|fault| format!("pg_verifybackup: error: {fault}\n")).collect();
    context.output.error(&lines);
    Ok(())
}
