//! Takes from a PostgreSQL server what a recovery needs: base backups, and the stream of WAL between them.
//!
//! Both sound like copying, and copying is the easy part. A receiver that reports WAL as flushed before it is on disk makes
//! the server throw away the only copy; a base backup with one torn or missing file starts, works for weeks, and fails when
//! it is needed. So nothing here is believed before it is proven: a flush position exists only as the result of a sync
//! ([`replication_client::Durable`]), and a base backup has no manifest before every file's checksum was compared with the
//! server's and every file is durable.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use barman_backup::{BaseBackupOptions, ReceiverEvent, ReceiverOptions, receive, run};
//! use barman_catalog::BackupData;
//! use barman_storage::{Cancel, Dir};
//! use replication_client::{Client, Config, Environment, Mode};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_conninfo("host=db1 user=streaming_barman", &Environment::default())?;
//!
//! // A base backup, with a directory for each tablespace beside that of the data directory.
//! let create = |oids: &[u32]| {
//!     let dir = |name: String| Dir::create(&Path::new("/srv/backup").join(name), 0o700);
//!     let tablespaces = oids.iter().map(|oid| Ok((*oid, dir(oid.to_string())?)));
//!     let tablespaces = tablespaces.collect::<Result<_, barman_catalog::Error>>()?;
//!     Ok(BackupData { data: dir("data".to_owned())?, tablespaces })
//! };
//! let client = Client::connect(&config, Mode::PhysicalReplication).await?;
//! let cancel = Cancel::new();
//! let backup = run(client, &BaseBackupOptions::default(), create, &cancel, &|_| {}).await?;
//! println!("needs WAL from {} to {}", backup.start, backup.end);
//!
//! // And WAL from now on, until somebody cancels.
//! let streaming = Dir::create(Path::new("/srv/streaming"), 0o700)?;
//! let events = |event: &ReceiverEvent<'_>| println!("{event:?}");
//! receive(&config, &streaming, &ReceiverOptions::default(), &cancel, &events).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The main parts: [`run`] takes a base backup ([`BaseBackupOptions`], [`BaseBackupEvent`], [`BaseBackupResult`]);
//! [`receive`] receives WAL ([`ReceiverOptions`], [`ReceiverEvent`]). Both are async and stop at a
//! [`Cancel`](barman_storage::Cancel); both do their work on files on a thread of its own behind a bounded channel, so
//! that a slow disk slows the server down instead of filling the memory.
//!
//! The feature `testing` adds `testing`, the way in for fuzzing.
//!
//! This crate knows nothing of restoring and of terminals, and it does not keep the record of a backup: that, and what
//! becomes of a failed one, is up to the caller.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)
)]

mod base_backup;
mod cancelled;
mod receiver;

#[cfg(any(test, feature = "testing"))]
pub use base_backup::testing;
pub use base_backup::{
    ArchiveName, BaseBackupError, BaseBackupEvent, BaseBackupOptions, BaseBackupResult, EntryError, ManifestError, run,
};
pub use receiver::{
    ReceiveError, Received, ReceiverEvent, ReceiverOptions, Reconnect, StartReason, Synchronous, names_standby, receive,
};
