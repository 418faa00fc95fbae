//! `%(option)s` and `%%`, as `configparser.BasicInterpolation` resolves them.
//!
//! Barman resolves every value twice: when a file is read, and when the value is used. A literal `%` is therefore
//! written `%%%%`; after the first pass a `%` must still be a valid beginning, or the file is refused.

use crate::error::InterpolationError;

/// Depth at which Python stops following references.
const MAX_DEPTH: usize = 10;

/// Most bytes one value may become: ten levels of references multiply without bound otherwise.
const MAX_LENGTH: usize = 1 << 20;

/// Returns `value` with every `%(option)s` replaced by what `lookup` knows of that option, and `%%` by `%`.
///
/// # Errors
/// A `%` that begins neither, an unknown option, references nested deeper than ten levels, or a result over 1 MiB.
pub(crate) fn interpolate<'a>(
    value: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<String, InterpolationError> {
    let mut output = String::new();
    expand(value, lookup, 1, &mut output)?;
    Ok(output)
}

/// Refuses a value that could not be resolved a second time, as `ConfigParser.set` does.
pub(crate) fn check_second_pass(value: &str) -> Result<(), InterpolationError> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match Token::parse(after) {
            Some((_, rest)) => rest,
            None => return Err(InterpolationError::Syntax),
        };
    }
    Ok(())
}

/// What may follow a `%`.
enum Token<'a> {
    Percent,
    Option(&'a str),
}

impl<'a> Token<'a> {
    /// Splits off the token at the start of `text`, which follows a `%`.
    fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        if let Some(rest) = text.strip_prefix('%') {
            return Some((Self::Percent, rest));
        }
        let (name, rest) = text.strip_prefix('(')?.split_once(')')?;
        let rest = rest.strip_prefix('s')?;
        (!name.is_empty()).then_some((Self::Option(name), rest))
    }
}

fn expand<'a>(
    value: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
    depth: usize,
    output: &mut String,
) -> Result<(), InterpolationError> {
    if depth > MAX_DEPTH {
        return Err(InterpolationError::TooDeep);
    }
    let mut rest = value;
    while let Some((plain, after)) = rest.split_once('%') {
        output.push_str(plain);
        let (token, next) = Token::parse(after).ok_or(InterpolationError::Syntax)?;
        match token {
            Token::Percent => output.push('%'),
            Token::Option(name) => reference(name, lookup, depth, output)?,
        }
        rest = next;
    }
    output.push_str(rest);
    if output.len() > MAX_LENGTH { Err(InterpolationError::TooLong) } else { Ok(()) }
}

fn reference<'a>(
    name: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
    depth: usize,
    output: &mut String,
) -> Result<(), InterpolationError> {
    let key = name.to_lowercase();
    let value = lookup(&key).ok_or(InterpolationError::UnknownOption { name: key })?;
    if value.contains('%') {
        return expand(value, lookup, depth + 1, output);
    }
    output.push_str(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(value: &str) -> Result<String, InterpolationError> {
        interpolate(value, &|name| match name {
            "a" => Some("1"),
            "nested" => Some("<%(a)s>"),
            "loop" => Some("%(loop)s"),
            "percent" => Some("%%"),
            _ => None,
        })
    }

    #[test]
    fn references_and_doubled_percents_are_replaced() {
        assert_eq!(resolve("x%(a)sy%%z").unwrap(), "x1y%z");
        assert_eq!(resolve("%(nested)s%(A)s").unwrap(), "<1>1");
        assert_eq!(resolve("%(percent)s").unwrap(), "%");
    }

    #[test]
    fn a_percent_before_anything_else_is_refused() {
        for value in ["%p", "a%", "%(", "%(a", "%(a)", "%(a)d", "%()s"] {
            assert!(matches!(resolve(value), Err(InterpolationError::Syntax)), "{value}");
        }
    }

    #[test]
    fn unknown_options_and_endless_references_are_refused() {
        assert_eq!(resolve("%(zz)s"), Err(InterpolationError::UnknownOption { name: "zz".into() }));
        assert_eq!(resolve("%(loop)s"), Err(InterpolationError::TooDeep));
    }

    #[test]
    fn multiplying_references_stop_at_a_bound() {
        let bomb = "%(b)s".repeat(2000);
        let long = "x".repeat(4096);
        let lookup = |name: &str| Some(if name == "b" { long.as_str() } else { bomb.as_str() });
        assert_eq!(interpolate("%(z)s", &lookup), Err(InterpolationError::TooLong));
    }

    #[test]
    fn a_literal_percent_survives_two_passes_only_when_written_four_times() {
        let first = resolve("date +%%%%H").unwrap();
        assert_eq!(check_second_pass(&first), Ok(()));
        assert_eq!(resolve(&first).unwrap(), "date +%H");
        assert!(check_second_pass(&resolve("date +%%H").unwrap()).is_err());
    }
}
