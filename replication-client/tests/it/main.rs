//! Against real PostgreSQL servers: 15, or the versions that `PG_MAJORS` names. And against one that follows a script.

#![allow(clippy::disallowed_methods, reason = "tests write files of their own")]

mod authentication;
mod authentication_elsewhere;
mod base_backup;
mod cancel;
mod commands;
mod connect;
mod examples;
mod hosts;
mod incremental;
mod server_compression;
mod wal_stream;
mod walsender;

use replication_client::{Client, Config, Environment, Mode, PhysicalSlot};
use test_support::{Postgres, PostgresBuilder, majors};

/// A cluster with small segments, so that WAL is cheap to make.
fn small_segments(major: u32) -> PostgresBuilder {
    Postgres::builder()
        .major(major)
        .initdb_option("--wal-segsize=1")
        .setting("max_wal_size", "2MB")
        .setting("min_wal_size", "2MB")
}

fn config(conninfo: &str) -> Config {
    in_environment(conninfo, &Environment::default())
}

fn in_environment(conninfo: &str, environment: &Environment) -> Config {
    Config::from_conninfo(conninfo, environment).unwrap()
}

async fn sql(server: &Postgres) -> Client {
    Client::connect(&config(&server.conninfo()), Mode::Sql).await.unwrap()
}

async fn replication(server: &Postgres) -> Client {
    Client::connect(&config(&server.conninfo()), Mode::PhysicalReplication).await.unwrap()
}

fn slot(name: &str, reserve_wal: bool) -> PhysicalSlot {
    let mut slot = PhysicalSlot::new(name);
    slot.reserve_wal = reserve_wal;
    slot
}
