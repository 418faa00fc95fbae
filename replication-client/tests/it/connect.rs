//! Reaching and entering a server.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use replication_client::{Client, Config, Environment, Error, ErrorKind, Mode, PassfileProblem, SqlState};
use test_support::{Postgres, StopMode, TempDir};

use crate::{config, majors, replication, sql};

async fn error(config: &Config) -> Error {
    Client::connect(config, Mode::Sql).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_password_method_lets_us_in_with_the_password_and_not_without() {
    for major in majors() {
        let server = Postgres::builder().major(major).password_roles().start();
        for user in ["scram", "md5u", "clear"] {
            let mut config = config(&server.conninfo_as(user));
            for mode in [Mode::Sql, Mode::PhysicalReplication] {
                config.set_password("pw");
                Client::connect(&config, mode).await.unwrap();
            }
            config.set_password("wrong");
            let wrong = error(&config).await;
            assert!(matches!(wrong.kind(), ErrorKind::AuthenticationFailed(_)), "{user}: {wrong:?}");
            assert_eq!(wrong.sqlstate(), Some(SqlState::INVALID_PASSWORD));
            assert!(!wrong.is_transient());
            let none = error(&self::config(&server.conninfo_as(user))).await;
            assert!(matches!(none.kind(), ErrorKind::NoPassword(None)), "{user}: {none:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_while_it_is_let_in_leaves_without_a_word() {
    for major in majors() {
        let server = Postgres::builder().major(major).password_roles().setting("log_connections", "on").start();
        for user in ["scram", "md5u", "clear"] {
            let none = error(&config(&server.conninfo_as(user))).await;
            assert!(matches!(none.kind(), ErrorKind::NoPassword(None)), "{user}: {none:?}");
        }
        // What comes later is logged later.
        Client::connect(&config(&server.conninfo()), Mode::Sql).await.unwrap();
        server.psql("select pg_reload_conf()");
        let log = server.log();
        assert!(log.contains("connection authorized") && !log.contains("message type"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_counts_if_nobody_else_can_read_it() {
    let server = Postgres::builder().password_roles().start();
    let dir = TempDir::new();
    let passfile = dir.path().join("pgpass");
    // The database field of a physical replication connection.
    std::fs::write(&passfile, format!("127.0.0.1:{}:replication:scram:pw\n", server.port())).unwrap();
    let config = config(&format!("{} passfile={}", server.conninfo_as("scram"), passfile.display()));
    let set_mode = |mode| std::fs::set_permissions(&passfile, Permissions::from_mode(mode)).unwrap();

    set_mode(0o600);
    Client::connect(&config, Mode::PhysicalReplication).await.unwrap();
    let other_database = error(&config).await;
    assert!(matches!(other_database.kind(), ErrorKind::NoPassword(Some(PassfileProblem::NoMatch { .. }))));

    set_mode(0o640);
    let readable = Client::connect(&config, Mode::PhysicalReplication).await.unwrap_err();
    let expected = |problem: &PassfileProblem| matches!(problem, PassfileProblem::Permissions { mode: 0o640, .. });
    assert!(matches!(readable.kind(), ErrorKind::NoPassword(Some(problem)) if expected(problem)), "{readable:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_environment_lets_us_in() {
    let server = Postgres::builder().password_roles().start();
    let environment = Environment::default().with_variable("PGPASSWORD", "pw");
    let config = Config::from_conninfo(&server.conninfo_as("scram"), &environment).unwrap();
    Client::connect(&config, Mode::Sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_and_uris_lead_to_the_server() {
    let server = Postgres::start();
    let socket = server.socket_dir().display().to_string();
    let encoded = socket.replace('/', "%2F");
    for conninfo in [
        format!("host={socket} port={} user=postgres", server.port()),
        format!("postgresql://postgres@{encoded}:{}/postgres", server.port()),
        format!("postgresql://postgres@127.0.0.1:{}/postgres?connect_timeout=10", server.port()),
        format!("host=no.such.host.invalid hostaddr=127.0.0.1 port={} user=postgres", server.port()),
    ] {
        let mut client = Client::connect(&config(&conninfo), Mode::Sql).await.unwrap();
        assert_eq!(client.simple_query("select 1").await.unwrap()[0].rows[0][0].as_deref(), Some("1"), "{conninfo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_has_the_name_and_the_options_that_were_asked_for() {
    let server = Postgres::start();
    let environment = Environment::default().with_variable("PGTZ", "Asia/Tokyo");
    let conninfo = format!("{} application_name='it''s' options='-c work_mem=123kB'", server.conninfo());
    let conninfo = conninfo.replace("it''s", r"it\'s");
    let config = Config::from_conninfo(&conninfo, &environment).unwrap();
    let mut client = Client::connect(&config, Mode::Sql).await.unwrap();
    for (setting, expected) in
        [("application_name", "it's"), ("work_mem", "123kB"), ("TimeZone", "Asia/Tokyo"), ("client_encoding", "UTF8")]
    {
        assert_eq!(client.show(setting).await.unwrap(), expected);
    }
    let mut walsender = Client::connect(&config, Mode::PhysicalReplication).await.unwrap();
    assert_eq!(walsender.show("application_name").await.unwrap(), "it's");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_known() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let client = replication(&server).await;
        assert_eq!(client.server_version_num() / 10_000, major);
        assert_eq!(client.parameter("integer_datetimes"), Some("on"));
        assert!(client.host_description().contains("127.0.0.1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_a_refused_connection() {
    let mut server = Postgres::start();
    let config = config(&server.conninfo());
    server.stop(StopMode::Immediate);
    let error = error(&config).await;
    assert!(error.is_connection_refused() && error.is_transient(), "{error:?}");
    assert_eq!(error.to_string(), format!("cannot connect (host \"127.0.0.1\", port {})", server.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_socket_is_no_connection() {
    let dir = TempDir::new();
    let error = error(&config(&format!("host={} user=postgres", dir.path().display()))).await;
    assert!(matches!(error.kind(), ErrorKind::Connect(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_an_address_is_named() {
    let error = error(&config("host=no.such.host.invalid user=postgres")).await;
    assert!(matches!(error.kind(), ErrorKind::Resolve(_)), "{error:?}");
    assert!(error.to_string().contains("no.such.host.invalid"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_told_in_its_words() {
    let server = Postgres::builder().hba("host all barred 127.0.0.1/32 reject").start();
    server.psql("create role barred login");
    let barred = error(&config(&server.conninfo_as("barred"))).await;
    assert!(matches!(barred.kind(), ErrorKind::AuthenticationFailed(_)), "{barred:?}");
    assert_eq!(barred.sqlstate(), Some(SqlState::INVALID_AUTHORIZATION));

    let conninfo = server.conninfo().replace("dbname=postgres", "dbname=nowhere");
    let no_database = error(&config(&conninfo)).await;
    assert!(matches!(no_database.kind(), ErrorKind::Server(_)), "{no_database:?}");
    assert!(no_database.server_error().unwrap().message().contains("nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_transient() {
    let server = Postgres::builder().setting("max_wal_senders", "1").start();
    let _first = replication(&server).await;
    let second = Client::connect(&config(&server.conninfo()), Mode::PhysicalReplication).await.unwrap_err();
    assert_eq!(second.sqlstate(), Some(SqlState::TOO_MANY_CONNECTIONS), "{second:?}");
    assert!(second.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_dropped_says_goodbye() {
    let server = Postgres::builder().setting("log_disconnections", "on").start();
    drop(sql(&server).await);
    drop(replication(&server).await);
    server
        .wait_until("select count(*) = 1 from pg_stat_activity where backend_type in ('client backend', 'walsender')");
    assert!(!server.log().contains("unexpected EOF"), "{}", server.log());
}

#[test]
fn a_client_may_outlive_its_runtime() {
    let server = Postgres::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client = runtime.block_on(sql(&server));
    drop(runtime);
    drop(client);
}
