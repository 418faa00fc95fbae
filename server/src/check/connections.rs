//! Checks of what PostgreSQL says of itself: reachable, privileged, streaming, with a slot.

use super::CheckReport;
use crate::postgres::Postgres;
use crate::{Error, Server, one_line};
use replication_client::SystemIdentity;
use wal_format::SystemId;

/// The connections that one run of the checks shares; a failed one is a finding.
pub(super) struct Connections {
    sql: Result<Postgres, Error>,
    /// `None` where the configuration needs no streaming.
    streaming: Option<Result<SystemIdentity, Error>>,
}

impl Connections {
    pub(super) fn sql(&mut self) -> Option<&mut Postgres> {
        self.sql.as_mut().ok()
    }
}

pub(super) async fn open(server: &Server) -> Connections {
    let streaming = if server.uses_streaming() { Some(server.identify_system().await) } else { None };
    Connections { sql: server.connect().await, streaming }
}

pub(super) async fn check(server: &Server, connections: &mut Connections, report: &mut CheckReport) {
    match &mut connections.sql {
        Ok(sql) => {
            report.pass("PostgreSQL");
            privileges(sql, report).await;
        }
        Err(error) => report.fail("PostgreSQL", one_line(error)),
    }
    match &connections.streaming {
        Some(Ok(_)) => report.pass("PostgreSQL streaming"),
        Some(Err(error)) => report.fail("PostgreSQL streaming", one_line(error)),
        None => {}
    }
    if let Ok(sql) = &mut connections.sql {
        wal_level(sql, "wal_level", report).await;
    }
    wal_connections(server, connections, report).await;
    remote_apply(server, connections, report).await;
}

/// Warns where commits wait until the receiver has applied their WAL: it stores WAL and applies none. Barman has no such
/// check, so that its line is there only with something to say.
async fn remote_apply(server: &Server, connections: &mut Connections, report: &mut CheckReport) {
    let Some(sql) = connections.sql().filter(|_| server.config().streaming_archiver) else { return };
    let standby = &server.config().streaming_archiver_name;
    let (Ok(standbys), Ok(level)) =
        (sql.setting("synchronous_standby_names").await, sql.setting("synchronous_commit").await)
    else {
        return;
    };
    if level == "remote_apply" && barman_backup::names_standby(&standbys, standby) {
        let hint = format!(
            "WARNING: commits may wait for ever: synchronous_standby_names lists '{standby}', which applies no WAL, and \
             synchronous_commit is remote_apply"
        );
        report.push("synchronous_commit", true, hint);
    }
}

/// Checks the host that WAL comes from, which `wal_conninfo` and `wal_streaming_conninfo` may set apart.
async fn wal_connections(server: &Server, connections: &mut Connections, report: &mut CheckReport) {
    if !server.has_wal_overrides() {
        if let Ok(sql) = &mut connections.sql {
            slot(server, sql, "replication slot", report).await;
        }
        return;
    }
    match server.connect_for_wal().await {
        Ok(mut sql) => {
            let allowed = sql.has_monitoring_privileges().await.unwrap_or(false);
            let name = if allowed { "has monitoring privileges" } else { "no access to monitoring functions" };
            report.push(&format!("{name} (WAL streaming)"), allowed, "");
            wal_level(&mut sql, "wal_level (WAL streaming)", report).await;
            slot(server, &mut sql, "replication slot (WAL streaming)", report).await;
        }
        Err(error) => report.fail("no access to monitoring functions (WAL streaming)", one_line(&error)),
    }
    match server.identify_wal_system().await {
        Ok(_) => report.pass("PostgreSQL streaming (WAL streaming)"),
        Err(error) => report.fail("PostgreSQL streaming (WAL streaming)", one_line(&error)),
    }
}

async fn privileges(sql: &mut Postgres, report: &mut CheckReport) {
    match sql.has_backup_privileges().await {
        Ok(true) => report.pass("superuser or standard user with backup privileges"),
        Ok(false) => report.fail("no access to backup functions", "the role lacks EXECUTE on them, or pg_monitor"),
        Err(error) => report.fail("no access to backup functions", one_line(&error)),
    }
}

async fn wal_level(sql: &mut Postgres, name: &str, report: &mut CheckReport) {
    match sql.setting("wal_level").await {
        Ok(level) if level == "minimal" => report.fail(name, "please set it to a higher level than 'minimal'"),
        Ok(_) => report.pass(name),
        Err(error) => report.fail(name, one_line(&error)),
    }
}

async fn slot(server: &Server, sql: &mut Postgres, name: &str, report: &mut CheckReport) {
    let Some(slot_name) = &server.config().slot_name else {
        return;
    };
    let found = match sql.slot(slot_name).await {
        Ok(found) => found,
        Err(error) => return report.fail(name, one_line(&error)),
    };
    let streaming = server.config().streaming_archiver;
    match found {
        None if streaming => report.fail(name, missing_slot(server.name(), slot_name)),
        Some(slot) if !streaming && slot.restart_lsn.is_some() => {
            let hint = format!("WARNING: slot '{slot_name}' is initialised but not required by the current config");
            report.push(name, true, hint);
        }
        Some(slot) if streaming && slot.restart_lsn.is_none() => {
            report.fail(name, format!("slot '{slot_name}' not initialised: is 'receive-wal' running?"));
        }
        Some(slot) if streaming && !slot.active => {
            report.fail(name, format!("slot '{slot_name}' not active: is 'receive-wal' running?"));
        }
        Some(_) if streaming => report.pass(name),
        _ => {}
    }
}

fn missing_slot(server: &str, slot: &str) -> String {
    format!("replication slot '{slot}' doesn't exist. Please execute 'barman receive-wal --create-slot {server}'")
}

/// Compares the cluster's identity as both connections and the catalog know it.
pub(super) async fn identity(server: &Server, connections: &mut Connections, report: &mut CheckReport) {
    const NAME: &str = "systemid coherence";
    let streaming = connections.streaming.as_ref().and_then(|identity| identity.as_ref().ok());
    let streaming = streaming.map(|identity| identity.system_id);
    let sql = match connections.sql() {
        Some(sql) => sql.system_id().await,
        None => None,
    };
    let Some(live) = streaming.or(sql) else {
        return report.push(NAME, true, "no system Id available");
    };
    if let Some(other) = sql.filter(|other| *other != live) {
        return report.fail(NAME, format!("the streaming connection reaches cluster {live}, the other one {other}"));
    }
    let stored = match server.catalog().identity() {
        Ok(stored) => stored.map(|identity| identity.system_id),
        Err(error) => return report.fail(NAME, one_line(&error)),
    };
    stored_identity(live, stored, report);
}

fn stored_identity(live: SystemId, stored: Option<SystemId>, report: &mut CheckReport) {
    const NAME: &str = "systemid coherence";
    match stored {
        None => report.push(NAME, true, "no system Id stored on disk"),
        Some(stored) if stored == live => report.pass(NAME),
        Some(stored) => report.fail(NAME, format!("the server is cluster {live}, the backups are of cluster {stored}")),
    }
}
