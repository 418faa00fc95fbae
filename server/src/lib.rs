//! One configured server: everything that needs its configuration, its catalog and its connections at once.
//!
//! The crates below each know one thing: how WAL is received, what the catalog holds, what a restore takes. A command
//! needs several of them in the right order, under the right locks, with the options that the configuration gives. That
//! is what a [`Server`] does; what it reports is values and events, which the command line renders.
//!
//! ```no_run
//! use barman_config::{Configuration, OsFiles};
//! use barman_catalog::LocalZone;
//! use barman_server::Server;
//! use replication_client::Environment;
//! use wal_format::Timestamp;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let configuration = Configuration::load("/etc/barman.conf".as_ref(), &OsFiles)?;
//! let config = configuration.servers.get("main").ok_or("no server main")?;
//! let server = Server::assemble(&configuration.global, config, &Environment::default(), LocalZone::system());
//! let now = Timestamp::from_unix_micros(1_795_193_433_000_000);
//! for check in server.check(None, now).await.failed() {
//!     println!("{}: {}", check.name, check.hint);
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

mod archive_wal;
mod backup;
mod backup_files;
mod check;
mod check_backup;
mod cron;
mod delete;
mod error;
mod get_wal;
pub mod human;
mod keep;
mod listing;
mod live_names;
mod postgres;
mod processes;
mod receive_wal;
mod recovery_window;
mod restore;
mod retention;
mod server;
mod wal_archive;
mod wal_feed;
mod wal_storage;

pub use backup::{BackupEvent, BackupRequest, Events, Wait, WalPosition};
pub use barman_storage::one_line;
pub use check::{CheckReport, CheckResult};
pub use cron::{Maintenance, Task};
pub use delete::Deletion;
pub use error::Error;
pub use listing::{BackupChain, BackupDetail, BackupSummary};
pub use postgres::WalSwitch;
pub use processes::Process;
pub use receive_wal::{ReceiveWal, ReceiveWalEvent, Reset};
pub use retention::Inventory;
pub use server::Server;
pub use wal_feed::ArchiveSource;
