//! `recovery-window`

use crate::context::{Context, Inactive};
use crate::error::CommandError;
use crate::output::time::local_with_offset;
use barman_server::{RecoveryGap, RecoveryInterval, RecoveryWindow};
use serde_json::{Value, json};
use wal_format::TimelineId;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    context.for_each_server(&arguments.server_name, Inactive::Included, |name| {
        let window = context.server(name)?.recovery_window()?;
        context.output.result(name, || json_of(&window), || text_of(name, &window));
        Ok(())
    })
}

fn text_of(server: &str, window: &RecoveryWindow) -> String {
    let mut lines = vec![match window.intervals.is_empty() {
        true => format!("Server {server}: nothing can be recovered"),
        false => format!("Server {server} can be recovered to any point"),
    }];
    let mut timeline: Option<TimelineId> = None;
    for interval in &window.intervals {
        if timeline.replace(interval.timeline) != Some(interval.timeline) {
            lines.push(format!("  of timeline {}", interval.timeline));
        }
        lines.push(format!("    {}", described(interval)));
    }
    lines.extend(window.gaps.iter().map(|gap| format!("  Missing: {}", gap_text(gap))));
    let damage = window.damage.iter();
    lines.extend(damage.map(|damage| format!("  Damaged: {} from {} on: {}", damage.name, damage.at, damage.what)));
    let broken = window.broken.iter();
    lines.extend(
        broken
            .map(|(id, segment)| format!("  Backup {id} cannot be restored: segment {segment} is missing or damaged")),
    );
    lines.join("\n")
}

fn described(interval: &RecoveryInterval) -> String {
    let RecoveryInterval { backup, start_lsn, end_lsn, start_time, end_time, unverified, .. } = interval;
    let start = start_time.map_or_else(String::new, |time| format!("{} ", local_with_offset(time)));
    let mut text =
        format!("from {start}({start_lsn}) to {} ({end_lsn}), with backup {backup}", local_with_offset(*end_time));
    if *unverified > 0 {
        text += &format!("; {unverified} segments were never verified");
    }
    text
}

fn gap_text(gap: &RecoveryGap) -> String {
    let missing = &gap.missing;
    let what = match missing.segments {
        1 => format!("segment {}", missing.first),
        segments => format!("{segments} segments from {} to {}", missing.first, missing.last),
    };
    let until = gap.until.map_or_else(|| "nothing behind it".to_owned(), |until| format!("nothing up to {until}"));
    format!(
        "{what}, since {}: {until} can be recovered on timeline {}",
        local_with_offset(missing.since),
        missing.first.timeline
    )
}

fn json_of(window: &RecoveryWindow) -> Value {
    let intervals: Vec<Value> = window
        .intervals
        .iter()
        .map(|interval| {
            json!({
                "timeline": interval.timeline.get(),
                "backup_id": interval.backup.to_string(),
                "start_lsn": interval.start_lsn.to_string(),
                "end_lsn": interval.end_lsn.to_string(),
                "start_time": interval.start_time.map(local_with_offset),
                "end_time": local_with_offset(interval.end_time),
                "unverified_segments": interval.unverified,
            })
        })
        .collect();
    let gaps: Vec<Value> = window
        .gaps
        .iter()
        .map(|gap| {
            json!({
                "timeline": gap.missing.first.timeline.get(),
                "first_segment": gap.missing.first.to_string(),
                "last_segment": gap.missing.last.to_string(),
                "segments": gap.missing.segments,
                "since": local_with_offset(gap.missing.since),
                "unreachable_until_lsn": gap.until.map(|until| until.to_string()),
            })
        })
        .collect();
    let damage: Vec<Value> = window
        .damage
        .iter()
        .map(|damage| json!({"segment": damage.name.to_string(), "lsn": damage.at.to_string(), "reason": damage.what}))
        .collect();
    let broken: Vec<Value> = window
        .broken
        .iter()
        .map(|(id, segment)| json!({"backup_id": id.to_string(), "segment": segment.to_string()}))
        .collect();
    json!({"intervals": intervals, "gaps": gaps, "damaged_wal": damage, "broken_backups": broken})
}
