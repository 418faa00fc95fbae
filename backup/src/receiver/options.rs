//! What a receiver is asked to do.

use std::time::Duration;

use wal_format::{SegmentName, SystemId};

/// How WAL is received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// The physical replication slot that keeps WAL on the server until it was reported as flushed.
    pub slot: Option<String>,
    /// The only cluster whose WAL is accepted; without it, any is.
    pub system: Option<SystemId>,
    /// The newest segment in the archive: where to go on, unless the streaming directory reaches as far.
    pub newest_archived: Option<SegmentName>,
    /// Whether to sync and report as soon as WAL arrives, because commits wait for it (the receiver's
    /// `application_name` is in `synchronous_standby_names`).
    pub synchronous: bool,
    /// How often WAL is synced and the server hears from us when nothing else calls for it.
    pub status_interval: Duration,
    /// How to go on after an error that may pass; without it, every error ends the receiver.
    pub reconnect: Option<Reconnect>,
}

/// How long to wait before another attempt to connect: twice as long after each failure, and a random part of that, so
/// that many receivers do not fall on a restarted server together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait after many failures.
    pub longest: Duration,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            slot: None,
            system: None,
            newest_archived: None,
            synchronous: false,
            status_interval: Duration::from_secs(10),
            reconnect: None,
        }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}
