//! Timeline numbers.

use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

use nom::Parser as _;
use nom::combinator::map_opt;

use crate::native::int32;
use crate::syntax::{Parsed, SyntaxError, decimal, expect, parse_all};

/// The number of a timeline, PostgreSQL's `TimeLineID`; never 0.
///
/// Printed and read in decimal, as in history files and in messages. File names spell it in hexadecimal: only
/// [`SegmentName`](crate::SegmentName) and [`WalFileName`](crate::WalFileName) read those, so that
/// `00000010.history` is timeline 16 and not 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineId(NonZeroU32);

impl TimelineId {
    /// The timeline that `initdb` starts.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The timeline of this number, or `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        expect("a timeline number", map_opt(decimal, Self::new)).parse(input)
    }

    /// Reads it from four bytes.
    pub(crate) fn decode(input: &[u8]) -> Parsed<'_, Self> {
        expect("a timeline number", map_opt(int32, Self::new)).parse(input)
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TimelineId {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    #[test]
    fn refuses_zero_and_what_is_not_decimal() {
        assert_eq!(TimelineId::new(0), None);
        for text in ["0", "", "A", "+1", "4294967296", "1 "] {
            assert!(text.parse::<TimelineId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_print(number in 1..=u32::MAX) {
            let timeline = TimelineId::new(number).unwrap();
            prop_assert_eq!(timeline.to_string().parse(), Ok(timeline));
            prop_assert_eq!(timeline.get(), number);
        }
    }
}
