//! Positions in the write-ahead log.

use core::fmt;
use core::str::FromStr;

use nom::Parser as _;
use nom::bytes::complete::tag;
use nom::combinator::map;
use nom::sequence::separated_pair;

use crate::syntax::{Parsed, SyntaxError, expect, hex_u32, parse_all};

/// A position in the write-ahead log: bytes since its beginning (PostgreSQL's `XLogRecPtr`, `pg_lsn`).
///
/// Printed as PostgreSQL 13 to 18 do, `16/B374D848`; the zero-padded form of 19 (`16/0374D848`) is read too.
/// Two positions cannot be added, and a missing one is `None`, never 0: see [`Lsn::from_pg`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// The last position there is.
    pub const MAX: Self = Self(u64::MAX);

    /// The position `bytes` after the beginning of the log.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A position as PostgreSQL stores and sends it, where 0 (`InvalidXLogRecPtr`) stands for "none".
    #[must_use]
    pub const fn from_pg(raw: u64) -> Option<Self> {
        match raw {
            0 => None,
            bytes => Some(Self(bytes)),
        }
    }

    /// Bytes since the beginning of the log.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on, or `None` past the end of the log's 64-bit address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// How many bytes lie between `earlier` and this position, or `None` if `earlier` is in truth later.
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let half = || hex_u32(1, 8);
        let halves = separated_pair(half(), tag("/"), half());
        let joined = map(halves, |(high, low)| Self(u64::from(high) << 32 | u64::from(low)));
        expect("a WAL position such as 16/B374D848", joined).parse(input)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// As printed: sixteen decimal digits tell a reader nothing.
impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

impl FromStr for Lsn {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    #[test]
    fn prints_without_padding_and_reads_with_it() {
        let lsn = Lsn::new(0x16_0374_D848);
        assert_eq!(lsn.to_string(), "16/374D848");
        for text in ["16/374D848", "16/0374D848", "00000016/0374D848", "16/374d848"] {
            assert_eq!(text.parse(), Ok(lsn), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_position() {
        for text in
            ["", "16", "16/", "/16", "16/374D848 ", " 16/0", "-1/0", "+1/0", "123456789/0", "0/123456789", "0/G"]
        {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn zero_is_no_position_in_what_postgresql_stores() {
        assert_eq!(Lsn::from_pg(0), None);
        assert_eq!(Lsn::from_pg(1), Some(Lsn::new(1)));
    }

    #[test]
    fn arithmetic_stops_at_both_ends() {
        assert_eq!(Lsn::MAX.checked_add(1), None);
        assert_eq!(Lsn::new(5).checked_add(1), Some(Lsn::new(6)));
        assert_eq!(Lsn::new(5).bytes_since(Lsn::new(2)), Some(3));
        assert_eq!(Lsn::new(2).bytes_since(Lsn::new(5)), None);
    }

    proptest! {
        #[test]
        fn parse_undoes_print(raw: u64) {
            prop_assert_eq!(Lsn::new(raw).to_string().parse(), Ok(Lsn::new(raw)));
            prop_assert_eq!(format!("{:X}/{:08X}", raw >> 32, raw & 0xFFFF_FFFF).parse(), Ok(Lsn::new(raw)));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Lsn>();
        }
    }
}
