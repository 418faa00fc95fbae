//! [`WalStream`]: WAL as it is generated, and the acknowledgements that go back.

mod core;
mod event;
mod message;
mod refusal;
mod timers;

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout_at;
use wal_format::{Lsn, SystemId, TimelineId, Timestamp};

pub(crate) use self::core::{Core, Now};
pub use self::event::{HotStandbyFeedback, StartReplication, StatusUpdate, StreamEvent};
use crate::activity::Activity;
use crate::client::{Client, Mode};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::server_error::Notice;

/// WAL of one timeline, as the server sends it.
///
/// It has to be polled by [`next`](Self::next): requests of the server's for an answer are answered there at once, and
/// every 10 seconds the positions last reported are repeated. Back-pressure is simply not calling it; a server with
/// the default `wal_sender_timeout` waits for a minute.
///
/// Dropping the stream closes the connection.
pub struct WalStream {
    connection: Connection,
    core: Core,
}

impl WalStream {
    /// Sends the command, and waits until the server streams or has said that there is nothing to stream.
    pub(crate) async fn open(
        mut connection: Connection,
        system: SystemId,
        start: StartReplication,
    ) -> Result<Self, Error> {
        let activity = Activity::Stream { timeline: start.timeline, at: start.start };
        let host = connection.host().clone();
        let core = Core::start(start, system, now(), &mut connection.wire().outgoing);
        let core = core.map_err(|kind| Error::new(activity, host, kind))?;
        let mut stream = Self { connection, core };
        stream.begin().await.map_err(|kind| stream.error(kind))?;
        Ok(stream)
    }

    async fn begin(&mut self) -> Result<(), ErrorKind> {
        while !self.core.is_started() {
            self.wait().await?;
            self.core.poll_start(now(), self.connection.wire())?;
        }
        Ok(())
    }

    /// Returns the next event.
    ///
    /// The future may be dropped at any time, for example by `tokio::select!`: no event is lost. After
    /// [`StreamEvent::EndOfTimeline`] the same is returned again.
    ///
    /// # Errors
    /// WAL has been removed from the server ([`ErrorKind::WalRemoved`]), the server shuts down, is silent for too long
    /// or breaks the protocol, or the connection breaks. The stream is of no use after that.
    pub async fn next(&mut self) -> Result<StreamEvent, Error> {
        self.try_next().await.map_err(|kind| self.error(kind))
    }

    async fn try_next(&mut self) -> Result<StreamEvent, ErrorKind> {
        loop {
            if let Some(event) = self.core.poll_event(now(), self.connection.wire())? {
                // An answer that the server asked for must not wait for the caller's next call.
                self.connection.flush_now();
                return Ok(event);
            }
            self.wait().await?;
        }
    }

    /// Waits for bytes or for a timer, whichever comes first. Timers are looked at in any case: a server that sends
    /// without a pause must not keep us from ever reporting.
    async fn wait(&mut self) -> Result<(), ErrorKind> {
        let exchange = self.connection.exchange();
        let received = match self.core.poll_timeout() {
            Some(deadline) => timeout_at(deadline.into(), exchange).await.ok().transpose()?,
            None => Some(exchange.await?),
        };
        let now = now();
        if received.is_some() {
            self.core.handle_received(now);
        }
        self.core.handle_timeout(now, &mut self.connection.wire().outgoing)
    }

    /// Reports progress to the server. Repeating a position does no harm, and neither does reporting less than before:
    /// the flush position never goes back. Nothing is sent any more once the server has ended the stream.
    ///
    /// # Errors
    /// What is said to be flushed is not WAL of this stream ([`ErrorKind::ForeignDurable`]), or the connection breaks.
    pub async fn send_status(&mut self, update: StatusUpdate<'_>) -> Result<(), Error> {
        self.try_send_status(update).await.map_err(|kind| self.error(kind))
    }

    async fn try_send_status(&mut self, update: StatusUpdate<'_>) -> Result<(), ErrorKind> {
        self.core.report(update, now(), &mut self.connection.wire().outgoing)?;
        self.connection.flush().await
    }

    /// Says that all WAL before `lsn` has been applied, from the next status update on. A position that goes back is
    /// ignored.
    ///
    /// Only for receivers that replay: a commit with `synchronous_commit = remote_apply` believes it. One that never
    /// calls this reports nothing as applied.
    pub fn set_applied(&mut self, lsn: Lsn) {
        self.core.set_applied(lsn);
    }

    /// Keeps the server from removing rows that queries here still need. Only for receivers that replay.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn send_feedback(&mut self, feedback: HotStandbyFeedback) -> Result<(), Error> {
        self.core.feed_back(feedback, now(), &mut self.connection.wire().outgoing);
        self.connection.flush().await.map_err(|kind| self.error(kind))
    }

    /// Returns a setting as the server last reported it, for example `in_hot_standby`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameter(name)
    }

    /// Ends the stream in an orderly way, and returns the connection for other commands.
    ///
    /// WAL that arrives meanwhile is discarded. Report the last positions before.
    ///
    /// # Errors
    /// The connection breaks, or the server does.
    pub async fn stop(mut self) -> Result<Client, Error> {
        self.core.stop(&mut self.connection.wire().outgoing);
        while !self.core.is_ended() {
            self.next().await?;
        }
        let system = Some(self.core.system());
        Ok(Client::ready(self.connection, Mode::PhysicalReplication, system))
    }

    /// Returns the cluster that the WAL belongs to.
    #[must_use]
    pub fn system_id(&self) -> SystemId {
        self.core.system()
    }

    /// Returns the timeline of the stream.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.core.timeline()
    }

    /// Returns the end (exclusive) of the WAL received so far.
    #[must_use]
    pub fn received(&self) -> Lsn {
        self.core.received()
    }

    /// Returns the end of WAL on the server as it last told it, from which the receiver's lag follows.
    #[must_use]
    pub fn server_end(&self) -> Option<Lsn> {
        self.core.server_end()
    }

    /// Sets how often the positions last reported are repeated; the default is 10 seconds, `None` never.
    pub fn set_status_interval(&mut self, interval: Option<Duration>) {
        self.core.set_status_interval(interval);
    }

    /// Sets after how long a silence the server is given up; the default is 60 seconds, `None` never. After half of it
    /// the server is asked for a sign of life.
    pub fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.core.set_silence_limit(limit);
    }

    /// Takes the notices that came since the last call. Only the last 32 are kept.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.connection.take_notices()
    }

    fn error(&self, kind: ErrorKind) -> Error {
        let activity = Activity::Stream { timeline: self.timeline(), at: self.received() };
        Error::new(activity, self.connection.host().clone(), kind)
    }
}

impl fmt::Debug for WalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalStream")
            .field("host", self.connection.host())
            .field("timeline", &self.timeline())
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}

/// Reads the clocks: this driver is the edge at which time comes in.
fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    Now { instant: Instant::now(), timestamp: Timestamp::from_unix_micros(micros) }
}
