//! Connection strings, as far as a configuration must know them: whether one is worth trying, and how to show it.

use std::fmt;
use std::ops::Deref;

/// A connection string: its text, passwords included, is what it dereferences to. `Debug` and `Display` replace them.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo(String);

impl Conninfo {
    pub(crate) const fn new(text: String) -> Self {
        Self(text)
    }
}

impl Deref for Conninfo {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conninfo(\"{self}\")")
    }
}

/// Whether `text` looks like a connection string.
///
/// Barman splits at blanks and wants `keyword=value` everywhere. Everything that passes there passes here; so does what
/// it refuses although PostgreSQL's own programs accept it: quoted values with blanks, blanks around `=`, and URIs.
pub(crate) fn is_connection_string(text: &str) -> bool {
    is_uri(text) || text.split_whitespace().all(|word| word.contains('=')) || Pairs { rest: text }.all(|pair| pair)
}

fn is_uri(text: &str) -> bool {
    ["postgresql://", "postgres://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Yields whether each `keyword = value` is well formed; ends after the first that is not.
struct Pairs<'a> {
    rest: &'a str,
}

impl Iterator for Pairs<'_> {
    type Item = bool;

    fn next(&mut self) -> Option<bool> {
        let text = self.rest.trim_start();
        self.rest = "";
        if text.is_empty() {
            return None;
        }
        let Some((keyword, value)) = text.split_once('=') else { return Some(false) };
        let keyword = keyword.trim_end();
        let Some(rest) = skip_value(value.trim_start()) else { return Some(false) };
        self.rest = rest;
        Some(!keyword.is_empty() && !keyword.contains(char::is_whitespace))
    }
}

/// What follows a value at the start of `text`, or `None` if its quotes never end.
fn skip_value(text: &str) -> Option<&str> {
    let quoted = text.starts_with('\'');
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\'' if quoted => return text.get(at + 1..),
            c if c.is_whitespace() && !quoted => return text.get(at..),
            _ => {}
        }
    }
    (!quoted).then_some("")
}

/// `text` with passwords replaced, in the form that Barman prints.
pub(crate) fn redacted(text: &str) -> String {
    redact_uri(&redact_keyword(text))
}

fn redact_keyword(text: &str) -> String {
    const KEYWORD: &str = "password";
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(KEYWORD) {
        let (before, found) = rest.split_at(at + KEYWORD.len());
        shown.push_str(before);
        rest = match found.trim_start().strip_prefix('=') {
            Some(value) => {
                shown.push_str("=*REDACTED*");
                skip_value(value.trim_start()).unwrap_or_default()
            }
            None => found,
        };
    }
    shown + rest
}

fn redact_uri(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // The last one: those in a password should have been encoded, but nobody may see it for that.
    let Some((login, host)) = rest.rsplit_once('@') else { return text.to_owned() };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:*REDACTED*@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_barman_accepts_is_accepted() {
        for text in ["host=a port=1", "host=a\nport=1", "host=a=b =", "", "postgresql://h/d?x=y"] {
            assert!(is_connection_string(text), "{text}");
        }
    }

    #[test]
    fn what_postgresql_accepts_is_accepted() {
        for text in
            ["password='a b' host=x", r"password='it\'s' host=x", "host = a", "postgres://h/d", r"options=-c\ x=1"]
        {
            assert!(is_connection_string(text), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        for text in ["bad", "host=a x", "host=a x y=1", "password='a b", "host=a b ='"] {
            assert!(!is_connection_string(text), "{text}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for (text, shown) in [
            ("host=a password=secret user=u", "host=a password=*REDACTED* user=u"),
            ("password = 'a b' user=u x", "password=*REDACTED* user=u x"),
            ("sslpassword=p password='a b", "sslpassword=*REDACTED* password=*REDACTED*"),
            ("postgresql://u:p@h:1/d?x", "postgresql://u:*REDACTED*@h:1/d?x"),
            ("postgresql://u:p/q@h/d", "postgresql://u:*REDACTED*@h/d"),
            ("postgresql://u:p@q@h/d", "postgresql://u:*REDACTED*@h/d"),
            ("postgresql://u@h/password", "postgresql://u@h/password"),
            ("host=a", "host=a"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
