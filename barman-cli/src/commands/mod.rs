//! One file a subcommand: its arguments, one call into the libraries, and what it says.

mod archive_wal;
mod backup;
mod check;
mod check_backup;
mod check_wal_archive;
mod cron;
mod delete;
mod find_target;
pub(crate) mod finish_restore;
mod generate_manifest;
pub(crate) mod get_wal;
mod keep;
mod list_backups;
mod list_files;
mod list_processes;
mod list_servers;
mod plan;
mod put_wal;
mod rebuild_ledger;
mod rebuild_xlogdb;
mod receive_wal;
pub(crate) mod recovery_progress;
mod recovery_window;
mod restore;
mod retention;
mod retries;
mod show_backup;
mod switch_wal;
mod terminate_process;
mod unbuilt;
mod verify_archive;
mod verify_backup;
pub(crate) mod wal_dump;

pub(crate) use restore::recovery_plan::point_text;

use crate::context::Context;
use crate::error::CommandError;
use clap::Subcommand;
use std::ffi::OsString;

/// What `barman` can be told to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Archive the WAL files that have arrived
    ArchiveWal(archive_wal::Arguments),
    /// Take a base backup
    Backup(backup::Arguments),
    /// Check that everything a backup needs is in order
    Check(check::Arguments),
    /// Check that the WAL a backup needs has been archived, and update its status
    CheckBackup(check_backup::Arguments),
    /// Check that nothing is archived that the WAL of a new server could be mixed up with
    CheckWalArchive(check_wal_archive::Arguments),
    /// Run the maintenance that is due: call this every minute
    Cron(cron::Arguments),
    /// Delete a backup, and the WAL that it alone needs
    Delete(delete::Arguments),
    /// Find the moment to recover to: before a table was dropped, around a time, at a restore point
    FindTarget(Box<find_target::Arguments>),
    /// Remove what recovery left in a restored directory, once its server is on its own
    FinishRestore(finish_restore::Arguments),
    /// Write the manifest of a backup that has none
    GenerateManifest(generate_manifest::Arguments),
    /// Print a WAL file, decompressed
    GetWal(get_wal::Arguments),
    /// Keep a backup whatever the retention policy says
    Keep(keep::Arguments),
    /// List the backups of a server
    #[command(alias = "list-backup")]
    ListBackups(list_backups::Arguments),
    /// List the files of a backup
    ListFiles(list_files::Arguments),
    /// List the processes that work on a server
    #[command(alias = "list-process")]
    ListProcesses(list_processes::Arguments),
    /// List the configured servers
    #[command(alias = "list-server")]
    ListServers(list_servers::Arguments),
    /// Say what a restore would do, and at which record recovery would stop
    Plan(plan::Arguments),
    /// Take WAL files from standard input, as `barman-wal-archive` sends them
    PutWal(put_wal::Arguments),
    /// Read every archived WAL file and write down anew what is known of it
    RebuildLedger(rebuild_ledger::Arguments),
    /// Write the index of the WAL archive anew
    RebuildXlogdb(rebuild_xlogdb::Arguments),
    /// Receive WAL through streaming replication
    ReceiveWal(receive_wal::Arguments),
    /// Say how far the recovery of a restored server has come
    RecoveryProgress(recovery_progress::Arguments),
    /// Say to which points the server can be recovered, and what stands in the way of more
    RecoveryWindow(recovery_window::Arguments),
    /// Restore a backup, up to a recovery target
    #[command(alias = "recover")]
    Restore(Box<restore::Arguments>),
    /// Show what the retention policy keeps and deletes, and why
    Retention(retention::Arguments),
    /// Show one backup in detail
    #[command(alias = "show-backups")]
    ShowBackup(show_backup::Arguments),
    /// Close the current WAL segment of a server
    #[command(alias = "switch-xlog")]
    SwitchWal(switch_wal::Arguments),
    /// End a process that works on a server
    TerminateProcess(terminate_process::Arguments),
    /// Print the records in WAL files, damage and all
    WalDump(wal_dump::Arguments),
    /// Read archived WAL again and compare it with what was archived
    VerifyArchive(verify_archive::Arguments),
    /// Compare a backup with its manifest
    #[command(alias = "verify")]
    VerifyBackup(verify_backup::Arguments),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

impl Command {
    /// Carries the command out.
    ///
    /// # Errors
    /// Why it ended early. What concerns only one of several servers is reported and does not end it.
    pub(crate) fn run(&self, context: &Context) -> Result<(), CommandError> {
        match self {
            Self::ArchiveWal(arguments) => archive_wal::run(context, arguments),
            Self::Backup(arguments) => backup::run(context, arguments),
            Self::Check(arguments) => check::run(context, arguments),
            Self::CheckBackup(arguments) => check_backup::run(context, arguments),
            Self::CheckWalArchive(arguments) => check_wal_archive::run(context, arguments),
            Self::Cron(arguments) => cron::run(context, arguments),
            Self::Delete(arguments) => delete::run(context, arguments),
            Self::FindTarget(arguments) => find_target::run(context, arguments),
            Self::GenerateManifest(arguments) => generate_manifest::run(context, arguments),
            Self::GetWal(arguments) => get_wal::run(context, arguments),
            Self::Keep(arguments) => keep::run(context, arguments),
            Self::ListBackups(arguments) => list_backups::run(context, arguments),
            Self::ListFiles(arguments) => list_files::run(context, arguments),
            Self::ListProcesses(arguments) => list_processes::run(context, arguments),
            Self::ListServers(arguments) => list_servers::run(context, arguments),
            Self::Plan(arguments) => plan::run(context, arguments),
            Self::PutWal(arguments) => put_wal::run(context, arguments),
            Self::RebuildLedger(arguments) => rebuild_ledger::run(context, arguments),
            Self::RebuildXlogdb(arguments) => rebuild_xlogdb::run(context, arguments),
            Self::ReceiveWal(arguments) => receive_wal::run(context, arguments),
            Self::RecoveryWindow(arguments) => recovery_window::run(context, arguments),
            Self::Restore(arguments) => restore::run(context, arguments),
            Self::Retention(arguments) => retention::run(context, arguments),
            Self::ShowBackup(arguments) => show_backup::run(context, arguments),
            Self::SwitchWal(arguments) => switch_wal::run(context, arguments),
            Self::TerminateProcess(arguments) => terminate_process::run(context, arguments),
            Self::WalDump(arguments) => wal_dump::run(&context.output, arguments),
            Self::VerifyArchive(arguments) => verify_archive::run(context, arguments),
            Self::VerifyBackup(arguments) => verify_backup::run(context, arguments),
            // They run before there is a context.
            Self::FinishRestore(_) | Self::RecoveryProgress(_) => Ok(()),
            Self::Other(words) => unbuilt::run(words),
        }
    }
}
