//! Moments, as PostgreSQL counts them.

/// Microseconds between 1970-01-01 and 2000-01-01, both UTC (`POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE` days).
const PG_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// A moment: microseconds since 2000-01-01 00:00 UTC, PostgreSQL's `TimestampTz`.
///
/// Moments beyond what 64 bits can count become the last one that they can, which PostgreSQL reads as `infinity` or
/// `-infinity`; they lie some 292,000 years away. Text and time zones are left to the programs that show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many microseconds after 2000-01-01 UTC.
    #[must_use]
    pub const fn from_pg_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 2000-01-01 UTC.
    #[must_use]
    pub const fn pg_micros(self) -> i64 {
        self.0
    }

    /// The moment this many microseconds after 1970-01-01 UTC.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros.saturating_sub(PG_EPOCH_UNIX_MICROS))
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0.saturating_add(PG_EPOCH_UNIX_MICROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_counts_from_the_year_2000() {
        let turn = Timestamp::from_unix_micros(946_684_800_000_000);
        assert_eq!(turn, Timestamp::from_pg_micros(0));
        assert_eq!(Timestamp::from_pg_micros(-1).unix_micros(), 946_684_799_999_999);
    }

    #[test]
    fn the_ends_of_time_do_not_wrap_around() {
        assert_eq!(Timestamp::from_unix_micros(i64::MIN), Timestamp::from_pg_micros(i64::MIN));
        assert_eq!(Timestamp::from_pg_micros(i64::MAX).unix_micros(), i64::MAX);
    }
}
