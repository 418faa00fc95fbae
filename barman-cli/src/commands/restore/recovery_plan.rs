//! A plan in words and as values.

use std::num::NonZeroU64;

use crate::output::time::local_with_offset;
use barman_catalog::BackupInfo;
use barman_pitr::{
    ExpectedTime, IncludedSetting, Leg, MinimumSettings, NamedPoint, PlanWarning, PlannedScratch, PlannedSpace,
    PlannedStop, RecoveryPlan, RestorePlan, Review, StopReason, TransactionPoint,
};
use barman_server::human;
use serde_json::{Map, Value, json};
use std::time::Duration;
use wal_format::SegmentName;

/// What is shown: a recovery, and the restore around it if a destination was given.
pub(in crate::commands) struct Shown<'a> {
    pub(in crate::commands) recovery: &'a RecoveryPlan,
    pub(in crate::commands) restore: Option<&'a RestorePlan>,
    /// The zone in which times without one were read.
    pub(in crate::commands) zone: &'a str,
}

impl Shown<'_> {
    pub(in crate::commands) fn warnings(&self) -> &[PlanWarning] {
        self.restore.map_or(&self.recovery.warnings, |plan| &plan.warnings)
    }
}

pub(in crate::commands) fn text(server: &str, shown: &Shown<'_>) -> String {
    let RecoveryPlan { backup, ancestors, target, path, wal, stop, .. } = shown.recovery;
    let end = backup.end_time.map_or_else(String::new, |time| format!(", taken until {time}"));
    let mut lines = vec![format!("Recovery of server {server}")];
    lines.push(format!("  Backup: {}{end}", backup.backup_id));
    lines.extend(builds_on(ancestors));
    let described = super::target::described(target, shown.recovery.timeline());
    let described = if described.is_empty() { "the end of the archived WAL".to_owned() } else { described };
    let exclusive = if target.exclusive { ", exclusive" } else { "" };
    lines.push(format!("  Target: {described}{exclusive} (times without a zone are {})", shown.zone));
    lines.push(format!("  Timelines: {}", path.legs().iter().map(leg_text).collect::<Vec<_>>().join(", then ")));
    lines.push(format!(
        "  WAL: {} from {} to {}, {} ({} stored)",
        segments(wal.segments),
        wal.first,
        wal.last,
        human::size_of(wal.bytes),
        human::size_of(wal.stored_bytes)
    ));
    lines.extend(unverified(&wal.unverified));
    lines.extend(stop.iter().flat_map(stop_lines));
    lines.extend(shown.restore.iter().flat_map(|plan| restore_lines(plan)));
    lines.join("\n")
}

/// The rest of the chain of an incremental backup, the full one first.
fn builds_on(ancestors: &[BackupInfo]) -> Option<String> {
    let ids: Vec<_> = ancestors.iter().map(|info| info.backup_id.to_string()).collect();
    (!ids.is_empty()).then(|| format!("  Incremental, on top of: {}", ids.join(", then ")))
}

fn segments(count: u64) -> String {
    if count == 1 { "1 segment".to_owned() } else { format!("{count} segments") }
}

fn leg_text(leg: &Leg) -> String {
    let end = leg.end.map_or_else(String::new, |end| format!(" up to {end}"));
    format!("{}{end}", leg.timeline)
}

/// The first of them; all are in the JSON.
fn unverified(names: &[SegmentName]) -> Vec<String> {
    const NAMED: usize = 5;
    let listed: Vec<_> = names.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
    match listed.as_slice() {
        [] => Vec::new(),
        listed => vec![format!("  Not verified yet: {}{more}", listed.join(", "))],
    }
}

pub(super) fn stop_lines(stop: &PlannedStop) -> Vec<String> {
    let replayed = if stop.is_replayed { "behind" } else { "in front of" };
    let mut lines = vec![format!(
        "  Recovery stops {replayed} the record at {} on timeline {}, with WAL replayed to {}",
        stop.at, stop.timeline, stop.replayed_to
    )];
    match stop.reason {
        StopReason::EquivalentLsn { lsn, proven } => lines.push(format!(
            "    Nothing was committed between the last commit and the target; the WAL proves the time {}. The settings \
             say recovery_target_lsn = '{lsn}' instead of the time",
            local_with_offset(proven)
        )),
        StopReason::EndOfWal => lines.push("    That is the end of the archived WAL".to_owned()),
        StopReason::Target => {}
    }
    let last = stop.last_transaction.as_ref().map_or_else(|| "none but those of the backup".to_owned(), point_text);
    lines.push(format!("    Last transaction in: {last}"));
    let first = stop.first_left_out.as_ref().map_or_else(|| "none in the archive".to_owned(), point_text);
    lines.push(format!("    First one left out: {first}"));
    lines.extend(namesakes(&stop.restore_points));
    lines
}

fn namesakes(points: &[NamedPoint]) -> Vec<String> {
    match points {
        [_, _, ..] => {
            let listed = points.iter().map(|point| format!("      {}, {}", point.lsn, local_with_offset(point.at)));
            let head = format!("    There are {} restore points of this name; the first one counts:", points.len());
            std::iter::once(head).chain(listed).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn point_text(point: &TransactionPoint) -> String {
    let what = if point.committed { "committed" } else { "rolled back" };
    format!("{} {what} at {} ({})", full_xid(point), local_with_offset(point.at), point.lsn)
}

fn restore_lines(plan: &RestorePlan) -> Vec<String> {
    let mut lines = vec![format!("  Destination: {}", plan.destination.display())];
    let tablespaces = plan.tablespaces.iter();
    lines.extend(tablespaces.map(|one| format!("  Tablespace {}: {}", one.name, one.location.display())));
    lines.push(format!(
        "  To copy: {} of data, {} of WAL",
        human::size_of(plan.data_bytes()),
        human::size_of(plan.wal_bytes())
    ));
    lines.extend(plan.scratch.iter().map(scratch_line));
    lines.extend(plan.space.iter().map(space_line));
    if let Some(signal) = plan.configuration.signal {
        lines.push(format!("  Makes {}", signal.file_name()));
    }
    if !plan.configuration.settings.is_empty() {
        lines.push(format!("  Adds to {}:", plan.configuration.file.as_path().display()));
        lines.extend(plan.configuration.settings.lines().map(|line| format!("    {line}")));
    }
    if let Some(minimum) = &plan.review.minimum {
        let named = minimum.named().map(|(name, value)| format!("{name} = {value}"));
        lines.push(format!("  The server needs at least {}", named.join(", ")));
    }
    let low = plan.review.low.iter();
    lines.extend(low.map(|low| format!("  Too low: {} = {}, recovery needs {}", low.name, low.found, low.needed)));
    let dangerous = plan.review.dangerous.iter();
    lines.extend(dangerous.map(|one| format!("  Review {} line {}: {} = {}", one.file, one.line, one.key, one.value)));
    lines.extend(review_texts(&plan.review).into_iter().map(|text| format!("  Review {text}")));
    lines.extend(expected_line(&plan.expected_time));
    lines
}

/// What of the restored configuration, and of the host, an operator has to know.
pub(super) fn review_texts(review: &Review) -> Vec<String> {
    let tying = review.tying.iter().map(|one| {
        let effect = match one.name {
            "synchronous_standby_names" => "commits will wait for standbys of the original",
            _ => "a standby would follow the server that the original followed",
        };
        format!("{} line {}: {} is set: {effect}", one.file, one.line, one.name)
    });
    let included = review.included.iter().map(|one| {
        let effect = if one.is_overridden { "postgresql.auto.conf overrides it" } else { "it stays as it was" };
        format!("{} line {}: {} is set in an included file: {effect}", one.file, one.line, one.key)
    });
    let missing = review.missing_server.iter().map(|missing| {
        let found: Vec<String> = missing.found.iter().map(ToString::to_string).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        format!("the host: PostgreSQL {} was not found where packages put it (found: {found})", missing.needed)
    });
    missing.chain(tying).chain(included).collect()
}

/// Nothing, where nothing was measured yet.
fn expected_line(expected: &ExpectedTime) -> Option<String> {
    let total = expected.total()?;
    let parts = [(expected.data, "data"), (expected.wal, "WAL"), (expected.replay, "replay")];
    let parts = parts.into_iter().filter_map(|(time, what)| Some(format!("{what} {}", about(time?))));
    let parts: Vec<String> = parts.collect();
    let restores = if expected.restores == 1 { "restore" } else { "restores" };
    Some(format!(
        "  Time: about {} ({}), as in {} earlier {restores}",
        about(total),
        parts.join(", "),
        expected.restores
    ))
}

fn about(time: Duration) -> String {
    const MINUTE: u64 = 60;
    match time.as_secs() {
        seconds @ 0..MINUTE => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", seconds.div_ceil(MINUTE)),
    }
}

fn scratch_line(scratch: &PlannedScratch) -> String {
    let (bytes, place) = (human::size_of(scratch.bytes), scratch.place.display());
    format!("  {bytes} of changed blocks is kept aside until the end, on the file system of {place}")
}

fn space_line(space: &PlannedSpace) -> String {
    let places: Vec<_> = space.places.iter().map(|place| place.display().to_string()).collect();
    let verdict = if space.suffices() { "" } else { ": NOT ENOUGH" };
    let (needed, free) = (human::size_of(space.needed), human::size_of(space.free));
    format!("  Space for {}: {needed} needed, {free} free{verdict}", places.join(", "))
}

pub(in crate::commands) fn json(shown: &Shown<'_>) -> Value {
    let RecoveryPlan { backup, ancestors, target, path, wal, stop, .. } = shown.recovery;
    let legs: Vec<Value> = path
        .legs()
        .iter()
        .map(|leg| {
            json!({
                "timeline": leg.timeline.get(),
                "start_lsn": leg.start.map(|lsn| lsn.to_string()),
                "end_lsn": leg.end.map(|lsn| lsn.to_string()),
            })
        })
        .collect();
    let unverified: Vec<String> = wal.unverified.iter().map(ToString::to_string).collect();
    let mut value = Map::new();
    value.insert("backup_id".to_owned(), json!(backup.backup_id.to_string()));
    let ids: Vec<String> = ancestors.iter().map(|info| info.backup_id.to_string()).collect();
    value.insert("builds_on".to_owned(), json!(ids));
    value.insert("time_zone".to_owned(), json!(shown.zone));
    value.insert("exclusive".to_owned(), json!(target.exclusive));
    value.insert("timelines".to_owned(), json!(legs));
    value.insert(
        "wal".to_owned(),
        json!({
            "first_segment": wal.first.to_string(),
            "last_segment": wal.last.to_string(),
            "segments": wal.segments,
            "bytes": wal.bytes,
            "stored_bytes": wal.stored_bytes,
            "unverified_segments": unverified,
        }),
    );
    value.insert("stop".to_owned(), stop.as_ref().map_or(Value::Null, stop_json));
    if let Some(plan) = shown.restore {
        value.insert("restore".to_owned(), restore_json(plan));
    }
    Value::Object(value)
}

fn stop_json(stop: &PlannedStop) -> Value {
    let (reason, lsn) = match stop.reason {
        StopReason::Target => ("target", None),
        StopReason::EndOfWal => ("end_of_wal", None),
        StopReason::EquivalentLsn { lsn, .. } => ("equivalent_lsn", Some(lsn.to_string())),
    };
    json!({
        "reason": reason,
        "recovery_target_lsn": lsn,
        "record_lsn": stop.at.to_string(),
        "record_is_replayed": stop.is_replayed,
        "replayed_to_lsn": stop.replayed_to.to_string(),
        "timeline": stop.timeline.get(),
        "last_transaction": stop.last_transaction.as_ref().map(point_json),
        "first_left_out": stop.first_left_out.as_ref().map(point_json),
        "restore_points": stop.restore_points.iter().map(named_json).collect::<Vec<_>>(),
    })
}

/// As `txid_current()` and `pg_current_xact_id()` show it, as far as that is known.
fn full_xid(point: &TransactionPoint) -> u64 {
    point.full_xid.map_or(point.xid.into(), NonZeroU64::get)
}

pub(in crate::commands) fn point_json(point: &TransactionPoint) -> Value {
    json!({
        "xid": full_xid(point),
        "time": local_with_offset(point.at),
        "lsn": point.lsn.to_string(),
        "committed": point.committed,
    })
}

fn named_json(point: &NamedPoint) -> Value {
    json!({"name": point.name, "time": local_with_offset(point.at), "lsn": point.lsn.to_string()})
}

fn restore_json(plan: &RestorePlan) -> Value {
    let minimum = |minimum: &MinimumSettings| {
        Value::Object(minimum.named().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
    };
    json!({
        "destination": plan.destination,
        "data_bytes": plan.data_bytes(),
        "wal_bytes": plan.wal_bytes(),
        "tablespaces": plan.tablespaces.iter().map(|one| json!({"name": one.name, "location": one.location})).collect::<Vec<_>>(),
        "scratch": plan.scratch.as_ref().map(|scratch| json!({"place": scratch.place, "bytes": scratch.bytes})),
        "space": plan.space.iter().map(|space| json!({
            "places": space.places,
            "needed_bytes": space.needed,
            "free_bytes": space.free,
            "suffices": space.suffices(),
        })).collect::<Vec<_>>(),
        "signal_file": plan.configuration.signal.map(barman_pitr::Signal::file_name),
        "settings_file": plan.configuration.file.as_path(),
        "settings": plan.configuration.settings.lines().collect::<Vec<_>>(),
        "minimum_settings": plan.review.minimum.as_ref().map(minimum),
        "low_settings": plan.review.low.iter().map(|low| json!({"name": low.name, "found": low.found, "needed": low.needed})).collect::<Vec<_>>(),
        "dangerous_settings": plan.review.dangerous,
        "tying_settings": plan.review.tying.iter().map(|one| json!({"name": one.name, "file": one.file, "line": one.line})).collect::<Vec<_>>(),
        "included_settings": plan.review.included.iter().map(included_json).collect::<Vec<_>>(),
        "missing_server": plan.review.missing_server.as_ref().map(|one| json!({"needed": one.needed, "found": one.found})),
        "expected_seconds": expected_json(&plan.expected_time),
    })
}

fn included_json(one: &IncludedSetting) -> Value {
    json!({"file": one.file, "line": one.line, "name": one.key, "is_overridden": one.is_overridden})
}

fn expected_json(expected: &ExpectedTime) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "data": seconds(expected.data),
        "wal": seconds(expected.wal),
        "replay": seconds(expected.replay),
        "restores": expected.restores,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spoken_of_as_far_as_they_were_measured() {
        assert_eq!(expected_line(&ExpectedTime::default()), None);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let data = ExpectedTime { data: seconds(61), restores: 1, ..ExpectedTime::default() };
        let line = "  Time: about 2 min (data 2 min), as in 1 earlier restore";
        assert_eq!(expected_line(&data).as_deref(), Some(line));
        let all = ExpectedTime { data: seconds(600), wal: seconds(0), replay: seconds(59), restores: 3 };
        let line = "  Time: about 11 min (data 10 min, WAL 1 s, replay 59 s), as in 3 earlier restores";
        assert_eq!(expected_line(&all).as_deref(), Some(line));
    }
}
