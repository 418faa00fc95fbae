//! Several servers in one connection string: which of them is the one that is wanted.

use replication_client::{Client, Error, ErrorKind, Mode};
use test_support::{Postgres, StopMode, majors};

use crate::config;

/// Connects to the servers in this order, and returns the port of the one that is taken.
async fn taken(servers: &[&Postgres], options: &str, mode: Mode) -> Result<u16, Error> {
    let list = |item: fn(&Postgres) -> String| servers.iter().map(|server| item(server)).collect::<Vec<_>>().join(",");
    let (hosts, ports) = (list(|_| "127.0.0.1".to_owned()), list(|server| server.port().to_string()));
    let conninfo = format!("host={hosts} port={ports} user=postgres dbname=postgres {options}");
    let client = Client::connect(&config(&conninfo), mode).await?;
    let port = client.host_description().rsplit(' ').next().unwrap();
    Ok(port.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_the_server_decides() {
    for major in majors() {
        let primary = Postgres::builder().major(major).start();
        let standby = Postgres::builder().start_standby_of(&primary);
        let (first, second) = (primary.port(), standby.port());
        for mode in [Mode::Sql, Mode::PhysicalReplication] {
            for (wanted, expected) in [
                ("any", first),
                ("read-write", first),
                ("primary", first),
                ("read-only", second),
                ("standby", second),
                ("prefer-standby", second),
            ] {
                let options = format!("target_session_attrs={wanted}");
                for servers in [[&primary, &standby], [&standby, &primary]] {
                    let expected = if wanted == "any" { servers[0].port() } else { expected };
                    let found = taken(&servers, &options, mode).await.unwrap();
                    assert_eq!(found, expected, "{major} {mode:?} {wanted}");
                }
            }
            // Where there is no standby, the primary will do.
            assert_eq!(taken(&[&primary], "target_session_attrs=prefer-standby", mode).await.unwrap(), first);
            let error = taken(&[&primary], "target_session_attrs=standby", mode).await.unwrap_err();
            assert!(error.is_transient());
            let kind = error.into_kind();
            assert!(matches!(kind, ErrorKind::TargetSession { wanted: "standby", found: "a primary" }), "{kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_is_tried_where_one_is_not_there() {
    let mut gone = Postgres::start();
    let there = Postgres::start();
    gone.stop(StopMode::Immediate);
    assert_eq!(taken(&[&gone, &there], "", Mode::Sql).await.unwrap(), there.port());
    let names = format!("host=no.such.host.invalid,127.0.0.1 port={} user=postgres", there.port());
    Client::connect(&config(&names), Mode::Sql).await.unwrap();

    let error = taken(&[&gone, &gone], "", Mode::Sql).await.unwrap_err();
    assert_eq!(error.earlier().len(), 1);
    assert!(error.is_connection_refused() && error.earlier()[0].is_connection_refused());
    let host = format!("host \"127.0.0.1\", port {}", gone.port());
    let reason = error.earlier()[0].kind().to_string();
    let expected =
        format!("cannot connect ({host}, the last of several; {host}: {reason}: Connection refused (os error 111))");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_us_is_the_one_that_was_meant() {
    let strict = Postgres::builder().password_roles().start();
    let open = Postgres::start();
    let error = taken(&[&strict, &open], "user=scram password=wrong", Mode::Sql).await.unwrap_err();
    assert!(error.host().contains(&strict.port().to_string()) && error.earlier().is_empty(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_is_spread_over_the_hosts() {
    let (one, other) = (Postgres::start(), Postgres::start());
    let mut found = std::collections::BTreeSet::new();
    // One chance in a million that all go to the same.
    for _ in 0..21 {
        found.insert(taken(&[&one, &other], "load_balance_hosts=random", Mode::Sql).await.unwrap());
    }
    assert_eq!(found.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_to_be_that_of_the_right_user() {
    let server = Postgres::start();
    let user = test_support::OsUser::of_servers();
    let with = |peer: &str| {
        let socket = server.socket_dir().display().to_string();
        config(&format!("host={socket} port={} user=postgres requirepeer={peer}", server.port()))
    };
    Client::connect(&with(user.name()), Mode::Sql).await.unwrap();
    let error = Client::connect(&with("daemon"), Mode::Sql).await.unwrap_err().into_kind();
    assert!(matches!(&error, ErrorKind::Peer { found, .. } if found == user.name()), "{error:?}");
}
