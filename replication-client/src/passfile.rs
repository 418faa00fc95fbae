//! libpq's password file (`.pgpass`): one line per server, database and user.
//!
//! Mirrors `passwordFromFile` of PostgreSQL's `fe-connect.c`.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::bounded_file;
use crate::password::Password;

/// More than any password file holds. A larger one is something else, and is not read into memory.
const LONGEST: u64 = 4 << 20;

/// Whose password is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account<'a> {
    /// The host as configured, or `localhost` for the default socket directory.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// The database; `replication` for a physical replication connection.
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// Why a password file that exists gave no password.
///
/// As for libpq this is no failure in itself, because the server may not ask for a password. If it does, this is why
/// there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassfileProblem {
    /// Others than its owner have access to it, so it is not used.
    #[error("password file {} has group or world access (mode {mode:04o}); expected 0600 or less", path.display())]
    Permissions {
        /// Where it is.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory, a device or the like.
    #[error("password file {} is not a plain file", path.display())]
    NotAFile {
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("password file {} cannot be read", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The first line that matches is not UTF-8.
    #[error("password file {}, line {line}: expected UTF-8", path.display())]
    Encoding {
        /// Where it is.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// No line of it matches.
    #[error("password file {} has no line for this host, port, database and user", path.display())]
    NoMatch {
        /// Where it is.
        path: PathBuf,
    },
}

/// Returns the password of `account`, or `None` where there is no file.
pub(crate) fn lookup(path: &Path, account: &Account<'_>) -> Result<Option<Password>, PassfileProblem> {
    let owned = || path.to_owned();
    // Before opening it: opening a pipe would wait for a writer.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PassfileProblem::Unreadable { path: owned(), source }),
    };
    if !metadata.is_file() {
        return Err(PassfileProblem::NotAFile { path: owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PassfileProblem::Permissions { path: owned(), mode });
    }
    let bytes = bounded_file::read(path, LONGEST);
    let bytes = bytes.map_err(|source| PassfileProblem::Unreadable { path: owned(), source })?;
    match find(&bytes, account) {
        Some(found) => found.map(Some).map_err(|NotUtf8 { line }| PassfileProblem::Encoding { path: owned(), line }),
        None => Err(PassfileProblem::NoMatch { path: owned() }),
    }
}

/// The line that matches, from 1, is not text.
#[derive(Debug, PartialEq)]
pub(crate) struct NotUtf8 {
    line: usize,
}

/// Returns the password of the first line that matches. Bytes that are not UTF-8 matter in that line alone.
pub(crate) fn find(bytes: &[u8], account: &Account<'_>) -> Option<Result<Password, NotUtf8>> {
    let port = account.port.to_string();
    let fields = [account.host, &port, account.database, account.user];
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = (1..).zip(lines).filter(|(_, line)| !line.starts_with(b"#"));
    lines.into_iter().find_map(|(number, line)| {
        let text = String::from_utf8_lossy(line);
        let rest = fields.iter().try_fold(&*text, |rest, field| after_field(rest, field))?;
        let is_text = matches!(text, Cow::Borrowed(_));
        Some(if is_text { Ok(Password::new(password(rest))) } else { Err(NotUtf8 { line: number }) })
    })
}

/// Returns what follows the first field of `line` where that is `*` or spells `wanted`.
fn after_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut wanted = wanted.chars();
    let mut found = line.chars();
    loop {
        match found.next()? {
            ':' if wanted.as_str().is_empty() => return Some(found.as_str()),
            // A backslash makes the next character an ordinary one.
            '\\' if found.next() == wanted.next() => {}
            c if c != '\\' && Some(c) == wanted.next() => {}
            _ => return None,
        }
    }
}

/// Undoes the escapes of the last field, which ends at a colon that is not escaped.
fn password(field: &str) -> String {
    let mut password = String::new();
    let mut characters = field.chars();
    while let Some(c) = characters.next().filter(|&c| c != ':') {
        match c {
            '\\' => password.push(characters.next().unwrap_or('\\')),
            c => password.push(c),
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password_of(text: &str, host: &str, database: &str) -> Option<String> {
        let account = Account { host, port: 5432, database, user: "barman" };
        find(text.as_bytes(), &account).map(|password| password.unwrap().reveal().to_owned())
    }

    #[test]
    fn the_first_matching_line_counts() {
        let text = "db1:5432:postgres:barman:first\ndb1:*:*:*:second\n*:*:*:*:third\n";
        for (host, database, expected) in
            [("db1", "postgres", "first"), ("db1", "replication", "second"), ("db2", "postgres", "third")]
        {
            assert_eq!(password_of(text, host, database).as_deref(), Some(expected));
        }
    }

    #[test]
    fn bytes_that_are_no_text_spoil_no_other_line() {
        let account = |host| Account { host, port: 5432, database: "postgres", user: "barman" };
        let bytes = b"# B\xe4r\ndb0:*:*:*:\xe4\r\ndb1:*:*:*:secret\n";
        assert_eq!(find(bytes, &account("db1")), Some(Ok(Password::new("secret"))));
        assert_eq!(find(bytes, &account("db0")), Some(Err(NotUtf8 { line: 2 })));
        assert_eq!(find(bytes, &account("db2")), None);
    }

    #[test]
    fn every_field_must_match() {
        for line in [
            "db2:5432:postgres:barman:x",
            "db1:5433:postgres:barman:x",
            "db1:5432:postgres:other:x",
            "db1:5432:postgre:barman:x",
            "db1:5432:postgresq:barman:x",
            "db1:5432:postgres:barman",
            "#db1:5432:postgres:barman:x",
            "",
        ] {
            assert_eq!(password_of(line, "db1", "postgres"), None, "{line}");
        }
    }

    #[test]
    fn a_backslash_escapes_colons_and_backslashes() {
        assert_eq!(password_of(r"\:\:1:5432:a\\b:barman:p\:w\\d", "::1", r"a\b").as_deref(), Some(r"p:w\d"));
    }

    #[test]
    fn the_password_ends_at_a_colon_and_carriage_returns_are_not_part_of_it() {
        assert_eq!(password_of("*:*:*:*:secret:comment", "db1", "x").as_deref(), Some("secret"));
        assert_eq!(password_of("*:*:*:*:secret\r\n", "db1", "x").as_deref(), Some("secret"));
        assert_eq!(password_of("*:*:*:*:ends with\\", "db1", "x").as_deref(), Some("ends with\\"));
    }
}
