//! `backup`

mod json;
mod report;

use super::retries::Retries;
use super::unbuilt::UnbuiltOptions;
use crate::context::{Context, Inactive};
use crate::error::CommandError;
use barman_catalog::{BackupInfo, Status};
use barman_config::ServerConfig;
use barman_server::{BackupEvent, BackupRequest, Server, Wait};
use barman_storage::Cancel;
use report::BackupReport;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,

    /// Begin with an immediate checkpoint
    #[arg(long, overrides_with = "no_immediate_checkpoint")]
    immediate_checkpoint: bool,

    /// Wait for the next checkpoint
    #[arg(long)]
    no_immediate_checkpoint: bool,

    /// Take a block-level incremental backup on top of this one
    #[arg(long, value_name = "BACKUP_ID")]
    incremental: Option<String>,

    /// Share unchanged files with the previous backup
    #[arg(long, value_name = "MODE", num_args = 0..=1, default_missing_value = "link", value_parser = ["copy", "link", "off"])]
    reuse_backup: Option<String>,

    #[command(flatten)]
    retries: Retries,

    /// How many files are copied at a time (rsync only)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,

    /// How rsync jobs are started: seconds between batches
    #[arg(long, value_name = "SECONDS", hide = true)]
    jobs_start_batch_period: Option<u64>,

    /// How rsync jobs are started: jobs in a batch
    #[arg(long, value_name = "N", hide = true)]
    jobs_start_batch_size: Option<u64>,

    /// Transfer at most this many kilobytes per second; 0 is no limit
    #[arg(long, value_name = "KBPS")]
    bwlimit: Option<u32>,

    /// Wait until the WAL that the backup needs is archived
    #[arg(short, long)]
    wait: bool,

    /// For how long, in seconds
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u64>,

    /// How often an rsync backup checks its connection, in seconds
    #[arg(long, value_name = "SECONDS", hide = true)]
    keepalive_interval: Option<u64>,

    /// Give the backup a name
    #[arg(long, value_parser = backup_name)]
    name: Option<String>,

    /// Write a manifest after an rsync backup
    #[arg(long, hide = true)]
    manifest: bool,

    /// Write no manifest after an rsync backup
    #[arg(long, hide = true)]
    no_manifest: bool,

    /// How long the checks before the backup may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    check_timeout: Option<u64>,

    /// Stage a cloud backup here
    #[arg(long, value_name = "PATH", hide = true)]
    cloud_staging_directory: Option<String>,

    /// Stage at most this much
    #[arg(long, value_name = "SIZE", hide = true)]
    cloud_staging_max_size: Option<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    // What tunes rsync says nothing to the postgres method, in Barman too; the others ask for what is not here.
    UnbuiltOptions::default()
        .option("--incremental", arguments.incremental.is_some())
        .option("--reuse-backup", arguments.reuse_backup.as_ref().is_some_and(|mode| mode != "off"))
        .option("--cloud-staging-directory", arguments.cloud_staging_directory.is_some())
        .option("--cloud-staging-max-size", arguments.cloud_staging_max_size.is_some())
        .refuse()?;
    context.for_each_server(&arguments.server_name, Inactive::Skipped, |name| back_up(context, name, arguments))
}

fn back_up(context: &Context, name: &str, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.server(name)?;
    let request = request(arguments, server.config());
    let report = Mutex::new(BackupReport::new(context, name));
    let cancel = Cancel::new();
    let clock = || context.now();
    // A panic while it was locked would only have lost a line.
    let events = |event: BackupEvent<'_>| report.lock().unwrap_or_else(PoisonError::into_inner).event(&event);
    let info = context.block_on_until_signal(&cancel, server.backup(&request, &clock, &cancel, &events))??;
    for (key, value) in json::of(&info) {
        context.output.json_only(&key, value);
    }
    warn_if_waiting(context, &server, &info);
    Ok(())
}

fn request(arguments: &Arguments, config: &ServerConfig) -> BackupRequest {
    let immediate = config.immediate_checkpoint && !arguments.no_immediate_checkpoint;
    let limit = arguments.bwlimit.map(u64::from).or(config.bandwidth_limit_kb).filter(|limit| *limit > 0);
    let (retries, retry_sleep) = arguments.retries.of(config);
    BackupRequest {
        name: arguments.name.clone(),
        immediate_checkpoint: arguments.immediate_checkpoint || immediate,
        bandwidth_limit_kb: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
        retries,
        retry_sleep,
        wait: match arguments.wait {
            true => Wait::For(arguments.wait_timeout.map(Duration::from_secs)),
            false => Wait::No,
        },
        check_timeout: match arguments.check_timeout {
            Some(seconds) => (seconds > 0).then(|| Duration::from_secs(seconds)),
            None => config.check_timeout,
        },
    }
}

fn backup_name(text: &str) -> Result<String, String> {
    const RESERVED: [&str; 8] =
        ["latest", "last", "oldest", "first", "last-failed", "latest-full", "last-full", "auto"];
    if text.is_empty() {
        Err("Backup name cannot be empty".to_owned())
    } else if RESERVED.contains(&text) {
        Err(format!("Backup name '{text}' is not allowed: reserved word"))
    } else if text.parse::<barman_catalog::BackupId>().is_ok() {
        Err(format!("Backup name '{text}' is not allowed: looks like a backup ID"))
    } else {
        Ok(text.to_owned())
    }
}

fn warn_if_waiting(context: &Context, server: &Server, info: &BackupInfo) {
    if info.status == Status::WaitingForWals {
        context.output.warning(&format!(
            "IMPORTANT: this backup is classified as WAITING_FOR_WALS, meaning that Barman has not received yet all \
             the WAL files required to restore it.\nThis is a common behaviour in concurrent backup scenarios, and \
             Barman automatically sets the backup as DONE once all the required WAL files have been archived.\n\
             Hint: execute the backup command with '--wait' (server {})",
            server.name()
        ));
    }
}
