//! Why a restore cannot be done, in Barman's sentences.

use crate::commands::point_text;
use crate::error::CommandError;
use crate::output::time::local_with_offset;
use barman_pitr::{PlanError, Unreached};
use barman_storage::RemoteError;
use std::path::Path;
use wal_format::Timestamp;

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
        PlanError::OtherRestore { path, .. } => plain.hinted(format!(
            "continue that one, or add --delta-restore to restore this backup over it, or empty {}",
            path.display()
        )),
        PlanError::Marker { .. } => plain.hinted("add --delta-restore to restore over it, or empty the directory"),
        PlanError::NoDataDirectory { .. } => {
            plain.hinted("--delta-restore goes over a data directory; choose another place, or empty this one")
        }
        PlanError::ForeignCluster { .. } => {
            plain.hinted("nothing was changed: see whether it is still needed, and empty the directory if not")
        }
        PlanError::ServerRunning { .. } => plain.hinted("stop the server first; nothing was changed"),
        PlanError::UnclearLockFile { .. } => {
            plain.hinted("see whether a server runs there, and remove the file if none does")
        }
        PlanError::NotWritable { .. } => plain.hinted(
            "restore as the user who will start the server, or elsewhere; on another host that is the user of \
             --remote-ssh-command",
        ),
        PlanError::WrongOwner { .. } => plain.hinted(
            "PostgreSQL starts from a directory of its own user only: restore as that user (on another host that is the \
             user of --remote-ssh-command), or change the owner",
        ),
        PlanError::NoPassphrase { .. } => plain.hinted("a shell command that prints the passphrase of the key"),
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
        PlanError::UnreachableTimeline { requested: false, .. } => plain.hinted(
            "a standby that was promoted by accident leaves such a timeline, and so does a restored server that archives \
             here: --target-tli current recovers along the backup's own",
        ),
        PlanError::UnreachableTimeline { requested: true, .. } => {
            plain.hinted("say 'auto' for a backup that leads there, if there is one, or name another timeline")
        }
        PlanError::Unreached(unreached) => reachable(plain, unreached),
        PlanError::UnsupportedBackup { .. } | PlanError::EncodedWal { .. } => {
            plain.hinted("Barman 3.19 restores it from the same files")
        }
        PlanError::MissingWal { .. } => plain.hinted(
            "deliver the missing WAL to the incoming directory if it still exists, or choose an earlier target",
        ),
        PlanError::BrokenChain { .. } => plain.hinted(
            "without it only a part of each file is there: restore another backup ('auto' finds one), or bring that one back",
        ),
        PlanError::Manifest { .. }
        | PlanError::ManifestOfOtherCluster { .. }
        | PlanError::LostFile { .. }
        | PlanError::WrongSize { .. }
        | PlanError::IncrementalFile { .. } => {
            plain.hinted("this backup is damaged: restore another one")
        }
        PlanError::Remote(error) => remote(plain, error),
        PlanError::UnclearAnswer { .. } => {
            plain.hinted("the host has to have GNU coreutils, findutils and tar, and ssh must print nothing of its own")
        }
        PlanError::UnusablePath { .. } => plain.hinted("give the destination as an absolute path"),
        _ => plain,
    }
}

/// What to look at on the way to another host.
pub(super) fn remote(plain: CommandError, error: &RemoteError) -> CommandError {
    match error {
        RemoteError::Connection { .. } => plain.hinted(
            "nobody is asked for a password: see whether the command of --remote-ssh-command, run by hand as this user, \
             opens a shell; then give the same command again, which goes on from there",
        ),
        RemoteError::Failed { .. } => plain.hinted(
            "no server can be started there as it is: mend the cause on that host and give the same command again, which \
             goes on from there",
        ),
        _ => plain.hinted("--remote-ssh-command takes a command such as 'ssh postgres@pg'"),
    }
}

/// What can be reached instead.
fn reachable(plain: CommandError, unreached: &Unreached) -> CommandError {
    match unreached {
        Unreached::Time { last_transaction, proven, .. } => {
            let shown = |time: &Option<Timestamp>| time.map_or_else(|| "none".to_owned(), local_with_offset);
            plain.hinted(format!(
                "the last transaction in the archive ended at {}, and the WAL proves every time up to {}; without a \
                 target, all of it is replayed",
                shown(last_transaction),
                shown(proven)
            ))
        }
        Unreached::Xid { top_level: Some(top), .. } => {
            plain.hinted(format!("it is a subtransaction: its transaction is {}; give that one", point_text(top)))
        }
        Unreached::Xid { below, above, .. } => {
            let near: Vec<String> = [below, above].into_iter().flatten().map(point_text).collect();
            match near.as_slice() {
                [] => plain.hinted("`barman recovery-window` says what can be recovered"),
                near => plain.hinted(format!("near by: {}", near.join("; "))),
            }
        }
        Unreached::XidEpoch { .. } => {
            plain.hinted("the transaction is too far away for its number; give a time or an LSN")
        }
        Unreached::Name { known, .. } => {
            let known: Vec<String> =
                known.iter().map(|point| format!("'{}' at {}", point.name, local_with_offset(point.at))).collect();
            match known.as_slice() {
                [] => plain.hinted("there is no restore point behind this backup; an older backup may lead to it"),
                known => plain.hinted(format!("there are {}", known.join(", "))),
            }
        }
        Unreached::Lsn { .. } => plain.hinted("choose an earlier LSN, or wait until the WAL is archived"),
        Unreached::Broken { .. } => plain.hinted("from an older backup ('auto' finds one) recovery gets up to there"),
        Unreached::Inconsistent { .. } => plain
            .hinted("start from an older backup, or say 'auto'; --target-immediate is the earliest point of this one"),
        _ => plain,
    }
}

fn not_empty(path: &Path) -> CommandError {
    CommandError::new(format!(
        "The restore operation cannot proceed because the destination folder '{}' is not empty. To prevent accidental \
         data loss, the destination must be empty. Please choose a different location or manually empty the folder.",
        path.display()
    ))
    .hinted("nothing was changed; --delta-restore goes over an older data directory of the same cluster")
}
