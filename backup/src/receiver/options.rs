//! What a receiver is asked to do.

use std::time::Duration;

use barman_catalog::Catalog;
use replication_client::Config;
use wal_format::SystemId;

/// How WAL is received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// The physical replication slot that keeps WAL on the server until it was reported as flushed.
    pub slot: Option<String>,
    /// Whether a slot that is missing is created, with WAL reserved from then on.
    pub create_slot: bool,
    /// An ordinary connection, which tells what the slot keeps where the server is older than 15, and whether settings have
    /// changed.
    pub sql: Option<Config>,
    /// The only cluster whose WAL is accepted; without it, any is.
    pub system: Option<SystemId>,
    /// Where complete segments go: receiving goes on behind the newest one there, unless the streaming directory reaches
    /// further.
    pub archive: Option<Catalog>,
    /// Whether to sync and report as soon as WAL arrives.
    pub synchronous: Synchronous,
    /// How often WAL is synced and the server hears from us when nothing else calls for it.
    pub status_interval: Duration,
    /// After how long a silence the server is given up, as a standby does after `wal_receiver_timeout`. After half of it the
    /// server is asked for a sign of life.
    pub silence_limit: Duration,
    /// How often the server is asked whether its settings have changed. While WAL flows, a replication connection takes no
    /// questions, so this is done by an ordinary one, which lasts for a moment only.
    pub settings_interval: Duration,
    /// How to go on after an error that may pass; without it, every error ends the receiver.
    pub reconnect: Option<Reconnect>,
}

/// Whether commits wait until this receiver has synced their WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// They do not: syncs are as rare as [`ReceiverOptions::status_interval`] allows.
    Never,
    /// They do.
    Always,
    /// They do if `synchronous_standby_names` has this name, the receiver's `application_name`. The server is asked each
    /// time that it is connected to and, where there is [`ReceiverOptions::sql`], every
    /// [`ReceiverOptions::settings_interval`].
    IfNamed(String),
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
            create_slot: false,
            sql: None,
            system: None,
            archive: None,
            synchronous: Synchronous::Never,
            status_interval: Duration::from_secs(10),
            silence_limit: Duration::from_secs(60),
            settings_interval: Duration::from_secs(60),
            reconnect: None,
        }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}
