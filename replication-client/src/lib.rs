//! PostgreSQL's physical replication, spoken from Rust.
//!
//! A backup tool has to receive WAL while it is generated and copies of whole clusters, and it has to say truthfully
//! what it has stored: PostgreSQL removes what a receiver calls flushed. Ordinary database drivers speak none of this.
//! This crate does: connections as libpq makes them, replication commands with typed results, the WAL stream with its
//! acknowledgements, and base backups.
//!
//! ```no_run
//! use replication_client::{Client, Config, Environment, Mode, StartReplication, StreamEvent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let environment = Environment::from_variables(std::env::vars_os()).with_user("barman");
//! let config = Config::from_conninfo("host=db1 application_name=example", &environment)?;
//! let mut client = Client::connect(&config, Mode::PhysicalReplication).await?;
//! let system = client.identify_system().await?;
//! let start = StartReplication { slot: None, timeline: system.timeline, start: system.position };
//! let mut stream = client.start_replication(start).await?;
//! loop {
//!     match stream.next().await? {
//!         StreamEvent::Wal { start, data } => println!("{} bytes of WAL at {start}", data.len()),
//!         StreamEvent::Keepalive { end, .. } => println!("the server is at {end}"),
//!         StreamEvent::EndOfTimeline { .. } => break,
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Config`] reads a connection string; [`Environment`] stands for the process around it.
//! - [`Client`] is a session: queries, replication slots, timeline history, uploads of manifests; [`CancelToken`] cancels
//!   what it does.
//! - [`WalStream`] is WAL of one timeline, and [`Durable`] the only thing that a flush position can be made of.
//! - [`BaseBackup`] is a copy of a cluster, in pieces: whole or incremental, of servers from 13 on.
//! - [`Error`] says what was being done with which server; [`ErrorKind`] is for branching.
//!
//! Nothing here knows where bytes end up, reads the process's environment, or retries. The protocol is in state
//! machines without I/O; a driver for tokio carries their bytes. What the server sends is checked: lengths before
//! anything is allocated, WAL for gaps, archives against the list of them. What has failed once keeps failing.
//!
//! Every future may be dropped at any point, by `tokio::select!` or a timeout, and the next call goes on: no event is
//! lost, no message is sent in part, and what is left of an answer that nobody waits for is skipped. Dropping a future
//! that consumes the session, such as [`Client::start_replication`], ends the session.
//!
//! The examples are complete: `receive_wal` does what pg_receivewal does, `base_backup` what pg_basebackup does, and
//! `commit_times` prints when transactions were committed.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `decompress`: archives that the server has compressed are decompressed, and checked to be complete.
//! - `testing`: `testing::ScriptedWalsender`, a server that is slow, cut off or lying on request, for tests without
//!   PostgreSQL.
//!
//! Connections are made as libpq makes them: its connection strings, environment variables, password and service files,
//! several hosts, TLS, SCRAM with channel binding. Not built, and refused by name: GSSAPI, SSPI and OAuth, encrypted keys,
//! `sslkeylogfile`, `scram_client_key`. With `sslrootcert=system`, `SSL_CERT_FILE` and `SSL_CERT_DIR` of the process count, as
//! they do for OpenSSL.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

mod activity;
mod backend_message;
mod base_backup;
mod bounded_file;
mod cancel;
#[cfg(test)]
mod cancel_safety;
mod client;
mod command;
mod config;
mod connect;
mod connection;
mod conninfo;
mod durable;
mod endpoint;
mod entry;
mod environment;
mod error;
mod inbox;
mod passfile;
mod password;
mod protocol_error;
mod query;
mod result_set;
mod scram;
mod server_error;
mod server_version;
mod service_file;
mod slot;
mod startup;
mod stream;
mod system_identity;
mod target_session;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod wal_stream;
mod wire;

pub use activity::Activity;
pub use base_backup::{
    BackupEnd, BackupEvent, BackupStart, BackupTarget, BaseBackup, BaseBackupOptions, ServerCompression, Tablespace,
};
pub use cancel::CancelToken;
pub use client::{Client, Mode};
pub use config::{Config, Host};
pub use conninfo::{ConninfoError, ConninfoProblem};
pub use durable::Durable;
pub use environment::Environment;
pub use error::{ChannelBindingProblem, Error, ErrorKind, UnsupportedOption};
pub use passfile::PassfileProblem;
pub use protocol_error::ProtocolError;
pub use result_set::{ResultSet, TextRow};
pub use server_error::{Notice, ServerError, SqlState};
pub use service_file::ServiceFileProblem;
pub use slot::{PhysicalSlot, SlotPosition, WalStatus};
pub use system_identity::{HistoryFile, SystemIdentity};
pub use tls::{CertificateProblem, TlsFile, TlsFileProblem, TlsProblem};
pub use wal_stream::{HotStandbyFeedback, StartReplication, StatusUpdate, StreamEvent, WalStream};
