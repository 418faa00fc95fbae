//! Moments that a user names.

use crate::context::Context;
use crate::error::CommandError;
use barman_catalog::{BackupTime, BackupTimeError, LocalZone, Moments};
use wal_format::Timestamp;

/// Reads a time such as `2026-12-24 18:00:00`, or a date, which means its first moment. Without zone it is the host's, as in
/// backup ids.
///
/// # Errors
/// The text is no time, or clocks of the host showed it twice or never.
pub(crate) fn moment(context: &Context, text: &str) -> Result<Timestamp, CommandError> {
    in_zone(text, &context.zone)
}

fn in_zone(text: &str, zone: &LocalZone) -> Result<Timestamp, CommandError> {
    let parsed = parse(text, zone).map_err(|error| CommandError::new(error.to_string()))?;
    // With an offset it is the same everywhere; without one, what clocks of UTC show at it is what it says.
    let elsewhere = parse(text, &LocalZone::UTC).map_or(parsed, |elsewhere| elsewhere);
    let has_offset = elsewhere == parsed;
    match zone.moments(elsewhere.instant().unix_micros()) {
        Moments::Twice(first, second) if !has_offset => {
            Err(CommandError::new(format!("{text} is ambiguous: it was {first} and {second}")).hinted("add the offset"))
        }
        Moments::Never if !has_offset => {
            Err(CommandError::new(format!("{text} does not exist: clocks were put forward")).hinted("add the offset"))
        }
        _ => Ok(parsed.instant()),
    }
}

fn parse(text: &str, zone: &LocalZone) -> Result<BackupTime, BackupTimeError> {
    let midnight = format!("{} 00:00:00", text.trim());
    BackupTime::parse(text, zone).or_else(|error| BackupTime::parse(&midnight, zone).map_err(|_| error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rome(text: &str) -> Option<String> {
        let zone = LocalZone::named("Europe/Rome").expect("the host has a zone database");
        in_zone(text, &zone).ok().map(|at| BackupTime::utc(at).to_string())
    }

    #[test]
    fn a_date_means_its_first_moment_on_clocks_of_the_host() {
        assert_eq!(rome("2026-12-24").as_deref(), Some("2026-12-23 23:00:00+00:00"));
        assert_eq!(rome("2026-12-24 18:00:00").as_deref(), Some("2026-12-24 17:00:00+00:00"));
        assert_eq!(rome("2026-12-24 18:00:00+00:00").as_deref(), Some("2026-12-24 18:00:00+00:00"));
        assert_eq!(rome("2026-12-24 24"), None);
        assert_eq!(rome("tomorrow"), None);
    }

    #[test]
    fn what_clocks_showed_twice_or_never_needs_an_offset() {
        assert_eq!(rome("2026-10-25 02:30:00"), None);
        assert_eq!(rome("2026-03-29 02:30:00"), None);
        assert_eq!(rome("2026-10-25 02:30:00+01:00").as_deref(), Some("2026-10-25 01:30:00+00:00"));
        assert_eq!(rome("2026-10-25 03:00:00").as_deref(), Some("2026-10-25 02:00:00+00:00"));
    }
}
