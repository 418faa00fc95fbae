//! The parsers of the files that a connection string refers to, for fuzzing them without files.

use crate::passfile::{self, Account};
use crate::service_file;

/// Returns the password that a password file with these bytes has for an account.
#[must_use]
pub fn password_in(bytes: &[u8], host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    let account = Account { host, port, database, user };
    passfile::find(bytes, &account)?.ok().map(|password| password.reveal().to_owned())
}

/// Returns the options that a service file with this text has for a service, or `None` where it has none or a malformed
/// line.
#[must_use]
pub fn options_in(text: &str, service: &str) -> Option<Vec<(&'static str, String)>> {
    service_file::find(text, service)?.ok()
}
