//! Base backups and WAL of real servers.

// Tests look at and change files as nobody else may.
#![allow(clippy::disallowed_methods)]

mod base_backup;
mod example;
mod faults;
mod lying_server;
mod promotions;
mod receiver;
mod receiving;
mod waiting_commits;

use replication_client::{Config, Environment};

/// How to reach a server as a client that replicates.
fn config(conninfo: &str) -> Config {
    let mut config = Config::from_conninfo(conninfo, &Environment::default()).unwrap();
    config.set_application_name("barman_receive_wal");
    config
}
