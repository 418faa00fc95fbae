//! Checks of the way that WAL takes: received, delivered, archived.

use super::{CheckReport, Survey};
use crate::postgres::Postgres;
use crate::{Server, one_line};
use barman_catalog::{BackupInfo, ErrorFiles, Lock, Status};
use barman_storage::Cancel;
use std::time::{Duration, Instant};
use wal_format::{SystemId, Timestamp};

/// WAL arrives in the archive. Where there is none yet, what waits is archived first; then a segment is closed and
/// waited for, because a server at rest would otherwise never show that its WAL arrives.
pub(super) async fn wal_archive(
    server: &Server,
    sql: Option<&mut Postgres>,
    timeout: Option<Duration>,
    now: Timestamp,
    report: &mut CheckReport,
) {
    let proven = match has_wal(server) {
        Ok(true) => true,
        Ok(false) => {
            let connected = server.ask_for_cluster().await.ok().flatten();
            archive_once(server, connected, now) || wait_for_a_segment(server, sql, connected, timeout, now).await
        }
        Err(error) => return report.fail("WAL archive", one_line(&error)),
    };
    if !proven {
        report.fail("WAL archive", "please make sure WAL shipping is setup");
    }
}

fn has_wal(server: &Server) -> Result<bool, crate::Error> {
    let catalog = server.catalog();
    let waits = |info: &BackupInfo| info.status == Status::WaitingForWals;
    Ok(!catalog.xlog_db()?.is_empty()? || catalog.backups()?.iter().any(waits))
}

fn archive_once(server: &Server, connected: Option<SystemId>, now: Timestamp) -> bool {
    // Why archiving fails is what `archive-wal` tells; here it counts whether anything is in the archive afterwards.
    let _ = server.archive_wal(connected, now, &Cancel::new(), &mut |_| {});
    has_wal(server).unwrap_or(false)
}

async fn wait_for_a_segment(
    server: &Server,
    sql: Option<&mut Postgres>,
    connected: Option<SystemId>,
    timeout: Option<Duration>,
    now: Timestamp,
) -> bool {
    const POLL: Duration = Duration::from_millis(200);
    let Some(sql) = sql else {
        return false;
    };
    if sql.switch_wal(false).await.is_err() {
        return false;
    }
    let patience = timeout.map_or(Duration::from_secs(10), |timeout| timeout / 3);
    let started = Instant::now();
    while started.elapsed() < patience {
        tokio::time::sleep(POLL).await;
        if archive_once(server, connected, now) {
            return true;
        }
    }
    false
}

/// What waits in `incoming/` and `streaming/`.
pub(super) fn queues(server: &Server, report: &mut CheckReport) {
    let config = server.config();
    let waiting = match server.catalog().waiting_wal() {
        Ok(waiting) => waiting,
        Err(error) => return report.fail("incoming WALs directory", one_line(&error)),
    };
    if !config.archiver && waiting.incoming > 0 {
        let directory = config.incoming_wals_directory.display();
        report.fail("empty incoming directory", format!("'{directory}' must be empty when archiver=off"));
    }
    // A receiver that was switched off leaves the segment it was writing.
    if !config.streaming_archiver && waiting.streaming > 1 {
        let directory = config.streaming_wals_directory.display();
        report.fail("empty streaming directory", format!("'{directory}' must be empty when streaming_archiver=off"));
    }
    let Some(limit) = config.max_incoming_wals_queue else {
        return;
    };
    for (name, count) in
        [("incoming WALs directory", waiting.incoming), ("streaming WALs directory", waiting.streaming)]
    {
        if count > limit {
            report.fail(name, format!("there are too many WALs in queue: {count}, max {limit}"));
        }
    }
}

/// The WAL receiver: its protocol is built in; whether it runs, its lock says.
pub(super) fn receiver(server: &Server, report: &mut CheckReport) {
    if !server.config().streaming_archiver {
        return;
    }
    report.pass("pg_receivexlog");
    report.pass("pg_receivexlog compatible");
    match server.catalog().lock_holder(Lock::ReceiveWal) {
        Ok(Some(_)) => report.pass("receive-wal running"),
        Ok(None) => report.fail("receive-wal running", "See the Barman log file for more details"),
        Err(error) => report.fail("receive-wal running", one_line(&error)),
    }
}

/// The server's own archiver, where WAL is to come from it.
pub(super) async fn server_archiver(server: &Server, sql: Option<&mut Postgres>, report: &mut CheckReport) {
    let Some(sql) = sql.filter(|_| server.config().archiver) else {
        return;
    };
    let archiver = match sql.archiver().await {
        Ok(archiver) => archiver,
        Err(error) => return report.fail("archive_mode", one_line(&error)),
    };
    let enabled = matches!(archiver.mode.as_str(), "on" | "always");
    report.push("archive_mode", enabled, if enabled { "" } else { "please set it to 'on' or 'always'" });
    let set = !archiver.command.is_empty() && archiver.command != "(disabled)";
    report.push("archive_command", set, if set { "" } else { "please set it accordingly to documentation" });
    if let Some(works) = archiver.is_archiving {
        report.push("continuous archiving", works, "");
    }
}

/// What could not be archived and waits for somebody to look at it.
pub(super) fn errors(server: &Server, report: &mut CheckReport) {
    match server.catalog().error_files() {
        Ok(found) if found == ErrorFiles::default() => report.pass("archiver errors"),
        Ok(found) => report.fail("archiver errors", summary(found)),
        Err(error) => report.fail("archiver errors", one_line(&error)),
    }
}

fn summary(found: ErrorFiles) -> String {
    let counts = [
        ("duplicates", found.duplicates),
        ("unknown", found.unknown),
        ("refused", found.refused),
        ("not relevant", found.not_relevant),
        ("unknown failure", found.other),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(what, count)| format!("{what}: {count}")).collect::<Vec<_>>().join(", ")
}

/// Whether the WAL behind the backups is all there and can be believed. Silent while it is.
pub(super) fn recoverable(server: &Server, survey: Survey, now: Timestamp, report: &mut CheckReport) {
    let window = match server.recovery_window_of(&survey.backups, survey.wal, now) {
        Ok(window) => window,
        Err(error) => return report.fail("WAL gaps", one_line(&error)),
    };
    if let Some(gap) = window.gaps.first() {
        let (first, last) = (gap.missing.first, gap.missing.last);
        let segments: u64 = window.gaps.iter().map(|gap| gap.missing.segments).sum();
        report
            .fail("WAL gaps", format!("{segments} segments are missing, first {first} to {last}: see recovery-window"));
    }
    if let Some(damage) = window.damage.first() {
        let (name, at) = (damage.name, damage.at);
        report
            .fail("WAL damage", format!("{name} cannot be replayed from {at} on: take a backup, see recovery-window"));
    }
}
