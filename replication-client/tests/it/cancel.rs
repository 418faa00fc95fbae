//! Cancelling what a session does.

use std::time::Duration;

use replication_client::{CancelToken, Error};
use test_support::Postgres;
use tokio::net::TcpStream;

use crate::base_backup::fast;
use crate::{majors, replication, sql};

fn is_cancelled(error: &Error) -> bool {
    error.sqlstate().is_some_and(|state| state.to_string() == "57014")
}

/// Asks again and again, because a request that comes before the query starts has nothing to cancel.
async fn cancel_until_done(token: CancelToken) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        token.cancel().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cancelled_and_its_session_goes_on() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let mut client = sql(&server).await;
        let token = client.cancel_token().unwrap();
        assert_eq!(
            client.simple_query("select pg_backend_pid()").await.unwrap()[0].rows[0][0],
            Some(token.process_id().to_string())
        );

        let error = tokio::select! {
            result = client.simple_query("select pg_sleep(60)") => result.unwrap_err(),
            () = cancel_until_done(token.clone()) => unreachable!(),
        };
        assert!(is_cancelled(&error), "{major}: {error:?}");
        // A last request may have come late: it meets this query, or none.
        let next = client.simple_query("select 'next'").await;
        assert!(
            next.as_ref().map_or_else(is_cancelled, |sets| sets[0].rows[0][0].as_deref() == Some("next")),
            "{next:?}"
        );

        let socket = async || TcpStream::connect(("127.0.0.1", server.port())).await;
        token.cancel_over(socket).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_backup_is_cancelled() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let client = replication(&server).await;
        let token = client.cancel_token().unwrap();
        let mut options = fast("cancelled");
        options.max_rate_kb = Some(32);
        let mut backup = client.base_backup(&options).await.unwrap();
        token.cancel().await.unwrap();
        let error = loop {
            if let Err(error) = backup.next().await {
                break error;
            }
        };
        assert!(is_cancelled(&error), "{major}: {error:?}");
        // Some versions show it until the session ends.
        drop(backup);
        server.wait_until("select count(*) = 0 from pg_stat_progress_basebackup");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_cannot_be_asked() {
    let server = Postgres::start();
    let token = sql(&server).await.cancel_token().unwrap();
    assert!(!format!("{token:?}").contains("secret"));
    drop(server);
    let error = token.cancel().await.unwrap_err();
    assert!(error.is_connection_refused() && error.to_string().starts_with("cannot cancel a query (host"), "{error}");
}
