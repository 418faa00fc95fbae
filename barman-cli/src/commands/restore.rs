//! `restore`

mod narrator;
pub(super) mod recovery_plan;
pub(super) mod remote;
mod report;
pub(super) mod target;
mod unbuilt;

use super::retries::Retries;
use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::output::time::local_with_offset;
use barman_pitr::{
    BackupChoice, Host, PassedOverReason, PlanWarning, Relocation, RestoreOptions, RestorePlan, RestoreRequest,
    Standing, WalFetch, WalSupply,
};
use barman_server::{Server, one_line};
use barman_storage::{Cancel, RelativePath};
use narrator::Narrator;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Instant;
use unbuilt::Unbuilt;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,

    /// Start as a standby server
    #[arg(long)]
    standby_mode: bool,

    /// Put a tablespace elsewhere: NAME:LOCATION (repeatable)
    #[arg(long, value_name = "NAME:LOCATION")]
    tablespace: Vec<String>,

    /// Put the WAL for recovery to a target here instead of DEST/barman_wal
    #[arg(long, value_name = "DIR")]
    staging_wal_directory: Option<PathBuf>,

    /// Let the server fetch WAL from Barman
    #[arg(long, overrides_with = "no_get_wal")]
    get_wal: bool,

    /// Copy WAL to the server
    #[arg(long)]
    no_get_wal: bool,

    /// Copy unfinished segments, too
    #[arg(long)]
    partial_wal: bool,

    /// Restore over an older data directory of the same cluster: write what differs, remove what the backup does not have
    #[arg(long, overrides_with = "no_delta_restore")]
    delta_restore: bool,

    /// Insist on an empty destination
    #[arg(long)]
    no_delta_restore: bool,

    /// The file that receives the recovery settings
    #[arg(long, value_name = "FILE", default_value = RestoreRequest::RECOVERY_CONF_FILE)]
    recovery_conf_filename: String,

    /// How many files to copy at a time
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// The most that is written per second, in kB; 0 is no limit
    #[arg(long, value_name = "KBPS")]
    bwlimit: Option<u64>,

    /// With --get-wal: the restore_command, as it is to be written
    #[arg(long, value_name = "COMMAND")]
    restore_command: Option<String>,

    #[command(flatten)]
    remote: remote::Arguments,

    #[command(flatten)]
    retries: Retries,

    #[command(flatten)]
    staging: remote::Staging,

    #[command(flatten)]
    unbuilt: Unbuilt,

    /// The server
    server_name: String,

    /// The backup: its id, its name, a word such as `latest`, or `auto` for the one that suits the target
    backup_id: String,

    /// The new data directory
    destination_directory: PathBuf,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    arguments.unbuilt.refuse()?;
    arguments.staging.check(&arguments.remote)?;
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    let request = request(context, &server, arguments)?;
    let cancel = Cancel::new();
    let started = (context.now(), Instant::now());
    let plan = server.plan_restore(&request, context.now(), &cancel)?;
    announce(context, &server, &plan);
    let options = options(&server, arguments, cancel.clone());
    let narrator = Narrator::new(context, &plan);
    let restored =
        context.run_until_signal(&cancel, || server.restore(&plan, &options, &|event| narrator.event(event)))??;
    if plan.host == Host::Here {
        note_rates(&server, &narrator);
    }
    report::show(context, &plan, &request, &restored, started);
    Ok(())
}

fn request(context: &Context, server: &Server, arguments: &Arguments) -> Result<RestoreRequest, CommandError> {
    let config = server.config();
    let backup = backup_choice(server, &arguments.backup_id)?;
    let uses_get_wal = arguments.get_wal || (config.get_wal && !arguments.no_get_wal);
    let fetch = || match &arguments.restore_command {
        Some(command) => Ok(WalFetch::Command(command.clone())),
        None => arguments.remote.fetch(&context.configuration.global.barman_user),
    };
    if arguments.restore_command.is_some() && !uses_get_wal {
        return Err(CommandError::new("a restore_command can only be given where the server fetches its WAL")
            .hinted("add --get-wal, or leave --restore-command out"));
    }
    let relocations = arguments.tablespace.iter().map(|rule| relocation(rule)).collect::<Result<_, _>>()?;
    let recovery_conf_file = RelativePath::new(&arguments.recovery_conf_filename)
        .map_err(|error| CommandError::from_error(&error).hinted("name a file below the data directory"))?;
    Ok(RestoreRequest {
        backup,
        host: arguments.remote.host(server)?,
        destination: arguments.remote.destination(&arguments.destination_directory)?,
        delta: arguments.delta_restore || (config.delta_restore && !arguments.no_delta_restore),
        target: arguments.target.parse(&context.zone)?,
        standby_mode: arguments.standby_mode,
        wal: match uses_get_wal {
            true => WalSupply::GetWal(fetch()?),
            false => {
                WalSupply::Copy { staging: arguments.staging_wal_directory.clone(), partial: arguments.partial_wal }
            }
        },
        relocations,
        recovery_conf_file,
        scratch: arguments.staging.path_here().or(config.local_staging_path.as_ref()).cloned(),
    })
}

/// Which backup a word of the command line means.
pub(super) fn backup_choice(server: &Server, word: &str) -> Result<BackupChoice, CommandError> {
    Ok(match word {
        "auto" => BackupChoice::Auto,
        word => BackupChoice::Id(server.catalog().resolve(word)?.backup_id),
    })
}

pub(super) fn relocation(rule: &str) -> Result<Relocation, CommandError> {
    rule.parse().map_err(|_| {
        CommandError::new(format!("Invalid tablespace relocation rule '{rule}'"))
            .hinted("The valid syntax for a relocation rule is NAME:LOCATION")
    })
}

fn options(server: &Server, arguments: &Arguments, cancel: Cancel) -> RestoreOptions {
    let rate = |kb: u64| NonZeroU64::new(kb.saturating_mul(1024));
    let config = server.config();
    let (retries, retry_pause) = arguments.retries.of(server.config());
    let of_tablespaces = config.tablespace_bandwidth_limits_kb.iter();
    RestoreOptions {
        jobs: jobs(server, arguments),
        cancel,
        bytes_per_second: arguments.bwlimit.or(config.bandwidth_limit_kb).and_then(rate),
        tablespace_bytes_per_second: of_tablespaces.filter_map(|(name, kb)| Some((name.clone(), rate(*kb)?))).collect(),
        retries,
        retry_pause,
    }
}

fn jobs(server: &Server, arguments: &Arguments) -> NonZeroUsize {
    let configured = usize::try_from(server.config().parallel_jobs).ok().and_then(NonZeroUsize::new);
    arguments.jobs.or(configured).unwrap_or(NonZeroUsize::MIN)
}

/// Later plans say how long they will take. A restore is none the worse if that cannot be noted.
fn note_rates(server: &Server, narrator: &Narrator<'_>) {
    if narrator.has_kept() {
        return;
    }
    for (work, bytes, time) in narrator.measured() {
        if let Err(error) = server.catalog().note_restore_rate(work, bytes, time) {
            tracing::warn!(target: "barman", "the rate of this restore was not noted: {}", one_line(&error));
        }
    }
}

/// Says what is going to happen, before anything does.
fn announce(context: &Context, server: &Server, plan: &RestorePlan) {
    let output = &context.output;
    for warning in &plan.warnings {
        output.warning(&warning_text(warning));
    }
    for text in recovery_plan::review_texts(&plan.review) {
        output.warning(&text);
    }
    let (name, id) = (server.name(), plan.recovery.backup.backup_id);
    let place = if plan.host == Host::Here { "local" } else { "remote" };
    output.info(&format!("Starting {place} restore for server {name} using backup {id}"));
    output.info(&format!("Destination directory: {}", plan.destination.display()));
    if matches!(plan.standing, Standing::Interrupted { .. }) {
        output.info("Going on with the restore of this backup that was interrupted there.");
    }
    let wanted = &plan.recovery.target;
    if wanted.is_pitr() {
        output.info(&format!("Doing PITR. Recovery target {}", target::described(wanted, plan.timeline())));
        for line in plan.recovery.stop.iter().flat_map(recovery_plan::stop_lines) {
            output.info(line.trim_start());
        }
    }
}

pub(super) fn warning_text(warning: &PlanWarning) -> String {
    match warning {
        PlanWarning::ZoneAssumed => "No time zone has been specified through '--target-time' command-line option. \
             Barman assumed the same time zone from the Barman host."
            .to_owned(),
        PlanWarning::MissingWal(missing) => {
            format!("{} WAL segments are missing from {} on: recovery ends before them", missing.count, missing.first)
        }
        PlanWarning::WrongSize { name, expected, found } => {
            format!("{name} has {found} bytes, expected {expected}: recovery ends before it")
        }
        PlanWarning::StandbyWithoutRestoreCommand => {
            "the standby gets no restore_command: it ends at the WAL that is copied now (use --get-wal)".to_owned()
        }
        PlanWarning::LostWal { first, count: 1 } => {
            format!("{first} is listed in the archive but not there: recovery ends before it")
        }
        PlanWarning::LostWal { first, count } => {
            format!(
                "{count} WAL files from {first} on are listed in the archive but not there: recovery ends before them"
            )
        }
        PlanWarning::StopUnknown { name } => {
            format!("{name} cannot be read here, so where recovery stops is not known before it does")
        }
        PlanWarning::NotYetArchived => "the target is not in the archive yet: the standby waits for it".to_owned(),
        PlanWarning::DatabaseHalfDropped { database, end } => format!(
            "recovery stops within DROP DATABASE, after the files of the database with OID {database} were removed and \
             before that was committed at {}: nobody will be able to connect to it. `barman find-target --drop-of \
             DATABASE.SCHEMA.TABLE` names the position before it began",
            local_with_offset(end.at)
        ),
        PlanWarning::PassedOver { id, reason } => {
            format!("backup {id} {}; an older one is taken", passed_over(*reason))
        }
        _ => "the plan has a warning that this version cannot put into words".to_owned(),
    }
}

fn passed_over(reason: PassedOverReason) -> String {
    match reason {
        PassedOverReason::BrokenChain { child, parent, reason } => {
            format!("cannot be put together: {child} is incremental and builds on {parent}, which {reason}")
        }
        _ => "lacks WAL up to its end".to_owned(),
    }
}
