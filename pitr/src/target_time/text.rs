//! The forms in which people write a time: a sequence of pieces whose order matters little.

use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use nom::branch::alt;
use nom::bytes::complete::{take_while_m_n, take_while1};
use nom::character::complete::{char, digit1, one_of, space1};
use nom::combinator::{map, map_opt, not, opt, peek};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use super::{TargetTimeReason, Written};

/// Reads the whole text.
pub(super) fn parse(text: &str) -> Result<Written, TargetTimeReason> {
    let mut parts = Parts::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (after, piece) = piece(rest).map_err(|_| TargetTimeReason::UnknownFormat)?;
        parts.add(piece)?;
        rest = after;
    }
    parts.finish()
}

/// One piece of a written time.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    /// Year, month, day.
    Date(i16, i8, i8),
    /// Two small numbers and a year: day and month in an order that is still to be found out.
    YearLast(i8, i8, i16),
    Clock(Clock),
    /// Fourteen digits.
    Compact(i16, i8, i8, Clock),
    /// A run of digits that only its neighbours explain: a day, a year, an hour or `143000`.
    Number(&'a str),
    Offset(i32),
    Word(&'a str),
    Separator,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    hour: i8,
    minute: i8,
    second: i8,
    micros: i32,
}

fn piece(input: &str) -> IResult<&str, Piece<'_>> {
    alt((clock, year_first, year_last, compact, number, offset, word, separator)).parse(input)
}

fn separator(input: &str) -> IResult<&str, Piece<'_>> {
    map(alt((space1, nom::bytes::complete::tag(","))), |_| Piece::Separator).parse(input)
}

fn word(input: &str) -> IResult<&str, Piece<'_>> {
    map(take_while1(|c: char| c.is_ascii_alphabetic()), Piece::Word).parse(input)
}

fn number(input: &str) -> IResult<&str, Piece<'_>> {
    map(digit1, Piece::Number).parse(input)
}

/// `14:30`, `14:30:00`, `14:30:00.123456`; a comma before the fraction is ISO 8601 too.
fn clock(input: &str) -> IResult<&str, Piece<'_>> {
    let second = preceded(char(':'), (small, opt(preceded(one_of(".,"), micros))));
    let (rest, (hour, _, minute, second)) = (small, char(':'), small, opt(second)).parse(input)?;
    let (second, micros) = second.unwrap_or((0, None));
    let clock = Clock { hour, minute, second, micros: micros.unwrap_or(0) };
    Ok((rest, Piece::Clock(clock)))
}

/// `2025-01-21`, `2025/01/21`, `2025.01.21`.
fn year_first(input: &str) -> IResult<&str, Piece<'_>> {
    let (rest, (year, mark)) = (year, one_of("-/.")).parse(input)?;
    let (rest, (month, _, day)) = (small, char(mark), small).parse(rest)?;
    Ok((rest, Piece::Date(year, month, day)))
}

/// `21/01/2025`, `21-01-2025`, `21.01.2025`.
fn year_last(input: &str) -> IResult<&str, Piece<'_>> {
    let (rest, (first, mark)) = (small, one_of("-/.")).parse(input)?;
    let (rest, (second, _, year)) = (small, char(mark), year).parse(rest)?;
    Ok((rest, Piece::YearLast(first, second, year)))
}

/// `20250121` and `20250121143000`.
fn compact(input: &str) -> IResult<&str, Piece<'_>> {
    let date = (fixed(4), fixed(2), fixed(2));
    let clock = opt(six_digits);
    let (rest, ((year, month, day), clock)) = terminated((date, clock), not(peek(digit1))).parse(input)?;
    Ok((
        rest,
        match clock {
            None => Piece::Date(year, month, day),
            Some((hour, minute, second)) => Piece::Compact(year, month, day, Clock::whole(hour, minute, second)),
        },
    ))
}

/// `143000`.
fn six_digits(input: &str) -> IResult<&str, (i8, i8, i8)> {
    (fixed(2), fixed(2), fixed(2)).parse(input)
}

/// `+02`, `+0200`, `+02:00`, and the same with a minus, in seconds east of UTC.
fn offset(input: &str) -> IResult<&str, Piece<'_>> {
    let hours_and_minutes = (one_of("+-"), fixed::<i32>(2), opt(preceded(opt(char(':')), fixed(2))));
    let (rest, (sign, hours, minutes)) = terminated(hours_and_minutes, not(peek(digit1))).parse(input)?;
    let seconds = hours * 3600 + minutes.unwrap_or(0) * 60;
    Ok((rest, Piece::Offset(if sign == '-' { -seconds } else { seconds })))
}

/// A number of one or two digits.
fn small(input: &str) -> IResult<&str, i8> {
    let digits = take_while_m_n(1, 2, |c: char| c.is_ascii_digit());
    terminated(map_opt(digits, |text: &str| text.parse().ok()), not(peek(digit1))).parse(input)
}

fn year(input: &str) -> IResult<&str, i16> {
    terminated(fixed(4), not(peek(digit1))).parse(input)
}

/// A number of exactly this many digits, which fits its type.
fn fixed<'a, N: FromStr>(digits: usize) -> impl Parser<&'a str, Output = N, Error = nom::error::Error<&'a str>> {
    let run = take_while_m_n(digits, digits, |c: char| c.is_ascii_digit());
    map_opt(run, |text: &str| text.parse().ok())
}

/// The digits behind the point; those past the sixth are dropped, which never moves a target forward.
fn micros(input: &str) -> IResult<&str, i32> {
    map_opt(digit1, |digits: &str| format!("{digits:0<6}").get(..6)?.parse().ok()).parse(input)
}

impl Clock {
    fn whole(hour: i8, minute: i8, second: i8) -> Self {
        Self { hour, minute, second, micros: 0 }
    }
}

/// What has been read so far; each part may be said once.
#[derive(Default)]
struct Parts {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    clock: Option<Clock>,
    afternoon: Option<bool>,
    offset: Option<i32>,
    /// An abbreviation stood where a zone would; it is harmless beside an explicit offset.
    unknown_zone: Option<String>,
}

impl Parts {
    fn add(&mut self, piece: Piece<'_>) -> Result<(), TargetTimeReason> {
        match piece {
            Piece::Separator => Ok(()),
            Piece::Date(year, month, day) => self.date(year, month, day),
            Piece::YearLast(first, second, year) => {
                let (month, day) = month_and_day(first, second)?;
                self.date(year, month, day)
            }
            Piece::Clock(clock) => once(&mut self.clock, clock),
            Piece::Compact(year, month, day, clock) => {
                self.date(year, month, day)?;
                once(&mut self.clock, clock)
            }
            Piece::Number(digits) => self.number(digits),
            // A minus sign before the time of day would belong to a date that was not understood.
            Piece::Offset(seconds) if self.clock.is_some() => once(&mut self.offset, seconds),
            Piece::Offset(_) => Err(TargetTimeReason::UnknownFormat),
            Piece::Word(word) => self.word(word),
        }
    }

    fn date(&mut self, year: i16, month: i8, day: i8) -> Result<(), TargetTimeReason> {
        once(&mut self.year, year)?;
        once(&mut self.month, month)?;
        once(&mut self.day, day)
    }

    /// Gives a bare number its meaning by its length and by what is still missing.
    fn number(&mut self, digits: &str) -> Result<(), TargetTimeReason> {
        let unknown = TargetTimeReason::UnknownFormat;
        match digits.len() {
            1 | 2 if self.day.is_none() => once(&mut self.day, digits.parse().map_err(|_| unknown)?),
            1 | 2 => once(&mut self.clock, Clock::whole(digits.parse().map_err(|_| unknown)?, 0, 0)),
            4 => once(&mut self.year, digits.parse().map_err(|_| unknown)?),
            6 if self.day.is_some() => {
                let (_, (hour, minute, second)) = six_digits(digits).map_err(|_| unknown)?;
                once(&mut self.clock, Clock::whole(hour, minute, second))
            }
            _ => Err(unknown),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), TargetTimeReason> {
        let lower = word.to_ascii_lowercase();
        if let Some(month) = position(&MONTHS, &lower) {
            return once(&mut self.month, month);
        }
        if position(&WEEKDAYS, &lower).is_some() {
            return Ok(());
        }
        match lower.as_str() {
            "t" | "at" => Ok(()),
            "am" => once(&mut self.afternoon, false),
            "pm" => once(&mut self.afternoon, true),
            "z" | "utc" | "gmt" if self.clock.is_some() => once(&mut self.offset, 0),
            _ if self.clock.is_some() && is_abbreviation(word) => once(&mut self.unknown_zone, word.to_owned()),
            _ => Err(TargetTimeReason::UnknownFormat),
        }
    }

    fn finish(self) -> Result<Written, TargetTimeReason> {
        let date = self.whole_date()?;
        let time = self.time_of_day()?;
        Ok(Written { civil: date.to_datetime(time), offset: self.zone()? })
    }

    fn whole_date(&self) -> Result<Date, TargetTimeReason> {
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            let nothing = self.year.is_none() && self.month.is_none() && self.day.is_none() && self.clock.is_none();
            return Err(if nothing { TargetTimeReason::UnknownFormat } else { TargetTimeReason::IncompleteDate });
        };
        if !(1..=12).contains(&month) {
            return Err(TargetTimeReason::OutOfRange("month"));
        }
        Date::new(year, month, day).map_err(|_| TargetTimeReason::OutOfRange("day"))
    }

    fn time_of_day(&self) -> Result<Time, TargetTimeReason> {
        let clock = self.clock.unwrap_or(Clock::whole(0, 0, 0));
        let hour = match self.afternoon {
            None => clock.hour,
            Some(_) if self.clock.is_none() || !(1..=12).contains(&clock.hour) => {
                return Err(TargetTimeReason::UnknownFormat);
            }
            Some(afternoon) => clock.hour % 12 + if afternoon { 12 } else { 0 },
        };
        for (value, end, part) in [(hour, 24, "hour"), (clock.minute, 60, "minute"), (clock.second, 60, "second")] {
            if value >= end {
                return Err(TargetTimeReason::OutOfRange(part));
            }
        }
        let time = Time::new(hour, clock.minute, clock.second, clock.micros * 1000);
        time.map_err(|_| TargetTimeReason::OutOfRange("time of day"))
    }

    fn zone(&self) -> Result<Option<Offset>, TargetTimeReason> {
        match (self.offset, &self.unknown_zone) {
            (None, Some(name)) => Err(TargetTimeReason::UnknownZone(name.clone())),
            (None, None) => Ok(None),
            (Some(seconds), _) => {
                Offset::from_seconds(seconds).map(Some).map_err(|_| TargetTimeReason::OutOfRange("offset"))
            }
        }
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Returns the number, from 1, of the name that this is, whole or as its first three letters.
fn position(names: &[&str], word: &str) -> Option<i8> {
    let mut numbered = names.iter().zip(1..);
    numbered.find(|(name, _)| **name == word || name.get(..3) == Some(word)).map(|(_, number)| number)
}

fn is_abbreviation(word: &str) -> bool {
    (3..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Tells day from month where only one of the two numbers can be the month.
fn month_and_day(first: i8, second: i8) -> Result<(i8, i8), TargetTimeReason> {
    match (first, second) {
        _ if first == second || second > 12 => Ok((first, second)),
        _ if first > 12 => Ok((second, first)),
        _ => Err(TargetTimeReason::DayOrMonth),
    }
}

/// A second year, month or time of day means that the text was not understood.
fn once<T>(part: &mut Option<T>, value: T) -> Result<(), TargetTimeReason> {
    match part.replace(value) {
        None => Ok(()),
        Some(_) => Err(TargetTimeReason::UnknownFormat),
    }
}
