//! [`Behaviour`]: how one stream of a [`ScriptedWalsender`](super::ScriptedWalsender) goes.

use std::time::Duration;

/// What happens during one WAL stream or base backup.
///
/// Positions are counted in bytes of the stream's content: WAL, or what archives and manifest consist of.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub(super) piece: usize,
    pub(super) pause: Duration,
    pub(super) write: usize,
    pub(super) cut_after: Option<u64>,
    pub(super) lie: Option<(u64, Lie)>,
    pub(super) asks: bool,
    pub(super) refusal: Option<(String, String)>,
    pub(super) ending: Ending,
}

/// What a lying server gets wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// A piece of WAL says that it starts this many bytes before the end of the last.
    GoesBack(u64),
    /// This many bytes of WAL are left out.
    Gap(u64),
    /// A message says that it has this length, whatever its length is.
    Length(u32),
    /// A message inside the stream is of this kind, which means nothing.
    Kind(u8),
}

/// What a server does when it has sent all the WAL that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It waits for more, and says so in a keepalive.
    #[default]
    Waits,
    /// It waits for more without a word, and answers when it is asked.
    IsSilent,
    /// It neither says nor hears anything any more, as a host that is gone does.
    Hangs,
    /// It shuts down in an orderly way.
    ShutsDown,
    /// It closes the connection.
    Closes,
    /// It says that an administrator terminates the connection, and closes it.
    IsTerminated,
}

impl Behaviour {
    /// As PostgreSQL: 128 KiB at a time, as fast as possible, then keepalives.
    #[must_use]
    pub fn good() -> Self {
        Self {
            piece: 128 << 10,
            pause: Duration::ZERO,
            write: usize::MAX,
            cut_after: None,
            lie: None,
            asks: false,
            refusal: None,
            ending: Ending::Waits,
        }
    }

    /// Puts `bytes` of content into each message.
    ///
    /// # Panics
    /// `bytes` is 0.
    #[must_use]
    pub fn pieces(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a message without content");
        Self { piece: bytes, ..self }
    }

    /// Pauses before each write of at most `bytes` to the socket, wherever that cuts a message.
    ///
    /// # Panics
    /// `bytes` is 0.
    #[must_use]
    pub fn trickling(self, bytes: usize, pause: Duration) -> Self {
        assert!(bytes > 0, "a write without bytes");
        Self { write: bytes, pause, ..self }
    }

    /// Closes the connection after this many bytes of the stream, its message headers counted, and so in the midst of a
    /// message, mostly.
    #[must_use]
    pub fn cut_after(self, bytes: u64) -> Self {
        Self { cut_after: Some(bytes), ..self }
    }

    /// Lies, once, as soon as this many bytes of content have been sent.
    #[must_use]
    pub fn lying(self, after: u64, lie: Lie) -> Self {
        Self { lie: Some((after, lie)), ..self }
    }

    /// Sends a keepalive that wants an answer before each piece of WAL, and does not go on without the answer.
    #[must_use]
    pub fn asking_for_answers(self) -> Self {
        Self { asks: true, ..self }
    }

    /// Refuses to begin, with this SQLSTATE and message: `55006` is a slot in use, for example.
    #[must_use]
    pub fn refusing(self, sqlstate: &str, message: &str) -> Self {
        Self { refusal: Some((sqlstate.to_owned(), message.to_owned())), ..self }
    }

    /// Chooses what happens after the last byte of WAL.
    #[must_use]
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::good()
    }
}
