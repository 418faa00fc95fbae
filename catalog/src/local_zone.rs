//! The zone of the Barman host, and the moments Barman writes with a zone.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use wal_format::Timestamp;

/// The time zone that stands behind texts without one: backup ids and the times of very old records.
///
/// It is a value that the program's edge makes once and hands down, so that nothing below depends on the environment.
#[derive(Debug, Clone)]
pub struct LocalZone(Source);

/// Where the zone comes from.
#[derive(Debug, Clone)]
enum Source {
    Given(TimeZone),
    /// Found out when it is asked for: that looks through the whole zone database, which takes as long as many a command
    /// that needs no zone takes for all else.
    System,
}

impl LocalZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Source::Given(TimeZone::UTC));

    /// The zone of this process: `TZ` if set, else the host's. For the edge of a program only.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// The zone of this name in the host's zone database, such as `Europe/Rome`, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(|zone| Self(Source::Given(zone)))
    }

    fn zone(&self) -> &TimeZone {
        static SYSTEM: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);
        match &self.0 {
            Source::Given(zone) => zone,
            Source::System => &SYSTEM,
        }
    }

    /// What clocks show here at `instant`.
    pub(crate) fn civil(&self, instant: Timestamp) -> DateTime {
        self.zone().to_datetime(clamped(instant))
    }

    /// Returns the moments at which clocks show a civil time here: `civil_micros` is what they show, in microseconds since
    /// they showed 1970-01-01 00:00.
    #[must_use]
    pub fn moments(&self, civil_micros: i64) -> Moments {
        let civil = Offset::UTC.to_datetime(clamped(Timestamp::from_unix_micros(civil_micros)));
        let at = |offset: Offset| {
            offset
                .to_timestamp(civil)
                .ok()
                .map(|instant| BackupTime { instant: Timestamp::from_unix_micros(instant.as_microsecond()), offset })
        };
        match self.zone().to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset).map_or(Moments::Never, Moments::Once),
            AmbiguousOffset::Fold { before, after } => match (at(before), at(after)) {
                (Some(first), Some(second)) => Moments::Twice(first, second),
                _ => Moments::Never,
            },
            AmbiguousOffset::Gap { .. } => Moments::Never,
        }
    }

    /// The moment at which clocks show `civil` here; the earlier one when they show it twice.
    fn resolve(&self, civil: DateTime) -> Option<(jiff::Timestamp, Offset)> {
        let zoned = self.zone().to_ambiguous_zoned(civil).compatible().ok()?;
        Some((zoned.timestamp(), zoned.offset()))
    }
}

/// The zone's name in the host's zone database, where it has one.
impl fmt::Display for LocalZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.zone().iana_name().unwrap_or("the host's zone"))
    }
}

/// When clocks show one civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moments {
    /// As on almost all days.
    Once(BackupTime),
    /// Clocks were put back across it: the earlier moment and the later one.
    Twice(BackupTime, BackupTime),
    /// Clocks were put forward across it, or it lies beyond the years that clocks know.
    Never,
}

/// A moment with the offset from UTC it was written with, which is shown again wherever Barman shows the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupTime {
    instant: Timestamp,
    offset: Offset,
}

/// A time that is neither in ISO 8601 form nor in that of C's `ctime`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-11-20 16:44:17.005962+00:00, found {found:?}")]
pub struct BackupTimeError {
    /// The whole text.
    pub found: String,
}

impl BackupTime {
    /// The moment as new records have it: with the offset that clocks of the host have at it.
    #[must_use]
    pub fn in_zone(instant: Timestamp, zone: &LocalZone) -> Self {
        Self { instant, offset: zone.zone().to_offset(clamped(instant)) }
    }

    /// The moment at an offset of this many seconds east of UTC; `None` beyond a day.
    #[must_use]
    pub fn at_offset(instant: Timestamp, offset_seconds: i32) -> Option<Self> {
        Some(Self { instant, offset: Offset::from_seconds(offset_seconds).ok()? })
    }

    /// The moment at offset `+00:00`.
    #[must_use]
    pub fn utc(instant: Timestamp) -> Self {
        Self { instant, offset: Offset::UTC }
    }

    /// Returns the moment.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        self.instant
    }

    /// Returns how far ahead of UTC the clock was that it was read from, in seconds.
    #[must_use]
    pub fn offset_seconds(self) -> i32 {
        self.offset.seconds()
    }

    /// Parses `2026-11-20 16:44:17.005962+00:00` (also with `T`, without fraction, with `Z`, `+0000` or no zone) and
    /// `Mon Jan  1 00:00:00 2024`. Without a zone the time is that of `zone`.
    ///
    /// # Errors
    /// The text has none of these forms, or names a time that does not exist.
    pub fn parse(text: &str, zone: &LocalZone) -> Result<Self, BackupTimeError> {
        const FORMS: [&str; 6] = [
            "%Y-%m-%d %H:%M:%S%.f%:z",
            "%Y-%m-%dT%H:%M:%S%.f%:z",
            "%Y-%m-%d %H:%M:%S%.f%z",
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%a %b %d %H:%M:%S %Y",
        ];
        let with_offset = text.strip_suffix('Z').map(|moment| format!("{moment}+00:00"));
        let text = with_offset.as_deref().unwrap_or(text);
        let parsed = FORMS.iter().find_map(|form| BrokenDownTime::parse(form, text).ok());
        parsed
            .and_then(|parts| Self::from_parts(&parts, zone))
            .ok_or_else(|| BackupTimeError { found: text.to_owned() })
    }

    fn from_parts(parts: &BrokenDownTime, zone: &LocalZone) -> Option<Self> {
        let civil = parts.to_datetime().ok()?;
        let (instant, offset) = match parts.offset() {
            Some(offset) => (offset.to_timestamp(civil).ok()?, offset),
            None => zone.resolve(civil)?,
        };
        Some(Self { instant: Timestamp::from_unix_micros(instant.as_microsecond()), offset })
    }
}

/// As Python prints an aware `datetime`.
impl fmt::Display for BackupTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.offset.to_datetime(clamped(self.instant));
        write!(f, "{}", civil.strftime("%Y-%m-%d %H:%M:%S"))?;
        match self.instant.unix_micros().rem_euclid(1_000_000) {
            0 => {}
            micros => write!(f, ".{micros:06}")?,
        }
        let seconds = self.offset.seconds();
        let (sign, ahead) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
        write!(f, "{sign}{:02}:{:02}", ahead / 3600, ahead / 60 % 60)?;
        match ahead % 60 {
            0 => Ok(()),
            seconds => write!(f, ":{seconds:02}"),
        }
    }
}

/// The moment, or the first or last one that has a calendar date (years -9999 to 9999).
fn clamped(instant: Timestamp) -> jiff::Timestamp {
    let micros = instant.unix_micros();
    let end = if micros < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(micros).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOVEMBER: i64 = 1_795_193_057_005_962;

    fn rome() -> LocalZone {
        LocalZone::named("Europe/Rome").unwrap()
    }

    #[test]
    fn reads_every_form_barman_has_written() {
        for text in [
            "2026-11-20 16:44:17.005962+00:00",
            "2026-11-20T16:44:17.005962Z",
            "2026-11-20 16:44:17.005962+0000",
            "2026-11-20 17:44:17.005962+01:00",
            "2026-11-20 17:44:17.005962",
        ] {
            let time = BackupTime::parse(text, &rome()).unwrap();
            assert_eq!(time.instant(), Timestamp::from_unix_micros(NOVEMBER), "{text}");
        }
        let old = BackupTime::parse("Mon Jan  1 00:00:00 2024", &rome()).unwrap();
        assert_eq!(old.to_string(), "2024-01-01 00:00:00+01:00");
    }

    #[test]
    fn the_offset_survives() {
        for text in [
            "2026-11-20 16:44:17.005962+00:00",
            "2026-11-20 17:44:17+01:00",
            "2026-07-01 11:14:17.500000-03:30",
            "1890-01-01 00:00:00+00:49:56",
        ] {
            assert_eq!(BackupTime::parse(text, &LocalZone::UTC).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "yesterday", "2026-13-01 00:00:00+00:00", "2026-11-20", "2026-11-20 16:44:17+00:00 or so"] {
            assert!(BackupTime::parse(text, &LocalZone::UTC).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_beyond_the_calendar_are_shown_as_its_ends() {
        let end = BackupTime::utc(Timestamp::from_pg_micros(i64::MAX)).to_string();
        assert!(end.starts_with("9999-12-30"), "{end}");
    }

    proptest! {
        #[test]
        fn parse_undoes_print(micros in -60_000_000_000_000_000i64..200_000_000_000_000_000) {
            let time = BackupTime::utc(Timestamp::from_unix_micros(micros));
            prop_assert_eq!(BackupTime::parse(&time.to_string(), &rome()), Ok(time));
        }
    }
}
