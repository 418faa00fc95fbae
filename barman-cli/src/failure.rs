//! Errors of the libraries in Barman's words, where it has words for them, and advice where there is something to try.
//!
//! The libraries say what is wrong; sentences and hints stand here.

mod finish;
mod plan;
mod postgres;
mod receiver;

use crate::error::CommandError;
use barman_catalog::ResolveError;
use barman_server::Error;

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        match error {
            Error::Postgres(error) => postgres::explain(&error),
            Error::Plan(error) => plan::explain(&error),
            Error::Resolve(error) => error.into(),
            Error::Catalog(error) => error.into(),
            other => explain(&other),
        }
    }
}

fn explain(error: &Error) -> CommandError {
    let plain = CommandError::from_error(error);
    match error {
        Error::NotReadyForBackup { server, failed } => CommandError::new(format!(
            "Impossible to start the backup. Check the log for more details, or run 'barman check {server}'"
        ))
        .hinted(format!("these checks failed: {}", failed.join(", "))),
        Error::UnsupportedOption { option, .. } => {
            plain.hinted(format!("remove '{option}' from the configuration, or use Barman 3.19 on the same files"))
        }
        Error::ForeignSystem { .. } => plain.hinted("a new cluster needs a server section of its own"),
        Error::Conninfo { option, .. } => {
            plain.hinted(format!("expected key=value pairs or a postgresql:// URI in {option}"))
        }
        Error::SettingNotVisible { .. } => plain.hinted("grant pg_read_all_settings to the role"),
        Error::UnknownServerVersion { .. } => plain.hinted("a newer version of this program may know it"),
        Error::Busy { task: "receive-wal", server } => {
            CommandError::new(format!("Another receive-wal process is already running for server {server}."))
                .hinted(format!("`barman receive-wal --stop {server}` ends it"))
        }
        Error::Busy { task: "backup", server } => CommandError::new("Another backup process is running")
            .hinted(format!("wait until it has finished its work on server '{server}'")),
        Error::Busy { task, server } => CommandError::new(format!("Another {task} process is already running"))
            .hinted(format!("wait until it has finished its work on server '{server}'")),
        Error::StreamingOff => CommandError::new(
            "Unable to start receive-wal process: streaming_archiver option set to 'off' in barman configuration file",
        )
        .hinted("set streaming_archiver = on"),
        Error::NoSlotName { .. } => plain.hinted("set slot_name in the server's section"),
        Error::WalTimeout { name, seconds } => {
            CommandError::new(format!("The WAL file {name} has not been received in {seconds} seconds"))
                .hinted("see whether WAL arrives: `barman check` names what is in its way")
        }
        Error::WalNotFound { name, server } => {
            CommandError::new(format!("WAL file '{name}' not found in server '{server}'{}", ssh_client()))
                .hinted("`barman get-wal --peek` lists what is there")
        }
        Error::WalPurged { .. } => plain.hinted(
            "a server that recovers does not keep the backup that it was restored from: `barman keep` does, or a retention \
             policy that allows for it; restore one that is left",
        ),
        Error::DestinationInCatalog { .. } => plain.hinted("choose a directory outside barman_home"),
        Error::Restore(barman_pitr::RestoreError::NoSpace { .. }) => plain
            .hinted("nothing was created: make room, or restore elsewhere; `barman plan` shows what is needed where"),
        Error::Restore(barman_pitr::RestoreError::Destination(error)) => plan::explain(error),
        Error::Restore(barman_pitr::RestoreError::Remote(error)) => plan::remote(plain, error),
        Error::Restore(_) => plain.hinted(
            "no server can be started from the destination as it is: mend the cause and give the same command again, \
             which goes on from there",
        ),
        Error::WalMissing { reason, .. } => {
            CommandError::new(format!("This backup has been marked as FAILED due to the following reason: {reason}"))
                .hinted("the segment is not on its way either: take another backup")
        }
        Error::RetentionStopped { source: barman_retention::Stop::KeepsNothing, .. } => {
            plain.hinted("set minimum_redundancy, or a redundancy of at least 1")
        }
        Error::RetentionStopped { .. } => plain.hinted("correct the clock; a new backup ends this as well"),
        Error::UnknownZone(_) => plain.hinted("name a zone of the host's zone database, such as Europe/Rome"),
        Error::WalStorage { .. } => plain.hinted("`barman check` looks at the options about compression, too"),
        Error::EncodedWal { .. } => {
            plain.hinted("set custom_decompression_filter, or encryption_passphrase_command, so that it can be read")
        }
        Error::CheckBackup(barman_catalog::CheckBackupError::Failed { .. }) => {
            CommandError::new("The validity of a failed backup cannot be checked").hinted("take another backup")
        }
        Error::BaseBackup(barman_backup::BaseBackupError::Connection(error)) => postgres::explain(error),
        Error::Receiver(error) => receiver::explain(error),
        Error::ReceiverAhead { newest, current } => CommandError::new(format!(
            "The receive-wal position is ahead of PostgreSQL current WAL lsn ({newest} > {current})"
        ))
        .hinted("see whether the connection leads to the right server; what is there is not touched"),
        _ => plain,
    }
}

/// Barman names the host that asks when it is called through ssh, which helps to find it in the log.
fn ssh_client() -> String {
    let connection = std::env::var("SSH_CONNECTION").unwrap_or_default();
    connection.split_whitespace().next().map(|client| format!(" (SSH host: {client})")).unwrap_or_default()
}

impl From<ResolveError> for CommandError {
    fn from(error: ResolveError) -> Self {
        match &error {
            ResolveError::Unknown { word, server } => {
                Self::new(format!("Unknown backup '{word}' for server '{server}'"))
                    .hinted(format!("`barman list-backups {server}` lists them"))
            }
            ResolveError::Ambiguous { word, ids, .. } => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                let message = format!("Multiple backups found matching name '{word}' (try using backup ID instead)");
                Self::new(format!("{message}: {}", ids.join(" "))).hinted("name the backup by one of these ids")
            }
            _ => Self::from_error(&error),
        }
    }
}

impl From<barman_catalog::Error> for CommandError {
    fn from(error: barman_catalog::Error) -> Self {
        Self::from_error(&error)
    }
}

impl From<barman_config::Error> for CommandError {
    fn from(error: barman_config::Error) -> Self {
        use barman_config::Error;
        match &error {
            Error::Missing { path } => Self::new(format!("Configuration file '{}' does not exist", path.display()))
                .hinted("name another one with -c"),
            Error::NotFound { .. } => Self::from_error(&error).hinted("name the configuration file with -c"),
            _ => Self::from_error(&error).hinted("correct the file; every command reads all of it"),
        }
    }
}
