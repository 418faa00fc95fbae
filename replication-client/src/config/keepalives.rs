//! [`Keepalives`]: how the operating system watches over a TCP connection.

use std::time::Duration;

use crate::conninfo::{ConninfoError, Settings};

/// How the operating system watches over a TCP connection. `None` is the system's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalives {
    pub(crate) enabled: bool,
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
    /// How long sent data may stay unacknowledged.
    pub(crate) user_timeout: Option<Duration>,
}

impl Keepalives {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        let positive = |keyword| -> Result<Option<u32>, ConninfoError> {
            Ok(settings.whole_number(keyword)?.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0))
        };
        let milliseconds = |n: u32| Duration::from_millis(n.into());
        let seconds = |n: u32| Duration::from_secs(n.into());
        Ok(Self {
            enabled: settings.whole_number("keepalives")? != Some(0),
            idle: positive("keepalives_idle")?.map(seconds),
            interval: positive("keepalives_interval")?.map(seconds),
            count: positive("keepalives_count")?,
            user_timeout: positive("tcp_user_timeout")?.map(milliseconds),
        })
    }
}
