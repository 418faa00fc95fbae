//! Passwords never reach the terminal or the log (invariant 9).

const MASK: &str = "*REDACTED*";

/// Returns `message` with the value after each `password=`, and each password inside a connection URI, masked: rather too
/// much than too little, where a character should have been encoded.
pub(super) fn redacted(message: &str) -> String {
    without_uri_passwords(&without_password_values(message))
}

fn without_password_values(message: &str) -> String {
    const KEY: &str = "password";
    let mut result = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(KEY) {
        let (before, behind) = rest.split_at(at + KEY.len());
        result.push_str(before);
        rest = match behind.trim_start().strip_prefix('=') {
            Some(value) => {
                result.push('=');
                result.push_str(MASK);
                let value = value.trim_start();
                &value[value_length(value)..]
            }
            None => behind,
        };
    }
    result + rest
}

/// Returns the length in bytes of a conninfo value: quoted with backslash escapes, or up to a blank.
fn value_length(value: &str) -> usize {
    let quoted = value.starts_with('\'');
    let mut escaped = false;
    for (at, character) in value.char_indices().skip(usize::from(quoted)) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return at + 1,
            c if !quoted && (c.is_whitespace() || c == '\'' || c == '"' || c == '&') => return at,
            _ => {}
        }
    }
    value.len()
}

fn without_uri_passwords(message: &str) -> String {
    let mut result = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("://") {
        let (scheme, authority) = rest.split_at(at + 3);
        result.push_str(scheme);
        let end = authority.find(char::is_whitespace).unwrap_or(authority.len());
        let (credentials, tail) = authority.split_at(end);
        result.push_str(&masked_credentials(credentials));
        rest = tail;
    }
    result + rest
}

fn masked_credentials(authority: &str) -> String {
    let Some((userinfo, host)) = authority.rsplit_once('@') else {
        return authority.to_owned();
    };
    match userinfo.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@{host}"),
        None => authority.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_every_spelling_are_masked() {
        let cases = [
            ("host=a password=geheim user=b", "host=a password=*REDACTED* user=b"),
            ("password='two words' port=1", "password=*REDACTED* port=1"),
            (r"password='it\'s' port=1", "password=*REDACTED* port=1"),
            ("postgresql://me:pw@host/db", "postgresql://me:*REDACTED*@host/db"),
            ("postgresql://host/db?password=pw&user=x", "postgresql://host/db?password=*REDACTED*&user=x"),
            ("postgresql://me@host and more", "postgresql://me@host and more"),
            ("password=", "password=*REDACTED*"),
            ("password = geheim user=b", "password=*REDACTED* user=b"),
            ("a password is wanted", "a password is wanted"),
            ("postgresql://me:p/w@host/db and more", "postgresql://me:*REDACTED*@host/db and more"),
            ("postgresql://me:p@w@host/db", "postgresql://me:*REDACTED*@host/db"),
            ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ];
        for (input, expected) in cases {
            assert_eq!(redacted(input), expected);
        }
    }
}
