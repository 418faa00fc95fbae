//! What a receiver tells while it runs.

use std::time::Duration;

use wal_format::{Lsn, SegmentName, SystemId, TimelineId, WalFileName};

use super::error::ReceiveError;

/// Something happened while WAL was received.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiverEvent<'a> {
    /// WAL is about to flow.
    Connected {
        /// The server.
        host: String,
        /// Its cluster.
        system: SystemId,
        /// The timeline that is asked for first.
        timeline: TimelineId,
        /// The position that is asked for first.
        start: Lsn,
        /// Why it is that position.
        reason: StartReason,
    },
    /// The slot was missing, and was created with WAL reserved from now on.
    SlotCreated {
        /// Its name.
        slot: String,
    },
    /// Commits that wait for this receiver to apply their WAL (`synchronous_commit = remote_apply`) wait for ever: it
    /// stores WAL and applies none.
    RemoteApply {
        /// The name by which they wait for it.
        standby: String,
    },
    /// The server's settings have changed: whether commits wait for this receiver, and perhaps how.
    SettingsChanged {
        /// Whether they wait.
        synchronous: bool,
    },
    /// WAL is missing before the first byte that is about to be received: nothing can be recovered across this gap.
    Gap {
        /// The timeline.
        timeline: TimelineId,
        /// Where the WAL that is there ends.
        from: Lsn,
        /// Where receiving goes on.
        to: Lsn,
    },
    /// The server left a timeline before the point up to which it was received, as after a failover to a standby that was
    /// behind. WAL beyond that point stays in the streaming directory as `<segment>.partial` files, and in the archive
    /// what was archived before anybody knew.
    SurplusKept {
        /// The timeline.
        timeline: TimelineId,
        /// Where the server left it.
        at: Lsn,
        /// The files in the streaming directory with WAL beyond. One has its final name only where another file has that of
        /// the `.partial` file.
        files: Vec<WalFileName>,
        /// The newest segment in the archive, if it has WAL beyond; those before it have as far as they reach.
        archived: Option<SegmentName>,
    },
    /// A timeline's history file is in the streaming directory, ahead of the timeline's WAL.
    HistoryStored {
        /// The timeline.
        timeline: TimelineId,
    },
    /// A segment is complete and durable under its final name: it can be archived at once.
    SegmentFinished {
        /// Its file in the streaming directory.
        segment: SegmentName,
    },
    /// The server has left a timeline; receiving goes on with the next one.
    TimelineSwitch {
        /// The timeline that ended.
        from: TimelineId,
        /// The timeline that goes on.
        to: TimelineId,
        /// Where the one ended and the other begins.
        at: Lsn,
    },
    /// A sync failed: what was written since the last good one is received again, into a new file.
    SyncFailed {
        /// The failure.
        error: &'a ReceiveError,
    },
    /// The connection is gone; there will be another attempt.
    Reconnecting {
        /// Why it is gone.
        error: &'a ReceiveError,
        /// How long until then.
        after: Duration,
    },
}

/// Why receiving starts where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartReason {
    /// It goes on where the streaming directory ends, which is at least as far as the archive goes.
    StreamingDirectory,
    /// The server had left the timeline that was received before the point up to which it was: it goes on where the
    /// server's history branches off, on the timeline that came next there. What was received beyond stays under its
    /// timeline's names.
    Branch {
        /// The timeline that the server left.
        left: TimelineId,
        /// Where it did so.
        at: Lsn,
    },
    /// The archive goes further than the streaming directory: it goes on after the newest archived segment.
    Archive,
    /// There is no WAL yet: the slot has kept WAL since then.
    Slot,
    /// There is no WAL yet: it begins with the segment that the server is writing.
    ServerPosition,
}
