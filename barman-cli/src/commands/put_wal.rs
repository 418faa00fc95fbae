//! `put-wal`

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use barman_catalog::{PutWalError, PutWalNote};
use barman_server::{Error, Server};
use wal_format::SystemId;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only test that WAL can be sent
    #[arg(short, long)]
    test: bool,

    /// The server
    server_name: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    let name = server.name();
    if !server.config().active {
        return Err(CommandError::new(format!("Inactive server: {name}")).hinted("`active = on` makes it take WAL"));
    }
    if arguments.test {
        context.output.info(&format!("Ready to accept WAL files for the server {name}"));
        return Ok(());
    }
    let mut note = |note| match note {
        PutWalNote::BadChecksumLine(line) => {
            context.output.warning(&format!("Bad checksum line '{line}' found in put-wal for server '{name}'"));
        }
        PutWalNote::Damaged(file) => {
            let what = "is damaged, and came the second time with the same bytes: it will be archived as it is";
            context.output.warning(&format!("{file} of server '{name}' {what}"));
        }
        PutWalNote::KeptInErrors(file) => {
            let what = "is archived with other contents, and came again: it stays in the errors directory";
            context.output.warning(&format!("{file} of server '{name}' {what}"));
        }
        _ => {}
    };
    let connected = cluster(context, &server)?;
    match server.put_wal(&mut std::io::stdin().lock(), connected, context.now(), &mut note) {
        Err(Error::PutWal(error)) => Err(explain(&error, name)),
        taken => Ok(taken?),
    }
}

/// The cluster that the server says it is, where nothing that was recorded says so. A runtime is not made for nothing.
pub(super) fn cluster(context: &Context, server: &Server) -> Result<Option<SystemId>, CommandError> {
    if server.catalog().recorded_system_id()?.is_some() {
        return Ok(None);
    }
    Ok(context.block_on(server.ask_for_cluster())??)
}

/// What a sender finds in PostgreSQL's log.
fn explain(error: &PutWalError, server: &str) -> CommandError {
    let plain = CommandError::from_error(error);
    match error {
        PutWalError::Conflict { file, stored, found } => CommandError::new(format!(
            "\tError: Duplicate Files Detected with Mismatched Checksums. File {file} already exists on server {server} \
             with checksum {stored}, but the checksum of the incoming file is{found}. The file has been moved to the \
             errors directory."
        )),
        PutWalError::ArchivedOtherwise { .. } => plain.hinted(
            "PostgreSQL sends it again by itself, and is told then to go on, since the errors directory has it: find out \
             which contents are right before you restore beyond it; another server may be archiving here, too",
        ),
        PutWalError::Foreign { expected: Some(expected), .. } => plain.hinted(new_system(server, &expected.to_string())),
        PutWalError::Foreign { .. } => plain.hinted("archive_command must send each file under its own name"),
        PutWalError::Damaged { .. } => plain.hinted(
            "PostgreSQL sends it again by itself; if it is the same then, the server has it like this, and it is archived \
             as damaged",
        ),
        PutWalError::Stream(_) => plain.hinted("`barman-wal-archive` writes what is expected here"),
        _ => CommandError::new(format!("{error} in put-wal for server '{server}'")),
    }
}

/// What to do when a server has become another cluster.
pub(super) fn new_system(server: &str, expected: &str) -> String {
    format!(
        "server '{server}' holds WAL of cluster {expected}. After pg_upgrade or a new initdb either configure a server \
         section of its own for the new cluster, which keeps both apart; or, to go on under the same name, run `barman \
         archive-wal --accept-new-system {server}` and take a backup at once: older backups end with the old cluster's WAL"
    )
}
