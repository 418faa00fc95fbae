//! Cancelling what a session does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use replication_client::{Client, Error, Mode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use test_support::{Authority, FaultProxy, Postgres, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::base_backup::fast;
use crate::{config, majors, replication, sql};

/// The first bytes of a client that wants TLS, and the first of TLS itself.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const TLS_HANDSHAKE: u8 = 22;

fn is_cancelled(error: &Error) -> bool {
    error.sqlstate().is_some_and(|state| state.to_string() == "57014")
}

/// Asks again and again, because a request that comes before the query starts has nothing to cancel.
async fn until_done(ask: impl AsyncFn() -> Result<(), Error>) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ask().await.unwrap();
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
            () = until_done(async || token.cancel().await) => unreachable!(),
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

/// Asks for TLS, and talks it with whoever has a certificate of this authority.
async fn tls(port: u16, authority: &Authority) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.write_all(&SSL_REQUEST).await?;
    assert_eq!(socket.read_u8().await?, b'S');
    TlsConnector::from(Arc::new(config)).connect("127.0.0.1".try_into().unwrap(), socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_over_tls_is_cancelled_over_tls() {
    for major in majors() {
        let authority = Authority::new();
        let issued = authority.issue("server", &Wanted::server());
        let server = Postgres::builder().major(major).tls(&authority, &issued).start();
        let proxy = FaultProxy::start(server.port());
        let roots = authority.certificate();
        let options = format!("port={} sslmode=verify-full sslrootcert={}", proxy.port(), roots.display());
        let config = config(&format!("host=127.0.0.1 user=postgres dbname=postgres {options}"));
        let mut client = Client::connect(&config, Mode::Sql).await.unwrap();
        let token = client.cancel_token().unwrap();

        let error = tokio::select! {
            result = client.simple_query("select pg_sleep(60)") => result.unwrap_err(),
            () = until_done(async || token.cancel().await) => unreachable!(),
        };
        assert!(is_cancelled(&error), "{major}: {error:?}");
        let over_tls = async || tls(server.port(), &authority).await;
        // A late request of those before may meet the first query.
        for _ in 0..2 {
            let error = tokio::select! {
                result = client.simple_query("select pg_sleep(60)") => result.unwrap_err(),
                () = until_done(async || token.cancel_over(over_tls).await) => unreachable!(),
            };
            assert!(is_cancelled(&error), "{major}: {error:?}");
        }

        // The key that lets anybody cancel does not travel in clear text.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        proxy.retarget(listener.local_addr().unwrap().port());
        let eavesdropping = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; SSL_REQUEST.len()];
            socket.read_exact(&mut request).await.unwrap();
            socket.write_all(b"S").await.unwrap();
            (request, socket.read_u8().await.unwrap())
        };
        let (cancelled, heard) = tokio::join!(token.cancel(), eavesdropping);
        assert!(cancelled.is_err());
        assert_eq!(heard, (SSL_REQUEST, TLS_HANDSHAKE));
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
