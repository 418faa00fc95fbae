//! What PostgreSQL, or the way to it, refused.

use crate::error::CommandError;
use replication_client::{Error, ErrorKind};

pub(super) fn explain(error: &Error) -> CommandError {
    let plain = CommandError::from_error(error);
    match error.kind() {
        ErrorKind::SlotMissing { slot, .. } => missing_slot(slot),
        ErrorKind::SlotExists { slot, .. } => CommandError::new(format!("Replication slot '{slot}' already exists"))
            .hinted("with --if-not-exists that is no error"),
        ErrorKind::SlotInUse { .. } => plain.hinted("another receiver uses the slot: stop it first"),
        ErrorKind::SlotUnusable { .. } => plain.hinted("drop the slot, create it again, and take a new backup"),
        ErrorKind::WalRemoved { .. } => {
            plain.hinted("the WAL between is lost for streaming: take a new backup, and use a slot from now on")
        }
        ErrorKind::Resolve(_) | ErrorKind::Connect(_) | ErrorKind::ConnectTimeout { .. } => {
            plain.hinted("see whether the server runs, and whether host and port in the configuration are right")
        }
        ErrorKind::NoPassword(_) => plain.hinted("put the password into ~/.pgpass of Barman's user (mode 0600)"),
        ErrorKind::AuthenticationFailed(_) => {
            plain.hinted("compare user and password with pg_hba.conf; replication connections need a line of their own")
        }
        ErrorKind::Unsupported(option) => plain.hinted(format!("remove {} from the connection string", option.option)),
        _ => plain,
    }
}

pub(super) fn missing_slot(slot: &str) -> CommandError {
    CommandError::new(format!("replication slot '{slot}' doesn't exist"))
        .hinted("`barman receive-wal --create-slot` creates it")
}
