//! How a command fails: one line, and a hint apart from it.

use crate::exit_code;
use crate::output::Output;
use barman_server::one_line;
use std::error::Error;
use std::io;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: String,
    hint: Option<String>,
    exit_code: u8,
}

impl CommandError {
    /// An error with exit status 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit_code: exit_code::FAILURE }
    }

    /// An error from a library, with every cause in one line.
    pub(crate) fn from_error(error: &(dyn Error + 'static)) -> Self {
        let plain = Self::new(one_line(error));
        match root_io_error(error).map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                plain.hinted("free some space and run the command again")
            }
            Some(io::ErrorKind::PermissionDenied) => {
                plain.hinted("run it as the user that barman_user names; the files must belong to that user")
            }
            _ => plain,
        }
    }

    /// Says what it is about, before all else.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// Adds advice.
    pub(crate) fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Changes the exit status.
    pub(crate) fn exiting(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// Returns what went wrong, without the advice.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints the error and sets the exit status.
    pub(crate) fn report(&self, output: &Output) {
        output.error(&self.message);
        if let Some(hint) = &self.hint {
            output.hint(hint);
        }
        output.set_exit_code(self.exit_code);
    }
}

/// Returns what the operating system said, if that is what everything came from.
fn root_io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut found = error.downcast_ref();
    let mut cause = error.source();
    while let Some(error) = cause {
        found = error.downcast_ref().or(found);
        cause = error.source();
    }
    found
}
