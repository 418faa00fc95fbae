//! How it fails: Barman's messages and exit codes, and those that PostgreSQL needs.

use crate::get_wal::RemoteError;
use barman_pitr::FeedError;
use barman_storage::one_line;
use std::fmt;

/// Why there is no file, or why it is not known whether there is one.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit_code: u8,
    is_missing: bool,
}

/// The archive does not have the file; other failures at Barman's end have the code that they had there.
const MISSING: u8 = 1;
/// Something else, as Barman has it.
const GENERIC: u8 = 2;
/// ssh does not get through.
const CONNECTION: u8 = 2;
/// The file cannot be put where it is to go.
const DESTINATION: u8 = 3;
/// Above 125: PostgreSQL stops instead of taking it for the end of WAL.
const ABORT: u8 = 255;

impl Failure {
    pub(crate) fn missing(name: &impl fmt::Display, server: &str) -> Self {
        Self {
            message: format!("WAL file '{name}' not found in server '{server}'"),
            exit_code: MISSING,
            is_missing: true,
        }
    }

    pub(crate) fn not_available(name: &str) -> Self {
        Self {
            message: format!("The required file is not available: {name}"),
            exit_code: CONNECTION,
            is_missing: false,
        }
    }

    pub(crate) fn destination(message: String) -> Self {
        Self { message, exit_code: DESTINATION, is_missing: false }
    }

    pub(crate) fn bad_name(name: &str) -> Self {
        Self { message: format!("'{name}' is not a valid wal file name"), exit_code: DESTINATION, is_missing: false }
    }

    /// In place of the code that it has.
    pub(crate) fn aborting(self) -> Self {
        Self { exit_code: ABORT, ..self }
    }

    /// For a standby, which tries again by itself.
    pub(crate) fn passing(self) -> Self {
        Self { exit_code: MISSING, ..self }
    }

    /// Whether the archive is known not to have it.
    pub(crate) fn is_missing(&self) -> bool {
        self.is_missing
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<&RemoteError> for Failure {
    fn from(error: &RemoteError) -> Self {
        let exit_code = match error {
            RemoteError::Failed { code, .. } => *code,
            RemoteError::Connection | RemoteError::Start(_) => CONNECTION,
            RemoteError::Received(_) | RemoteError::Unexplained { .. } => GENERIC,
        };
        Self { message: one_line(error), exit_code, is_missing: false }
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        if let FeedError::Fetch { source, .. } = &error
            && let Some(remote) = source.downcast_ref::<RemoteError>()
        {
            return remote.into();
        }
        let exit_code = match &error {
            FeedError::Storage(_) | FeedError::Publish(_) | FeedError::Destination(_) => DESTINATION,
            _ => GENERIC,
        };
        Self { message: one_line(&error), exit_code, is_missing: false }
    }
}
