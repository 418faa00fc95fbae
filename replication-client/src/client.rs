//! [`Client`]: a session, and the commands it understands.

use std::fmt;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt};
use wal_format::{SegmentSize, SystemId, TimelineId};

use crate::activity::Activity;
use crate::backend_message::BackendMessage;
use crate::base_backup::{BaseBackup, BaseBackupOptions};
use crate::cancel::CancelToken;
use crate::command;
use crate::config::Config;
use crate::connect;
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::protocol_error::ProtocolError;
use crate::query::{Response, Rows};
use crate::result_set::ResultSet;
use crate::server_error::{Notice, SqlState};
use crate::server_version;
use crate::slot::{PhysicalSlot, SlotPosition};
use crate::system_identity::{HistoryFile, SystemIdentity};
use crate::wal_stream::{StartReplication, WalStream};

/// How much of an upload is read, and sent, at a time.
const UPLOAD_PIECE: usize = 64 << 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Queries in SQL, in the database of the connection string.
    Sql,
    /// Replication commands (`replication=true`): identifying the system, slots, the WAL stream, base backups, `SHOW`.
    PhysicalReplication,
}

/// A session with a server.
///
/// Its futures may be dropped: the rest of a result that nobody waits for any more is skipped by the next command.
/// Dropping the client ends the session.
pub struct Client {
    connection: Connection,
    mode: Mode,
    state: State,
    system: Option<SystemId>,
}

/// Where the conversation stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server waits for a command.
    Ready,
    /// A command has been sent, and the end of its result has not been received.
    Answering,
    /// The server waits for the rest of what we upload.
    Uploading,
    /// Nobody knows.
    Broken,
}

impl Client {
    /// Connects, authenticates, and waits until the server is ready.
    ///
    /// # Errors
    /// The configuration asks for something that is not built ([`ErrorKind::Unsupported`]), the server cannot be
    /// reached in time, or it refuses the session.
    pub async fn connect(config: &Config, mode: Mode) -> Result<Self, Error> {
        connect::connect(config, mode).await
    }

    /// Makes a client of a connection that waits for a command.
    pub(crate) fn ready(connection: Connection, mode: Mode, system: Option<SystemId>) -> Self {
        Self { connection: connection.established(), mode, state: State::Ready, system }
    }

    /// Returns the server in words, for example `host "db1" (10.0.0.5), port 5432`.
    #[must_use]
    pub fn host_description(&self) -> &str {
        self.connection.host()
    }

    /// Returns the server's version as `server_version_num` spells it: 150018 is 15.18. 0 if it did not say.
    #[must_use]
    pub fn server_version_num(&self) -> u32 {
        self.parameter("server_version").and_then(server_version::parse).unwrap_or_default()
    }

    /// Returns a setting that the server reports by itself, for example `server_version` or `in_hot_standby`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameter(name)
    }

    /// Returns all settings that the server reports by itself, as they are now, sorted by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.connection.parameters()
    }

    /// Returns the right to cancel what this session does, or `None` if the server gave it no key.
    #[must_use]
    pub fn cancel_token(&self) -> Option<CancelToken> {
        CancelToken::of(&self.connection)
    }

    /// Takes the notices that came since the last call. Only the last 32 are kept.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.connection.take_notices()
    }

    /// Runs a query, which may consist of several statements, and returns the results of those that return rows.
    ///
    /// A physical replication connection runs replication commands and `SHOW` in this way, and no SQL.
    ///
    /// # Errors
    /// The server refuses, the result is larger than 64 MiB, or the connection breaks.
    pub async fn simple_query(&mut self, query: &str) -> Result<Vec<ResultSet>, Error> {
        self.try_simple_query(query).await.map_err(|kind| self.error(Activity::Query, kind))
    }

    async fn try_simple_query(&mut self, query: &str) -> Result<Vec<ResultSet>, ErrorKind> {
        let results = self.run(query).await?;
        results.into_iter().map(|rows| Ok(rows.into_text()?)).collect()
    }

    /// Asks which cluster this is, and how far it is (`IDENTIFY_SYSTEM`).
    ///
    /// # Errors
    /// This is no replication connection, or it breaks.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let identity = self.try_identify_system().await;
        identity.map_err(|kind| self.error(Activity::IdentifySystem, kind))
    }

    async fn try_identify_system(&mut self) -> Result<SystemIdentity, ErrorKind> {
        self.need_replication()?;
        let rows = self.run_one("IDENTIFY_SYSTEM", "systemid").await?;
        let identity = SystemIdentity::decode(&rows.first("systemid")?)?;
        self.system = Some(identity.system_id);
        Ok(identity)
    }

    /// Returns the value of a setting as `SHOW` prints it.
    ///
    /// # Errors
    /// There is no such setting, it is not for this user's eyes, or the connection breaks.
    pub async fn show(&mut self, name: &str) -> Result<String, Error> {
        self.try_show(name).await.map_err(|kind| self.error(Activity::Show(name.to_owned()), kind))
    }

    async fn try_show(&mut self, name: &str) -> Result<String, ErrorKind> {
        let rows = self.run_one(&command::show(name)?, "setting").await?.into_text()?;
        let value = rows.rows.into_iter().flatten().flatten().next();
        Ok(value.ok_or(ProtocolError::MissingField { field: "setting" })?)
    }

    /// Returns the size of the server's WAL segments.
    ///
    /// # Errors
    /// The server says something that is none, or the connection breaks.
    pub async fn wal_segment_size(&mut self) -> Result<SegmentSize, Error> {
        const SETTING: &str = "wal_segment_size";
        let shown = self.show(SETTING).await?;
        command::parse_segment_size(&shown).ok_or_else(|| {
            let kind = ProtocolError::InvalidField { field: SETTING, found: shown }.into();
            self.error(Activity::Show(SETTING.to_owned()), kind)
        })
    }

    /// Fetches the history file of a timeline (`TIMELINE_HISTORY`). Timeline 1 has none.
    ///
    /// # Errors
    /// The server has no such file ([`ErrorKind::HistoryMissing`]), this is no replication connection, or it breaks.
    pub async fn timeline_history(&mut self, timeline: TimelineId) -> Result<HistoryFile, Error> {
        let history = self.try_timeline_history(timeline).await;
        history.map_err(|kind| self.error(Activity::TimelineHistory(timeline), kind))
    }

    async fn try_timeline_history(&mut self, timeline: TimelineId) -> Result<HistoryFile, ErrorKind> {
        self.need_replication()?;
        let rows = self.run_one(&format!("TIMELINE_HISTORY {timeline}"), "filename").await;
        let rows = rows.map_err(|kind| history_missing(timeline, kind))?;
        Ok(HistoryFile::decode(&rows.first("filename")?, timeline)?)
    }

    /// Creates a physical replication slot.
    ///
    /// # Errors
    /// A slot of this name exists ([`ErrorKind::SlotExists`]), the name is none, no slot is free, or the connection
    /// breaks.
    pub async fn create_physical_slot(&mut self, slot: &PhysicalSlot) -> Result<(), Error> {
        let command = command::create_physical_slot(slot, self.server_version_num());
        let changed = self.change_slot(&slot.name, &command).await;
        changed.map_err(|kind| self.error(Activity::CreateSlot(slot.name.clone()), kind))
    }

    /// Drops a replication slot. With `wait` an active slot is waited for, otherwise it is an error.
    ///
    /// # Errors
    /// There is no such slot ([`ErrorKind::SlotMissing`]), it is in use ([`ErrorKind::SlotInUse`]), or the connection
    /// breaks.
    pub async fn drop_slot(&mut self, slot: &str, wait: bool) -> Result<(), Error> {
        let command = command::drop_slot(slot, wait);
        self.change_slot(slot, &command).await.map_err(|kind| self.error(Activity::DropSlot(slot.to_owned()), kind))
    }

    async fn change_slot(&mut self, slot: &str, command: &str) -> Result<(), ErrorKind> {
        command::check_slot_name(slot)?;
        self.need_replication()?;
        self.run(command).await.map(drop).map_err(|kind| of_slot(slot, kind))
    }

    /// Returns where a physical replication slot stands, or `None` if there is none of this name.
    ///
    /// A replication connection can tell from PostgreSQL 15 on, an SQL connection always.
    ///
    /// # Errors
    /// The server is too old ([`ErrorKind::ServerVersion`]), the slot is a logical one, or the connection breaks.
    pub async fn read_slot(&mut self, slot: &str) -> Result<Option<SlotPosition>, Error> {
        self.try_read_slot(slot).await.map_err(|kind| self.error(Activity::ReadSlot(slot.to_owned()), kind))
    }

    async fn try_read_slot(&mut self, slot: &str) -> Result<Option<SlotPosition>, ErrorKind> {
        command::check_slot_name(slot)?;
        if self.mode == Mode::Sql {
            let rows = self.run_one(&SlotPosition::query(slot), "restart_lsn").await?;
            return Ok(rows.iter().next().map(|row| SlotPosition::decode_view(&row)).transpose()?);
        }
        self.need_version(server_version::V15)?;
        let rows = self.run_one(&format!("READ_REPLICATION_SLOT \"{slot}\""), "slot_type").await;
        let rows = rows.map_err(|kind| of_slot(slot, kind))?;
        Ok(SlotPosition::decode_command(&rows.first("slot_type")?)?)
    }

    /// Starts to stream WAL (`START_REPLICATION`).
    ///
    /// # Errors
    /// The slot is missing or in use, the timeline is not in the server's history ([`ErrorKind::NotInHistory`]), or
    /// the connection breaks. WAL that the server no longer has ([`ErrorKind::WalRemoved`]) or does not have yet
    /// (`NotInHistory` again) is reported by the stream, because the server notices only then.
    pub async fn start_replication(mut self, start: StartReplication) -> Result<WalStream, Error> {
        let activity = || Activity::Stream { timeline: start.timeline, at: start.start };
        let prepared = self.prepare_replication(&start).await;
        let system = prepared.map_err(|kind| self.error(activity(), kind))?;
        WalStream::open(self.connection, system, start).await
    }

    /// Sees to it that the cluster is known, because a stream refuses to acknowledge WAL of another one.
    async fn prepare_replication(&mut self, start: &StartReplication) -> Result<SystemId, ErrorKind> {
        self.need_replication()?;
        start.slot.as_deref().map_or(Ok(()), command::check_slot_name)?;
        self.settle().await?;
        match self.system {
            Some(system) => Ok(system),
            None => Ok(self.try_identify_system().await?.system_id),
        }
    }

    /// Uploads the manifest of an earlier backup (`UPLOAD_MANIFEST`), on which an incremental one of this session can
    /// then be based ([`BaseBackupOptions::incremental`]).
    ///
    /// # Errors
    /// The server is older than 17 ([`ErrorKind::ServerVersion`]), `manifest` cannot be read
    /// ([`ErrorKind::ManifestUnreadable`]), the server finds it malformed, of another cluster or of an unknown
    /// timeline, or the connection breaks.
    pub async fn upload_manifest(&mut self, manifest: impl AsyncRead + Unpin) -> Result<(), Error> {
        self.try_upload_manifest(manifest).await.map_err(|kind| self.error(Activity::UploadManifest, kind))
    }

    async fn try_upload_manifest(&mut self, manifest: impl AsyncRead + Unpin) -> Result<(), ErrorKind> {
        self.need_replication()?;
        self.need_version(server_version::V17)?;
        self.settle().await?;
        command::query("UPLOAD_MANIFEST", &mut self.connection.wire().outgoing)?;
        self.state = State::Answering;
        match self.receive().await? {
            BackendMessage::CopyIn => self.state = State::Uploading,
            BackendMessage::Error(server) => return Err(ErrorKind::Server(server)),
            message => return Err(self.out_of_place(&message)),
        }
        self.copy_in(manifest).await?;
        frontend::copy_done(&mut self.connection.wire().outgoing);
        self.state = State::Answering;
        self.collect().await?.finish().map(drop).map_err(ErrorKind::Server)
    }

    /// Sends all that `source` has. A server that dislikes the beginning reads the rest nevertheless.
    async fn copy_in(&mut self, mut source: impl AsyncRead + Unpin) -> Result<(), ErrorKind> {
        let mut piece = BytesMut::with_capacity(UPLOAD_PIECE);
        while source.read_buf(&mut piece).await.map_err(ErrorKind::ManifestUnreadable)? > 0 {
            command::copy_data(&piece, &mut self.connection.wire().outgoing)?;
            piece.clear();
            self.connection.flush().await.inspect_err(|_| self.state = State::Broken)?;
        }
        Ok(())
    }

    /// Starts a base backup (`BASE_BACKUP`), and waits until its start position is known: with a checkpoint that is not
    /// fast, for minutes.
    ///
    /// Dropping the future, or the backup, closes the connection, and the server gives the backup up.
    ///
    /// # Errors
    /// The server refuses, or the connection breaks.
    pub async fn base_backup(mut self, options: &BaseBackupOptions) -> Result<BaseBackup, Error> {
        let prepared = self.prepare_base_backup().await;
        prepared.map_err(|kind| self.error(Activity::BaseBackup, kind))?;
        let version = self.server_version_num();
        BaseBackup::open(self.connection, self.system, version, options).await
    }

    async fn prepare_base_backup(&mut self) -> Result<(), ErrorKind> {
        self.need_replication()?;
        self.settle().await
    }

    fn need_replication(&self) -> Result<(), ErrorKind> {
        match self.mode {
            Mode::PhysicalReplication => Ok(()),
            Mode::Sql => Err(ErrorKind::WrongMode { needs: "replication" }),
        }
    }

    fn need_version(&self, needs: u32) -> Result<(), ErrorKind> {
        let found = self.server_version_num();
        if found >= needs { Ok(()) } else { Err(ErrorKind::ServerVersion { needs, found }) }
    }

    /// Runs a command that returns one result.
    async fn run_one(&mut self, command: &str, field: &'static str) -> Result<Rows, ErrorKind> {
        let results = self.run(command).await?;
        Ok(results.into_iter().next().ok_or(ProtocolError::MissingField { field })?)
    }

    async fn run(&mut self, query: &str) -> Result<Vec<Rows>, ErrorKind> {
        self.settle().await?;
        command::query(query, &mut self.connection.wire().outgoing)?;
        self.state = State::Answering;
        let response = self.collect().await?;
        response.finish().map_err(ErrorKind::Server)
    }

    /// Skips what is left of the result of a command whose future was dropped.
    async fn settle(&mut self) -> Result<(), ErrorKind> {
        if self.state == State::Uploading {
            command::copy_fail("given up", &mut self.connection.wire().outgoing)?;
            self.state = State::Answering;
        }
        while self.state == State::Answering {
            match self.receive().await? {
                BackendMessage::ReadyForQuery => self.state = State::Ready,
                // The upload was given up before the server asked for it.
                BackendMessage::CopyIn => command::copy_fail("given up", &mut self.connection.wire().outgoing)?,
                _ => {}
            }
        }
        if self.state == State::Ready { Ok(()) } else { Err(ErrorKind::Unusable) }
    }

    async fn collect(&mut self) -> Result<Response, ErrorKind> {
        let mut response = Response::default();
        loop {
            let message = match self.receive().await {
                Ok(message) => message,
                Err(failure) => return Err(response.cut_short(failure)),
            };
            let is_last = response.handle(message).inspect_err(|_| self.state = State::Broken)?;
            if is_last {
                self.state = State::Ready;
                return Ok(response);
            }
        }
    }

    async fn receive(&mut self) -> Result<BackendMessage, ErrorKind> {
        self.connection.receive().await.inspect_err(|_| self.state = State::Broken)
    }

    fn out_of_place(&mut self, message: &BackendMessage) -> ErrorKind {
        self.state = State::Broken;
        message.unexpected("starting an upload").into()
    }

    fn error(&self, activity: Activity, kind: ErrorKind) -> Error {
        Error::new(activity, self.connection.host().clone(), kind)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", self.connection.host()).field("mode", &self.mode).finish_non_exhaustive()
    }
}

fn of_slot(slot: &str, kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::Server(server) => ErrorKind::of_slot(slot, server),
        kind => kind,
    }
}

fn history_missing(timeline: TimelineId, kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::Server(server) if server.sqlstate() == Some(SqlState::UNDEFINED_FILE) => {
            ErrorKind::HistoryMissing { timeline, server }
        }
        kind => kind,
    }
}
