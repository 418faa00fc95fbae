//! A moment to recover to, as people write it.

use std::fmt;

use barman_catalog::{BackupTime, LocalZone, Moments};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use wal_format::Timestamp;

mod text;

/// A moment to recover to, with the offset in which it was given.
///
/// Displayed as Barman writes it into `recovery_target_time`: `2026-11-20 18:39:13.250000+01:00`, without a fraction
/// when that is zero.
///
/// ```
/// use barman_catalog::LocalZone;
/// use barman_pitr::TargetTime;
///
/// let time = TargetTime::parse("Thu Nov 20 18:39:13 2025", &LocalZone::named("Europe/Rome").unwrap())?;
/// assert_eq!(time.to_string(), "2025-11-20 18:39:13+01:00");
/// assert!(time.is_zone_assumed());
/// # Ok::<(), barman_pitr::ParseTargetTimeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetTime {
    moment: BackupTime,
    zone_assumed: bool,
}

impl TargetTime {
    /// Reads a time in one of the forms people use; one without a zone is a time in `zone`.
    ///
    /// The date is `2025-01-21` (also with `/` or `.`, or as `20250121`), has the name of its month
    /// (`Thu Nov 20 18:32:11 2025`, `20 November 2025 6:32 PM`), or has the year last where day and month cannot be
    /// confused (`21/01/2025`). The time of day is `14:30`, `14:30:00`, `14:30:00.123456`, `143000` or `2pm`; without one
    /// it is midnight. The zone is `Z`, `UTC`, `GMT`, `+02`, `+0200` or `+02:00`. Digits past the microsecond are dropped.
    ///
    /// # Errors
    /// The text is in no such form, names a zone by an abbreviation other than UTC or GMT, or its local time happened
    /// twice or never because clocks were turned.
    pub fn parse(text: &str, zone: &LocalZone) -> Result<Self, ParseTargetTimeError> {
        Self::read(text, zone).map_err(|reason| ParseTargetTimeError { text: text.to_owned(), reason })
    }

    fn read(text: &str, zone: &LocalZone) -> Result<Self, TargetTimeReason> {
        let written = text::parse(text)?;
        let moment = match written.offset {
            Some(offset) => at_offset(written.civil, offset),
            None => in_zone(written.civil, zone),
        };
        Ok(Self { moment: moment?, zone_assumed: written.offset.is_none() })
    }

    /// Returns the moment itself.
    pub fn instant(&self) -> Timestamp {
        self.moment.instant()
    }

    /// Returns whether no zone was given, so that the host's was assumed: worth a warning.
    pub fn is_zone_assumed(&self) -> bool {
        self.zone_assumed
    }
}

fn at_offset(civil: DateTime, offset: Offset) -> Result<BackupTime, TargetTimeReason> {
    let instant = offset.to_timestamp(civil).map_err(|_| TargetTimeReason::OutOfRange("year"))?;
    let moment = BackupTime::at_offset(Timestamp::from_unix_micros(instant.as_microsecond()), offset.seconds());
    moment.ok_or(TargetTimeReason::OutOfRange("offset"))
}

fn in_zone(civil: DateTime, zone: &LocalZone) -> Result<BackupTime, TargetTimeReason> {
    let shown = Offset::UTC.to_timestamp(civil).map_err(|_| TargetTimeReason::OutOfRange("year"))?;
    match zone.moments(shown.as_microsecond()) {
        Moments::Once(moment) => Ok(moment),
        Moments::Twice(first, second) => Err(TargetTimeReason::HappenedTwice {
            zone: zone.to_string(),
            first: first.to_string(),
            second: second.to_string(),
        }),
        Moments::Never => Err(TargetTimeReason::NeverHappened { zone: zone.to_string() }),
    }
}

impl From<Timestamp> for TargetTime {
    fn from(instant: Timestamp) -> Self {
        Self { moment: BackupTime::utc(instant), zone_assumed: false }
    }
}

impl fmt::Display for TargetTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.moment.fmt(f)
    }
}

/// The text is no time to recover to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a time to recover to")]
pub struct ParseTargetTimeError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    #[source]
    pub reason: TargetTimeReason,
}

/// Why a text is no time to recover to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetTimeReason {
    /// In none of the forms that are understood.
    #[error("unknown string format")]
    UnknownFormat,
    /// A time of day, or a date with a part missing: which day is meant would be a guess.
    #[error("expected a whole date: year, month and day")]
    IncompleteDate,
    /// A part has a value that it cannot have.
    #[error("the {0} is out of range")]
    OutOfRange(&'static str),
    /// `01/02/2025` is read differently on the two sides of the Atlantic.
    #[error("day and month could be either way round")]
    DayOrMonth,
    /// An abbreviation such as `CET` or `EST`; several zones share each of them.
    #[error("the time zone '{0}' is not understood, expected 'Z', 'UTC', 'GMT' or an offset such as '+02:00'")]
    UnknownZone(String),
    /// Clocks were put back: this local time happened twice.
    #[error("in {zone} this time happened twice: {first} and {second}")]
    HappenedTwice {
        /// The zone in which the time was read.
        zone: String,
        /// The earlier of the two moments.
        first: String,
        /// The later of the two moments.
        second: String,
    },
    /// Clocks were put forward: this local time was left out.
    #[error("in {zone} this time never happened: clocks were put forward across it")]
    NeverHappened {
        /// The zone in which the time was read.
        zone: String,
    },
}

/// What a text says, before a zone is given to a time that has none.
struct Written {
    civil: DateTime,
    offset: Option<Offset>,
}

#[cfg(test)]
mod tests;
