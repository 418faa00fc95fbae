//! The state machine of a base backup: messages in, events out, no I/O.
//!
//! Mirrors `basebackup_copy.c`: two results, the archives, the manifest, a third result. Servers before 15 send each
//! archive, and the manifest, as a COPY of its own; newer ones send one COPY whose messages say what they are.

use bytes::{Buf, Bytes};
use postgres_protocol::message::backend::RowDescriptionBody;

use super::archives::Archives;
use super::decoder::Decoder;
use super::event::{BackupEnd, BackupEvent, BackupStart, Tablespace};
use super::options::BaseBackupOptions;
use crate::backend_message::BackendMessage;
use crate::error::ErrorKind;
use crate::protocol_error::ProtocolError;
use crate::query::Rows;
use crate::server_version;
use crate::wire::Wire;

/// One base backup, from its command to the ReadyForQuery behind it.
pub(crate) struct Core {
    options: BaseBackupOptions,
    layout: Layout,
    phase: Phase,
    /// The result that is being received.
    rows: Option<Rows>,
    start: Option<BackupStart>,
    archives: Archives,
    /// Decompresses the archive that began last.
    decoder: Option<Decoder>,
    end: Option<BackupEnd>,
}

/// How archives and manifest are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// By their order.
    CopyPerArchive,
    /// By the first byte of each message.
    OneCopy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A result or a COPY is awaited, or a result is being received.
    Between,
    /// Nothing has begun yet in the COPY.
    Copying,
    CopyingArchive,
    CopyingManifest,
    /// Everything has been received.
    Ended,
    /// Something was wrong. What is received later does not make the backup good.
    Failed,
}

impl Core {
    /// `version` is a `server_version_num`.
    pub(crate) fn new(version: u32, options: &BaseBackupOptions) -> Self {
        Self {
            layout: if version >= server_version::V15 { Layout::OneCopy } else { Layout::CopyPerArchive },
            phase: Phase::Between,
            rows: None,
            start: None,
            archives: Archives::new(options),
            decoder: None,
            end: None,
            options: options.clone(),
        }
    }

    /// Handles what comes before the first archive, and returns it, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) fn poll_start(&mut self, wire: &mut Wire) -> Result<Option<BackupStart>, ErrorKind> {
        while !self.archives.are_announced() {
            let Some(message) = wire.inbox.poll()? else { return Ok(None) };
            self.handle(message)?;
        }
        let tablespaces = || self.archives.announced().to_vec();
        Ok(self.start.clone().map(|start| BackupStart { tablespaces: tablespaces(), ..start }))
    }

    /// Returns the next event, or `None` if more bytes are needed or everything has been received.
    ///
    /// # Errors
    /// The server gives up, or what it sends is no base backup. Nothing but more errors comes after that.
    pub(crate) fn poll_event(&mut self, wire: &mut Wire) -> Result<Option<BackupEvent>, ErrorKind> {
        if self.phase == Phase::Failed {
            return Err(ErrorKind::Unusable);
        }
        self.try_poll_event(wire).inspect_err(|_| self.phase = Phase::Failed)
    }

    fn try_poll_event(&mut self, wire: &mut Wire) -> Result<Option<BackupEvent>, ErrorKind> {
        loop {
            // While the server waits for its WAL to be archived, notices are all that comes.
            let notice = |wire: &mut Wire| wire.inbox.take_notice().map(BackupEvent::Notice);
            if let Some(notice) = notice(wire) {
                return Ok(Some(notice));
            }
            if let Some(data) = self.decoded()? {
                return Ok(Some(BackupEvent::Data(data)));
            }
            let message = if self.is_ended() { None } else { wire.inbox.poll()? };
            let Some(message) = message else { return Ok(notice(wire)) };
            if let Some(event) = self.handle(message)? {
                return Ok(Some(event));
            }
        }
    }

    fn handle(&mut self, message: BackendMessage) -> Result<Option<BackupEvent>, ErrorKind> {
        match (message, self.phase) {
            (BackendMessage::Error(server), _) => return Err(ErrorKind::Server(server)),
            (BackendMessage::RowDescription(body), Phase::Between) if self.rows.is_none() => self.describe(&body)?,
            (BackendMessage::DataRow(body), Phase::Between) => match &mut self.rows {
                Some(rows) => rows.push(&body)?,
                None => return Err(BackendMessage::DataRow(body).unexpected(DURING).into()),
            },
            (BackendMessage::CommandComplete, Phase::Between) => {
                if let Some(rows) = self.rows.take() {
                    self.take_result(&rows)?;
                }
            }
            (BackendMessage::CopyOut, Phase::Between) if self.may_copy() => return Ok(self.begin_copy()?),
            (BackendMessage::CopyData(body), Phase::Copying | Phase::CopyingArchive | Phase::CopyingManifest) => {
                return Ok(self.copy(body.into_bytes())?);
            }
            (BackendMessage::CopyDone, Phase::Copying | Phase::CopyingArchive | Phase::CopyingManifest) => {
                self.end_archive()?;
                self.phase = Phase::Between;
            }
            (BackendMessage::ReadyForQuery, Phase::Between) if self.end.is_some() => self.phase = Phase::Ended,
            (message, _) => return Err(message.unexpected(DURING).into()),
        }
        Ok(None)
    }

    /// Begins a result. The last of the three comes when everything else is there: a backup that lacks a tablespace
    /// must not look complete.
    fn describe(&mut self, body: &RowDescriptionBody) -> Result<(), ProtocolError> {
        if self.archives.are_announced() {
            self.archives.check_complete()?;
        }
        self.rows = Some(Rows::describe(body)?);
        Ok(())
    }

    fn take_result(&mut self, rows: &Rows) -> Result<(), ProtocolError> {
        if self.start.is_none() {
            let BackupEnd { end_lsn: start_lsn, timeline } = BackupEnd::decode(rows)?;
            self.start = Some(BackupStart { start_lsn, timeline, tablespaces: Vec::new() });
        } else if !self.archives.are_announced() {
            let tablespaces = rows.iter().map(|row| Tablespace::decode(&row)).collect::<Result<_, _>>()?;
            self.archives.announce(tablespaces)?;
        } else {
            self.end = Some(BackupEnd::decode(rows)?);
        }
        Ok(())
    }

    fn may_copy(&self) -> bool {
        self.archives.are_announced() && self.rows.is_none() && self.end.is_none()
    }

    fn begin_copy(&mut self) -> Result<Option<BackupEvent>, ProtocolError> {
        if self.layout == Layout::OneCopy {
            self.phase = Phase::Copying;
            return Ok(None);
        }
        match self.archives.begin_next() {
            Some(tablespace) => Ok(Some(self.enter(tablespace))),
            None => self.begin_manifest().map(Some),
        }
    }

    /// Prepares for the bytes of an archive.
    fn enter(&mut self, tablespace: Tablespace) -> BackupEvent {
        self.phase = Phase::CopyingArchive;
        self.decoder = self.options.decoder();
        BackupEvent::Archive(tablespace)
    }

    /// Checks that the archive has come to its end, where its bytes tell.
    fn end_archive(&mut self) -> Result<(), ProtocolError> {
        self.decoder.take().map_or(Ok(()), |mut decoder| decoder.finish())
    }

    fn decoded(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        self.decoder.as_mut().map_or(Ok(None), Decoder::poll)
    }

    fn begin_manifest(&mut self) -> Result<BackupEvent, ProtocolError> {
        self.end_archive()?;
        self.archives.begin_manifest()?;
        self.phase = Phase::CopyingManifest;
        Ok(BackupEvent::ManifestBegin)
    }

    fn copy(&mut self, mut message: Bytes) -> Result<Option<BackupEvent>, ProtocolError> {
        if self.layout == Layout::CopyPerArchive {
            return self.data(message);
        }
        let (kind, length) = (message.first().copied().unwrap_or_default(), message.len());
        let malformed = || ProtocolError::StreamMessage { kind: kind.into(), length };
        message.advance(length.min(1));
        match kind {
            b'n' => self.begin_archive(&message).ok_or_else(malformed)?.map(Some),
            b'm' if message.is_empty() => self.begin_manifest().map(Some),
            b'd' => self.data(message),
            b'p' => {
                let bytes: Option<[u8; 8]> = message.as_ref().try_into().ok();
                Ok(Some(BackupEvent::Progress(bytes.map(u64::from_be_bytes).ok_or_else(malformed)?)))
            }
            _ => Err(malformed()),
        }
    }

    /// Reads an archive's name and location, each ended by a NUL. `None` if they are not there; the location says
    /// nothing that was not announced.
    fn begin_archive(&mut self, message: &[u8]) -> Option<Result<BackupEvent, ProtocolError>> {
        let text = std::str::from_utf8(message).ok()?;
        let (name, _location) = text.strip_suffix('\0')?.split_once('\0')?;
        let begun = self.end_archive().and_then(|()| self.archives.begin(name));
        Some(begun.map(|tablespace| self.enter(tablespace)))
    }

    fn data(&mut self, data: Bytes) -> Result<Option<BackupEvent>, ProtocolError> {
        match (self.phase, &mut self.decoder) {
            (Phase::CopyingArchive, Some(decoder)) => {
                decoder.feed(data);
                Ok(self.decoded()?.map(BackupEvent::Data))
            }
            (Phase::CopyingArchive, None) => Ok(Some(BackupEvent::Data(data))),
            (Phase::CopyingManifest, _) => Ok(Some(BackupEvent::Manifest(data))),
            _ => Err(ProtocolError::Unexpected { message: "data", during: "waiting for an archive" }),
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Returns what the server said last, once everything has been received.
    pub(crate) fn end(&self) -> Option<BackupEnd> {
        self.end.filter(|_| self.is_ended())
    }
}

const DURING: &str = "receiving a base backup";

#[cfg(test)]
mod tests;
