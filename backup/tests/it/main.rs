//! Base backups and WAL of real servers.

// Tests look at and change files as nobody else may.
#![allow(clippy::disallowed_methods)]

mod base_backup;
mod receiver;
mod receiving;

use replication_client::{Config, Environment};
use test_support::Postgres;

/// How to reach a server as a client that replicates.
fn config(server: &Postgres) -> Config {
    let mut config = Config::from_conninfo(&server.conninfo(), &Environment::default()).unwrap();
    config.set_application_name("barman_receive_wal");
    config
}
