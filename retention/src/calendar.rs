//! Days, weeks, months and years, as clocks in a stated zone show them.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span};
use wal_format::Timestamp;

/// What clocks show: the rules of time zones, which the caller has and this crate does not.
///
/// A closure will do: `|zone, at| (zone == "UTC").then_some(0)`.
pub trait Zones {
    /// Returns by how many seconds clocks in `zone` are ahead of UTC at a moment; `None` if there is no such zone.
    fn offset_seconds(&self, zone: &str, at: Timestamp) -> Option<i32>;
}

impl<F: Fn(&str, Timestamp) -> Option<i32>> Zones for F {
    fn offset_seconds(&self, zone: &str, at: Timestamp) -> Option<i32> {
        self(zone, at)
    }
}

/// One of the spans of time of which the newest backup is kept. Displays as in a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Daily,
    /// Monday to Sunday (ISO 8601).
    Weekly,
    /// A calendar month.
    Monthly,
    /// A calendar year.
    Yearly,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// A number that is the same for two days if they are in the same period, and greater for a later one.
    pub(crate) fn number(self, day: Day) -> i32 {
        let date = day.0;
        match self {
            Self::Daily => i32::from(date.year()) * 1000 + i32::from(date.day_of_year()),
            Self::Weekly => {
                let week = date.iso_week_date();
                i32::from(week.year()) * 100 + i32::from(week.week())
            }
            Self::Monthly => i32::from(date.year()) * 100 + i32::from(date.month()),
            Self::Yearly => i32::from(date.year()),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Monthly => "MONTHLY",
            Self::Yearly => "YEARLY",
        })
    }
}

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day(Date);

/// Returns the day that clocks in `zone` show at a moment; `None` if there is no such zone.
pub(crate) fn day(at: Timestamp, zone: &str, zones: &dyn Zones) -> Option<Day> {
    Some(Day(civil(at, zones.offset_seconds(zone, at)?).date()))
}

/// Returns the moment so many calendar months before `now`, at the same time of the day in `zone`; `None` if there is no
/// such zone. A day that the earlier month lacks is its last one: a month before March 31 is the end of February.
///
/// Of two moments at which clocks show that time the earlier counts, since it keeps more.
pub(crate) fn months_before(now: Timestamp, months: u32, zone: &str, zones: &dyn Zones) -> Option<Timestamp> {
    let shown = civil(now, zones.offset_seconds(zone, now)?);
    let span = Span::new().try_months(i64::from(months)).ok();
    let Some(earlier) = span.and_then(|span| shown.checked_sub(span).ok()) else {
        // Longer than the calendar: everything is within.
        return Some(Timestamp::from_pg_micros(i64::MIN));
    };
    // Zones differ from UTC by less than a day, so one of the offsets a day before and after is in force.
    let near = micros(earlier);
    let around = [-DAY_MICROS, DAY_MICROS].map(|by| Timestamp::from_unix_micros(near.saturating_add(by)));
    let mut moments = Vec::new();
    for at in around {
        let offset = zones.offset_seconds(zone, at)?;
        let moment = Timestamp::from_unix_micros(near - i64::from(offset) * 1_000_000);
        let is_shown = zones.offset_seconds(zone, moment)? == offset;
        moments.push((!is_shown, moment));
    }
    moments.into_iter().min().map(|(_, moment)| moment)
}

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// What a clock shows that is so many seconds ahead of UTC; beyond the calendar, its first or last moment.
fn civil(at: Timestamp, offset_seconds: i32) -> DateTime {
    let shown = at.unix_micros().saturating_add(i64::from(offset_seconds) * 1_000_000);
    let end = if shown < 0 { DateTime::MIN } else { DateTime::MAX };
    epoch().checked_add(SignedDuration::from_micros(shown)).unwrap_or(end)
}

/// Microseconds from the epoch to a civil time, as if it were UTC.
fn micros(civil: DateTime) -> i64 {
    i64::try_from(civil.duration_since(epoch()).as_micros()).unwrap_or(i64::MAX)
}

fn epoch() -> DateTime {
    DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A moment in UTC: `2026-11-20 16:44:17`.
    pub(crate) fn utc(text: &str) -> Timestamp {
        let civil: DateTime = text.parse().unwrap();
        Timestamp::from_unix_micros(micros(civil))
    }

    /// Rome as it was from 1996 to 2037, and UTC: summer time from the last Sunday of March to that of October, 01:00 UTC.
    pub(crate) fn rome(zone: &str, at: Timestamp) -> Option<i32> {
        let last_sunday = |year: i16, month: i8| {
            let end = Date::new(year, month, 31).unwrap();
            let back = i64::from(end.weekday().to_sunday_zero_offset());
            end.checked_sub(Span::new().days(back)).unwrap().at(1, 0, 0, 0)
        };
        let shown = civil(at, 0);
        let is_summer = shown >= last_sunday(shown.year(), 3) && shown < last_sunday(shown.year(), 10);
        match zone {
            "UTC" => Some(0),
            "Europe/Rome" => Some(if is_summer { 7200 } else { 3600 }),
            _ => None,
        }
    }

    fn same(period: Period, one: &str, other: &str) -> bool {
        let number = |text| period.number(day(utc(text), "Europe/Rome", &rome).unwrap());
        number(one) == number(other)
    }

    #[test]
    fn periods_end_at_midnight_in_the_zone_and_not_in_utc() {
        use Period::{Daily, Monthly, Weekly, Yearly};
        // Winter: midnight in Rome is 23:00 UTC. Summer: 22:00 UTC.
        for (period, before, after) in [
            (Daily, "2026-01-14 22:59:59", "2026-01-14 23:00:00"),
            (Daily, "2026-07-14 21:59:59", "2026-07-14 22:00:00"),
            // Sunday to Monday.
            (Weekly, "2026-01-18 22:59:59", "2026-01-18 23:00:00"),
            (Monthly, "2024-02-29 22:59:59", "2024-02-29 23:00:00"),
            (Monthly, "2026-02-28 22:59:59", "2026-02-28 23:00:00"),
            (Yearly, "2026-12-31 22:59:59", "2026-12-31 23:00:00"),
        ] {
            assert!(!same(period, before, after), "{period} {before}");
        }
        for (period, one, other) in [
            (Daily, "2026-01-13 23:00:00", "2026-01-14 22:59:59"),
            // 23 hours and 25 hours: the days on which clocks change.
            (Daily, "2026-03-28 23:00:00", "2026-03-29 21:59:59"),
            (Daily, "2026-10-24 22:00:00", "2026-10-25 22:59:59"),
            (Weekly, "2026-01-11 23:00:00", "2026-01-18 22:59:59"),
            // The week of New Year belongs to one year.
            (Weekly, "2025-12-28 23:00:00", "2026-01-04 22:59:59"),
            (Monthly, "2024-01-31 23:00:00", "2024-02-29 22:59:59"),
            (Yearly, "2025-12-31 23:00:00", "2026-12-31 22:59:59"),
        ] {
            assert!(same(period, one, other), "{period} {one}");
        }
    }

    #[test]
    fn calendar_months_end_where_the_earlier_month_does() {
        for (now, months, expected) in [
            ("2026-11-20 12:00:00", 1, "2026-10-20 11:00:00"),
            ("2026-03-31 12:00:00", 1, "2026-02-28 13:00:00"),
            ("2024-03-31 12:00:00", 1, "2024-02-29 13:00:00"),
            ("2024-02-29 12:00:00", 12, "2023-02-28 12:00:00"),
            ("2026-01-31 12:00:00", 14, "2024-11-30 12:00:00"),
        ] {
            assert_eq!(months_before(utc(now), months, "Europe/Rome", &rome), Some(utc(expected)), "{now}");
        }
        assert_eq!(months_before(utc("2026-03-31 12:00:00"), 1, "UTC", &rome), Some(utc("2026-02-28 12:00:00")));
    }

    #[test]
    fn of_a_time_that_clocks_show_twice_or_never_the_earlier_moment_counts() {
        // 2026-10-25 02:30 is shown at 00:30 and at 01:30 UTC; 2026-03-29 02:30 is not shown at all.
        assert_eq!(
            months_before(utc("2026-11-25 01:30:00"), 1, "Europe/Rome", &rome),
            Some(utc("2026-10-25 00:30:00"))
        );
        assert_eq!(
            months_before(utc("2026-04-29 00:30:00"), 1, "Europe/Rome", &rome),
            Some(utc("2026-03-29 00:30:00"))
        );
    }

    #[test]
    fn more_months_than_the_calendar_has_reach_everything() {
        assert_eq!(
            months_before(utc("2026-11-25 01:30:00"), u32::MAX, "UTC", &rome),
            Some(Timestamp::from_pg_micros(i64::MIN))
        );
        assert_eq!(months_before(utc("2026-11-25 01:30:00"), 1, "Mars/Olympus", &rome), None);
    }

    #[test]
    fn no_moment_is_beyond_the_calendar() {
        for micros in [i64::MIN, 0, i64::MAX] {
            assert!(day(Timestamp::from_pg_micros(micros), "UTC", &rome).is_some());
        }
    }
}
