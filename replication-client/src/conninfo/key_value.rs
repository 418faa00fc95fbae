//! The form `host=db1 password='it''s'`: keyword, equals sign, value.

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{anychar, char};
use nom::combinator::{map, opt};
use nom::multi::fold_many0;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::Assignment;
use super::syntax::{ConninfoError, ConninfoProblem, Failure};

/// Parses a whole string of assignments.
pub(super) fn parse(text: &str) -> Result<Vec<Assignment>, ConninfoError> {
    let mut assignments = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let position = text.len() - rest.len();
        let (after, (keyword, value)) =
            assignment(rest).map_err(|failure| Failure::locate(failure, text, ConninfoProblem::MissingEquals))?;
        assignments.push(Assignment { position, keyword: keyword.to_owned(), value });
        rest = after.trim_start_matches(is_space);
    }
    Ok(assignments)
}

fn assignment(input: &str) -> IResult<&str, (&str, String), Failure> {
    let (rest, keyword) = take_while(|c| c != '=' && !is_space(c)).parse(input)?;
    let (rest, _) = take_while(is_space).parse(rest)?;
    let (rest, _) = char('=').parse(rest)?;
    // Also where the value is empty: libpq reads `host= port=5` as host `port=5`.
    let (rest, _) = take_while(is_space).parse(rest)?;
    let (rest, value) = alt((quoted, unquoted)).parse(rest)?;
    Ok((rest, (keyword, value)))
}

fn quoted(input: &str) -> IResult<&str, String, Failure> {
    let (rest, _) = char('\'').parse(input)?;
    let (rest, value) = text_of(rest, |c| c != '\'')?;
    match rest.strip_prefix('\'') {
        Some(rest) => Ok((rest, value)),
        None => Err(Failure::at(input, ConninfoProblem::UnterminatedQuote)),
    }
}

fn unquoted(input: &str) -> IResult<&str, String, Failure> {
    text_of(input, |c| !is_space(c))
}

/// Reads characters that `belongs` accepts. A backslash takes the next character as it is, whatever it is; at the very
/// end it stands for nothing.
fn text_of(input: &str, belongs: impl Fn(char) -> bool) -> IResult<&str, String, Failure> {
    let plain = take_while1(|c| c != '\\' && belongs(c));
    let escaped = preceded(char('\\'), opt(anychar));
    let piece = alt((map(plain, str::to_owned), map(escaped, |c| c.map(String::from).unwrap_or_default())));
    fold_many0(piece, String::new, |text, piece| text + &piece).parse(input)
}

/// C's `isspace` in the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}
