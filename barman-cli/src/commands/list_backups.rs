//! `list-backups`

use crate::context::{Context, Disabled, Inactive};
use crate::error::CommandError;
use crate::output::time::{ctime, epoch_seconds};
use barman_catalog::BackupType;
use barman_server::{BackupSummary, human};
use serde_json::{Map, Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,

    /// Print the ids only
    #[arg(long)]
    minimal: bool,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    for config in context.select(&arguments.server_name, Inactive::Included, Disabled::Included)? {
        let name = &config.name;
        match list(context, name) {
            Ok(backups) if arguments.minimal => {
                let ids = || backups.iter().map(|backup| backup.info.backup_id.to_string());
                context.output.result(name, || ids().collect(), || lines(ids()));
            }
            Ok(backups) => context.output.result(
                name,
                || backups.iter().map(json_of).collect(),
                || lines(backups.iter().map(|backup| text_of(name, backup))),
            ),
            Err(error) => error.report(&context.output),
        }
    }
    Ok(())
}

fn list(context: &Context, name: &str) -> Result<Vec<BackupSummary>, CommandError> {
    Ok(context.server(name)?.list_backups(context.now())?)
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.map(|item| item + "\n").collect()
}

fn text_of(server: &str, backup: &BackupSummary) -> String {
    let info = &backup.info;
    let letter = info.backup_type().map_or('F', BackupType::letter);
    let name = info.backup_name.as_ref().map(|name| format!(" '{name}'")).unwrap_or_default();
    let start = format!("{server} {}{name} - {letter} - ", info.backup_id);
    if !info.status.is_copied() {
        return format!("{start}{}", info.status);
    }
    let mut text = format!(
        "{start}{} - Size: {} - WAL Size: {}",
        info.end_time.map(ctime).unwrap_or_default(),
        human::size_of(backup.size_with_wal()),
        human::size_of(backup.wal.wal_until_next_size),
    );
    if info.status == barman_catalog::Status::WaitingForWals {
        text.push_str(" - WAITING_FOR_WALS");
    }
    if let Some(retention) = backup.noteworthy_retention() {
        text.push_str(&format!(" - {retention}"));
    }
    text
}

fn json_of(backup: &BackupSummary) -> Value {
    let info = &backup.info;
    let mut map = Map::new();
    map.insert("backup_id".into(), json!(info.backup_id.to_string()));
    map.insert("backup_type".into(), json!(info.backup_type().map_or("full", BackupType::as_str)));
    map.insert("status".into(), json!(info.status.as_str()));
    if let Some(name) = &info.backup_name {
        map.insert("backup_name".into(), json!(name));
    }
    if info.status.is_copied() {
        let size = backup.size_with_wal();
        map.insert("end_time".into(), json!(info.end_time.map(ctime)));
        map.insert("end_time_timestamp".into(), json!(info.end_time.map(epoch_seconds)));
        map.insert("retention_status".into(), json!(backup.noteworthy_retention().unwrap_or("-")));
        map.insert("size".into(), json!(human::size_of(size)));
        map.insert("size_bytes".into(), json!(size));
        map.insert("wal_size".into(), json!(human::size_of(backup.wal.wal_until_next_size)));
        map.insert("wal_size_bytes".into(), json!(backup.wal.wal_until_next_size));
    }
    Value::Object(map)
}
