//! `retention_policy`, as written in a configuration.

use std::fmt;
use std::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::character::complete::{digit1, multispace0, multispace1};
use nom::combinator::{all_consuming, cut, map_opt, opt, value};
use nom::error::Error as NomError;
use nom::sequence::{delimited, preceded, terminated};
use nom::{Finish, IResult, Parser};
use wal_format::Timestamp;

/// How much is kept. Displays in Barman's normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `REDUNDANCY n`: the newest `n` backups.
    Redundancy(u32),
    /// `RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS`: what reaches every point of the last so many days.
    RecoveryWindow(Window),
}

/// The length of a recovery window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many units.
    pub count: u32,
    /// Of what.
    pub unit: Unit,
}

/// The unit of a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 31 days, always.
    Month,
}

/// What [`Policy`] reads.
const GRAMMAR: &str = "REDUNDANCY n or RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS";

/// A text that is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {grammar}, found \"{text}\", wrong from character {position}")]
pub struct ParsePolicyError {
    /// What would have been one.
    pub grammar: &'static str,
    /// The text.
    pub text: String,
    /// The first character that does not fit, from 1.
    pub position: usize,
}

impl Window {
    const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

    /// The beginning of the window that ends at `now`: the point of recoverability.
    #[must_use]
    pub fn start(self, now: Timestamp) -> Timestamp {
        let days = i64::from(self.count).saturating_mul(self.unit.days());
        Timestamp::from_pg_micros(now.pg_micros().saturating_sub(days.saturating_mul(Self::DAY_MICROS)))
    }
}

impl Unit {
    const fn days(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 31,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redundancy(count) => write!(f, "REDUNDANCY {count}"),
            Self::RecoveryWindow(Window { count, unit }) => write!(f, "RECOVERY WINDOW OF {count} {unit}"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "DAYS",
            Self::Week => "WEEKS",
            Self::Month => "MONTHS",
        })
    }
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    /// Reads a policy; case and the amount of white space between words do not matter.
    ///
    /// # Errors
    /// The text is neither form, its unit is none of the three (Barman accepts no hours here), or its number exceeds
    /// 32 bits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let policy = delimited(multispace0, alt((redundancy, recovery_window)), multispace0);
        match all_consuming(policy).parse(text).finish() {
            Ok((_, policy)) => Ok(policy),
            Err(error) => Err(ParsePolicyError::at(GRAMMAR, text, error.input)),
        }
    }
}

impl ParsePolicyError {
    pub(crate) fn at(grammar: &'static str, text: &str, rest: &str) -> Self {
        let parsed = text.len().saturating_sub(rest.len());
        let position = text.get(..parsed).map_or(0, |parsed| parsed.chars().count()) + 1;
        Self { grammar, text: text.to_owned(), position }
    }
}

pub(crate) fn redundancy(input: &str) -> IResult<&str, Policy> {
    preceded(word("redundancy"), cut(number)).map(Policy::Redundancy).parse(input)
}

pub(crate) fn recovery_window(input: &str) -> IResult<&str, Policy> {
    let count = terminated(number, multispace1);
    let window = preceded((word("window"), word("of")), (count, unit));
    preceded(word("recovery"), cut(window))
        .map(|(count, unit)| Policy::RecoveryWindow(Window { count, unit }))
        .parse(input)
}

/// A word and the white space that must follow it.
pub(crate) fn word<'a>(word: &'static str) -> impl Parser<&'a str, Output = &'a str, Error = NomError<&'a str>> {
    terminated(tag_no_case(word), multispace1)
}

pub(crate) fn number(input: &str) -> IResult<&str, u32> {
    map_opt(digit1, |digits: &str| digits.parse().ok()).parse(input)
}

pub(crate) fn unit(input: &str) -> IResult<&str, Unit> {
    let name = alt((
        value(Unit::Day, tag_no_case("day")),
        value(Unit::Week, tag_no_case("week")),
        value(Unit::Month, tag_no_case("month")),
    ));
    terminated(name, opt(tag_no_case("s"))).parse(input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Policy>().unwrap().to_string()
    }

    fn wrong_from(text: &str) -> usize {
        text.parse::<Policy>().unwrap_err().position
    }

    #[test]
    fn every_spelling_has_one_normal_form() {
        for (text, normal) in [
            ("REDUNDANCY 2", "REDUNDANCY 2"),
            (" redundancy\t 007 ", "REDUNDANCY 7"),
            ("REDUNDANCY 0", "REDUNDANCY 0"),
            ("recovery window of 1 day", "RECOVERY WINDOW OF 1 DAYS"),
            ("Recovery  Window\nOf 4 weekS", "RECOVERY WINDOW OF 4 WEEKS"),
            ("RECOVERY WINDOW OF 2 MONTHS ", "RECOVERY WINDOW OF 2 MONTHS"),
        ] {
            assert_eq!(shown(text), normal, "{text}");
        }
    }

    #[test]
    fn an_error_points_at_the_first_wrong_character() {
        for (text, position) in [
            ("", 1),
            ("keep 3", 1),
            ("REDUNDANCY", 1),
            ("REDUNDANCY x", 12),
            ("REDUNDANCY -1", 12),
            ("REDUNDANCY 99999999999", 12),
            ("REDUNDANCY 2 3", 14),
            ("RECOVERY WINDOW 7 DAYS", 17),
            ("RECOVERY WINDOW OF 7DAYS", 21),
            ("RECOVERY WINDOW OF 7 HOURS", 22),
            ("RECOVERY WINDOW OF 7 DAYSS", 26),
        ] {
            assert_eq!(wrong_from(text), position, "{text}");
        }
    }

    #[test]
    fn a_week_has_7_days_and_a_month_31() {
        let days = |text: &str| match text.parse().unwrap() {
            Policy::RecoveryWindow(window) => -window.start(Timestamp::from_pg_micros(0)).pg_micros() / 86_400_000_000,
            Policy::Redundancy(_) => unreachable!("the texts below are windows"),
        };
        assert_eq!(days("RECOVERY WINDOW OF 3 DAYS"), 3);
        assert_eq!(days("RECOVERY WINDOW OF 3 WEEKS"), 21);
        assert_eq!(days("RECOVERY WINDOW OF 3 MONTHS"), 93);
    }

    #[test]
    fn a_window_longer_than_time_reaches_back_to_its_beginning() {
        let window = Window { count: u32::MAX, unit: Unit::Month };
        assert_eq!(window.start(Timestamp::from_pg_micros(-1)), Timestamp::from_pg_micros(i64::MIN));
    }

    fn any_policy() -> impl Strategy<Value = Policy> {
        let unit = prop_oneof![Just(Unit::Day), Just(Unit::Week), Just(Unit::Month)];
        prop_oneof![
            any::<u32>().prop_map(Policy::Redundancy),
            (any::<u32>(), unit).prop_map(|(count, unit)| Policy::RecoveryWindow(Window { count, unit })),
        ]
    }

    proptest! {
        #[test]
        fn the_normal_form_reads_back_as_the_same_policy(policy in any_policy()) {
            prop_assert_eq!(policy.to_string().parse(), Ok(policy));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Policy>();
        }
    }
}
