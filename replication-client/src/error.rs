//! What can go wrong, in cases that a caller branches on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use wal_format::{Lsn, SegmentName, SystemId, TimelineId};

use crate::activity::Activity;
use crate::passfile::PassfileProblem;
use crate::protocol_error::ProtocolError;
use crate::server_error::{ServerError, SqlState};
use crate::tls::TlsProblem;

/// A failure: what was being done, with which server, and why it did not work.
///
/// It displays what was being done and where; the reason is in [`kind`](Self::kind), which is also its source. Where several
/// hosts were tried, it displays the reasons of those before the last one, too.
#[derive(Debug, thiserror::Error)]
#[error("cannot {activity} ({host}{})", before(earlier))]
pub struct Error {
    activity: Activity,
    host: Arc<str>,
    #[source]
    kind: Box<ErrorKind>,
    earlier: Vec<Self>,
}

impl Error {
    pub(crate) fn new(activity: Activity, host: Arc<str>, kind: ErrorKind) -> Self {
        Self { activity, host, kind: Box::new(kind), earlier: Vec::new() }
    }

    /// Makes one of the failures at several addresses: the last one counts, and keeps the others.
    pub(crate) fn of_attempts(mut failures: Vec<Self>) -> Self {
        let last = failures.pop();
        let nowhere = || Self::new(Activity::Connect, "nowhere".into(), ErrorKind::ConnectionClosed);
        Self { earlier: failures, ..last.unwrap_or_else(nowhere) }
    }

    /// Returns the reason alone.
    #[must_use]
    pub fn into_kind(self) -> ErrorKind {
        *self.kind
    }

    /// Returns what happened at other hosts or addresses before, in order. A connection string may name several hosts, and
    /// a host have several addresses.
    #[must_use]
    pub fn earlier(&self) -> &[Self] {
        &self.earlier
    }

    /// Returns the reason, to branch on.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns what was being done.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Returns the server in words, for example `host "db1" (10.0.0.5), port 5432`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether the same call can succeed later without anybody changing anything.
    ///
    /// True for names that do not resolve, refused and broken connections, timeouts, a server that starts or stops,
    /// exhausted resources, a replication slot that is still held by a connection of the past, and where no server has the
    /// role that is wanted. Where several addresses were tried, one that may be better later is enough.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.is_transient_here() || self.earlier.iter().any(Self::is_transient_here)
    }

    fn is_transient_here(&self) -> bool {
        match self.kind() {
            ErrorKind::Connect(source) => source.kind() != io::ErrorKind::PermissionDenied,
            ErrorKind::Resolve(_)
            | ErrorKind::ConnectTimeout { .. }
            | ErrorKind::ConnectionLost(_)
            | ErrorKind::ConnectionClosed
            | ErrorKind::ServerShutDown
            | ErrorKind::TargetSession { .. }
            | ErrorKind::Silent { .. } => true,
            kind => kind.sqlstate().is_some_and(|state| state.is_transient()),
        }
    }

    /// Returns the SQLSTATE, where the server sent one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.kind.sqlstate()
    }

    /// Returns the server's own message, where it sent one.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        self.kind.server_error()
    }

    /// Returns whether nothing listens at the address.
    #[must_use]
    pub fn is_connection_refused(&self) -> bool {
        matches!(self.kind(), ErrorKind::Connect(source) if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Names the addresses that failed before the last one, each with its reason: no source leads to these.
fn before(earlier: &[Error]) -> String {
    let failures: String = earlier.iter().map(|error| format!("; {}: {}", error.host, reasons(&*error.kind))).collect();
    if failures.is_empty() { failures } else { format!(", the last of several{failures}") }
}

/// Returns an error and its causes in one line.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> =
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    // Transparent wrappers repeat what they wrap.
    texts.dedup();
    texts.join(": ").replace('\n', " ")
}

/// The reasons for an [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A connection option asks for something that is not built.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedOption),
    /// The host name has no address, or the name service did not answer.
    #[error("the host name could not be resolved")]
    Resolve(#[source] io::Error),
    /// No connection to the address: refused, unreachable, or no such socket.
    #[error("the connection could not be made")]
    Connect(#[source] io::Error),
    /// `connect_timeout` passed before the session was ready.
    #[error("no session within {} s", timeout.as_secs())]
    ConnectTimeout {
        /// The limit that passed.
        timeout: Duration,
    },
    /// There is no TLS as `sslmode` and its companions require it.
    #[error(transparent)]
    Tls(#[from] TlsProblem),
    /// The server behind a Unix socket runs as another user than `requirepeer` says.
    #[error("the server runs as user {found:?}, and requirepeer is {expected:?}")]
    Peer {
        /// The value of `requirepeer`, or `***` where it may hold a piece of a password.
        expected: String,
        /// Who runs the server.
        found: String,
    },
    /// The server is not what `target_session_attrs` asks for.
    #[error("the server is {found}, and target_session_attrs={wanted}")]
    TargetSession {
        /// The value of `target_session_attrs`.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// The server wants a kind of authentication that `require_auth` does not allow.
    #[error("the server asks for {method} authentication, and require_auth allows only {allowed}")]
    AuthenticationNotAllowed {
        /// What it wants, as `require_auth` calls it: `none` if it let us in without asking.
        method: &'static str,
        /// What is allowed.
        allowed: String,
    },
    /// Authentication cannot be tied to the TLS connection, which `channel_binding` requires.
    #[error("channel_binding=require cannot be satisfied")]
    ChannelBinding(#[from] ChannelBindingProblem),
    /// The server let us in without our certificate, which `sslcertmode=require` does not allow.
    #[error("the server {}, and sslcertmode=require", if *requested { "got no certificate from us" } else { "did not ask for our certificate" })]
    CertificateNotUsed {
        /// Whether it asked for one.
        requested: bool,
    },
    /// The server wants a kind of authentication that is not built.
    #[error("the server asks for {method} authentication, which is not supported")]
    AuthenticationMethod {
        /// The name of the method.
        method: &'static str,
    },
    /// The server wants a password and there is none.
    #[error("the server asks for a password and none is configured")]
    NoPassword(#[source] Option<PassfileProblem>),
    /// The server does not accept the user or the password (SQLSTATE class 28).
    #[error("authentication failed")]
    AuthenticationFailed(#[source] ServerError),
    /// The server let us in without proving that it knows the password, or its proof is wrong: it may be an impostor.
    #[error("the server did not prove that it knows the password")]
    ServerNotAuthenticated(#[source] Option<io::Error>),
    /// The replication slot does not exist (SQLSTATE 42704).
    #[error("replication slot {slot:?} does not exist")]
    SlotMissing {
        /// Its name.
        slot: String,
        /// The server's words.
        #[source]
        server: ServerError,
    },
    /// Another connection uses the replication slot (SQLSTATE 55006).
    #[error("replication slot {slot:?} is in use")]
    SlotInUse {
        /// Its name.
        slot: String,
        /// The server's words; they name the process.
        #[source]
        server: ServerError,
    },
    /// A replication slot of this name exists already (SQLSTATE 42710).
    #[error("replication slot {slot:?} already exists")]
    SlotExists {
        /// Its name.
        slot: String,
        /// The server's words.
        #[source]
        server: ServerError,
    },
    /// The replication slot is one for logical replication.
    #[error("replication slot {slot:?} is not a physical one")]
    SlotNotPhysical {
        /// Its name.
        slot: String,
        /// The server's words.
        #[source]
        server: ServerError,
    },
    /// The replication slot has been invalidated (SQLSTATE 55000): the server no longer keeps the WAL that it needs.
    #[error("replication slot {slot:?} cannot be used")]
    SlotUnusable {
        /// Its name.
        slot: String,
        /// The server's words; its detail says why.
        #[source]
        server: ServerError,
    },
    /// No replication slot can have this name.
    #[error("{slot:?} is no name of a replication slot: expected 1 to 63 lower-case letters, digits and underscores")]
    SlotName {
        /// The name that was given.
        slot: String,
    },
    /// The server no longer has the WAL that was asked for.
    #[error("WAL segment {segment} has been removed from the server")]
    WalRemoved {
        /// The first segment that is missing.
        segment: SegmentName,
        /// The server's words.
        #[source]
        server: ServerError,
    },
    /// The server cannot stream from this position of this timeline: it is ahead of the server's WAL, or not in its
    /// history.
    #[error("the server's history does not lead through {start} on timeline {timeline}")]
    NotInHistory {
        /// The timeline that was asked for.
        timeline: TimelineId,
        /// The position that was asked for.
        start: Lsn,
        /// The server's words.
        #[source]
        server: ServerError,
    },
    /// The server has no history file of the timeline.
    #[error("the server has no history file of timeline {timeline}")]
    HistoryMissing {
        /// The timeline that was asked for.
        timeline: TimelineId,
        /// The server's words.
        #[source]
        server: ServerError,
    },
    /// Any other error that the server reported.
    #[error("the server refused")]
    Server(#[source] ServerError),
    /// The connection broke.
    #[error("the connection was lost")]
    ConnectionLost(#[source] io::Error),
    /// The server closed the connection without a word.
    #[error("the server closed the connection")]
    ConnectionClosed,
    /// The server shut down in an orderly way while it was streaming.
    #[error("the server shut down")]
    ServerShutDown,
    /// Nothing came from the server, not even an answer to a request for one.
    #[error("the server was silent for {} s", silence.as_secs())]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// The server is too old for the command.
    #[error("the server's version is {found}, and {needs} is needed")]
    ServerVersion {
        /// The oldest `server_version_num` that can do it.
        needs: u32,
        /// The server's `server_version_num`.
        found: u32,
    },
    /// The command needs the other [`Mode`](crate::Mode) of connection.
    #[error("a {needs} connection is needed")]
    WrongMode {
        /// The kind of connection that can do it.
        needs: &'static str,
    },
    /// A name of a setting that cannot be one.
    #[error("{name:?} is no name of a setting")]
    SettingName {
        /// The name that was given.
        name: String,
    },
    /// The backup manifest to upload could not be read.
    #[error("the manifest could not be read")]
    ManifestUnreadable(#[source] io::Error),
    /// A text to send contains a NUL character, which the protocol cannot carry.
    #[error("{what} contains a NUL character")]
    Nul {
        /// The text.
        what: &'static str,
    },
    /// An earlier call failed or was given up half-way, so the connection is of no use any more.
    #[error("an earlier failure has left the connection unusable")]
    Unusable,
    /// A flush position was reported that is not of the WAL that is streamed here.
    #[error("{lsn} of timeline {timeline} of system {system} is not on the path of this stream")]
    ForeignDurable {
        /// The system that the position belongs to.
        system: SystemId,
        /// The timeline it belongs to.
        timeline: TimelineId,
        /// The position.
        lsn: Lsn,
    },
    /// What the server sent is not PostgreSQL's protocol. The connection is of no use any more.
    #[error("the server broke the protocol")]
    Protocol(#[from] ProtocolError),
}

impl ErrorKind {
    fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::AuthenticationFailed(server)
            | Self::Server(server)
            | Self::SlotMissing { server, .. }
            | Self::SlotInUse { server, .. }
            | Self::SlotExists { server, .. }
            | Self::SlotNotPhysical { server, .. }
            | Self::SlotUnusable { server, .. }
            | Self::WalRemoved { server, .. }
            | Self::NotInHistory { server, .. }
            | Self::HistoryMissing { server, .. } => Some(server),
            _ => None,
        }
    }

    pub(crate) fn sqlstate(&self) -> Option<SqlState> {
        self.server_error().and_then(ServerError::sqlstate)
    }

    /// Sorts what the server said about the replication slot `slot`.
    pub(crate) fn of_slot(slot: &str, server: ServerError) -> Self {
        let slot = slot.to_owned();
        match server.sqlstate() {
            // An SQLSTATE of its own neither of the two commands has for it; `walsender.c` reports it from their functions.
            Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE | SqlState::FEATURE_NOT_SUPPORTED)
                if matches!(server.routine(), Some("StartReplication" | "ReadReplicationSlot")) =>
            {
                Self::SlotNotPhysical { slot, server }
            }
            Some(SqlState::UNDEFINED_OBJECT) => Self::SlotMissing { slot, server },
            Some(SqlState::OBJECT_IN_USE) => Self::SlotInUse { slot, server },
            Some(SqlState::DUPLICATE_OBJECT) => Self::SlotExists { slot, server },
            Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => Self::SlotUnusable { slot, server },
            _ => Self::Server(server),
        }
    }
}

/// Why authentication cannot be tied to the TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelBindingProblem {
    /// There is no TLS.
    #[error("the connection is not encrypted")]
    NoTls,
    /// The server does not offer SCRAM-SHA-256-PLUS.
    #[error("the server asks for authentication without channel binding")]
    NotOffered,
    /// The signature of the server's certificate has no hash function that both sides would agree on, as Ed25519.
    #[error("the server's certificate has a signature without a hash function")]
    NoHash,
    /// The server let us in without it.
    #[error("the server let us in without channel binding")]
    NotBound,
}

/// A connection option with a value that needs something which is not built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}={value} is not supported")]
pub struct UnsupportedOption {
    /// The keyword, as libpq spells it.
    pub option: &'static str,
    /// The value, or `***` where it is a secret or may hold a piece of one.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::new(Activity::Connect, "host \"db1\", port 5432".into(), kind)
    }

    #[test]
    fn the_message_says_what_and_where_and_leaves_the_reason_to_the_source() {
        let error = error(ErrorKind::ConnectionClosed);
        assert_eq!(error.to_string(), "cannot connect (host \"db1\", port 5432)");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("the server closed the connection"));
    }

    #[test]
    fn what_time_can_heal_is_transient() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(error(ErrorKind::Connect(refused())).is_transient());
        assert!(error(ErrorKind::Connect(refused())).is_connection_refused());
        assert!(error(ErrorKind::ServerShutDown).is_transient());
        assert!(!error(ErrorKind::NoPassword(None)).is_transient());
        assert!(!error(ErrorKind::SlotName { slot: "Ä".into() }).is_transient());
    }
}
