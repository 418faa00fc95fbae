//! The plan as text: what goes and what stays, each with its reason.

use super::Report;
use crate::output::time::ctime;
use crate::output::window;
use barman_catalog::{BackupId, BackupTime};
use barman_retention::{Forecast, Keep, Reason, RecoveryWindow, Target, Verdict, WalRange, WalRule};
use barman_server::{human, one_line};
use wal_format::Timestamp;

pub(super) fn of(server: &str, report: &Report<'_>) -> String {
    let plan = report.plan;
    let mut lines = vec![format!("Server {server}: {} (at {})", report.rules, time(report, report.now))];
    if let Some(stop) = &plan.stop {
        lines.push(format!("NOT ENFORCED: {}", one_line(stop)));
    }
    lines.push("Backups:".to_owned());
    lines.extend(plan.verdicts.iter().map(|verdict| backup(report, verdict)));
    lines.push("WAL:".to_owned());
    lines.extend(plan.wal.iter().map(|range| wal(report, range)));
    lines.push("Recovery window now:".to_owned());
    lines.extend(window_lines(&plan.before));
    lines.push("Recovery window afterwards:".to_owned());
    lines.extend(window_lines(&plan.after));
    lines.push(format!("Frees {}, keeps {}", human::size_of(plan.freed_bytes), human::size_of(plan.kept_bytes)));
    if let Some(bytes) = plan.bytes_over_limit {
        lines.push(format!("WARNING: that is {} above the limit of the policy", human::size_of(bytes)));
    }
    lines.extend(report.forecast.iter().flat_map(|forecast| forecast_lines(report, forecast)));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn time(report: &Report<'_>, at: Timestamp) -> String {
    ctime(BackupTime::in_zone(at, &report.context.zone))
}

fn backup(report: &Report<'_>, verdict: &Verdict<BackupId>) -> String {
    let standalone = report.plan.standalone.contains(&verdict.id);
    let alone = if standalone { ", without the WAL behind it" } else { "" };
    format!("  {} {:15} {}{alone}", verdict.id, verdict.status, reason(report, &verdict.reason))
}

/// Why a backup stays or goes.
fn reason(report: &Report<'_>, reason: &Reason<BackupId>) -> String {
    let since = |start: &Timestamp| time(report, *start);
    match reason {
        Reason::NotDone => "not complete: no policy considers it".to_owned(),
        Reason::Kept(keep) => kept(keep, since),
        Reason::AmongNewest { position, redundancy } => format!("number {position} of the newest {redundancy}"),
        Reason::BeyondRedundancy { redundancy, .. } => format!("{redundancy} newer backups are kept"),
        Reason::InsideWindow { window_start } => format!("within the window, which begins {}", since(window_start)),
        Reason::ReachesWindow { window_start } => {
            format!("the window, which begins {}, is reached from it", since(window_start))
        }
        Reason::BeforeWindow { window_start } => {
            format!("a newer backup reaches the window, which begins {}", since(window_start))
        }
        Reason::NewestOfPeriod { period, position, count } => format!("number {position} of {count} {period}"),
        Reason::NoPeriod => "a newer backup stands for its day, week, month and year".to_owned(),
        Reason::HeldByMinimumRedundancy { position, minimum_redundancy } => {
            format!("no rule needs it, but it is number {position} of at least {minimum_redundancy} backups")
        }
        Reason::FollowsRoot { root, status } => format!("builds on {root}, which is {status}"),
        Reason::Orphan { root } => format!("builds on {root}, which is not there"),
        Reason::DeletionBegun => "its deletion was interrupted: parts of it may be gone".to_owned(),
        _ => String::new(),
    }
}

fn kept(keep: &Keep, time: impl Fn(&Timestamp) -> String) -> String {
    let until = keep.until.as_ref().map(|until| format!(" until {}", time(until)));
    let with = match keep.target {
        Target::Full => "with all later WAL",
        Target::Standalone => "for itself",
    };
    format!("kept by a user {with}{}", until.unwrap_or_default())
}

fn wal(report: &Report<'_>, range: &WalRange<BackupId>) -> String {
    let names =
        if range.first == range.last { range.first.to_string() } else { format!("{} .. {}", range.first, range.last) };
    let files = if range.files == 1 { "1 file".to_owned() } else { format!("{} files", range.files) };
    let fate = match &range.rule {
        WalRule::FreedWith(id) => format!("goes with backup {id}"),
        WalRule::BeforeWalWindow { window_start } => {
            format!("goes: older than {}, and no backup needs it", time(report, *window_start))
        }
        WalRule::NeededBy(id) => format!("stays: backup {id} cannot be restored without it"),
        WalRule::Since(id) => format!("stays: recovery from backup {id}, or an older one, passes through it"),
        WalRule::NoBackup => "stays: no backup precedes it on its timeline, and no rule removes it".to_owned(),
        WalRule::History => "stays: recovery finds its way by it".to_owned(),
        _ => String::new(),
    };
    format!("  {names} ({files}, {}) {fate}", human::size_of(range.bytes))
}

fn window_lines(window: &RecoveryWindow<BackupId>) -> Vec<String> {
    let lines = window::lines(window);
    if lines.is_empty() { vec!["  nothing can be recovered".to_owned()] } else { lines }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn forecast_lines(report: &Report<'_>, forecast: &Forecast) -> Vec<String> {
    let mut lines = vec!["Forecast, if everything goes on as in the last weeks:".to_owned()];
    let Some(rates) = &forecast.rates else {
        lines.push("  too little to tell: two full backups and some WAL are needed".to_owned());
        return lines;
    };
    let bytes = |bytes: f64| human::size(bytes.max(0.0).trunc());
    lines.push(format!(
        "  {} of WAL a day, a backup of {} every {}",
        bytes(rates.wal_bytes_per_day),
        bytes(rates.backup_bytes),
        human::duration(std::time::Duration::from_secs_f64(86_400.0 / rates.backups_per_day.max(1e-6))),
    ));
    lines.push(format!("  {} are held now", human::size_of(forecast.held_bytes)));
    lines.push(match forecast.steady_bytes {
        Some(steady) => format!("  at most {} will be held in the long run", human::size_of(steady)),
        None => "  what is held goes on growing as far ahead as was looked".to_owned(),
    });
    lines.push(match forecast.full_at {
        Some(full) => format!("  THE DISK WILL BE FULL on {}", time(report, full)),
        None if forecast.steady_bytes.is_some() => "  the disk is large enough".to_owned(),
        None => "  the disk will not be full as far ahead as was looked".to_owned(),
    });
    lines
}
