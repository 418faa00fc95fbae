//! Which backup.

use std::fmt;
use std::str::FromStr;

use wal_format::Timestamp;

use crate::LocalZone;

/// The id of a backup, such as `20261120T164416`: the Barman host's local time at its start.
///
/// Backups are ordered by id everywhere, as Barman orders them. An id is safe as part of a path: it consists of digits
/// and one `T`. Like Barman, this does not ask whether there is such a day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId([u8; Self::LENGTH]);

/// Text that is not a backup id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a backup id such as 20261120T164416, found {found:?}")]
pub struct BackupIdError {
    /// The whole text.
    pub found: String,
}

impl BackupId {
    /// Characters of every id.
    pub const LENGTH: usize = 15;

    /// The id of a backup that starts at `now` on a host in `zone`.
    ///
    /// Two backups that start within one second get the same id, and an hour that the clock shows twice gives ids out of
    /// order: [`Catalog::next_backup_id`](crate::Catalog::next_backup_id) avoids both.
    #[must_use]
    pub fn from_local_time(now: Timestamp, zone: &LocalZone) -> Self {
        let text = zone.civil(now).strftime("%Y%m%dT%H%M%S").to_string();
        // Years before 0 or beyond 9999 have other forms; no clock shows them.
        text.parse().unwrap_or(Self(*b"00000000T000000"))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<Self, BackupIdError> {
        let error = || BackupIdError { found: text.to_owned() };
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().map_err(|_| error())?;
        let fits = |(index, byte): (usize, &u8)| if index == 8 { *byte == b'T' } else { byte.is_ascii_digit() };
        bytes.iter().enumerate().all(fits).then_some(Self(bytes)).ok_or_else(error)
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_the_local_time_of_the_host() {
        let rome = LocalZone::named("Europe/Rome").unwrap();
        let start = Timestamp::from_unix_micros(1_795_193_057_999_999);
        assert_eq!(BackupId::from_local_time(start, &LocalZone::UTC).as_str(), "20261120T164417");
        assert_eq!(BackupId::from_local_time(start, &rome).as_str(), "20261120T174417");
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in [
            "",
            "latest",
            "20261120T16441",
            "20261120T1644170",
            "20261120t164417",
            "20261120 164417",
            "2026112０T16441",
            "../1120T16441",
            "20261120T164417\n",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sorts_by_time() {
        let ids =
            ["20251231T235959", "20260101T000000", "20260101T000001"].map(|text| text.parse::<BackupId>().unwrap());
        assert!(ids.is_sorted());
    }

    proptest! {
        #[test]
        fn parse_undoes_print(text in "[0-9]{8}T[0-9]{6}") {
            prop_assert_eq!(text.parse::<BackupId>().unwrap().to_string(), text);
        }

        #[test]
        fn no_moment_panics(micros: i64) {
            let _ = BackupId::from_local_time(Timestamp::from_unix_micros(micros), &LocalZone::UTC);
        }
    }
}
