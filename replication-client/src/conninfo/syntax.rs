//! What can be wrong with a connection string, and how nom parsers say it.

use nom::error::{ErrorKind, ParseError};

use crate::service_file::ServiceFileProblem;

/// A connection string, or an environment variable in its place, that cannot be used.
///
/// Positions are bytes from the start of the string. Neither a message nor a field has a value in it: where a blank or a
/// quote was forgotten, any value may hold a piece of a password (invariant 9).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoError {
    /// An option that libpq does not know.
    #[error("invalid connection option {name:?} at byte {position} of the connection string")]
    UnknownOption {
        /// The keyword, or `***` where it may hold a piece of a password.
        name: String,
        /// Where it starts.
        position: usize,
    },
    /// The syntax is wrong.
    #[error("{problem} at byte {position} of the connection string")]
    Syntax {
        /// What is wrong.
        problem: ConninfoProblem,
        /// Where.
        position: usize,
    },
    /// A NUL character, which PostgreSQL's protocol cannot carry.
    #[error("NUL character at byte {position} of the connection string")]
    Nul {
        /// Where.
        position: usize,
    },
    /// A value that its option cannot have.
    #[error("invalid value of connection option {option}: expected {expected}")]
    InvalidValue {
        /// The keyword.
        option: &'static str,
        /// What values it can have.
        expected: &'static str,
    },
    /// Lists of hosts, addresses or ports that do not fit each other.
    #[error("{option} has {found} items, expected {expected}: one for each host")]
    ListLength {
        /// The keyword of the list.
        option: &'static str,
        /// How many it has.
        found: usize,
        /// How many hosts there are.
        expected: usize,
    },
    /// An option that makes no sense unless the server is authenticated to some degree.
    #[error("sslmode is too weak for {option}: expected {expected}")]
    WeakSslMode {
        /// The option with its value.
        option: &'static str,
        /// The modes that will do.
        expected: &'static str,
    },
    /// The oldest version of TLS that is allowed is newer than the newest one.
    #[error("ssl_min_protocol_version is above ssl_max_protocol_version")]
    ProtocolRange,
    /// The connection service that is asked for has no definition that could be used.
    #[error(transparent)]
    Service(#[from] ServiceFileProblem),
    /// Neither the connection string nor the environment names a user.
    #[error("no user: neither the connection string, PGUSER nor the operating system names one")]
    NoUser,
}

/// What the syntax of a connection string lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoProblem {
    /// A keyword without a value.
    #[error("missing \"=\" after the name of an option")]
    MissingEquals,
    /// A value that begins with a quote and has no second one.
    #[error("unterminated quoted value, which starts")]
    UnterminatedQuote,
    /// `%` without two hex digits behind it.
    #[error("\"%\" without two hex digits")]
    PercentEncoding,
    /// `%00`, which PostgreSQL's protocol cannot carry.
    #[error("forbidden \"%00\"")]
    PercentNul,
    /// Percent-encoded bytes that are not UTF-8.
    #[error("percent-encoded text that is not UTF-8, which starts")]
    PercentNotUtf8,
    /// `[` without `]`.
    #[error("IPv6 address without \"]\", which starts")]
    UnterminatedAddress,
    /// `[]`.
    #[error("empty IPv6 address")]
    EmptyAddress,
    /// Something else than a port, a database or parameters behind a host.
    #[error("unexpected text after an IPv6 address")]
    AfterAddress,
    /// A parameter without a value.
    #[error("missing \"=\" in a parameter, which starts")]
    ParameterWithoutValue,
    /// A parameter with two equals signs.
    #[error("second \"=\" in a parameter")]
    ParameterWithTwoValues,
}

/// How a parser fails: how much input was left, and what is wrong there.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    remaining: usize,
    problem: Option<ConninfoProblem>,
}

impl Failure {
    /// Returns an error that no alternative can heal.
    pub(super) fn at(rest: &str, problem: ConninfoProblem) -> nom::Err<Self> {
        nom::Err::Failure(Self { remaining: rest.len(), problem: Some(problem) })
    }

    /// Turns the failure of a parser that was given the end of `text` into an error with a position. `fallback` is what
    /// is wrong where only nom's own parsers had something to say.
    pub(super) fn locate(failure: nom::Err<Self>, text: &str, fallback: ConninfoProblem) -> ConninfoError {
        let (remaining, problem) = match failure {
            nom::Err::Error(failure) | nom::Err::Failure(failure) => (failure.remaining, failure.problem),
            nom::Err::Incomplete(_) => (0, None),
        };
        ConninfoError::Syntax { problem: problem.unwrap_or(fallback), position: text.len().saturating_sub(remaining) }
    }
}

impl ParseError<&str> for Failure {
    fn from_error_kind(rest: &str, _: ErrorKind) -> Self {
        Self { remaining: rest.len(), problem: None }
    }

    fn append(_: &str, _: ErrorKind, inner: Self) -> Self {
        inner
    }
}
