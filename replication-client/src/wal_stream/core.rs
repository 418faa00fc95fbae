//! The state machine of a WAL stream: messages and time in, events and answers out, no I/O.
//!
//! Mirrors what `ReceiveXlogStream` in PostgreSQL's `receivelog.c` does on the wire.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::RowDescriptionBody;
use postgres_protocol::message::frontend;
use wal_format::{Lsn, SystemId, TimelineId, Timestamp};

use super::event::{HotStandbyFeedback, StartReplication, StatusUpdate, StreamEvent};
use super::message::{ServerMessage, StandbyStatus};
use super::refusal::Request;
use super::timers::{Due, Timers};
use crate::backend_message::BackendMessage;
use crate::command;
use crate::error::ErrorKind;
use crate::protocol_error::ProtocolError;
use crate::query::Rows;
use crate::server_error::ServerError;
use crate::wire::Wire;

/// How many bytes of answers may wait for a server that asks for answers but does not take them.
const MOST_UNSENT: usize = 4096;

/// The moment at which something is handled, on both of the clocks that matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For intervals.
    pub(crate) instant: Instant,
    /// For the server to see.
    pub(crate) timestamp: Timestamp,
}

/// One WAL stream, from the command to the ReadyForQuery behind it.
pub(crate) struct Core {
    request: Request,
    system: SystemId,
    phase: Phase,
    /// The end of the WAL received so far.
    received: Lsn,
    server_end: Option<Lsn>,
    written: Lsn,
    flushed: Option<Lsn>,
    applied: Option<Lsn>,
    timers: Timers,
}

enum Phase {
    /// The command has been sent.
    Starting,
    /// WAL flows.
    Streaming,
    /// We have ended our side; what the server had sent meanwhile is skipped.
    Stopping,
    /// Both sides have ended. A result may follow, which names the next timeline.
    Ending(Option<Rows>),
    /// The server waits for the next command.
    Ended { next: Option<(TimelineId, Lsn)> },
    /// Something was wrong. What is received later does not make the stream good.
    Failed,
}

impl Core {
    /// Writes the command to `out`.
    pub(crate) fn start(
        start: StartReplication,
        system: SystemId,
        now: Now,
        out: &mut BytesMut,
    ) -> Result<Self, ErrorKind> {
        command::query(&command::start_replication(start.slot.as_deref(), start.start, start.timeline), out)?;
        Ok(Self {
            system,
            phase: Phase::Starting,
            received: start.start,
            server_end: None,
            written: start.start,
            flushed: None,
            applied: None,
            timers: Timers::new(now.instant),
            request: Request(start),
        })
    }

    /// Handles what comes before the stream, and nothing behind it.
    ///
    /// # Errors
    /// The server refuses.
    pub(crate) fn poll_start(&mut self, now: Now, wire: &mut Wire) -> Result<(), ErrorKind> {
        while !self.is_started() {
            let Some(message) = wire.inbox.poll()? else { break };
            self.handle(message, now, &mut wire.outgoing)?;
        }
        Ok(())
    }

    /// Returns the next event, or `None` if more bytes are needed. After the end it is the end again and again.
    ///
    /// # Errors
    /// The server refuses, ends the stream, or breaks the protocol. Nothing but more errors comes after that.
    pub(crate) fn poll_event(&mut self, now: Now, wire: &mut Wire) -> Result<Option<StreamEvent>, ErrorKind> {
        if matches!(self.phase, Phase::Failed) {
            return Err(ErrorKind::Unusable);
        }
        self.try_poll_event(now, wire).inspect_err(|_| self.phase = Phase::Failed)
    }

    fn try_poll_event(&mut self, now: Now, wire: &mut Wire) -> Result<Option<StreamEvent>, ErrorKind> {
        while !self.is_ended() {
            let Some(message) = wire.inbox.poll()? else { return Ok(None) };
            if let Some(event) = self.handle(message, now, &mut wire.outgoing)? {
                return Ok(Some(event));
            }
        }
        Ok(self.end())
    }

    fn handle(
        &mut self,
        message: BackendMessage,
        now: Now,
        out: &mut BytesMut,
    ) -> Result<Option<StreamEvent>, ErrorKind> {
        match (message, &mut self.phase) {
            (BackendMessage::Error(server), _) => return Err(self.sort(server)),
            (BackendMessage::CopyBoth, Phase::Starting) => self.phase = Phase::Streaming,
            (BackendMessage::CopyData(body), Phase::Streaming) => return self.stream(body.into_bytes(), now, out),
            (BackendMessage::CopyData(_), Phase::Stopping) => {}
            (BackendMessage::CopyDone, Phase::Streaming) => {
                frontend::copy_done(out);
                self.phase = Phase::Ending(None);
            }
            (BackendMessage::CopyDone, Phase::Stopping) => self.phase = Phase::Ending(None),
            // A walsender that has sent all WAL of a server that shuts down.
            (BackendMessage::CommandComplete, Phase::Streaming) => return Err(ErrorKind::ServerShutDown),
            // There is nothing to stream where the timeline ends at the start.
            (BackendMessage::RowDescription(body), Phase::Starting | Phase::Ending(None)) => self.describe(&body)?,
            (BackendMessage::DataRow(body), Phase::Ending(Some(rows))) => rows.push(&body)?,
            (BackendMessage::CommandComplete, Phase::Stopping | Phase::Ending(_)) => {}
            (BackendMessage::ReadyForQuery, Phase::Ending(rows)) => {
                let next = rows.as_ref().map(next_timeline).transpose()?;
                self.phase = Phase::Ended { next };
            }
            (message, _) => return Err(message.unexpected("streaming WAL").into()),
        }
        Ok(None)
    }

    fn sort(&self, server: ServerError) -> ErrorKind {
        let is_first = self.received == self.request.start();
        if is_first { self.request.refused(server) } else { self.request.interrupted(server) }
    }

    fn describe(&mut self, body: &RowDescriptionBody) -> Result<(), ProtocolError> {
        self.phase = Phase::Ending(Some(Rows::describe(body)?));
        Ok(())
    }

    fn stream(&mut self, message: Bytes, now: Now, out: &mut BytesMut) -> Result<Option<StreamEvent>, ErrorKind> {
        match ServerMessage::decode(message)? {
            ServerMessage::Wal { start, server_end, data } => {
                self.server_end = Some(server_end);
                self.advance(start, data.len())?;
                Ok(Some(StreamEvent::Wal { start, data }))
            }
            ServerMessage::Keepalive { server_end, reply_requested } => {
                self.server_end = Some(server_end);
                // At once, whatever the caller does next: the server may be about to give us up, or waits with its
                // shutdown for the answer.
                if reply_requested && out.len() < MOST_UNSENT {
                    self.write_status(false, now, out);
                }
                Ok(Some(StreamEvent::Keepalive { end: server_end, reply_requested }))
            }
        }
    }

    /// Checks that WAL continues where it ended, because a gap would only be noticed when somebody needs a restore.
    fn advance(&mut self, start: Lsn, length: usize) -> Result<(), ProtocolError> {
        if start != self.received {
            return Err(ProtocolError::NotContiguous { expected: self.received, found: start });
        }
        let end = u64::try_from(length).ok().and_then(|length| start.checked_add(length));
        self.received = end.ok_or(ProtocolError::StreamMessage { kind: 'w', length })?;
        Ok(())
    }

    /// Takes the caller's progress, and writes a status update to `out`.
    ///
    /// # Errors
    /// What is said to be flushed is not WAL of this stream, so that it must not be acknowledged here.
    pub(crate) fn report(&mut self, update: StatusUpdate<'_>, now: Now, out: &mut BytesMut) -> Result<(), ErrorKind> {
        if let Some(durable) = update.flushed {
            if (durable.system(), durable.timeline()) != (self.system, self.timeline()) {
                let (system, timeline, lsn) = (durable.system(), durable.timeline(), durable.lsn());
                return Err(ErrorKind::ForeignDurable { system, timeline, lsn });
            }
            self.flushed = self.flushed.max(Some(durable.lsn()));
        }
        self.written = update.written;
        if matches!(self.phase, Phase::Streaming) {
            self.write_status(update.reply, now, out);
        }
        Ok(())
    }

    /// Notes what has been applied, for the next status update.
    pub(crate) fn set_applied(&mut self, lsn: Lsn) {
        self.applied = self.applied.max(Some(lsn));
    }

    /// Writes feedback to `out`, while WAL flows.
    pub(crate) fn feed_back(&self, feedback: HotStandbyFeedback, now: Now, out: &mut BytesMut) {
        if matches!(self.phase, Phase::Streaming) {
            feedback.encode(now.timestamp, out);
        }
    }

    fn write_status(&mut self, reply: bool, now: Now, out: &mut BytesMut) {
        let (written, flushed, applied) = (self.written, self.flushed, self.applied);
        StandbyStatus { written, flushed, applied, sent_at: now.timestamp, reply }.encode(out);
        self.timers.status_sent(now.instant);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) should be called at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_ended() { None } else { self.timers.next() }
    }

    /// Notes that the server lives.
    pub(crate) fn handle_received(&mut self, now: Now) {
        self.timers.received(now.instant);
    }

    /// Does what time demands.
    ///
    /// # Errors
    /// The server has been silent for too long.
    pub(crate) fn handle_timeout(&mut self, now: Now, out: &mut BytesMut) -> Result<(), ErrorKind> {
        match self.timers.due(now.instant) {
            None => {}
            Some(Due::GivingUp { silence }) => return Err(ErrorKind::Silent { silence }),
            Some(due) if matches!(self.phase, Phase::Streaming) => self.write_status(due == Due::Question, now, out),
            // Outside the stream nothing may be said, but the clock goes on.
            Some(_) => self.timers.status_sent(now.instant),
        }
        Ok(())
    }

    /// Ends our side of the stream, if it is not ended yet.
    pub(crate) fn stop(&mut self, out: &mut BytesMut) {
        if matches!(self.phase, Phase::Streaming) {
            frontend::copy_done(out);
            self.phase = Phase::Stopping;
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        !matches!(self.phase, Phase::Starting)
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    fn end(&self) -> Option<StreamEvent> {
        match self.phase {
            Phase::Ended { next } => Some(StreamEvent::EndOfTimeline { next }),
            _ => None,
        }
    }

    pub(crate) fn system(&self) -> SystemId {
        self.system
    }

    pub(crate) fn timeline(&self) -> TimelineId {
        self.request.timeline()
    }

    pub(crate) fn received(&self) -> Lsn {
        self.received
    }

    pub(crate) fn server_end(&self) -> Option<Lsn> {
        self.server_end
    }

    pub(crate) fn set_status_interval(&mut self, interval: Option<Duration>) {
        self.timers.set_status_interval(interval);
    }

    pub(crate) fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.timers.set_silence_limit(limit);
    }
}

/// Reads the result behind a stream of a timeline that has ended.
fn next_timeline(rows: &Rows) -> Result<(TimelineId, Lsn), ProtocolError> {
    let row = rows.first("next_tli")?;
    let timeline = row.required("next_tli", |text| text.parse().ok())?;
    let switch = row.required("next_tli_startpos", |text| text.parse().ok())?;
    Ok((timeline, switch))
}

#[cfg(test)]
mod tests;
