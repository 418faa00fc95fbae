//! Checks of what the catalog holds: age, size and number of the backups, age and size of the WAL.

use super::{CheckReport, Survey};
use crate::{Server, human, one_line, wal_storage};
use barman_catalog::{BackupId, BackupInfo, BackupType, Orphans, Status, WalStats};
use std::collections::BTreeSet;
use std::time::Duration;
use wal_format::Timestamp;

/// The check of backups of which one half is missing.
pub(super) const ORPHANS: &str = "orphan backups";

pub(super) fn check(server: &Server, survey: &Survey, now: Timestamp, report: &mut CheckReport) {
    let info = survey.newest.as_ref().map(|(info, _)| info);
    let wal = survey.newest.as_ref().map(|(_, wal)| wal);
    report.backup_bytes = info.and_then(|info| info.size).unwrap_or(0);
    report.wal_bytes = wal.map_or(0, |wal| wal.wal_until_next_size);
    maximum_age(server, info, now, report);
    minimum_size(server, info, report);
    wal_maximum_age(server, wal, now, report);
    report.push("wal size", true, human::size_of(report.wal_bytes));
    match wal_storage::of(server.config()) {
        Ok(_) => report.pass("compression settings"),
        Err(reason) => report.push("compression settings", false, reason),
    }
    failed_backups(&survey.backups, report);
    match server.catalog().orphans(&survey.backups) {
        Ok(orphans) => {
            redundancy(server, &survey.backups, &orphans, report);
            report_orphans(&orphans, report);
        }
        Err(error) => report.fail(ORPHANS, one_line(&error)),
    }
}

/// Silent while there are none.
fn report_orphans(Orphans { records, data }: &Orphans, report: &mut CheckReport) {
    let named = |what: &str, ids: &BTreeSet<BackupId>| {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        (!ids.is_empty()).then(|| format!("{what}: {}", ids.join(", ")))
    };
    let hints = [named("records without data", records), named("data without a record", data)];
    let hints: Vec<_> = hints.into_iter().flatten().collect();
    if !hints.is_empty() {
        report.fail(ORPHANS, hints.join("; "));
    }
}

fn maximum_age(server: &Server, newest: Option<&BackupInfo>, now: Timestamp, report: &mut CheckReport) {
    const NAME: &str = "backup maximum age";
    let Some(limit) = server.config().last_backup_maximum_age else {
        return report.push(NAME, true, "no last_backup_maximum_age provided");
    };
    let age = newest.and_then(|info| info.end_time).map(|end| since(end.instant(), now));
    let latest = age.map_or_else(|| "No available backups".to_owned(), human::duration);
    let hint = format!("interval provided: {}, latest backup age: {latest}", human::duration(limit));
    report.push(NAME, age.is_some_and(|age| age <= limit), hint);
}

fn minimum_size(server: &Server, newest: Option<&BackupInfo>, report: &mut CheckReport) {
    const NAME: &str = "backup minimum size";
    let size = newest.and_then(|info| info.size).unwrap_or(0);
    let Some(minimum) = server.config().last_backup_minimum_size else {
        return report.push(NAME, true, human::size_of(size));
    };
    let (passed, sign) = if size >= minimum { (true, ">") } else { (false, "<") };
    let hint = format!("last backup size {} {sign} {} minimum", human::size_of(size), human::size_of(minimum));
    report.push(NAME, passed, hint);
}

fn wal_maximum_age(server: &Server, wal: Option<&WalStats>, now: Timestamp, report: &mut CheckReport) {
    const NAME: &str = "wal maximum age";
    let Some(limit) = server.config().last_wal_maximum_age else {
        return report.push(NAME, true, "no last_wal_maximum_age provided");
    };
    let age = wal.and_then(|wal| wal.last_modified).and_then(|seconds| age_of(seconds, now));
    let latest = age.map_or_else(|| "No WAL archived for the last backup".to_owned(), human::duration);
    let hint = format!("interval provided: {}, latest wal age: {latest}", human::duration(limit));
    report.push(NAME, age.is_some_and(|age| age <= limit), hint);
}

fn failed_backups(backups: &[BackupInfo], report: &mut CheckReport) {
    let failed = backups.iter().filter(|info| info.status == Status::Failed).count();
    report.push("failed backups", failed == 0, format!("there are {failed} failed backups"));
}

fn redundancy(server: &Server, backups: &[BackupInfo], orphans: &Orphans, report: &mut CheckReport) {
    let counts = |info: &&BackupInfo| {
        info.status == Status::Done
            && info.backup_type() != Some(BackupType::Incremental)
            && !orphans.records.contains(&info.backup_id)
    };
    let have = backups.iter().filter(counts).count();
    let expected = server.config().minimum_redundancy;
    let enough = u32::try_from(have).map_or(true, |have| have >= expected);
    let hint = format!("have {have} non-incremental backups, expected at least {expected}");
    report.push("minimum redundancy requirements", enough, hint);
}

/// Returns how long ago `then` was; a time ahead of the clock is no time ago.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    let micros = now.unix_micros().saturating_sub(then.unix_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Returns how long ago a file was written; `seconds` count from 1970.
fn age_of(seconds: f64, now: Timestamp) -> Option<Duration> {
    let then = Duration::try_from_secs_f64(seconds).ok()?;
    let now = Duration::from_micros(u64::try_from(now.unix_micros()).ok()?);
    Some(now.saturating_sub(then))
}
