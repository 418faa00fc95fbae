//! Whether a session is the one that is wanted (`target_session_attrs`).

use crate::client::{Client, Mode};
use crate::config::TargetSession;
use crate::error::ErrorKind;

/// Checks that the session is what `target` says.
///
/// Mirrors `CONNECTION_CHECK_TARGET` of `PQconnectPoll`: PostgreSQL 14 and newer say by themselves what is needed, older
/// servers are asked.
pub(crate) async fn check(client: &mut Client, mode: Mode, target: TargetSession) -> Result<(), ErrorKind> {
    let (is_right, found) = match target {
        TargetSession::Any | TargetSession::PreferStandby => return Ok(()),
        TargetSession::ReadWrite => (!is_read_only(client).await?, "read-only"),
        TargetSession::ReadOnly => (is_read_only(client).await?, "read-write"),
        TargetSession::Primary => (!is_standby(client, mode).await?, "a standby"),
        TargetSession::Standby => (is_standby(client, mode).await?, "a primary"),
    };
    if is_right { Ok(()) } else { Err(ErrorKind::TargetSession { wanted: target.name(), found }) }
}

async fn is_read_only(client: &mut Client) -> Result<bool, ErrorKind> {
    let reported = ["default_transaction_read_only", "in_hot_standby"].map(|name| client.parameter(name));
    if let [Some(read_only), Some(standby)] = reported {
        return Ok(read_only == "on" || standby == "on");
    }
    is_on(client, "transaction_read_only").await
}

async fn is_standby(client: &mut Client, mode: Mode) -> Result<bool, ErrorKind> {
    if let Some(standby) = client.parameter("in_hot_standby") {
        return Ok(standby == "on");
    }
    match mode {
        Mode::Sql => {
            let answer = client.simple_query("SELECT pg_catalog.pg_is_in_recovery()").await.map_err(into_kind)?;
            Ok(answer.first().and_then(|result| result.rows.first()?.first()?.as_deref()) == Some("t"))
        }
        // No SQL here. On a standby every transaction is read-only, and hardly any on a primary to replicate from.
        Mode::PhysicalReplication => is_on(client, "transaction_read_only").await,
    }
}

async fn is_on(client: &mut Client, setting: &str) -> Result<bool, ErrorKind> {
    Ok(client.show(setting).await.map_err(into_kind)? == "on")
}

fn into_kind(error: crate::Error) -> ErrorKind {
    error.into_kind()
}
