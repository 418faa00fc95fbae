//! Why a restore cannot be done, in Barman's sentences.

use crate::error::CommandError;
use barman_pitr::PlanError;
use std::path::Path;

pub(super) fn explain(error: &PlanError) -> CommandError {
    let plain = CommandError::from_error(error);
    match error {
        PlanError::ColonInDestination { .. } => {
            CommandError::new("The destination directory parameter cannot contain the ':' character")
                .hinted("to restore on another host, use the --remote-ssh-command option")
        }
        PlanError::DestinationNotEmpty { path } => not_empty(path),
        PlanError::TablespaceNotEmpty { name, path } => CommandError::new(format!(
            "The restore operation cannot proceed. The destination path '{}' for the tablespace '{name}' is not empty.",
            path.display()
        ))
        .hinted(format!("choose another place with --tablespace {name}:LOCATION, or empty the directory")),
        PlanError::UnknownTablespace { name, known } => {
            let hint = match known.as_slice() {
                [] => "the backup has no tablespaces".to_owned(),
                names => format!("Please use any of the following tablespaces: {}", names.join(", ")),
            };
            CommandError::new(format!("Invalid tablespace name '{name}'")).hinted(hint)
        }
        PlanError::ActionWithoutTarget => {
            CommandError::new("Can't enable recovery target action when PITR is not required")
                .hinted("add a target, or leave --target-action out")
        }
        PlanError::TargetNeedsBackup { kind } => CommandError::new(format!(
            "For PITR without a backup_id, the only possible recovery targets are target_time and target_lsn. \
             '{kind}' recovery target is not allowed without a backup_id."
        ))
        .hinted("name the backup to start from instead of 'auto'"),
        PlanError::NoCandidate { .. } => CommandError::new("Cannot find any candidate backup for recovery.")
            .hinted("every backup ends after the target: `barman list-backups` shows when"),
        PlanError::NotDone { server, id, .. } => CommandError::new(format!(
            "Cannot restore from backup '{id}' of server '{server}': backup status is not DONE"
        ))
        .hinted("`barman list-backups` shows the status of each"),
        PlanError::TimeBeforeBackupEnd { target, end } => {
            CommandError::new(format!("The requested target time {target} is before the backup end time {end}"))
                .hinted("start from an older backup, or say 'auto'")
        }
        PlanError::LsnBeforeBackupEnd { .. } => plain.hinted("start from an older backup, or say 'auto'"),
        PlanError::UnsupportedBackup { .. } | PlanError::EncodedWal { .. } => {
            plain.hinted("Barman 3.19 restores it from the same files")
        }
        PlanError::MissingWal { .. } | PlanError::LsnBehindArchive { .. } => plain.hinted(
            "deliver the missing WAL to the incoming directory if it still exists, or choose an earlier target",
        ),
        PlanError::Manifest { .. } | PlanError::LostFile { .. } | PlanError::WrongSize { .. } => {
            plain.hinted("this backup is damaged: restore another one")
        }
        PlanError::UnusablePath { .. } => plain.hinted("give the destination as an absolute path"),
        _ => plain,
    }
}

fn not_empty(path: &Path) -> CommandError {
    CommandError::new(format!(
        "The restore operation cannot proceed because the destination folder '{}' is not empty. To prevent accidental \
         data loss, the destination must be empty. Please choose a different location or manually empty the folder.",
        path.display()
    ))
    .hinted("nothing was changed")
}
