//! Receives WAL by streaming replication and keeps it safe, as pg_receivewal does.
//!
//! ```text
//! connection ──WAL──▶ session ──WAL──▶ segment writer ──▶ streaming/<segment>.partial ──▶ streaming/<segment>
//!      ▲                │ ▲                  │
//!      └──── status ────┘ └─────Durable──────┘ for each sync
//! ```
//!
//! One [`Session`] lasts from `START_REPLICATION` to the end of the stream; [`Context::follow`] starts the next one where a
//! timeline ends or a sync has failed, and [`receive`] connects again where that is wanted. All decisions about files are
//! in [`SegmentWriter`], which knows nothing of connections.

mod error;
mod event;
mod history;
mod options;
mod segment_file;
mod segment_writer;
mod session;
mod start;
mod streaming_directory;
mod synchronous;

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barman_storage::{Cancel, Dir};
use replication_client::{Client, Config, Durable, Mode, PhysicalSlot, StartReplication, SystemIdentity, WalStream};
use wal_format::{Lsn, SegmentNumber, SegmentSize, TimelineId};

pub use error::ReceiveError;
pub use event::{ReceiverEvent, StartReason};
pub use options::{ReceiverOptions, Reconnect, Synchronous};
pub use synchronous::names_standby;

use crate::cancelled::cancelled;
use segment_writer::{SegmentWriter, StreamStart};
use session::{Session, SessionEnd};
use start::{Start, StartPoint};
use synchronous::Waiting;

/// Where a receiver stood when it was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// What was last made durable and reported over the last connection, if anything was.
    pub durable: Option<Durable>,
}

/// Receives WAL into `streaming` until `cancel` is set.
///
/// It writes and syncs on the thread that polls it: what else runs there waits for the disk, so give each receiver a
/// runtime of its own. `events` is called there too, and must not block: to archive a segment at once, let it pass
/// [`ReceiverEvent::SegmentFinished`] on to a thread.
///
/// While the disk does not answer, neither do we: if a sync takes longer than `wal_sender_timeout` (a minute by default),
/// the server ends the connection, as it does with pg_receivewal. Commits that wait for us wait for that disk in any case,
/// and with [`ReceiverOptions::reconnect`] receiving goes on by itself where it was.
///
/// # Errors
/// Anything that ends the stream; see [`ReceiveError`]. With [`ReceiverOptions::reconnect`] only what waiting does not
/// heal. What was received before is safe, and another call goes on from there.
pub async fn receive(
    config: &Config,
    streaming: &Dir,
    options: &ReceiverOptions,
    cancel: &Cancel,
    events: &(dyn Fn(&ReceiverEvent<'_>) + Send + Sync),
) -> Result<Received, ReceiveError> {
    let (wal_arrived, sync_failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let context = Context { streaming, options, cancel, events, wal_arrived, sync_failed };
    let mut failures = 0;
    loop {
        let error = match context.receive_once(config).await {
            Err(error) if error.is_transient() && !cancel.is_cancelled() => error,
            ended => return ended,
        };
        let Some(reconnect) = options.reconnect else { return Err(error) };
        failures = if context.wal_arrived.swap(false, Ordering::Relaxed) { 0 } else { failures };
        let after = reconnect.wait(failures, RandomState::new().hash_one(failures));
        context.event(&ReceiverEvent::Reconnecting { error: &error, after });
        tokio::select! {
            () = tokio::time::sleep(after) => failures += 1,
            () = cancelled(cancel) => return Ok(Received { durable: None }),
        }
    }
}

/// What stays the same from one connection to the next.
struct Context<'a> {
    streaming: &'a Dir,
    options: &'a ReceiverOptions,
    cancel: &'a Cancel,
    events: &'a (dyn Fn(&ReceiverEvent<'_>) + Send + Sync),
    /// Whether the connection was good for something, so that the next failure counts as the first.
    wal_arrived: AtomicBool,
    /// Whether a sync has failed since the last good one.
    sync_failed: AtomicBool,
}

/// A connection over which WAL is about to flow.
struct Connected {
    client: Client,
    start: StreamStart,
    /// Whether commits wait for us.
    waiting: Waiting,
    /// Where the WAL begins that the slot keeps.
    kept: Option<Lsn>,
}

impl Context<'_> {
    fn event(&self, event: &ReceiverEvent<'_>) {
        (self.events)(event);
    }

    fn wal_arrived(&self) {
        self.wal_arrived.store(true, Ordering::Relaxed);
    }

    async fn receive_once(&self, config: &Config) -> Result<Received, ReceiveError> {
        match self.try_receive(config).await {
            Err(ReceiveError::SlotMissing { slot, .. }) if self.options.create_slot => {
                self.create_slot(config, &slot).await?;
                self.try_receive(config).await
            }
            ended => ended,
        }
    }

    async fn try_receive(&self, config: &Config) -> Result<Received, ReceiveError> {
        let connected = tokio::select! {
            connected = self.connect(config) => connected?,
            () = cancelled(self.cancel) => return Ok(Received { durable: None }),
        };
        let Connected { start: StreamStart { timeline, position, size, .. }, kept, .. } = connected;
        self.follow(connected).await.map_err(|error| error.with_loss(timeline, position, size, kept))
    }

    async fn create_slot(&self, config: &Config, slot: &str) -> Result<(), ReceiveError> {
        let mut client = Client::connect(config, Mode::PhysicalReplication).await?;
        self.refuse_foreign(client.identify_system().await?)?;
        let mut reserving = PhysicalSlot::new(slot);
        reserving.reserve_wal = true;
        client.create_physical_slot(&reserving).await?;
        self.event(&ReceiverEvent::SlotCreated { slot: slot.to_owned() });
        Ok(())
    }

    /// Connects, makes sure that it is the right cluster, and finds out where to go on.
    async fn connect(&self, config: &Config) -> Result<Connected, ReceiveError> {
        let mut client = Client::connect(config, Mode::PhysicalReplication).await?;
        let server = client.identify_system().await?;
        self.refuse_foreign(server)?;
        let size = client.wal_segment_size().await?;
        let waiting = synchronous::waiting(&mut client, &self.options.synchronous).await?;
        let Start { point, gap_from, kept, left } =
            start::find(&mut client, self.streaming, self.options, server, size).await?;
        let StartPoint { timeline, position, reason } = point;
        let start = StreamStart { system: server.system_id, size, timeline, position };
        let host = client.host_description().to_owned();
        self.event(&ReceiverEvent::Connected { host, system: start.system, timeline, start: position, reason });
        self.warn_of(waiting);
        if let Some(from) = gap_from {
            self.event(&ReceiverEvent::Gap { timeline, from, to: position });
        }
        for (timeline, at) in left {
            self.keep_surplus(timeline, at, size).await?;
        }
        Ok(Connected { client, start, waiting, kept })
    }

    fn warn_of(&self, waiting: Waiting) {
        if let (true, Synchronous::IfNamed(standby)) = (waiting.forever, &self.options.synchronous) {
            self.event(&ReceiverEvent::RemoteApply { standby: standby.clone() });
        }
    }

    /// Keeps what was received beyond the point at which the server left a timeline, and names it.
    async fn keep_surplus(&self, timeline: TimelineId, at: Lsn, size: SegmentSize) -> Result<(), ReceiveError> {
        let (dir, archive) = (self.streaming.clone(), self.options.archive.clone());
        let (files, archived) = blocking(move || {
            let files = streaming_directory::set_surplus_aside(&dir, timeline, at, size)?;
            let archived = archive.map(|archive| archive.newest_archived_segments()).transpose()?.unwrap_or_default();
            let archived = archived.into_iter().find(|newest| newest.timeline == timeline);
            let end = archived.map(|newest| newest.number(size)).transpose()?.map(|number| number.end(size));
            Ok((files, archived.filter(|_| end > Some(at))))
        })
        .await?;
        if !files.is_empty() || archived.is_some() {
            self.event(&ReceiverEvent::SurplusKept { timeline, at, files, archived });
        }
        Ok(())
    }

    fn refuse_foreign(&self, server: SystemIdentity) -> Result<(), ReceiveError> {
        match self.options.system {
            Some(expected) if expected != server.system_id => {
                Err(ReceiveError::ForeignSystem { expected, found: server.system_id })
            }
            _ => Ok(()),
        }
    }

    /// Receives one timeline after the other, and sees to it that a change of the server's settings is noticed.
    async fn follow(&self, connected: Connected) -> Result<Received, ReceiveError> {
        let Connected { client, start, waiting, .. } = connected;
        let synchronous = AtomicBool::new(waiting.synchronous);
        tokio::select! {
            ended = self.follow_timelines(client, start, &synchronous) => ended,
            never = self.watch_settings(waiting, &synchronous) => match never {},
        }
    }

    /// Asks from time to time whether commits wait for us. A server that does not answer has not changed its mind.
    async fn watch_settings(&self, mut known: Waiting, synchronous: &AtomicBool) -> Infallible {
        loop {
            tokio::time::sleep(self.options.settings_interval).await;
            let Some(waiting) = self.ask_settings().await.unwrap_or_else(|error| {
                tracing::debug!(%error, "cannot ask whether commits wait for the receiver");
                None
            }) else {
                continue;
            };
            if waiting != known {
                known = waiting;
                synchronous.store(waiting.synchronous, Ordering::Relaxed);
                self.event(&ReceiverEvent::SettingsChanged { synchronous: waiting.synchronous });
                self.warn_of(waiting);
            }
        }
    }

    async fn ask_settings(&self) -> Result<Option<Waiting>, ReceiveError> {
        let (Some(sql), Synchronous::IfNamed(_)) = (&self.options.sql, &self.options.synchronous) else {
            return Ok(None);
        };
        let mut client = Client::connect(sql, Mode::Sql).await?;
        Ok(Some(synchronous::waiting(&mut client, &self.options.synchronous).await?))
    }

    async fn follow_timelines(
        &self,
        mut client: Client,
        mut start: StreamStart,
        synchronous: &AtomicBool,
    ) -> Result<Received, ReceiveError> {
        let mut writer = SegmentWriter::new(self.streaming.clone(), start);
        loop {
            let stream = tokio::select! {
                stream = self.open_stream(client, start) => stream?,
                () = cancelled(self.cancel) => return Ok(Received { durable: None }),
            };
            let (progress, end) = Session::new(self, stream, writer, synchronous).run().await;
            if progress.durable.is_some() {
                self.sync_failed.store(false, Ordering::Relaxed);
            }
            match end? {
                SessionEnd::Cancelled => return Ok(Received { durable: progress.durable }),
                SessionEnd::TimelineEnded { client: next, timeline, at } => {
                    self.event(&ReceiverEvent::TimelineSwitch { from: start.timeline, to: timeline, at });
                    self.keep_surplus(start.timeline, at, start.size).await?;
                    let position = SegmentNumber::containing(at, start.size).start(start.size);
                    start = StreamStart { timeline, position, ..start };
                    client = next;
                }
                SessionEnd::SyncFailed { client: again, segment, error } => {
                    // A second failure without a good sync in between: this disk will not take it.
                    if self.sync_failed.swap(true, Ordering::Relaxed) {
                        return Err(error);
                    }
                    self.event(&ReceiverEvent::SyncFailed { error: &error });
                    start.position = segment.start(start.size)?;
                    client = again?;
                }
            }
            writer = SegmentWriter::new(self.streaming.clone(), start);
        }
    }

    /// Stores the timeline's history, which is to be there before its WAL, and asks for that.
    async fn open_stream(&self, mut client: Client, start: StreamStart) -> Result<WalStream, ReceiveError> {
        let StreamStart { timeline, position, .. } = start;
        if history::store(&mut client, self.streaming, timeline).await? {
            self.event(&ReceiverEvent::HistoryStored { timeline });
        }
        let slot = self.options.slot.clone();
        Ok(client.start_replication(StartReplication { slot, timeline, start: position }).await?)
    }
}

impl Reconnect {
    /// Returns how long to wait after this many failures before the last one: half of the longest wait at least, and a
    /// random part of the rest.
    fn wait(self, failures: u32, random: u64) -> Duration {
        let longest = self.first.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest);
        let part = f64::from((random >> 32) as u32) / f64::from(u32::MAX);
        longest.mul_f64(0.5 + part / 2.0)
    }
}

/// Runs work on files where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReceiveError> + Send + 'static,
) -> Result<T, ReceiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_keep_a_random_half() {
        let reconnect = Reconnect { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let seconds = |failures, random| reconnect.wait(failures, random).as_secs_f64();
        assert_eq!((seconds(0, 0), seconds(0, u64::MAX)), (0.5, 1.0));
        assert_eq!((seconds(3, 0), seconds(3, u64::MAX)), (4.0, 8.0));
        assert_eq!((seconds(6, u64::MAX), seconds(4_000_000_000, u64::MAX)), (60.0, 60.0));
    }
}
