//! The grammars of option values, and Barman's words for values that do not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::choices::Choice;
use crate::ini::{is_space, strip};
use crate::options::Kind;

/// A value that fits its option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Explicitly or by default nothing.
    Unset,
    /// Text, words in the spelling that Barman compares.
    Text(String),
    /// A yes or no.
    Boolean(bool),
    /// A number; Barman allows any sign.
    Integer(i64),
    /// A span of time.
    Interval(Duration),
    /// A number of bytes.
    Size(u64),
    /// Known words of a comma list.
    Words(BTreeSet<&'static str>),
    /// A comma list of anything, in order.
    List(Vec<String>),
    /// Kilobytes per second, by tablespace.
    Rates(BTreeMap<String, i64>),
}

impl fmt::Display for Value {
    /// Nothing for [`Value::Unset`], else what a configuration file would say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Interval(interval) => write!(f, "{} hours", interval.as_secs() / 3600),
            Self::Size(bytes) => bytes.fmt(f),
            Self::Words(words) => f.write_str(&words.iter().copied().collect::<Vec<_>>().join(",")),
            Self::List(items) => f.write_str(&items.join(",")),
            Self::Rates(rates) => {
                let rules: Vec<_> = rates.iter().map(|(tablespace, rate)| format!("{tablespace}:{rate}")).collect();
                f.write_str(&rules.join(" "))
            }
        }
    }
}

/// What a text means for an option.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Value(Value),
    /// Nothing, and nothing that would stop the search for a value elsewhere.
    Inherit,
}

/// The option whose value is parsed, for explanations that repeat it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) section: &'a str,
    pub(crate) option: &'a str,
}

const BOOLEAN_REFUSAL: &str = "Invalid boolean representation (must be one in: true|t|yes|1|on | false|f|no|0|off)";

const SLOT_REFUSAL: &str =
    "Replication slot names may only contain lower case letters, numbers, and the underscore character.";

const LOCATION_REFUSAL: &str = "The URL is not compatible with any of the supported cloud providers";

/// Reads `text`, from which quotes have been removed already.
///
/// # Errors
/// Barman's explanation of what is wrong with it.
pub(crate) fn parse(kind: Kind, text: &str, place: Place<'_>) -> Result<Parsed, String> {
    let value = match kind {
        Kind::Text | Kind::Directory => unset_or(text, |text| Value::Text(text.to_owned())),
        Kind::Boolean => Value::Boolean(boolean(text).ok_or(BOOLEAN_REFUSAL)?),
        Kind::Integer => Value::Integer(integer(text).ok_or_else(|| integer_refusal(text))?),
        Kind::Interval | Kind::Size if text.is_empty() => return Ok(Parsed::Inherit),
        Kind::Interval => {
            Value::Interval(interval(text).ok_or_else(|| format!("Invalid value for a time interval {text}"))?)
        }
        Kind::Size => Value::Size(size(text).ok_or_else(|| format!("Invalid value for a number {text}"))?),
        Kind::SlotName => Value::Text(slot_name(text).ok_or(SLOT_REFUSAL)?),
        Kind::Choice(choice) => return choose(choice, text),
        Kind::Words(known) => Value::Words(words(known, text, place)?),
        Kind::List => Value::List(list(text)?),
        Kind::AbsolutePath => Value::Text(absolute(text)?),
        Kind::Location => Value::Text(location(text)?),
        Kind::CompressionLevel => compression_level(text)?,
    };
    Ok(Parsed::Value(value))
}

/// What `True` and `False` may be called in a configuration file.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "t" | "yes" | "1" | "on" => Some(true),
        "false" | "f" | "no" | "0" | "off" => Some(false),
        _ => None,
    }
}

/// `int(text)` of Python, as far as 64 bits reach: blanks around, a sign, single underscores between digits.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = strip(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let groups_are_digits =
        digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    groups_are_digits.then(|| text.replace('_', "").parse().ok()).flatten()
}

fn integer_refusal(text: &str) -> String {
    format!("invalid literal for int() with base 10: {}", python_repr(text))
}

/// `repr(text)` of Python for a string.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => shown.extend(['\\', c]),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

fn unset_or(text: &str, value: impl FnOnce(&str) -> Value) -> Value {
    if text.is_empty() { Value::Unset } else { value(text) }
}

/// `7 DAYS`: a month has 31 days.
fn interval(text: &str) -> Option<Duration> {
    let text = strip(text);
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(is_space)?.trim_start_matches(is_space).to_lowercase();
    let hours = match unit.strip_suffix('s').unwrap_or(&unit) {
        "hour" => 1,
        "day" => 24,
        "week" => 7 * 24,
        "month" => 31 * 24,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(hours * 3600).map(Duration::from_secs)
}

fn size(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(is_space);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, suffix) = text.split_at(digits);
    let unit: u64 = match suffix.trim_start_matches(is_space) {
        "" => 1,
        "k" => 1_000,
        "Ki" => 1 << 10,
        "M" => 1_000_000,
        "Mi" => 1 << 20,
        "G" => 1_000_000_000,
        "Gi" => 1 << 30,
        "T" => 1_000_000_000_000,
        "Ti" => 1 << 40,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(unit)
}

fn slot_name(text: &str) -> Option<String> {
    let name = text.to_lowercase();
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (!name.is_empty() && name.bytes().all(valid)).then_some(name)
}

fn choose(choice: Choice, text: &str) -> Result<Parsed, String> {
    let word = if choice.exact_case { text.to_owned() } else { text.to_lowercase() };
    if choice.inherits == Some(word.as_str()) {
        return Ok(Parsed::Inherit);
    }
    if choice.empty_unsets && word.is_empty() {
        return Ok(Parsed::Value(Value::Unset));
    }
    if choice.words.contains(&word.as_str()) {
        return Ok(Parsed::Value(Value::Text(word)));
    }
    Err(choice.refusal.replace("{}", &word).replace("{raw}", text))
}

/// Words that exclude each other.
const CONFLICT: [&str; 2] = ["exclusive_backup", "concurrent_backup"];

fn words(known: &'static [&'static str], text: &str, place: Place<'_>) -> Result<BTreeSet<&'static str>, String> {
    let Place { section, option } = place;
    let refuse = |item: &str, why: &str| {
        format!("Invalid configuration value '{item}' for key {option} in [{section}] section: {why}")
    };
    let mut chosen = BTreeSet::new();
    if text.is_empty() {
        return Ok(chosen);
    }
    for item in text.split(',').map(|item| strip(item).to_lowercase()) {
        let word = known.iter().find(|word| **word == item).ok_or_else(|| refuse(&item, "Unknown option"))?;
        chosen.insert(*word);
    }
    let [exclusive, concurrent] = CONFLICT;
    if CONFLICT.iter().all(|word| chosen.contains(word)) {
        let why = format!("cannot contain both '{exclusive}' and '{concurrent}'.Configuration directive ignored.");
        return Err(refuse(exclusive, &why));
    }
    Ok(chosen)
}

fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text.split(',').map(str::to_owned).collect();
    if items.iter().any(String::is_empty) {
        let shown: Vec<_> = items.iter().map(|item| python_repr(item)).collect();
        return Err(format!("[{}]", shown.join(", ")));
    }
    Ok(items)
}

fn absolute(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(format!("Invalid value : '{text}' (must be an absolute path)"))
}

fn location(text: &str) -> Result<String, String> {
    if !text.contains("://") || is_object_store(text) {
        return Ok(text.to_owned());
    }
    Err(LOCATION_REFUSAL.to_owned())
}

/// Whether a location that Barman accepts is the URL of an object store rather than a directory.
pub(crate) fn is_object_store(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let bucket = matches!(scheme.to_lowercase().as_str(), "s3" | "gs") && !host.is_empty();
    bucket
        || text.starts_with("https://console.cloud.google.com/storage/browser/")
        || host.ends_with(".blob.core.windows.net")
}

fn compression_level(text: &str) -> Result<Value, String> {
    let level = text.to_lowercase();
    if level.is_empty() {
        return Ok(Value::Unset);
    }
    if ["low", "medium", "high"].contains(&level.as_str()) {
        return Ok(Value::Text(level));
    }
    integer(&level).map(Value::Integer).ok_or_else(|| {
        format!("Invalid value: '{level}' (must be one in [low, medium, high] or an acceptable integer)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_ten_words() {
        for (text, value) in [("True", Some(true)), ("ON", Some(true)), ("1", Some(true)), ("f", Some(false))] {
            assert_eq!(boolean(text), value, "{text}");
        }
        assert_eq!((boolean("off"), boolean("y"), boolean(" on"), boolean("")), (Some(false), None, None, None));
    }

    #[test]
    fn integers_are_pythons() {
        for (text, value) in [("7", 7), (" +7 ", 7), ("-0_7", -7), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in ["", "_7", "7_", "1__0", "+ 7", "--7", "1.0", "0x7", "9223372036854775808"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn intervals_need_a_blank_before_the_unit() {
        for (text, hours) in [("7 days", 168), (" 1  Hour ", 1), ("2\tweekS", 336), ("1 month", 744), ("0 day", 0)] {
            assert_eq!(interval(text), Some(Duration::from_secs(hours * 3600)), "{text}");
        }
        for text in ["7days", "days", "7", "-1 day", "7 dayss", "7 d", "7 years", "18446744073709551615 days"] {
            assert_eq!(interval(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary_and_case_counts() {
        for (text, bytes) in [("1", 1), ("1k", 1000), ("1 Ki", 1024), ("3Mi ", 3 << 20), ("2T", 2_000_000_000_000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "k", "1K", "1KB", "1ki", " 1", "-1", "1.5G", "99999999999999Ti"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn locations_are_directories_or_known_object_stores() {
        for text in ["/a", "a/b", "s3:/b", "S3://b/p", "gs://b", "https://x.blob.core.windows.net/c/p"] {
            assert!(location(text).is_ok(), "{text}");
        }
        for text in [
            "ftp://x",
            "s3://",
            "https://blob.core.windows.net/c",
            "https://example.com/blob.core.windows.net",
            "https://console.cloud.google.com/b",
        ] {
            assert!(location(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        for (text, quoted) in [("x", "'x'"), ("it's", "\"it's\""), ("'\"", r#"'\'"'"#), ("a\n\\", r"'a\n\\'")] {
            assert_eq!(python_repr(text), quoted);
        }
    }
}
