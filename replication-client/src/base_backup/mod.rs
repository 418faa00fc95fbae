//! [`BaseBackup`]: a copy of the whole cluster, as the server sends it.

mod archives;
mod compression;
mod core;
#[cfg(feature = "decompress")]
mod decoder;
#[cfg(not(feature = "decompress"))]
#[path = "no_decoder.rs"]
mod decoder;
mod event;
mod options;

use std::fmt;

use wal_format::SystemId;

pub use self::compression::ServerCompression;
pub(crate) use self::core::Core;
pub use self::event::{BackupEnd, BackupEvent, BackupStart, Tablespace};
pub use self::options::{BackupTarget, BaseBackupOptions};
use crate::activity::Activity;
use crate::client::{Client, Mode};
use crate::command;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};

/// A base backup under way: a sequence of tar archives, then the manifest.
///
/// Back-pressure is simply not calling [`next`](Self::next), which is also where archives are decompressed if that was
/// asked for: a runtime with other things to do gives such a backup a task of its own. Dropping the backup closes the connection, and the server
/// gives it up.
pub struct BaseBackup {
    connection: Connection,
    core: Core,
    system: Option<SystemId>,
    start: BackupStart,
}

impl BaseBackup {
    /// Sends the command, and waits until the server has said where the backup starts and what it consists of.
    pub(crate) async fn open(
        mut connection: Connection,
        system: Option<SystemId>,
        server_version: u32,
        options: &BaseBackupOptions,
    ) -> Result<Self, Error> {
        let mut core = Core::new(server_version, options);
        let begun = match options.command(server_version) {
            Ok(command) => begin(&mut connection, &mut core, &command).await,
            Err(kind) => Err(kind),
        };
        match begun {
            Ok(start) => Ok(Self { connection, core, system, start }),
            Err(kind) => Err(Error::new(Activity::BaseBackup, connection.host().clone(), kind)),
        }
    }

    /// Returns what the server said before the first archive.
    #[must_use]
    pub fn start(&self) -> &BackupStart {
        &self.start
    }

    /// Returns the next piece, or `None` when everything has been received.
    ///
    /// The future may be dropped at any time: nothing is lost.
    ///
    /// # Errors
    /// The server gives up, what it sends is not the backup that it announced, or the connection breaks. The backup is
    /// of no use after that.
    pub async fn next(&mut self) -> Result<Option<BackupEvent>, Error> {
        self.try_next().await.map_err(|kind| self.error(kind))
    }

    async fn try_next(&mut self) -> Result<Option<BackupEvent>, ErrorKind> {
        loop {
            let event = self.core.poll_event(self.connection.wire())?;
            if event.is_some() || self.core.is_ended() {
                return Ok(event);
            }
            self.connection.exchange().await?;
        }
    }

    /// Returns the end position, and the connection for other commands. What has not been read yet is discarded.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub async fn finish(mut self) -> Result<(BackupEnd, Client), Error> {
        loop {
            match (self.next().await?, self.core.end()) {
                (None, Some(end)) => {
                    let client = Client::ready(self.connection, Mode::PhysicalReplication, self.system);
                    return Ok((end, client));
                }
                (_discarded, _) => {}
            }
        }
    }

    /// Returns a setting as the server last reported it, for example `in_hot_standby`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameter(name)
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(Activity::BaseBackup, self.connection.host().clone(), kind)
    }
}

async fn begin(connection: &mut Connection, core: &mut Core, command: &str) -> Result<BackupStart, ErrorKind> {
    command::query(command, &mut connection.wire().outgoing)?;
    loop {
        if let Some(start) = core.poll_start(connection.wire())? {
            return Ok(start);
        }
        connection.exchange().await?;
    }
}

impl fmt::Debug for BaseBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseBackup")
            .field("host", self.connection.host())
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
