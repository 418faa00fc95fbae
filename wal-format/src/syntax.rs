//! What every parser of this crate reports, and the little that turns nom's errors into it.

use alloc::string::String;
use core::fmt::Write as _;

use nom::bytes::complete::take_while_m_n;
use nom::character::complete::digit1;
use nom::combinator::{all_consuming, map_opt};
use nom::error::{ContextError, ErrorKind, FromExternalError, ParseError, context};
use nom::{AsChar, IResult, Parser};

/// Input that is not what PostgreSQL writes there: where it stops making sense, what was expected, and what stood there.
///
/// It does not know which file the input came from; callers add that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {offset}, found {found}")]
pub struct SyntaxError {
    /// Distance from the start of the parsed input, in bytes.
    pub offset: usize,
    /// What should have stood there.
    pub expected: &'static str,
    /// The beginning of what stood there, quoted and printable, or `the end`.
    pub found: String,
}

impl SyntaxError {
    pub(crate) fn new(input: &[u8], offset: usize, expected: &'static str) -> Self {
        let rest = input.get(offset..).unwrap_or_default();
        Self { offset, expected, found: excerpt(rest) }
    }

    /// The same error in a larger input, where `bytes` lie before the part it was found in.
    pub(crate) fn further_on(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }
}

/// The first bytes of `rest`, short and harmless enough for a message.
fn excerpt(rest: &[u8]) -> String {
    const LONGEST: usize = 24;
    let shown = rest.get(..LONGEST).unwrap_or(rest);
    if shown.is_empty() {
        return String::from("the end");
    }
    let mut text = String::new();
    let more = if shown.len() < rest.len() { "..." } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(text, "\"{}{more}\"", shown.escape_ascii());
    text
}

/// Where a nom parser failed, and what [`expect`] called the thing it was looking for.
#[derive(Debug)]
pub(crate) struct Mismatch<'a> {
    rest: &'a [u8],
    expected: Option<&'static str>,
}

impl<'a> ParseError<&'a [u8]> for Mismatch<'a> {
    fn from_error_kind(rest: &'a [u8], _: ErrorKind) -> Self {
        Self { rest, expected: None }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }

    /// Of two alternatives, the one that understood more of the input explains the failure better.
    fn or(self, other: Self) -> Self {
        if self.rest.len() < other.rest.len() { self } else { other }
    }
}

/// The innermost named thing is what was expected, at the place where it should have begun: what stands there then shows
/// it whole.
impl<'a> ContextError<&'a [u8]> for Mismatch<'a> {
    fn add_context(rest: &'a [u8], name: &'static str, inner: Self) -> Self {
        match inner.expected {
            Some(_) => inner,
            None => Self { rest, expected: Some(name) },
        }
    }
}

impl<'a, E> FromExternalError<&'a [u8], E> for Mismatch<'a> {
    fn from_external_error(rest: &'a [u8], kind: ErrorKind, _: E) -> Self {
        Self::from_error_kind(rest, kind)
    }
}

/// What the parsers of this crate return while they are being combined.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Mismatch<'a>>;

/// Runs `parser` over all of `input`: a remainder is an error too.
pub(crate) fn parse_all<'a, T>(
    input: &'a [u8],
    parser: impl Parser<&'a [u8], Output = T, Error = Mismatch<'a>>,
) -> Result<T, SyntaxError> {
    match all_consuming(parser).parse(input) {
        Ok((_, value)) => Ok(value),
        Err(error) => Err(syntax_error(input, error)),
    }
}

/// Places a nom error within the `input` that its parser was given.
pub(crate) fn syntax_error(input: &[u8], error: nom::Err<Mismatch<'_>>) -> SyntaxError {
    match error {
        nom::Err::Error(mismatch) | nom::Err::Failure(mismatch) => {
            let offset = input.len().saturating_sub(mismatch.rest.len());
            SyntaxError::new(input, offset, mismatch.expected.unwrap_or("the end"))
        }
        // Complete-mode parsers do not ask for more; were one to, the input ended too early.
        nom::Err::Incomplete(_) => SyntaxError::new(input, input.len(), "more input"),
    }
}

/// Between `least` and `most` (at most 8) hexadecimal digits of either case.
pub(crate) fn hex_u32<'a>(least: usize, most: usize) -> impl Parser<&'a [u8], Output = u32, Error = Mismatch<'a>> {
    map_opt(take_while_m_n(least, most, AsChar::is_hex_digit), |digits: &[u8]| {
        u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
    })
}

/// A decimal number that fits its type, without sign.
pub(crate) fn decimal<T: core::str::FromStr>(input: &[u8]) -> Parsed<'_, T> {
    map_opt(digit1, |digits: &[u8]| core::str::from_utf8(digits).ok()?.parse().ok()).parse(input)
}

/// Names what `parser` looks for; the name ends up in [`SyntaxError::expected`].
pub(crate) fn expect<'a, P>(
    name: &'static str,
    parser: P,
) -> impl Parser<&'a [u8], Output = P::Output, Error = Mismatch<'a>>
where
    P: Parser<&'a [u8], Error = Mismatch<'a>>,
{
    context(name, parser)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn an_error_says_where_what_was_expected_and_what_was_found() {
        let error = parse_all(b"12x", expect("a number", decimal::<u32>)).unwrap_err();
        assert_eq!(error.to_string(), "expected the end at byte 2, found \"x\"");
        let error = parse_all(b"", expect("a number", decimal::<u32>)).unwrap_err();
        assert_eq!(error.to_string(), "expected a number at byte 0, found the end");
    }

    #[test]
    fn what_was_found_is_short_and_printable() {
        let error = parse_all(&[0x1b; 40], expect("a number", decimal::<u32>)).unwrap_err();
        let shown = "\\x1b".repeat(24);
        assert_eq!(error.found, alloc::format!("\"{shown}...\""));
    }

    #[test]
    fn a_number_too_large_for_its_type_is_refused() {
        assert!(parse_all(b"4294967295", decimal::<u32>).is_ok());
        assert!(parse_all(b"4294967296", decimal::<u32>).is_err());
    }
}
