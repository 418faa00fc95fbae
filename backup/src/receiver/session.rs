//! One stream of WAL: from START_REPLICATION until it ends, for whatever reason.

use std::pin::pin;
use std::time::Duration;

use replication_client::{Client, Durable, StatusUpdate, StreamEvent, WalStream};
use tokio::sync::mpsc::Permit;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use wal_format::{Lsn, SegmentName, TimelineId};

use super::Context;
use super::error::ReceiveError;
use super::event::ReceiverEvent;
use super::segment_writer::SegmentWriter;
use super::writer_thread::{Command, Report, WriterThread};
use crate::cancelled::cancelled;

/// How long a server may take to end a stream that we no longer want.
const FAREWELL: Duration = Duration::from_secs(5);

/// Passes WAL from the connection to the writer thread, and what is durable from there to the server.
pub(super) struct Session<'a> {
    context: &'a Context<'a>,
    stream: WalStream,
    writer: WriterThread,
    progress: Progress,
    /// Waits for room in the writer's channel. Meanwhile nothing is read from the connection.
    pending: Option<Command>,
    /// A sync is due after the pending command.
    sync_due: bool,
}

/// How far WAL has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Everything before this is written.
    pub(super) written: Lsn,
    /// What was last proven to be on disk.
    pub(super) durable: Option<Durable>,
}

/// How a session ended, and what to do next.
pub(super) enum SessionEnd {
    /// The caller cancelled.
    Cancelled,
    /// The timeline has ended: receiving goes on with `timeline`, which left it at `at`.
    TimelineEnded { client: Client, timeline: TimelineId, at: Lsn },
    /// A sync of the segment failed: it is to be received again.
    SyncFailed { client: Client, segment: SegmentName, error: ReceiveError },
}

/// Why the stream no longer flows.
enum Stop {
    Cancelled,
    TimelineEnded(Option<(TimelineId, Lsn)>),
    WriterFailed,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        mut stream: WalStream,
        writer: SegmentWriter,
        synchronous: bool,
    ) -> Self {
        // Our own timer reports: the stream's does not run while we wait for the disk instead of the connection.
        stream.set_status_interval(None);
        let progress = Progress { written: writer.position(), durable: None };
        let writer = WriterThread::start(writer, synchronous);
        Self { context, stream, writer, progress, pending: None, sync_due: false }
    }

    /// Receives until the stream ends or cannot go on, and returns how far it came and how it ended. What had arrived by
    /// then is written and synced in any case.
    pub(super) async fn run(mut self) -> (Progress, Result<SessionEnd, ReceiveError>) {
        let stop = self.pump().await;
        let Self { context, stream, writer, mut progress, pending, .. } = self;
        let written = writer.finish(pending, |report| progress.note(report, context)).await;
        (progress, conclude(stop, written, stream, progress).await)
    }

    async fn pump(&mut self) -> Result<Stop, ReceiveError> {
        let interval = self.context.options.status_interval;
        let mut status = interval_at(Instant::now() + interval, interval);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cancelled = pin!(cancelled(self.context.cancel));
        // A handle of its own, because room in the channel is held while the rest of the session is used.
        let commands = self.writer.commands.clone();
        loop {
            let room_wanted = self.pending.is_some();
            tokio::select! {
                () = &mut cancelled => return Ok(Stop::Cancelled),
                report = self.writer.reports.recv() => match report {
                    Some(report) => self.on_report(report).await?,
                    None => return Ok(Stop::WriterFailed),
                },
                room = commands.reserve(), if room_wanted => match room {
                    Ok(room) => self.pass_on(room),
                    Err(_) => return Ok(Stop::WriterFailed),
                },
                event = self.stream.next(), if !room_wanted => {
                    if let Some(stop) = self.on_event(event?) {
                        return Ok(stop);
                    }
                }
                _ = status.tick() => {
                    self.request_sync();
                    self.progress.send(&mut self.stream).await?;
                }
            }
        }
    }

    async fn on_report(&mut self, report: Report) -> Result<(), ReceiveError> {
        let durable = matches!(report, Report::Durable(_));
        self.progress.note(report, self.context);
        if durable {
            // Commits may be waiting for this, and the server may be free to remove WAL.
            self.progress.send(&mut self.stream).await?;
        }
        Ok(())
    }

    fn pass_on(&mut self, room: Permit<'_, Command>) {
        if let Some(command) = self.pending.take() {
            room.send(command);
        }
        self.pending = std::mem::take(&mut self.sync_due).then_some(Command::Sync);
    }

    fn on_event(&mut self, event: StreamEvent) -> Option<Stop> {
        match event {
            StreamEvent::Wal { start, data } => {
                self.context.wal_arrived();
                self.pending = Some(Command::Write { start, data });
            }
            // The stream has answered with the positions of before; this has them brought up to date and sent again.
            StreamEvent::Keepalive { reply_requested: true, .. } => self.request_sync(),
            StreamEvent::Keepalive { .. } => {}
            StreamEvent::EndOfTimeline { next } => return Some(Stop::TimelineEnded(next)),
        }
        None
    }

    fn request_sync(&mut self) {
        match self.pending {
            Some(_) => self.sync_due = true,
            None => self.pending = Some(Command::Sync),
        }
    }
}

impl Progress {
    fn note(&mut self, report: Report, context: &Context<'_>) {
        match report {
            Report::Written(lsn) => self.written = self.written.max(lsn),
            Report::Durable(durable) => {
                self.written = self.written.max(durable.lsn());
                self.durable = Some(durable);
            }
            Report::Finished(segment) => context.event(&ReceiverEvent::SegmentFinished { segment }),
        }
    }

    /// Tells the server. Invariant 1: the flush position is a [`Durable`], so there was a sync.
    async fn send(&self, stream: &mut WalStream) -> Result<(), ReceiveError> {
        let update = StatusUpdate { written: self.written, flushed: self.durable.as_ref(), reply: false };
        Ok(stream.send_status(update).await?)
    }
}

/// Ends the stream in the way that its stop calls for. A failure to write comes before one of the connection.
async fn conclude(
    stop: Result<Stop, ReceiveError>,
    written: Result<(), ReceiveError>,
    stream: WalStream,
    progress: Progress,
) -> Result<SessionEnd, ReceiveError> {
    match (stop, written) {
        (Ok(_), Err(error @ ReceiveError::Sync { segment, .. })) => {
            Ok(SessionEnd::SyncFailed { client: stream.stop().await?, segment, error })
        }
        (_, Err(error)) | (Err(error), Ok(())) => Err(error),
        (Ok(Stop::Cancelled), Ok(())) => {
            say_farewell(stream, progress).await;
            Ok(SessionEnd::Cancelled)
        }
        (Ok(Stop::TimelineEnded(Some((timeline, at)))), Ok(())) => {
            Ok(SessionEnd::TimelineEnded { client: stream.stop().await?, timeline, at })
        }
        (Ok(Stop::TimelineEnded(None)), Ok(())) => Err(ReceiveError::StreamEnded { at: progress.written }),
        (Ok(Stop::WriterFailed), Ok(())) => unreachable!("the writer stops by itself only to fail"),
    }
}

/// Reports what is durable and ends the stream. Everything is safe already, so a server that does not answer is no
/// reason to fail.
async fn say_farewell(mut stream: WalStream, progress: Progress) {
    let farewell = async {
        progress.send(&mut stream).await?;
        Ok::<_, ReceiveError>(stream.stop().await.map(drop)?)
    };
    match timeout(FAREWELL, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the server did not take leave"),
        Err(_) => tracing::warn!("the server did not end the stream within {} s", FAREWELL.as_secs()),
    }
}
