//! `keep`

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::moment::moment;
use barman_catalog::{BackupId, BackupTime};
use barman_retention::{Keep, Target};
use barman_server::{Error, Server};
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The backup: its id, its name, or a word such as `latest`
    backup_id: String,

    /// Leave the backup to the retention policy again
    #[arg(short, long)]
    release: bool,

    /// Show whether and how the backup is kept
    #[arg(short, long)]
    status: bool,

    /// Keep the backup with all later WAL, or for itself alone
    #[arg(long, value_enum, value_name = "TARGET")]
    target: Option<KeepTarget>,

    /// Keep it until then, such as `2033-01-01` or `2033-01-01 12:00:00`; from then on the retention policy decides again
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// `full` if nothing is said.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum KeepTarget {
    #[default]
    Full,
    Standalone,
}

/// Keeps a backup whatever the retention policy says. Of several things that are asked for, the most harmless is done.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let Arguments { release, status, target, until, .. } = arguments;
    if !release && !status && target.is_none() && until.is_none() {
        return Err(CommandError::new("one of the arguments -r/--release -s/--status --target is required")
            .hinted("`--target full` keeps all later WAL as well, `--target standalone` only what the backup needs"));
    }
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    let id = server.catalog().resolve(&arguments.backup_id)?.backup_id;
    if *status {
        show(context, &server, &id)
    } else if *release {
        Ok(server.catalog().release_keep(&id)?)
    } else {
        keep(context, &server, &id, target.unwrap_or_default(), until.as_deref())
    }
}

fn show(context: &Context, server: &Server, id: &BackupId) -> Result<(), CommandError> {
    let said = match server.catalog().keep(id)? {
        None => "nokeep".to_owned(),
        Some(keep) => words(context, keep),
    };
    let json = || json!({ "keep_status": { "description": "Keep", "message": said } });
    context.output.result(server.name(), json, || format!("Server {}:\n\tKeep: {said}\n", server.name()));
    Ok(())
}

/// How a backup is kept, in the words of the annotation.
fn words(context: &Context, keep: Keep) -> String {
    let until = keep.until.map(|until| format!(" until {}", BackupTime::in_zone(until, &context.zone)));
    format!("{}{}", keep.target.as_str(), until.unwrap_or_default())
}

fn keep(
    context: &Context,
    server: &Server,
    id: &BackupId,
    target: KeepTarget,
    until: Option<&str>,
) -> Result<(), CommandError> {
    let target = match target {
        KeepTarget::Full => Target::Full,
        KeepTarget::Standalone => Target::Standalone,
    };
    let until = until.map(|text| moment(context, text)).transpose()?;
    let keep = Keep { target, until };
    server.keep(id, keep, context.now()).map_err(|error| refused(id, error))?;
    if until.is_some() {
        // Which moment a date without a zone is must not be a matter of belief.
        context.output.info(&format!("Backup {id} of server {} is kept: {}", server.name(), words(context, keep)));
    }
    Ok(())
}

/// Says why a backup cannot be kept, as Barman does.
fn refused(id: &BackupId, error: Error) -> CommandError {
    match error {
        Error::KeepUnfinished { status, .. } => CommandError::new(format!(
            "Cannot add keep to backup {id} because it has status {}. Only backups with status DONE can be kept.",
            status.as_str()
        )),
        Error::KeepIncremental { .. } => CommandError::new(format!(
            "Unable to execute the keep command on backup {id}: is an incremental backup.\nOnly full backups are \
             eligible for the use of the keep command."
        ))
        .hinted("keep the full backup that it builds on: the incremental ones stay with it"),
        Error::KeepUntilPast { .. } => CommandError::from(error).hinted("name a moment in the future"),
        error => error.into(),
    }
}
