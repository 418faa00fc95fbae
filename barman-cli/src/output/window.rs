//! What can be recovered, for people and for programs.

use crate::output::time::local_with_offset;
use barman_catalog::BackupId;
use barman_retention::{Broken, DamagedWal, Gap, Interval, RecoveryWindow};
use serde_json::{Value, json};
use wal_format::TimelineId;

/// Lines, each indented by two blanks at least.
pub(crate) fn lines(window: &RecoveryWindow<BackupId>) -> Vec<String> {
    let mut lines = Vec::new();
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
    let broken = |Broken { backup, segment }: &Broken<BackupId>| {
        format!("  Backup {backup} cannot be restored: segment {segment} is missing or damaged")
    };
    lines.extend(window.broken.iter().map(broken));
    lines
}

fn described(interval: &Interval<BackupId>) -> String {
    let Interval { backup, start_lsn, end_lsn, start_time, end_time, unverified, .. } = interval;
    let (start, end) = (local_with_offset(*start_time), local_with_offset(*end_time));
    let mut text = format!("from {start} ({start_lsn}) to {end} ({end_lsn}), with backup {backup}");
    if let Some(unverified) = unverified.filter(|segments| *segments > 0) {
        text += &format!("; {unverified} segments were never verified");
    }
    text
}

fn gap_text(gap: &Gap) -> String {
    let missing = &gap.missing;
    let what = match missing.segments {
        1 => format!("segment {}", missing.first),
        segments => format!("{segments} segments from {} to {}", missing.first, missing.last),
    };
    let until = gap.until.map_or_else(|| "nothing behind it".to_owned(), |until| format!("nothing up to {until}"));
    let since = local_with_offset(missing.since);
    format!("{what}, since {since}: {until} can be recovered on timeline {}", missing.first.timeline)
}

/// An object with an array for each kind of thing.
pub(crate) fn json(window: &RecoveryWindow<BackupId>) -> Value {
    json!({
        "intervals": window.intervals.iter().map(interval_json).collect::<Vec<_>>(),
        "gaps": window.gaps.iter().map(gap_json).collect::<Vec<_>>(),
        "damaged_wal": window.damage.iter().map(damage_json).collect::<Vec<_>>(),
        "broken_backups": window.broken.iter().map(broken_json).collect::<Vec<_>>(),
    })
}

fn interval_json(interval: &Interval<BackupId>) -> Value {
    json!({
        "timeline": interval.timeline.get(),
        "backup_id": interval.backup.to_string(),
        "start_lsn": interval.start_lsn.to_string(),
        "end_lsn": interval.end_lsn.to_string(),
        "start_time": local_with_offset(interval.start_time),
        "end_time": local_with_offset(interval.end_time),
        "unverified_segments": interval.unverified,
    })
}

fn gap_json(gap: &Gap) -> Value {
    json!({
        "timeline": gap.missing.first.timeline.get(),
        "first_segment": gap.missing.first.to_string(),
        "last_segment": gap.missing.last.to_string(),
        "segments": gap.missing.segments,
        "since": local_with_offset(gap.missing.since),
        "unreachable_until_lsn": gap.until.map(|until| until.to_string()),
    })
}

fn damage_json(damage: &DamagedWal) -> Value {
    json!({"segment": damage.name.to_string(), "lsn": damage.at.to_string(), "reason": damage.what})
}

fn broken_json(broken: &Broken<BackupId>) -> Value {
    json!({"backup_id": broken.backup.to_string(), "segment": broken.segment.to_string()})
}
