//! What a server's error means for a WAL stream.

use wal_format::{Lsn, SegmentName, TimelineId};

use super::event::StartReplication;
use crate::error::ErrorKind;
use crate::server_error::{ServerError, SqlState};

/// What was asked for, by which the server's errors are understood.
pub(super) struct Request(pub(super) StartReplication);

impl Request {
    pub(super) fn timeline(&self) -> TimelineId {
        self.0.timeline
    }

    pub(super) fn start(&self) -> Lsn {
        self.0.start
    }

    /// Sorts an error that came in place of the first WAL.
    ///
    /// A timeline that is not in the server's history is refused in place of the stream, and a position ahead of its
    /// WAL right behind the stream's begin. Neither has an SQLSTATE of its own: `StartReplication` in `walsender.c`
    /// leaves both at internal_error.
    pub(super) fn refused(&self, server: ServerError) -> ErrorKind {
        if server.sqlstate() == Some(SqlState::INTERNAL_ERROR) {
            return ErrorKind::NotInHistory { timeline: self.timeline(), start: self.start(), server };
        }
        self.interrupted(server)
    }

    /// Sorts an error that ended a stream. Missing WAL is among these: the server notices when it opens the segment.
    pub(super) fn interrupted(&self, server: ServerError) -> ErrorKind {
        match (removed_segment(&server), &self.0.slot) {
            (Some(segment), _) => ErrorKind::WalRemoved { segment, server },
            (None, Some(slot)) => ErrorKind::of_slot(slot, server),
            (None, None) => ErrorKind::Server(server),
        }
    }
}

/// Finds the segment in `requested WAL segment 00000001000000000000000A has already been removed`, in any language.
fn removed_segment(server: &ServerError) -> Option<SegmentName> {
    if server.sqlstate() != Some(SqlState::UNDEFINED_FILE) {
        return None;
    }
    let words = server.message().split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 24).find_map(|word| word.parse().ok())
}
