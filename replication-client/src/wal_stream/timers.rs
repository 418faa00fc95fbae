//! When a WAL stream has to speak, and when it has to give up: time as an argument.

use std::time::{Duration, Instant};

/// The moments at which something has to happen on a stream although nothing was received.
#[derive(Debug)]
pub(super) struct Timers {
    status_interval: Option<Duration>,
    silence_limit: Option<Duration>,
    last_status: Instant,
    last_received: Instant,
    /// When the server was last asked for a sign of life, if nothing has been received since.
    asked: Option<Instant>,
}

/// What has to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A status update.
    Status,
    /// A status update that asks for an answer.
    Question,
    /// The end: not even the question was answered.
    GivingUp { silence: Duration },
}

impl Timers {
    /// `wal_receiver_status_interval` of PostgreSQL's own receivers.
    const STATUS_INTERVAL: Duration = Duration::from_secs(10);
    /// `wal_receiver_timeout`.
    const SILENCE_LIMIT: Duration = Duration::from_secs(60);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            status_interval: Some(Self::STATUS_INTERVAL),
            silence_limit: Some(Self::SILENCE_LIMIT),
            last_status: now,
            last_received: now,
            asked: None,
        }
    }

    pub(super) fn set_status_interval(&mut self, interval: Option<Duration>) {
        self.status_interval = interval;
    }

    pub(super) fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.silence_limit = limit;
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.asked = None;
    }

    pub(super) fn status_sent(&mut self, now: Instant) {
        self.last_status = now;
    }

    /// Returns the earliest moment at which [`due`](Self::due) can have something to say.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.status_at(), self.silence_at()].into_iter().flatten().min()
    }

    /// Returns what has to happen at `now`, and notes that it does.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let is_past = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        if is_past(self.silence_at()) {
            if self.asked.is_some() {
                return Some(Due::GivingUp { silence: now.saturating_duration_since(self.last_received) });
            }
            self.asked = Some(now);
            return Some(Due::Question);
        }
        is_past(self.status_at()).then_some(Due::Status)
    }

    fn status_at(&self) -> Option<Instant> {
        self.last_status.checked_add(self.status_interval?)
    }

    /// Half of the limit passes before the server is asked, and half after. A receiver that was busy elsewhere for
    /// longer than the limit therefore asks, and waits for the answer, before it blames the server.
    fn silence_at(&self) -> Option<Instant> {
        let since = self.asked.unwrap_or(self.last_received);
        since.checked_add(self.silence_limit? / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_status_is_due_at_every_interval() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        assert_eq!(timers.next(), Some(start + seconds(10)));
        assert_eq!(timers.due(start + seconds(9)), None);
        assert_eq!(timers.due(start + seconds(10)), Some(Due::Status));
        timers.status_sent(start + seconds(10));
        assert_eq!(timers.next(), Some(start + seconds(20)));
    }

    #[test]
    fn a_silent_server_is_asked_and_then_given_up() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set_status_interval(None);
        assert_eq!(timers.due(start + seconds(29)), None);
        assert_eq!(timers.due(start + seconds(30)), Some(Due::Question));
        assert_eq!(timers.due(start + seconds(59)), None);
        assert_eq!(timers.due(start + seconds(60)), Some(Due::GivingUp { silence: seconds(60) }));
    }

    #[test]
    fn a_server_that_answers_is_not_given_up() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set_status_interval(None);
        assert_eq!(timers.due(start + seconds(30)), Some(Due::Question));
        timers.received(start + seconds(31));
        assert_eq!(timers.due(start + seconds(60)), None);
        assert_eq!(timers.next(), Some(start + seconds(61)));
    }

    #[test]
    fn a_receiver_that_was_away_asks_before_it_gives_up() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        assert_eq!(timers.due(start + seconds(300)), Some(Due::Question));
        assert_eq!(timers.due(start + seconds(301)), Some(Due::Status));
    }

    #[test]
    fn without_limits_nothing_is_due() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set_status_interval(None);
        timers.set_silence_limit(None);
        assert_eq!(timers.next(), None);
        assert_eq!(timers.due(start + seconds(1_000_000)), None);
    }
}
