//! A policy in full: Barman's two forms, and what goes beyond them.

use std::fmt;
use std::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::{multispace0, multispace1};
use nom::combinator::{all_consuming, cut, map_opt, opt, value, verify};
use nom::error::{Error as NomError, ErrorKind};
use nom::multi::{many1, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{Finish, IResult, Parser};

use crate::calendar::Period;
use crate::policy::{ParsePolicyError, Policy, Window, number, recovery_window, redundancy, unit, word};

/// What is to be kept. A backup stays if any of the rules keeps it.
///
/// Barman's `retention_policy` is a single rule ([`From<Policy>`]); everything else is written in an option file of our
/// own, since Barman would not enforce what it cannot read. [`FromStr`] reads both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Which backups; at least one rule.
    pub keep: Vec<KeepRule>,
    /// How long WAL is kept, where that is shorter than for backups: older backups become standalone.
    pub wal: Option<Window>,
    /// How many bytes backups and WAL should not exceed. More is a warning; nothing is deleted because of it.
    pub limit: Option<u64>,
}

/// One reason to keep backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepRule {
    /// One of Barman's.
    Barman(Policy),
    /// `RECOVERY WINDOW OF n CALENDAR MONTHS IN zone`.
    CalendarMonths {
        /// How many.
        count: u32,
        /// Whose calendar, such as `Europe/Rome`.
        zone: String,
    },
    /// `KEEP 7 DAILY 4 WEEKLY … IN zone`: the newest backup of each of the newest so many days, weeks, months and years
    /// that have one. Days without a backup do not count, so nothing expires because backups have stopped.
    Periods {
        /// How many of which.
        counts: Vec<(Period, u32)>,
        /// Whose calendar.
        zone: String,
    },
}

/// What [`Rules`] reads; `n` is at least 1 except in Barman's own forms.
const GRAMMAR: &str = "rule [AND rule]… [WAL FOR n DAYS|WEEKS|MONTHS] [LIMIT n MiB|GiB|TiB|MB|GB|TB], where rule is REDUNDANCY n, \
     RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS, RECOVERY WINDOW OF n CALENDAR MONTHS IN zone, or \
     KEEP n DAILY|WEEKLY|MONTHLY|YEARLY [n …] IN zone";

impl Rules {
    /// Returns Barman's policy if that is all there is.
    #[must_use]
    pub fn as_policy(&self) -> Option<Policy> {
        match (self.keep.as_slice(), self.wal, self.limit) {
            ([KeepRule::Barman(policy)], None, None) => Some(*policy),
            _ => None,
        }
    }

    /// Returns the zones that are named.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.keep.iter().filter_map(|rule| match rule {
            KeepRule::Barman(_) => None,
            KeepRule::CalendarMonths { zone, .. } | KeepRule::Periods { zone, .. } => Some(zone.as_str()),
        })
    }
}

impl From<Policy> for Rules {
    fn from(policy: Policy) -> Self {
        Self { keep: vec![KeepRule::Barman(policy)], wal: None, limit: None }
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.keep.iter().enumerate() {
            write!(f, "{}{rule}", if index == 0 { "" } else { " AND " })?;
        }
        if let Some(Window { count, unit }) = self.wal {
            write!(f, " WAL FOR {count} {unit}")?;
        }
        match self.limit {
            Some(bytes) => write!(f, " LIMIT {}", Size(bytes)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for KeepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Barman(policy) => policy.fmt(f),
            Self::CalendarMonths { count, zone } => write!(f, "RECOVERY WINDOW OF {count} CALENDAR MONTHS IN {zone}"),
            Self::Periods { counts, zone } => {
                f.write_str("KEEP")?;
                counts.iter().try_for_each(|(period, count)| write!(f, " {count} {period}"))?;
                write!(f, " IN {zone}")
            }
        }
    }
}

/// Bytes in the largest unit of which they are a whole number.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &&(&str, u64)| self.0 >= unit.1 && self.0.is_multiple_of(unit.1);
        match SIZES.iter().filter(whole).max_by_key(|unit| unit.1) {
            Some((name, bytes)) => write!(f, "{} {name}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// No name is the beginning of a later one.
const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for Rules {
    type Err = ParsePolicyError;

    /// Reads a policy; case and the amount of white space between words do not matter, except in names of zones.
    ///
    /// # Errors
    /// The text is no policy; the error says from where on, and what would be one. Whether a zone exists is not asked.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match all_consuming(delimited(multispace0, rules, multispace0)).parse(text).finish() {
            Ok((_, rules)) => Ok(rules),
            Err(error) => Err(ParsePolicyError::at(GRAMMAR, text, error.input)),
        }
    }
}

fn rules(input: &str) -> IResult<&str, Rules> {
    let and = delimited(multispace1, tag_no_case("and"), multispace1);
    let wal = preceded((multispace1, word("wal")), cut(preceded(word("for"), window)));
    let limit = preceded((multispace1, word("limit")), cut(size));
    (separated_list1(and, rule), opt(wal), opt(limit)).map(|(keep, wal, limit)| Rules { keep, wal, limit }).parse(input)
}

fn rule(input: &str) -> IResult<&str, KeepRule> {
    alt((calendar_months, redundancy.map(KeepRule::Barman), recovery_window.map(KeepRule::Barman), periods))
        .parse(input)
}

fn calendar_months(input: &str) -> IResult<&str, KeepRule> {
    let start = (word("recovery"), word("window"), word("of"));
    let months = (word("calendar"), tag_no_case("month"), opt(tag_no_case("s")));
    let count = delimited(start, terminated(positive, multispace1), months);
    (count, cut(in_zone)).map(|(count, zone)| KeepRule::CalendarMonths { count, zone }).parse(input)
}

fn periods(input: &str) -> IResult<&str, KeepRule> {
    let one = (terminated(positive, multispace1), period).map(|(count, period)| (period, count));
    let counts = many1(preceded(multispace1, one));
    preceded(tag_no_case("keep"), cut((counts, in_zone)))
        .map(|(counts, zone)| KeepRule::Periods { counts, zone })
        .parse(input)
}

fn period(input: &str) -> IResult<&str, Period> {
    alt((
        value(Period::Daily, tag_no_case("daily")),
        value(Period::Weekly, tag_no_case("weekly")),
        value(Period::Monthly, tag_no_case("monthly")),
        value(Period::Yearly, tag_no_case("yearly")),
    ))
    .parse(input)
}

/// As in the names of the zone database, `Etc/GMT+1` included.
fn in_zone(input: &str) -> IResult<&str, String> {
    let letters = take_while1(|c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c));
    preceded((multispace1, word("in")), letters).map(str::to_owned).parse(input)
}

fn window(input: &str) -> IResult<&str, Window> {
    (terminated(positive, multispace1), unit).map(|(count, unit)| Window { count, unit }).parse(input)
}

fn size(input: &str) -> IResult<&str, u64> {
    let (input, count) = terminated(positive, multispace0).parse(input)?;
    map_opt(size_unit, |bytes| bytes.checked_mul(u64::from(count))).parse(input)
}

fn size_unit(input: &str) -> IResult<&str, u64> {
    let named = SIZES.iter().find_map(|(name, bytes)| {
        let parsed: IResult<&str, &str> = tag_no_case(*name).parse(input);
        parsed.ok().map(|(rest, _)| (rest, *bytes))
    });
    named.ok_or(nom::Err::Error(NomError::new(input, ErrorKind::Alt)))
}

fn positive(input: &str) -> IResult<&str, u32> {
    verify(number, |count| *count > 0).parse(input)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Unit;

    #[test]
    fn every_spelling_has_one_normal_form() {
        for (text, normal) in [
            ("redundancy 2", "REDUNDANCY 2"),
            ("recovery window of 2 months", "RECOVERY WINDOW OF 2 MONTHS"),
            (
                " recovery window of 1 calendar month in Europe/Rome ",
                "RECOVERY WINDOW OF 1 CALENDAR MONTHS IN Europe/Rome",
            ),
            ("keep 7 daily 4 weekly\n12 monthly 7 yearly in UTC", "KEEP 7 DAILY 4 WEEKLY 12 MONTHLY 7 YEARLY IN UTC"),
            (
                "recovery window of 7 days and keep 4 weekly in Etc/GMT+1 wal for 2 weeks limit 2048 gib",
                "RECOVERY WINDOW OF 7 DAYS AND KEEP 4 WEEKLY IN Etc/GMT+1 WAL FOR 2 WEEKS LIMIT 2 TiB",
            ),
            ("REDUNDANCY 3 LIMIT 1500MB", "REDUNDANCY 3 LIMIT 1500 MB"),
        ] {
            assert_eq!(text.parse::<Rules>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn an_error_points_at_the_first_wrong_character_and_shows_the_grammar() {
        for (text, position) in [
            ("", 1),
            ("for ever", 1),
            ("KEEP", 5),
            ("KEEP 7 DAILY", 13),
            ("KEEP 0 DAILY IN UTC", 6),
            ("KEEP 7 HOURLY IN UTC", 8),
            ("KEEP 7 DAILY IN ", 17),
            ("KEEP 7 DAILY IN Europe Rome", 24),
            ("RECOVERY WINDOW OF 0 CALENDAR MONTHS IN UTC", 22),
            ("RECOVERY WINDOW OF 2 CALENDAR MONTHS", 37),
            ("RECOVERY WINDOW OF 7 HOURS", 22),
            ("REDUNDANCY 2 AND", 14),
            ("REDUNDANCY 2 WAL FOR 0 DAYS", 22),
            ("REDUNDANCY 2 WAL 3 DAYS", 18),
            ("REDUNDANCY 2 LIMIT 3 apples", 22),
            ("REDUNDANCY 2 LIMIT 3 TB WAL FOR 3 DAYS", 25),
        ] {
            let error = text.parse::<Rules>().unwrap_err();
            assert_eq!(error.position, position, "{text}");
            assert!(error.to_string().contains("KEEP n DAILY|WEEKLY|MONTHLY|YEARLY"), "{error}");
        }
    }

    #[test]
    fn only_what_barman_can_read_is_barmans() {
        let policy = |text: &str| text.parse::<Rules>().unwrap().as_policy();
        assert_eq!(policy("REDUNDANCY 2"), Some(Policy::Redundancy(2)));
        assert_eq!(policy("REDUNDANCY 2 AND REDUNDANCY 3"), None);
        assert_eq!(policy("REDUNDANCY 2 LIMIT 1 TB"), None);
        assert_eq!(policy("REDUNDANCY 2 WAL FOR 1 DAY"), None);
    }

    fn any_rule() -> impl Strategy<Value = KeepRule> {
        let unit = prop_oneof![Just(Unit::Day), Just(Unit::Week), Just(Unit::Month)];
        let period = prop::sample::select(Period::ALL.to_vec());
        let zone = "[A-Za-z]{1,8}(/[A-Za-z_]{1,8})?";
        prop_oneof![
            any::<u32>().prop_map(|n| KeepRule::Barman(Policy::Redundancy(n))),
            (any::<u32>(), unit)
                .prop_map(|(count, unit)| KeepRule::Barman(Policy::RecoveryWindow(Window { count, unit }))),
            (1..100u32, zone).prop_map(|(count, zone)| KeepRule::CalendarMonths { count, zone }),
            (vec((period, 1..100u32), 1..5), zone).prop_map(|(counts, zone)| KeepRule::Periods { counts, zone }),
        ]
    }

    proptest! {
        #[test]
        fn the_normal_form_reads_back_as_the_same_rules(
            keep in vec(any_rule(), 1..4),
            days in prop::option::of(1..100u32),
            limit in prop::option::of(1..1u64 << 32),
        ) {
            let wal = days.map(|count| Window { count, unit: Unit::Day });
            let rules = Rules { keep, wal, limit };
            prop_assert_eq!(rules.to_string().parse(), Ok(rules));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(?i)(keep|recovery|wal|in|and|limit|[0-9]{1,9}|day|[ -~]|\\s){0,20}") {
            let _ = text.parse::<Rules>();
        }
    }
}
