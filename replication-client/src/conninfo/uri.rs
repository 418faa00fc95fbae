//! The form `postgresql://user:password@host:port/database?option=value`.

use nom::branch::alt;
use nom::bytes::complete::{take_till, take_while};
use nom::character::complete::char;
use nom::combinator::{opt, rest as the_rest};
use nom::multi::separated_list1;
use nom::sequence::{preceded, terminated};
use nom::{IResult, Offset, Parser};

use super::Assignment;
use super::syntax::{ConninfoError, ConninfoProblem, Failure};

/// The position of an option that a URI has a place for. Positions are for unknown keywords, and these are known.
const KNOWN: usize = 0;

/// Returns what follows the scheme, or `None` where `text` is not a URI of PostgreSQL's.
pub(super) fn without_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// Parses `body`, which is the end of `text`.
pub(super) fn parse(text: &str, body: &str) -> Result<Vec<Assignment>, ConninfoError> {
    let (_, parts) = parts(body).map_err(|failure| Failure::locate(failure, text, ConninfoProblem::AfterAddress))?;
    let uri = Uri { text };
    let mut assignments = Vec::new();
    for (keyword, value) in parts.named_values() {
        uri.assign(&mut assignments, keyword, value)?;
    }
    uri.assign_joined(&mut assignments, "host", &parts.hosts)?;
    uri.assign_joined(&mut assignments, "port", &parts.ports)?;
    for parameter in parts.parameters.split('&').filter(|_| !parts.parameters.is_empty()) {
        assignments.push(uri.parameter(parameter)?);
    }
    Ok(assignments)
}

/// Returns whether an at sign is left where hosts, ports and the database are thought to be. The first one ends the
/// password; if that has another one, which should have been written `%40`, all that follows may be pieces of it.
pub(super) fn has_stray_at_sign(body: &str) -> bool {
    parts(body).is_ok_and(|(_, parts)| {
        parts.hosts.iter().chain(&parts.ports).chain([&parts.database]).any(|part| part.contains('@'))
    })
}

/// The parts of a URI, still percent-encoded; empty where absent.
struct Parts<'a> {
    user: &'a str,
    password: &'a str,
    hosts: Vec<&'a str>,
    ports: Vec<&'a str>,
    database: &'a str,
    parameters: &'a str,
}

impl<'a> Parts<'a> {
    fn named_values(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        [("user", self.user), ("password", self.password), ("dbname", self.database)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
    }
}

fn parts(input: &str) -> IResult<&str, Parts<'_>, Failure> {
    let user_info = terminated(take_till(|c| c == '@' || c == '/'), char('@'));
    let (rest, user_info) = opt(user_info).parse(input)?;
    let (user, password) = user_info.map_or(("", ""), |info| info.split_once(':').unwrap_or((info, "")));
    let (rest, addresses) = separated_list1(char(','), address).parse(rest)?;
    let (rest, database) = opt(preceded(char('/'), take_till(|c| c == '?'))).parse(rest)?;
    let (rest, parameters) = opt(preceded(char('?'), the_rest)).parse(rest)?;
    let (hosts, ports) = addresses.into_iter().unzip();
    let (database, parameters) = (database.unwrap_or(""), parameters.unwrap_or(""));
    Ok((rest, Parts { user, password, hosts, ports, database, parameters }))
}

/// A host and a port; each may be empty.
fn address(input: &str) -> IResult<&str, (&str, &str), Failure> {
    let (rest, host) = alt((bracketed, take_till(|c| matches!(c, ':' | '/' | '?' | ',')))).parse(input)?;
    let (rest, port) = opt(preceded(char(':'), take_till(|c| matches!(c, '/' | '?' | ',')))).parse(rest)?;
    Ok((rest, (host, port.unwrap_or(""))))
}

/// An IPv6 address in brackets.
fn bracketed(input: &str) -> IResult<&str, &str, Failure> {
    let (rest, _) = char('[').parse(input)?;
    let (rest, host) = take_while(|c| c != ']').parse(rest)?;
    let Some(rest) = rest.strip_prefix(']') else {
        return Err(Failure::at(input, ConninfoProblem::UnterminatedAddress));
    };
    if host.is_empty() {
        return Err(Failure::at(input, ConninfoProblem::EmptyAddress));
    }
    if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
        return Err(Failure::at(rest, ConninfoProblem::AfterAddress));
    }
    Ok((rest, host))
}

/// The whole URI, by which the position of a part is found.
struct Uri<'a> {
    text: &'a str,
}

impl<'a> Uri<'a> {
    fn assign(&self, to: &mut Vec<Assignment>, keyword: &str, value: &'a str) -> Result<(), ConninfoError> {
        to.push(Assignment { position: KNOWN, keyword: keyword.to_owned(), value: self.decode(value)? });
        Ok(())
    }

    /// Assigns a list of hosts or ports, unless all of them are left out.
    fn assign_joined(&self, to: &mut Vec<Assignment>, keyword: &str, values: &[&'a str]) -> Result<(), ConninfoError> {
        let decoded: Result<Vec<String>, _> = values.iter().map(|value| self.decode(value)).collect();
        let value = decoded?.join(",");
        if !value.is_empty() {
            to.push(Assignment { position: KNOWN, keyword: keyword.to_owned(), value });
        }
        Ok(())
    }

    /// Reads `option=value`. As libpq does, takes JDBC's `ssl=true` for `sslmode=require`.
    fn parameter(&self, text: &'a str) -> Result<Assignment, ConninfoError> {
        let Some((keyword, value)) = text.split_once('=') else {
            return Err(self.error(text, ConninfoProblem::ParameterWithoutValue));
        };
        if let Some((_, second)) = value.split_once('=') {
            return Err(self.error(second, ConninfoProblem::ParameterWithTwoValues));
        }
        let position = self.position(text);
        let (keyword, value) = (self.decode(keyword)?, self.decode(value)?);
        if keyword == "ssl" && value == "true" {
            return Ok(Assignment { position, keyword: "sslmode".into(), value: "require".into() });
        }
        Ok(Assignment { position, keyword, value })
    }

    /// Replaces each `%` and its two hex digits by the byte they stand for.
    fn decode(&self, text: &'a str) -> Result<String, ConninfoError> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((plain, encoded)) = rest.split_once('%') {
            bytes.extend_from_slice(plain.as_bytes());
            let byte = encoded.get(..2).and_then(hex_byte);
            match (byte, encoded.get(2..)) {
                (Some(0), _) => return Err(self.error(encoded, ConninfoProblem::PercentNul)),
                (Some(byte), Some(after)) => {
                    bytes.push(byte);
                    rest = after;
                }
                _ => return Err(self.error(encoded, ConninfoProblem::PercentEncoding)),
            }
        }
        bytes.extend_from_slice(rest.as_bytes());
        String::from_utf8(bytes).map_err(|_| self.error(text, ConninfoProblem::PercentNotUtf8))
    }

    fn error(&self, part: &str, problem: ConninfoProblem) -> ConninfoError {
        ConninfoError::Syntax { problem, position: self.position(part) }
    }

    /// Returns where `part`, a slice of the URI that is not empty, begins.
    fn position(&self, part: &str) -> usize {
        self.text.offset(part)
    }
}

/// The value of two hex digits; a sign, which `from_str_radix` would take, is none.
fn hex_byte(digits: &str) -> Option<u8> {
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_digits.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}
