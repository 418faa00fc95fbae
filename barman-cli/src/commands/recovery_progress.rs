//! `recovery-progress`: how far a restored server has come, and when it will be there.

use crate::error::CommandError;
use crate::output::Output;
use crate::progress::Progress;
use crate::start_up::Surroundings;
use barman_catalog::RestoreWork;
use barman_pitr::{RecoveryProgress, RecoveryState, recovery_progress};
use barman_server::human;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often to look while following.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Look until recovery is over, has stopped, or is in the last segment
    #[arg(long)]
    follow: bool,

    /// The data directory that was restored
    destination_directory: PathBuf,
}

/// Says how far recovery has come. Needs no connection and no configuration.
pub(crate) fn run(output: &Output, surroundings: &Surroundings<'_>, arguments: &Arguments) -> Result<(), CommandError> {
    let destination = std::path::absolute(&arguments.destination_directory)
        .map_err(|error| CommandError::new(format!("the data directory is unusable: {error}")))?;
    let first = recovery_progress(&destination)?;
    if !arguments.follow || is_last(&first) {
        show(output, &first, None);
        return Ok(());
    }
    let began = Instant::now();
    let bar = first.bytes().map(|(_, total)| Progress::start(output, "Replaying", total));
    let mut progress = first.clone();
    while !is_last(&progress) {
        std::thread::sleep(INTERVAL);
        progress = recovery_progress(&destination)?;
        if let (Some(bar), Some((done, _))) = (&bar, progress.bytes()) {
            bar.set(done);
        }
    }
    drop(bar);
    let rate = Rate::between(&first, &progress, began.elapsed());
    if let Some(rate) = &rate {
        note(surroundings, &progress, rate);
    }
    show(output, &progress, rate);
    Ok(())
}

/// Whether there is nothing more to wait for: behind the last segment is the target, where a server may wait for ever.
fn is_last(progress: &RecoveryProgress) -> bool {
    progress.is_in_last_segment || matches!(progress.state, RecoveryState::Over | RecoveryState::Stopped(_))
}

/// What was replayed while we looked.
struct Rate {
    bytes: u64,
    time: Duration,
}

impl Rate {
    /// `None` if there was too little to see, or recovery ended we know not where.
    fn between(first: &RecoveryProgress, last: &RecoveryProgress, time: Duration) -> Option<Self> {
        let bytes = last.replayed?.as_u64().checked_sub(first.replayed?.as_u64())?;
        (bytes > 0 && last.is_in_last_segment).then_some(Self { bytes, time })
    }
}

/// Later plans of this server are told. Only who may write its catalog can do that, and nobody has to.
fn note(surroundings: &Surroundings<'_>, progress: &RecoveryProgress, rate: &Rate) {
    let server = progress.server.as_deref().and_then(|name| surroundings.server(name).ok());
    if let Some(server) = server.filter(|_| surroundings.is_barman_user())
        && let Err(error) = server.catalog().note_restore_rate(RestoreWork::Replay, rate.bytes, rate.time)
    {
        tracing::debug!(target: "barman", "the rate of replay was not noted: {error}");
    }
}

fn show(output: &Output, progress: &RecoveryProgress, rate: Option<Rate>) {
    output.console_only(&text(progress, rate.as_ref()).join("\n"));
    for (key, value) in json(progress, rate.as_ref()) {
        output.json_only(key, value);
    }
}

fn text(progress: &RecoveryProgress, rate: Option<&Rate>) -> Vec<String> {
    let mut lines = vec![match progress.state {
        RecoveryState::Replaying(segment) if progress.is_in_last_segment => {
            format!("The server replays the last segment, {segment}, or waits at its target")
        }
        RecoveryState::Replaying(segment) => format!("The server replays {segment}"),
        RecoveryState::Waiting(segment) => format!("The server waits for {segment}"),
        RecoveryState::Stopped(reason) => format!("No server runs: {reason}"),
        RecoveryState::Over => "Recovery is over".to_owned(),
        _ => "The server begins to recover, or has just ended".to_owned(),
    }];
    if let Some(replayed) = progress.replayed.filter(|_| progress.state != RecoveryState::Over) {
        let end = progress.end.map_or_else(String::new, |end| format!(" of {end}"));
        lines.push(format!("  Replayed to {replayed}{end}{}", percent(progress)));
    }
    lines.extend(
        rate.map(|rate| format!("  {} replayed in {}", human::size_of(rate.bytes), human::duration(rate.time))),
    );
    lines
}

fn percent(progress: &RecoveryProgress) -> String {
    match progress.bytes() {
        Some((done, total)) if total > 0 => format!(" ({} %)", u128::from(done) * 100 / u128::from(total)),
        _ => String::new(),
    }
}

fn json(progress: &RecoveryProgress, rate: Option<&Rate>) -> [(&'static str, Value); 9] {
    let (state, segment) = match progress.state {
        RecoveryState::Replaying(segment) => ("replaying", Some(segment)),
        RecoveryState::Waiting(segment) => ("waiting", Some(segment)),
        RecoveryState::Stopped(_) => ("stopped", None),
        RecoveryState::Over => ("over", None),
        _ => ("between", None),
    };
    let bytes = progress.bytes();
    [
        ("state", json!(state)),
        ("segment", json!(segment.map(|segment| segment.to_string()))),
        ("is_in_last_segment", json!(progress.is_in_last_segment)),
        ("replayed_lsn", json!(progress.replayed.map(|lsn| lsn.to_string()))),
        ("end_lsn", json!(progress.end.map(|lsn| lsn.to_string()))),
        ("replayed_bytes", json!(bytes.map(|(done, _)| done))),
        ("total_bytes", json!(bytes.map(|(_, total)| total))),
        ("measured_bytes", json!(rate.map(|rate| rate.bytes))),
        ("measured_seconds", json!(rate.map(|rate| rate.time.as_secs_f64()))),
    ]
}
