//! One line of a configuration file, read as PostgreSQL's `guc-file.l` reads it.

/// A line that sets something, or takes another file in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingLine {
    /// The setting, in lower case; empty for comments, empty lines and whatever else has none.
    pub(crate) key: String,
    /// Everything behind the `=`, quotes and comment included.
    pub(crate) text: String,
}

impl SettingLine {
    /// Splits a line: a name in any letter case, an optional `=`, a value.
    pub(crate) fn parse(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
        let (key, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
        let rest = rest.trim_start();
        let value = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        Self { key: key.to_ascii_lowercase(), text: value.to_owned() }
    }

    /// Returns what the server takes for the value (`DeescapeQuotedString`): without quotes, escapes and the comment.
    pub(crate) fn value(&self) -> String {
        match self.text.strip_prefix('\'') {
            Some(quoted) => unquoted(quoted),
            None => self.text.split(|c: char| c == '#' || c.is_whitespace()).next().unwrap_or_default().to_owned(),
        }
    }
}

/// What stands before the closing quote.
fn unquoted(quoted: &str) -> String {
    let mut value = String::new();
    let mut rest = quoted.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\'' if rest.next_if_eq(&'\'').is_none() => break,
            '\\' => value.extend(escaped(&mut rest)),
            next => value.push(next),
        }
    }
    value
}

/// What stands behind a backslash: a letter of C's, up to three octal digits, or itself.
fn escaped(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    const OCTAL: u32 = 8;
    Some(match rest.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        digit @ '0'..='7' => {
            let mut code = digit.to_digit(OCTAL)?;
            for _ in 0..2 {
                let Some(digit) = rest.peek().and_then(|next| next.to_digit(OCTAL)) else { break };
                rest.next();
                code = code * OCTAL + digit;
            }
            // The server keeps the low byte.
            char::from(code.to_le_bytes()[0])
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_server_reads() {
        for (line, key, value) in [
            ("archive_command = 'cp %p /a/%f'  # tail", "archive_command", "cp %p /a/%f"),
            ("Archive_Command 'it''s \\'quoted\\' # here'", "archive_command", "it's 'quoted' # here"),
            ("port=5432#no blank", "port", "5432"),
            ("archive_command''", "archive_command", ""),
            (" work_mem\t4MB \r\n", "work_mem", "4MB"),
            ("a = 'tab\\tline\\n octal\\101\\0'", "a", "tab\tline\n octalA\0"),
            ("a = 'never closed", "a", "never closed"),
            ("my.setting = on", "my.setting", "on"),
            ("# port = 1", "", "port"),
        ] {
            let parsed = SettingLine::parse(line.as_bytes());
            assert_eq!(parsed.key, key, "{line}");
            assert!(key.is_empty() || parsed.value() == value, "{line}: {}", parsed.value());
        }
    }
}
