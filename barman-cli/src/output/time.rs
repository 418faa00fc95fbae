//! Times as Barman prints them.

use barman_catalog::BackupTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// `Fri Nov 20 18:37:58 2026`, in the zone that the time was recorded with, as the C function of that name.
pub(crate) fn ctime(time: BackupTime) -> String {
    zoned(time).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Whole seconds since 1970, as text.
pub(crate) fn epoch_seconds(time: BackupTime) -> String {
    unix_seconds(time.instant())
}

/// Whole seconds since 1970, as text.
pub(crate) fn unix_seconds(instant: wal_format::Timestamp) -> String {
    instant.unix_micros().div_euclid(1_000_000).to_string()
}

/// `2026-11-20 18:37:26.572524`: local time without its zone.
pub(crate) fn local(instant: wal_format::Timestamp) -> String {
    timestamp(instant).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// `2026-11-20 18:37:26.572524+00:00`: local time and how far it is from UTC.
pub(crate) fn local_with_offset(instant: wal_format::Timestamp) -> String {
    timestamp(instant).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.6f%:z").to_string()
}

fn zoned(time: BackupTime) -> Zoned {
    let offset = Offset::from_seconds(time.offset_seconds()).unwrap_or(Offset::UTC);
    timestamp(time.instant()).to_zoned(TimeZone::fixed(offset))
}

fn timestamp(instant: wal_format::Timestamp) -> Timestamp {
    // Beyond the years that jiff knows there is nothing to print.
    Timestamp::from_microsecond(instant.unix_micros()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use barman_catalog::LocalZone;

    fn time(text: &str) -> BackupTime {
        BackupTime::parse(text, &LocalZone::UTC).expect("the time is well formed")
    }

    #[test]
    fn times_are_printed_in_the_zone_they_were_recorded_with() {
        let summer = time("2026-07-03 08:05:09.120000+02:00");
        assert_eq!(ctime(summer), "Fri Jul  3 08:05:09 2026");
        assert_eq!(epoch_seconds(time("1970-01-01 00:00:59.9+00:00")), "59");
    }
}
