//! The Python literals that Barman stores in `backup.info`.
//!
//! Barman writes some values with Python's `repr` and reads them back with `ast.literal_eval`. What is printed here is
//! what `repr` prints for the same value, except that a few invisible Unicode characters may be escaped where Python
//! leaves them alone, or the other way round: both spellings are read as the same text.

use std::fmt;

use nom::branch::alt;
use nom::bytes::complete::{is_a, is_not, tag, take_while_m_n};
use nom::character::complete::{anychar, char, multispace0, one_of};
use nom::combinator::{cut, map, map_opt, map_res, not, opt, peek, recognize, value};
use nom::error::{Error as NomError, ErrorKind};
use nom::multi::{fold_many0, separated_list0};
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

/// How deeply lists, tuples and dictionaries may be nested. Barman nests four levels; the bound keeps a hostile file
/// from exhausting the stack.
const DEEPEST: usize = 32;

/// A value as Python writes it in source code.
#[derive(Debug, Clone, PartialEq)]
pub enum PythonLiteral {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// A whole number
    Int(i64),
    /// A number with fraction or exponent
    Float(f64),
    /// A string
    Str(String),
    /// `[…]`
    List(Vec<Self>),
    /// `(…)`
    Tuple(Vec<Self>),
    /// `{…}`, in the order written
    Dict(Vec<(Self, Self)>),
}

/// Text that is not a Python literal of the kinds Barman writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a Python literal, found something else at byte {offset}")]
pub struct PythonLiteralError {
    /// Distance from the start of the text, in bytes.
    pub offset: usize,
}

impl PythonLiteral {
    /// Parses one literal that makes up the whole text, surrounding blanks aside.
    ///
    /// # Errors
    /// The text is not such a literal, or nests deeper than any value that Barman writes.
    pub fn parse(text: &str) -> Result<Self, PythonLiteralError> {
        let rest = match literal(DEEPEST)(text.trim_end()) {
            Ok(("", value)) => return Ok(value),
            Ok((rest, _)) => rest,
            Err(nom::Err::Error(error) | nom::Err::Failure(error)) => error.input,
            Err(nom::Err::Incomplete(_)) => "",
        };
        Err(PythonLiteralError { offset: text.trim_end().len() - rest.len() })
    }

    /// Returns the text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value of a number of either kind.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            #[allow(clippy::cast_precision_loss, reason = "counts and seconds, far below 2^53")]
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the value under a text key of a dictionary.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dict(items) => items.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<&str> for PythonLiteral {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

/// As Python's `repr` prints it.
impl fmt::Display for PythonLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
            // The word that Python prints is no literal; a number too large for a float reads back as infinity.
            Self::Float(f64::INFINITY) => f.write_str("1e999"),
            Self::Float(f64::NEG_INFINITY) => f.write_str("-1e999"),
            Self::Float(number) => f.write_str(&float_repr(*number)),
            Self::Str(text) => write_string(f, text),
            Self::List(items) => {
                f.write_str("[")?;
                write_items(f, items)?;
                f.write_str("]")
            }
            Self::Tuple(items) => {
                f.write_str("(")?;
                write_items(f, items)?;
                // Without the comma, one item in parentheses would be that item.
                f.write_str(if items.len() == 1 { ",)" } else { ")" })
            }
            Self::Dict(items) => write_dict(f, items),
        }
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, items: &[PythonLiteral]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        write!(f, "{}{item}", separator(index))?;
    }
    Ok(())
}

fn write_dict(f: &mut fmt::Formatter<'_>, items: &[(PythonLiteral, PythonLiteral)]) -> fmt::Result {
    f.write_str("{")?;
    for (index, (key, value)) in items.iter().enumerate() {
        write!(f, "{}{key}: {value}", separator(index))?;
    }
    f.write_str("}")
}

fn separator(index: usize) -> &'static str {
    if index == 0 { "" } else { ", " }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    write!(f, "{quote}")?;
    for character in text.chars() {
        write_character(f, character, quote)?;
    }
    write!(f, "{quote}")
}

fn write_character(f: &mut fmt::Formatter<'_>, character: char, quote: char) -> fmt::Result {
    let code = u32::from(character);
    match character {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\\' => f.write_str("\\\\"),
        _ if character == quote => write!(f, "\\{quote}"),
        ' '..='~' => write!(f, "{character}"),
        _ if is_printable(character) => write!(f, "{character}"),
        _ if code < 0x100 => write!(f, "\\x{code:02x}"),
        _ if code < 0x1_0000 => write!(f, "\\u{code:04x}"),
        _ => write!(f, "\\U{code:08x}"),
    }
}

/// Close to Python's `str.isprintable` for characters beyond ASCII.
fn is_printable(character: char) -> bool {
    !character.is_control() && !character.is_whitespace() && character.escape_debug().next() != Some('\\')
}

/// Python's `repr` of a float: the fewest digits that read back as the same number, always with a point or an exponent.
pub(crate) fn float_repr(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "nan".to_owned() } else { format!("{number}") };
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

type Parsed<'a, T> = IResult<&'a str, T>;

fn literal(depth: usize) -> impl Fn(&str) -> Parsed<'_, PythonLiteral> {
    move |input| {
        let Some(inner) = depth.checked_sub(1) else {
            return Err(nom::Err::Failure(NomError::new(input, ErrorKind::TooLarge)));
        };
        let kinds = alt((
            value(PythonLiteral::None, keyword("None")),
            value(PythonLiteral::Bool(true), keyword("True")),
            value(PythonLiteral::Bool(false), keyword("False")),
            map(strings, PythonLiteral::Str),
            number,
            map(items('[', inner, ']'), |(items, _)| PythonLiteral::List(items)),
            map(items('(', inner, ')'), tuple_or_group),
            dict(inner),
        ));
        preceded(multispace0, kinds).parse(input)
    }
}

fn keyword<'a>(word: &'static str) -> impl Parser<&'a str, Output = &'a str, Error = NomError<&'a str>> {
    terminated(tag(word), not(peek(map_opt(anychar, |next| (next.is_alphanumeric() || next == '_').then_some(())))))
}

fn number(input: &str) -> Parsed<'_, PythonLiteral> {
    let text = recognize((opt(one_of("+-")), one_of("0123456789."), opt(numeral_rest)));
    map_opt(text, |text: &str| match text.parse() {
        Ok(whole) => Some(PythonLiteral::Int(whole)),
        Err(_) => text.parse().ok().map(PythonLiteral::Float),
    })
    .parse(input)
}

/// What can follow the first character of a number; whether it makes sense is decided when it is converted.
fn numeral_rest(input: &str) -> Parsed<'_, &str> {
    recognize(fold_many0(alt((is_a("0123456789."), recognize((one_of("eE"), opt(one_of("+-")))))), || (), |(), _| ()))
        .parse(input)
}

/// Items between brackets, and whether a comma followed the last one.
fn items<'a>(
    open: char,
    depth: usize,
    close: char,
) -> impl Parser<&'a str, Output = (Vec<PythonLiteral>, bool), Error = NomError<&'a str>> {
    let list = separated_list0(comma, literal(depth));
    let content = (list, opt(comma), multispace0);
    delimited(char(open), cut(map(content, |(items, comma, _)| (items, comma.is_some()))), cut(char(close)))
}

fn tuple_or_group((mut items, trailing_comma): (Vec<PythonLiteral>, bool)) -> PythonLiteral {
    match items.pop() {
        Some(only) if items.is_empty() && !trailing_comma => only,
        last => {
            items.extend(last);
            PythonLiteral::Tuple(items)
        }
    }
}

fn dict<'a>(depth: usize) -> impl Parser<&'a str, Output = PythonLiteral, Error = NomError<&'a str>> {
    let colon = preceded(multispace0, char(':'));
    let pairs = separated_list0(comma, separated_pair(literal(depth), cut(colon), cut(literal(depth))));
    let content = terminated(pairs, (opt(comma), multispace0));
    map(delimited(char('{'), cut(content), cut(char('}'))), PythonLiteral::Dict)
}

fn comma(input: &str) -> Parsed<'_, char> {
    preceded(multispace0, char(',')).parse(input)
}

/// One string, or several side by side, which Python joins.
fn strings(input: &str) -> Parsed<'_, String> {
    let (rest, first) = string(input)?;
    fold_many0(preceded(multispace0, string), move || first.clone(), |joined, next| joined + &next).parse(rest)
}

fn string(input: &str) -> Parsed<'_, String> {
    preceded(opt(one_of("uU")), alt((quoted('\'', "'\\\n"), quoted('"', "\"\\\n")))).parse(input)
}

fn quoted<'a>(quote: char, special: &'static str) -> impl Parser<&'a str, Output = String, Error = NomError<&'a str>> {
    let piece = alt((map(is_not(special), Piece::Text), map(preceded(char('\\'), cut(escape)), Piece::Escape)));
    let content = fold_many0(piece, String::new, |mut text, piece| {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Escape(character) => text.extend(character),
        }
        text
    });
    delimited(char(quote), content, cut(char(quote)))
}

enum Piece<'a> {
    Text(&'a str),
    /// A backslash at the end of a line stands for nothing.
    Escape(Option<char>),
}

fn escape(input: &str) -> Parsed<'_, Option<char>> {
    let simple = map_opt(anychar, |letter| match letter {
        '\\' | '\'' | '"' => Some(Some(letter)),
        'n' => Some(Some('\n')),
        'r' => Some(Some('\r')),
        't' => Some(Some('\t')),
        'a' => Some(Some('\x07')),
        'b' => Some(Some('\x08')),
        'f' => Some(Some('\x0c')),
        'v' => Some(Some('\x0b')),
        '\n' => Some(None),
        _ => None,
    });
    let octal = code(3, 8, |digits| take_while_m_n(1, digits, |c: char| c.is_digit(8)));
    alt((
        simple,
        map(preceded(char('x'), hex(2)), Some),
        map(preceded(char('u'), hex(4)), Some),
        map(preceded(char('U'), hex(8)), Some),
        map(octal, Some),
    ))
    .parse(input)
}

fn hex<'a>(digits: usize) -> impl Parser<&'a str, Output = char, Error = NomError<&'a str>> {
    code(digits, 16, |digits| take_while_m_n(digits, digits, |c: char| c.is_ascii_hexdigit()))
}

fn code<'a, P>(
    digits: usize,
    radix: u32,
    text: impl FnOnce(usize) -> P,
) -> impl Parser<&'a str, Output = char, Error = NomError<&'a str>>
where
    P: Parser<&'a str, Output = &'a str, Error = NomError<&'a str>>,
{
    map_opt(map_res(text(digits), move |text: &str| u32::from_str_radix(text, radix)), char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_strings_as_repr_does() {
        for (text, repr) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"so\"", "'it\\'s \"so\"'"),
            ("a\nb\\c\td\r", "'a\\nb\\\\c\\td\\r'"),
            ("é\u{a0}\u{2028}\u{7f}\u{1}", "'é\\xa0\\u2028\\x7f\\x01'"),
        ] {
            assert_eq!(PythonLiteral::from(text).to_string(), repr);
        }
    }

    #[test]
    fn numbers_beyond_all_floats_can_be_read_again() {
        for text in ["1e999", "-1e999", "{'copy_time': 1e999}"] {
            assert_eq!(PythonLiteral::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn prints_floats_as_repr_does() {
        for (number, repr) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (2.447594, "2.447594"),
            (1_795_193_262.0, "1795193262.0"),
            (1_795_193_057.286_914_8, "1795193057.2869148"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
        ] {
            assert_eq!(float_repr(number), repr);
        }
    }

    #[test]
    fn prints_collections_as_repr_does() {
        for text in [
            "[]",
            "()",
            "{}",
            "('only',)",
            "[('tbs1', 16386, '/srv/tbs1')]",
            "{'copy_time': 2.447594, 'total_time': 2.447594, 'none': None, 'yes': True, 'no': False}",
            "{'a': {'b': [1, -2, (3, 4)]}}",
        ] {
            assert_eq!(PythonLiteral::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn reads_spellings_that_repr_never_prints() {
        let text = PythonLiteral::from("a\u{e9}\u{1F600}\x07é");
        for spelling in [r"'a\xe9\U0001f600\a\351'", "u'a\\u00e9' \"\\U0001F600\\x07é\"", " ('a' 'é\u{1F600}\\007é') "]
        {
            assert_eq!(PythonLiteral::parse(spelling).as_ref(), Ok(&text), "{spelling}");
        }
        assert_eq!(PythonLiteral::parse("[ 1 , 2 , ]").unwrap().to_string(), "[1, 2]");
    }

    #[test]
    fn refuses_what_is_no_literal_and_says_where() {
        for (text, offset) in [
            ("", 0),
            ("'open", 5),
            ("[1, 2", 5),
            ("{'a' 1}", 5),
            ("Nonesuch", 0),
            ("__import__('os')", 0),
            ("'a' + 'b'", 3),
            (r"'\q'", 2),
            (r"'\ud800'", 2),
        ] {
            assert_eq!(PythonLiteral::parse(text), Err(PythonLiteralError { offset }), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_rather_than_followed() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(PythonLiteral::parse(&deep(DEEPEST - 1)).is_ok());
        assert!(PythonLiteral::parse(&deep(DEEPEST)).is_err());
        assert!(PythonLiteral::parse(&deep(1_000_000)).is_err());
    }

    fn any_literal() -> impl Strategy<Value = PythonLiteral> {
        let leaf = prop_oneof![
            Just(PythonLiteral::None),
            any::<bool>().prop_map(PythonLiteral::Bool),
            any::<i64>().prop_map(PythonLiteral::Int),
            (-1e300..1e300).prop_map(PythonLiteral::Float),
            ".*".prop_map(PythonLiteral::Str),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(PythonLiteral::List),
                prop::collection::vec(inner.clone(), 0..4).prop_map(PythonLiteral::Tuple),
                prop::collection::vec((inner.clone(), inner), 0..4).prop_map(PythonLiteral::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn parse_undoes_print(literal in any_literal()) {
            prop_assert_eq!(PythonLiteral::parse(&literal.to_string()), Ok(literal));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = PythonLiteral::parse(&text);
        }
    }
}
