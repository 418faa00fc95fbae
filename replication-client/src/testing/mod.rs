//! A walsender that follows a script, for tests of what receives WAL and base backups. Needs no PostgreSQL.
//!
//! Real servers are good, quick and honest, and fail when nobody looks. [`ScriptedWalsender`] listens on a port of its
//! own, speaks the protocol of a server of any version, and does what it is told: it trickles, cuts a message in the
//! middle, leaves a gap, goes back, switches its timeline, becomes another cluster, loses slots and WAL, asks for
//! answers. It notes all that it was told, so that a test can hold a receiver to what it acknowledged.
//!
//! ```
//! use replication_client::testing::{Behaviour, Cluster, ScriptedWalsender};
//! use replication_client::{Client, Config, Environment, Mode, StartReplication, StreamEvent};
//! use wal_format::{Lsn, SystemId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Any bytes will do as WAL here; `wal_format::testing::WalBuilder` makes some that are valid.
//! let cluster = Cluster::new(SystemId::new(7), Lsn::new(0x500_0000), vec![1; 300_000]);
//! let server = ScriptedWalsender::start(cluster).await?;
//! server.script([Behaviour::good().cut_after(200_000)]);
//!
//! let config = Config::from_conninfo(&server.conninfo(), &Environment::default())?;
//! let mut received = Lsn::new(0x500_0000);
//! let streams = loop {
//!     let mut client = Client::connect(&config, Mode::PhysicalReplication).await?;
//!     let timeline = client.identify_system().await?.timeline;
//!     let start = StartReplication { slot: None, timeline, start: received };
//!     let mut stream = client.start_replication(start).await?;
//!     while let Ok(StreamEvent::Wal { .. }) = stream.next().await {}
//!     // The first stream ends early, with an error that passes by itself; the second gets all that is there.
//!     if stream.received() == server.cluster(|cluster| cluster.end()) {
//!         break server.commands().iter().filter(|command| command.starts_with("START_REPLICATION")).count();
//!     }
//!     received = stream.received();
//! };
//! assert_eq!(streams, 2);
//! # Ok(())
//! # }
//! ```

// What is written here only ever runs in tests, which may fail loudly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::missing_panics_doc)]

pub(crate) mod backend_bytes;
#[cfg(feature = "testing")]
mod backup;
#[cfg(feature = "testing")]
mod behaviour;
#[cfg(feature = "testing")]
mod cluster;
#[cfg(feature = "testing")]
mod commands;
#[cfg(feature = "testing")]
mod files;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "testing")]
mod line;
#[cfg(feature = "testing")]
mod session;
#[cfg(feature = "testing")]
mod stream;
#[cfg(feature = "testing")]
mod walsender;

#[cfg(feature = "testing")]
pub use self::{
    backup::ScriptedBackup,
    behaviour::{Behaviour, Ending, Lie},
    cluster::{Cluster, ScriptedSlot},
    files::{options_in, password_in},
    stream::Report,
    walsender::ScriptedWalsender,
};
