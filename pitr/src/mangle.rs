//! Making a restored configuration harmless: a recovered copy must not archive over the original's WAL, nor stop where
//! an earlier recovery was told to.

use serde::Serialize;

use crate::setting_line::SettingLine;

/// A setting that the restore changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingChange {
    /// The configuration file, relative to the data directory.
    pub file: String,
    /// The line in the file as it was backed up, counted from zero (as Barman prints it).
    pub line: usize,
    /// The setting, in lower case.
    pub key: String,
    /// Its new value; `None` if it was only commented out.
    pub value: Option<String>,
}

/// A setting that was restored as it was, and that an operator has to look at: it points outside the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DangerousSetting {
    /// The configuration file, relative to the data directory.
    pub file: String,
    /// The line in the restored file, counted from zero (as Barman prints it).
    pub line: usize,
    /// The setting, in lower case.
    pub key: String,
    /// Everything behind the `=`, quotes and comment included.
    pub value: String,
}

/// A configuration file made harmless.
#[derive(Default)]
pub(crate) struct Mangled {
    /// Its new contents.
    pub(crate) text: Vec<u8>,
    /// What is different.
    pub(crate) changes: Vec<SettingChange>,
    /// What is not, but should be looked at.
    pub(crate) dangerous: Vec<DangerousSetting>,
    /// Lines of `text` so far.
    lines: usize,
}

/// What a setting becomes that must not survive a restore: commented out, and followed by this value if there is one.
const MANGLED: [(&str, Option<&str>); 10] = [
    ("archive_command", Some("false")),
    // Known from version 15 on; only a server that knows it has it set.
    ("archive_library", Some("''")),
    ("recovery_target", None),
    ("recovery_target_name", None),
    ("recovery_target_time", None),
    ("recovery_target_xid", None),
    ("recovery_target_lsn", None),
    ("recovery_target_inclusive", None),
    ("recovery_target_timeline", None),
    ("recovery_target_action", None),
];

/// What a line that is commented out begins with.
pub(crate) const MARK: &str = "#BARMAN#";

const DANGEROUS: [&str; 14] = [
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
    "ssl_crl_file",
    "unix_socket_directory",
    "unix_socket_directories",
    "include",
    "include_dir",
    "include_if_exists",
];

/// Comments out what must not survive and appends `settings`, whole lines, which PostgreSQL reads last and so believes.
///
/// Works on bytes: a configuration file may be in any encoding.
pub(crate) fn mangle(file: &str, original: &[u8], settings: &str) -> Mangled {
    let mut mangled = Mangled::default();
    let mut any_kept = false;
    for (number, line) in original.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let SettingLine { key, text } = SettingLine::parse(line);
        match MANGLED.iter().find(|(name, _)| *name == key) {
            Some((_, replacement)) => mangled.comment_out(file, number, line, key, *replacement),
            None => {
                any_kept = true;
                mangled.keep(file, line, key, text);
            }
        }
    }
    mangled.append(settings, any_kept);
    mangled
}

impl Mangled {
    fn comment_out(&mut self, file: &str, number: usize, line: &[u8], key: String, replacement: Option<&str>) {
        self.text.extend_from_slice(MARK.as_bytes());
        self.add_line(line);
        if let Some(value) = replacement {
            // A last line without a newline would otherwise swallow its replacement.
            self.end_line();
            self.add_line(format!("{key} = {value}\n").as_bytes());
        }
        let value = replacement.map(str::to_owned);
        self.changes.push(SettingChange { file: file.to_owned(), line: number, key, value });
    }

    fn keep(&mut self, file: &str, line: &[u8], key: String, value: String) {
        if DANGEROUS.contains(&key.as_str()) {
            self.dangerous.push(DangerousSetting { file: file.to_owned(), line: self.lines, key, value });
        }
        self.add_line(line);
    }

    fn add_line(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.lines += 1;
    }

    /// Appends the settings; an empty line sets them off from what the server had.
    fn append(&mut self, settings: &str, any_kept: bool) {
        if settings.is_empty() {
            return;
        }
        if any_kept {
            self.text.push(b'\n');
        }
        self.end_line();
        self.text.extend_from_slice(settings.as_bytes());
    }

    fn end_line(&mut self) {
        if self.text.last().is_some_and(|byte| *byte != b'\n') {
            self.text.push(b'\n');
        }
    }
}

/// Tells whether a setting must not survive a restore.
pub(crate) fn must_not_survive(key: &str) -> bool {
    MANGLED.iter().any(|(name, _)| *name == key)
}

/// Returns what a setting that decides where WAL goes becomes; `None` for all other settings.
pub(crate) fn disarmed(key: &str) -> Option<&'static str> {
    MANGLED.iter().find(|(name, _)| *name == key).and_then(|(_, replacement)| *replacement)
}

#[cfg(test)]
mod tests;
