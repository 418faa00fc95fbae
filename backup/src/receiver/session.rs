//! One stream of WAL: from START_REPLICATION until it ends, for whatever reason.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replication_client::{Client, Durable, StatusUpdate, StreamEvent, WalStream};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use wal_format::{Lsn, SegmentName, TimelineId};

use super::Context;
use super::error::ReceiveError;
use super::event::ReceiverEvent;
use super::segment_writer::SegmentWriter;
use crate::cancelled::cancelled;

/// How long a server may take to end a stream that we no longer want.
const FAREWELL: Duration = Duration::from_secs(5);
/// How much may arrive behind the WAL of a commit that waits for us before that is synced: one sync serves all that has
/// arrived, but does not wait for what arrives without end.
const LARGEST_GROUP: u64 = 512 << 10;

/// Passes WAL from the connection to the files, and what is durable there to the server.
///
/// Both on one thread: handing WAL over to another one and hearing of its sync takes longer than a good disk does for a
/// small sync, and commits may be waiting for it. Large amounts reach the disk beside the connection all the same, because
/// [`SegmentFile`](super::segment_file::SegmentFile) has the system write them early.
pub(super) struct Session<'a> {
    context: &'a Context<'a>,
    stream: WalStream,
    writer: SegmentWriter,
    progress: Progress,
    /// Whether commits wait for us, as far as is known.
    synchronous: &'a AtomicBool,
    /// What has arrived is to be synced as soon as nothing more does.
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
    /// A sync of the segment failed: it is to be received again, over this connection if that is still there.
    SyncFailed { client: Result<Client, replication_client::Error>, segment: SegmentName, error: ReceiveError },
}

/// Why the stream no longer flows.
enum Stop {
    Cancelled,
    TimelineEnded(Option<(TimelineId, Lsn)>),
    ConnectionFailed(replication_client::Error),
    WriterFailed(ReceiveError),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        mut stream: WalStream,
        writer: SegmentWriter,
        synchronous: &'a AtomicBool,
    ) -> Self {
        // Our own timer syncs before it reports.
        stream.set_status_interval(None);
        stream.set_silence_limit(Some(context.options.silence_limit));
        let progress = Progress { written: writer.position(), durable: None };
        Self { context, stream, writer, progress, synchronous, sync_due: false }
    }

    /// Receives until the stream ends or cannot go on, and returns how far it came and how it ended. What had arrived by
    /// then is synced in any case.
    pub(super) async fn run(mut self) -> (Progress, Result<SessionEnd, ReceiveError>) {
        let stop = match self.pump().await {
            stop @ Stop::WriterFailed(_) => stop,
            // A failure to write comes before one of the connection.
            stop => self.sync().map_or_else(Stop::WriterFailed, |_| stop),
        };
        (self.progress, conclude(stop, self.stream, self.progress).await)
    }

    async fn pump(&mut self) -> Stop {
        let interval = self.context.options.status_interval;
        let mut status = interval_at(Instant::now() + interval, interval);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cancelled = pin!(cancelled(self.context.cancel));
        loop {
            let done = tokio::select! {
                biased;
                () = &mut cancelled => Err(Stop::Cancelled),
                _ = status.tick() => self.sync_and_report(true).await,
                event = self.stream.next() => match event {
                    Ok(event) => self.on_event(event).await,
                    Err(error) => Err(error.into()),
                },
                // Asked last, and only after the runtime has looked at the socket once more: nothing else has arrived, so
                // one sync serves all the commits that it can.
                () = yield_now(), if self.sync_due => self.sync_and_report(false).await,
            };
            if let Err(stop) = done {
                return stop;
            }
        }
    }

    async fn on_event(&mut self, event: StreamEvent) -> Result<(), Stop> {
        match event {
            StreamEvent::Wal { start, data } => self.on_wal(start, &data).await,
            // The stream has answered with the positions of before; this has them brought up to date and sent again.
            StreamEvent::Keepalive { reply_requested, .. } => {
                self.sync_due |= reply_requested;
                Ok(())
            }
            StreamEvent::EndOfTimeline { next } => Err(Stop::TimelineEnded(next)),
        }
    }

    async fn on_wal(&mut self, mut at: Lsn, mut data: &[u8]) -> Result<(), Stop> {
        self.context.wal_arrived();
        while !data.is_empty() {
            data = self.writer.write(at, data)?;
            at = self.writer.position();
            self.progress.written = at;
            self.finish_segment().await?;
        }
        self.sync_due |= self.synchronous.load(Ordering::Relaxed);
        if self.sync_due && self.writer.unsynced_bytes() >= LARGEST_GROUP {
            self.sync_and_report(false).await?;
        }
        Ok(())
    }

    async fn finish_segment(&mut self) -> Result<(), Stop> {
        let Some((segment, durable)) = self.writer.finish_segment()? else { return Ok(()) };
        self.progress.durable = Some(durable);
        self.context.event(&ReceiverEvent::SegmentFinished { segment });
        Ok(self.progress.send(&mut self.stream).await?)
    }

    /// Tells the server if there is news, or `always`: commits may be waiting for it, and the server may be free to remove
    /// WAL.
    async fn sync_and_report(&mut self, always: bool) -> Result<(), Stop> {
        if self.sync()? || always {
            self.progress.send(&mut self.stream).await?;
        }
        Ok(())
    }

    /// Returns whether more is durable than before.
    fn sync(&mut self) -> Result<bool, ReceiveError> {
        self.sync_due = false;
        let durable = self.writer.sync()?;
        self.progress.durable = durable.or(self.progress.durable);
        Ok(durable.is_some())
    }
}

impl From<replication_client::Error> for Stop {
    fn from(error: replication_client::Error) -> Self {
        Self::ConnectionFailed(error)
    }
}

impl From<ReceiveError> for Stop {
    fn from(error: ReceiveError) -> Self {
        Self::WriterFailed(error)
    }
}

impl Progress {
    /// Tells the server. Invariant 1: the flush position is a [`Durable`], so there was a sync.
    async fn send(&self, stream: &mut WalStream) -> Result<(), replication_client::Error> {
        let update = StatusUpdate { written: self.written, flushed: self.durable.as_ref(), reply: false };
        stream.send_status(update).await
    }
}

/// Ends the stream in the way that its stop calls for.
async fn conclude(stop: Stop, stream: WalStream, progress: Progress) -> Result<SessionEnd, ReceiveError> {
    match stop {
        Stop::Cancelled => {
            say_farewell(stream, progress).await;
            Ok(SessionEnd::Cancelled)
        }
        Stop::TimelineEnded(Some((timeline, at))) => {
            Ok(SessionEnd::TimelineEnded { client: stream.stop().await?, timeline, at })
        }
        Stop::TimelineEnded(None) => Err(ReceiveError::StreamEnded { at: progress.written }),
        Stop::ConnectionFailed(error) => Err(error.into()),
        Stop::WriterFailed(error @ ReceiveError::Sync { segment, .. }) => {
            Ok(SessionEnd::SyncFailed { client: stream.stop().await, segment, error })
        }
        Stop::WriterFailed(error) => Err(error),
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
