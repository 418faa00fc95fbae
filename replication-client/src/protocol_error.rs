//! What a server can do that PostgreSQL does not.

use std::io;

use wal_format::Lsn;

/// A message that is not what PostgreSQL sends there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message longer than any of its kind can be; nothing was allocated for it.
    #[error("message {tag:?} has {length} bytes, more than the limit of {limit}")]
    TooLong {
        /// The type of the message.
        tag: char,
        /// Its length as announced.
        length: u64,
        /// The longest that is accepted.
        limit: usize,
    },
    /// A message that cannot be decoded.
    #[error("message {tag:?} is malformed")]
    Malformed {
        /// The type of the message.
        tag: char,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// A message that has no place at this point of the conversation.
    #[error("unexpected {message} while {during}")]
    Unexpected {
        /// The name of the message.
        message: &'static str,
        /// What was waited for.
        during: &'static str,
    },
    /// The server wants another version of the protocol than 3.0, which all speak.
    #[error("the server answers protocol version 3.0 with version 3.{minor}")]
    Version {
        /// The newest minor version it offers.
        minor: u32,
    },
    /// The server refuses an option of the protocol, although none was asked for.
    #[error("the server does not know protocol option {name:?}, which it was not asked for")]
    UnknownOption {
        /// The name of the option.
        name: String,
    },
    /// A result that lacks a row or a column.
    #[error("the result has no value for {field}")]
    MissingField {
        /// The name of the column.
        field: &'static str,
    },
    /// A result with a value that cannot be one of its kind.
    #[error("the value of {field} is {found:?}")]
    InvalidField {
        /// The name of the column.
        field: &'static str,
        /// What stood there.
        found: String,
    },
    /// A value that is not UTF-8, although the session's encoding is.
    #[error("a value of column {column:?} is not UTF-8")]
    NotUtf8 {
        /// The name of the column.
        column: String,
    },
    /// A result that is larger than any we ask for.
    #[error("the server sent more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The most that is accepted.
        limit: usize,
    },
    /// A message of the stream inside CopyData that is unknown or too short.
    #[error("stream message {kind:?} of {length} bytes is malformed")]
    StreamMessage {
        /// Its first byte.
        kind: char,
        /// Its length.
        length: usize,
    },
    /// WAL that does not continue where the last ended.
    #[error("WAL continues at {found}, expected {expected}")]
    NotContiguous {
        /// The end of the WAL received so far.
        expected: Lsn,
        /// Where the new piece starts.
        found: Lsn,
    },
    /// An archive of a base backup that was not announced, or that comes twice.
    #[error("the base backup contains archive {name:?}, which was not announced or comes twice")]
    UnexpectedArchive {
        /// Its name.
        name: String,
    },
    /// An archive of a base backup that cannot be decompressed: damaged, cut, or with something behind its end.
    #[error("a compressed archive of the base backup is damaged or incomplete")]
    CompressedArchive {
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
    /// A base backup that ended before everything came.
    #[error("the base backup ended without {missing}")]
    IncompleteBackup {
        /// What is missing.
        missing: &'static str,
    },
}
