//! What the server says in an ErrorResponse or a NoticeResponse.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// Five characters that name an error condition; appendix A of PostgreSQL's documentation lists them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// `28000` invalid_authorization_specification: for example no line of `pg_hba.conf` matches.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// `28P01` invalid_password.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// `42704` undefined_object: for example the replication slot does not exist.
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// `42710` duplicate_object: for example the replication slot exists already.
    pub const DUPLICATE_OBJECT: Self = Self(*b"42710");
    /// `53300` too_many_connections; walsenders are counted too.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// `0A000` feature_not_supported.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// `55000` object_not_in_prerequisite_state: for example an invalidated replication slot.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    /// `55006` object_in_use: for example the replication slot is active.
    pub const OBJECT_IN_USE: Self = Self(*b"55006");
    /// `57P01` admin_shutdown.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// `57P02` crash_shutdown.
    pub const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// `57P03` cannot_connect_now: the server is starting up, shutting down or in recovery.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// `58P01` undefined_file: for example WAL that the server has removed already.
    pub const UNDEFINED_FILE: Self = Self(*b"58P01");
    /// `XX000` internal_error, which is also what the server uses where its authors named no other.
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// Returns the state that `text` spells, or `None` where it is not five ASCII letters and digits.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let code: [u8; 5] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphanumeric).then_some(Self(code))
    }

    /// Returns the first two characters, which name the class of the condition.
    #[must_use]
    pub fn class(&self) -> [u8; 2] {
        let [first, second, ..] = self.0;
        [first, second]
    }

    /// Returns whether trying again later can help with this condition.
    ///
    /// True for connection exceptions (08), insufficient resources (53), a shutdown or a start that is under way, and
    /// an object in use: the walsender of a broken connection holds its slot until the server notices.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(&self.class(), b"08" | b"53")
            || [Self::ADMIN_SHUTDOWN, Self::CRASH_SHUTDOWN, Self::CANNOT_CONNECT_NOW, Self::OBJECT_IN_USE]
                .contains(self)
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({self})")
    }
}

/// A message of the server: the cause of an error, or a [`Notice`].
///
/// It displays as `ERROR: replication slot "barman" does not exist (42704)`, with the detail appended where there is
/// one. The server's hint is kept apart.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerError(Box<Fields>);

/// Something that the server tells without failing: a warning, a notice, or progress in words.
pub type Notice = ServerError;

#[derive(Clone, Default, PartialEq, Eq)]
struct Fields {
    severity: String,
    state: Option<SqlState>,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    routine: Option<String>,
}

impl ServerError {
    /// Reads the fields of an ErrorResponse or NoticeResponse. Text that is not UTF-8 is repaired, because the server
    /// has no encoding to honour before a database is chosen.
    pub(crate) fn decode(mut fields: ErrorFields<'_>) -> std::io::Result<Self> {
        let mut found = Fields::default();
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' if found.severity.is_empty() => found.severity = value,
                // The severity that is never translated.
                b'V' => found.severity = value,
                b'C' => found.state = SqlState::new(&value),
                b'M' => found.message = value,
                b'D' => found.detail = Some(value),
                b'H' => found.hint = Some(value),
                b'R' => found.routine = Some(value),
                _ => {}
            }
        }
        Ok(Self(Box::new(found)))
    }

    /// Returns `ERROR`, `FATAL`, `PANIC`, `WARNING`, `NOTICE`, `DEBUG`, `INFO` or `LOG`.
    #[must_use]
    pub fn severity(&self) -> &str {
        &self.0.severity
    }

    /// Returns the SQLSTATE, or `None` where the server sent no valid one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.0.state
    }

    /// Returns the primary message, in the server's language (`lc_messages`).
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the detail, where there is one.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Returns the function of the server's that reports it. Unlike the message, no language changes it.
    pub(crate) fn routine(&self) -> Option<&str> {
        self.0.routine.as_deref()
    }

    /// Returns the server's own advice, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity(), self.message())?;
        if let Some(state) = self.sqlstate() {
            write!(f, " ({state})")?;
        }
        self.detail().map_or(Ok(()), |detail| write!(f, "; {detail}"))
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({self})")
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend_message::BackendMessage;
    use crate::testing::backend_bytes::BackendBytes;
    use crate::wire::Wire;

    /// What the client makes of an ErrorResponse with these fields, each of which begins with its type.
    fn received(fields: &[&[u8]]) -> ServerError {
        let body = [&fields.join(&0)[..], &[0, 0]].concat();
        let mut wire = Wire::default();
        wire.inbox.buffer().extend_from_slice(BackendBytes::new().message(b'E', &body).bytes());
        match wire.inbox.poll() {
            Ok(Some(BackendMessage::Error(error))) => error,
            other => panic!("{:?}", other.map(|message| message.map(|message| message.name()))),
        }
    }

    #[test]
    fn every_field_of_interest_is_kept() {
        let error = received(&[b"SFEHLER", b"VERROR", b"C42704", b"Mno slot", b"Dgone", b"Hmake one", b"Fslot.c"]);
        assert_eq!(error.to_string(), "ERROR: no slot (42704); gone");
        assert_eq!(error.sqlstate(), Some(SqlState::UNDEFINED_OBJECT));
        assert_eq!((error.severity(), error.message()), ("ERROR", "no slot"));
        assert_eq!((error.detail(), error.hint()), (Some("gone"), Some("make one")));
    }

    #[test]
    fn what_is_missing_or_odd_does_no_harm() {
        let error = received(&[b"SFATAL", b"C4270", b"Mnot \xff UTF-8"]);
        assert_eq!(error.to_string(), "FATAL: not \u{fffd} UTF-8");
        assert_eq!(error.sqlstate(), None);
    }

    #[test]
    fn states_are_five_letters_and_digits() {
        assert_eq!(SqlState::new("57P01"), Some(SqlState::ADMIN_SHUTDOWN));
        for bad in ["", "57P0", "57P011", "57P0-", "57Pä"] {
            assert_eq!(SqlState::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_transient() {
        for (state, expected) in
            [("08006", true), ("53300", true), ("57P03", true), ("55006", true), ("28P01", false), ("42704", false)]
        {
            assert_eq!(SqlState::new(state).map(|state| state.is_transient()), Some(expected), "{state}");
        }
    }
}
