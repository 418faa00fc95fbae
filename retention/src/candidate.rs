//! What the decision needs to know of a backup.

use wal_format::Timestamp;

/// One backup. Identifiers sort in the order in which backups began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// Names the backup.
    pub id: Id,
    /// Whether it is complete.
    pub state: State,
    /// A user's order to keep it, whatever the policy says.
    pub keep: Option<Keep>,
    /// For a block-incremental backup: the full backup at the root of its chain, which alone is judged.
    pub root: Option<Id>,
}

/// Whether policies consider a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Status `DONE`: complete, with all its WAL.
    Done {
        /// When it ended.
        end_time: Timestamp,
    },
    /// Any other status. It neither counts nor is ever called obsolete.
    Other,
}

/// How a kept backup is kept (`barman keep --target`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// With all later WAL: any later point can be recovered.
    Full,
    /// With the WAL between its begin and its end only.
    Standalone,
}
