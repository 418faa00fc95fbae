//! The plan as JSON. Every reason is an object with a `rule` and what it depends on.

use super::Report;
use crate::output::window;
use barman_catalog::{BackupId, BackupTime};
use barman_retention::{Backup, Forecast, Keep, Reason, Verdict, WalRange, WalRule};
use barman_server::one_line;
use serde_json::{Value, json};
use wal_format::Timestamp;

pub(super) fn of(report: &Report<'_>) -> Value {
    let plan = report.plan;
    json!({
        "policy": report.rules.to_string(),
        "at": time(report, report.now),
        "not_enforced": plan.stop.as_ref().map(|stop| one_line(stop)),
        "backups": plan.verdicts.iter().map(|verdict| backup(report, verdict)).collect::<Vec<_>>(),
        "wal": plan.wal.iter().map(|range| wal(report, range)).collect::<Vec<_>>(),
        "recovery_window": { "now": window::json(&plan.before), "afterwards": window::json(&plan.after) },
        "freed_bytes": plan.freed_bytes,
        "kept_bytes": plan.kept_bytes,
        "bytes_over_limit": plan.bytes_over_limit,
        "forecast": report.forecast.as_ref().map(|forecast| forecast_of(report, forecast)),
    })
}

fn time(report: &Report<'_>, at: Timestamp) -> String {
    BackupTime::in_zone(at, &report.context.zone).to_string()
}

fn backup(report: &Report<'_>, verdict: &Verdict<BackupId>) -> Value {
    let found = report.inventory.backups.iter().find(|backup| backup.candidate.id == verdict.id);
    json!({
        "backup_id": verdict.id.to_string(),
        "status": verdict.status.as_str(),
        "deleted": report.plan.deletions.contains(&verdict.id),
        "without_later_wal": report.plan.standalone.contains(&verdict.id),
        "size_bytes": found.map(|backup: &Backup<BackupId>| backup.size),
        "reason": reason(report, &verdict.reason),
    })
}

fn reason(report: &Report<'_>, reason: &Reason<BackupId>) -> Value {
    let at = |start: &Timestamp| time(report, *start);
    match reason {
        Reason::NotDone => json!({ "rule": "not_done" }),
        Reason::Kept(Keep { target, until: None }) => json!({ "rule": "kept", "target": target.as_str() }),
        Reason::Kept(Keep { target, until: Some(until) }) => {
            json!({ "rule": "kept", "target": target.as_str(), "until": at(until) })
        }
        Reason::AmongNewest { position, redundancy } => {
            json!({ "rule": "among_newest", "position": position, "redundancy": redundancy })
        }
        Reason::BeyondRedundancy { position, redundancy } => {
            json!({ "rule": "beyond_redundancy", "position": position, "redundancy": redundancy })
        }
        Reason::InsideWindow { window_start } => json!({ "rule": "inside_window", "window_start": at(window_start) }),
        Reason::ReachesWindow { window_start } => json!({ "rule": "reaches_window", "window_start": at(window_start) }),
        Reason::BeforeWindow { window_start } => json!({ "rule": "before_window", "window_start": at(window_start) }),
        Reason::NewestOfPeriod { period, position, count } => {
            json!({ "rule": "newest_of_period", "period": period.to_string(), "position": position, "count": count })
        }
        Reason::NoPeriod => json!({ "rule": "no_period" }),
        Reason::HeldByMinimumRedundancy { position, minimum_redundancy } => {
            json!({ "rule": "minimum_redundancy", "position": position, "minimum_redundancy": minimum_redundancy })
        }
        Reason::FollowsRoot { root, status } => {
            json!({ "rule": "follows_root", "root": root.to_string(), "status": status.as_str() })
        }
        Reason::Orphan { root } => json!({ "rule": "orphan", "root": root.to_string() }),
        Reason::DeletionBegun => json!({ "rule": "deletion_begun" }),
        _ => json!({ "rule": "other" }),
    }
}

fn wal(report: &Report<'_>, range: &WalRange<BackupId>) -> Value {
    let (rule, backup, window_start) = match &range.rule {
        WalRule::FreedWith(id) => ("freed_with", Some(id), None),
        WalRule::BeforeWalWindow { window_start } => ("before_wal_window", None, Some(*window_start)),
        WalRule::NeededBy(id) => ("needed_by", Some(id), None),
        WalRule::Since(id) => ("since", Some(id), None),
        WalRule::NoBackup => ("no_backup", None, None),
        WalRule::History => ("history", None, None),
        _ => ("other", None, None),
    };
    json!({
        "first": range.first.to_string(),
        "last": range.last.to_string(),
        "files": range.files,
        "size_bytes": range.bytes,
        "deleted": range.rule.is_removal(),
        "reason": {
            "rule": rule,
            "backup_id": backup.map(BackupId::to_string),
            "window_start": window_start.map(|start| time(report, start)),
        },
    })
}

fn forecast_of(report: &Report<'_>, forecast: &Forecast) -> Value {
    json!({
        "wal_bytes_per_day": forecast.rates.map(|rates| rates.wal_bytes_per_day.round()),
        "backups_per_day": forecast.rates.map(|rates| rates.backups_per_day),
        "backup_bytes": forecast.rates.map(|rates| rates.backup_bytes.round()),
        "held_bytes": forecast.held_bytes,
        "steady_bytes": forecast.steady_bytes,
        "full_at": forecast.full_at.map(|at| time(report, at)),
    })
}
