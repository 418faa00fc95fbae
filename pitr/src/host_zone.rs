//! The time zone in which a time without one is read.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::target_time::TargetTimeReason;

/// A time zone, by default that of the host; it is chosen at the edge of the program and passed in (invariant 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostZone(TimeZone);

impl HostZone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Returns the zone of this host: `TZ` if that is set, else what `/etc/localtime` says, else UTC.
    ///
    /// The only function of this crate that looks at the process's environment, for the edge of a program to call.
    pub fn of_this_host() -> Self {
        Self(TimeZone::system())
    }

    /// Returns the zone that the IANA database knows by this name, for example `Europe/Rome`; `None` if it knows none.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// Returns the offset from UTC, in seconds east, that this zone had at this civil time.
    ///
    /// # Errors
    /// Clocks were turned, so that the time happened twice or not at all.
    pub(crate) fn offset_at(&self, civil: DateTime) -> Result<Offset, TargetTimeReason> {
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => Ok(offset),
            AmbiguousOffset::Fold { before, after } => Err(TargetTimeReason::HappenedTwice {
                zone: self.to_string(),
                first: before.to_string(),
                second: after.to_string(),
            }),
            AmbiguousOffset::Gap { .. } => Err(TargetTimeReason::NeverHappened { zone: self.to_string() }),
        }
    }
}

impl fmt::Display for HostZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("the host's zone"))
    }
}
