//! What the decision needs to know of a backup.

use wal_format::{Lsn, SegmentName, TimelineId, Timestamp};

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

/// A user's order to keep a backup (`barman keep`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// With which WAL.
    pub target: Target,
    /// Before which moment: from then on it is as if nobody kept the backup. `None` for as long as nobody releases it.
    pub until: Option<Timestamp>,
}

/// The WAL with which a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// With all later WAL: any later point can be recovered.
    Full,
    /// With the WAL between its begin and its end only.
    Standalone,
}

impl Keep {
    /// With all later WAL, until somebody releases it.
    pub const FULL: Self = Self { target: Target::Full, until: None };

    /// For itself, until somebody releases it.
    pub const STANDALONE: Self = Self { target: Target::Standalone, until: None };

    /// The same before a moment only.
    #[must_use]
    pub const fn until(self, until: Timestamp) -> Self {
        Self { until: Some(until), ..self }
    }

    /// Tells whether it still holds at a moment.
    #[must_use]
    pub fn holds(self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Target {
    /// Returns the word for it on the command line, in Barman's annotation and in its output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Standalone => "standalone",
        }
    }
}

impl<Id> Candidate<Id> {
    /// With which WAL somebody keeps it at a moment, if anybody does.
    pub(crate) fn kept(&self, now: Timestamp) -> Option<Target> {
        self.keep.filter(|keep| keep.holds(now)).map(|keep| keep.target)
    }
}

/// What is known of a backup beyond what the policy asks: which WAL it needs, how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup<Id> {
    /// What the policy asks.
    pub candidate: Candidate<Id>,
    /// How far it has come.
    pub stage: Stage,
    /// The timeline it was taken on.
    pub timeline: Option<TimelineId>,
    /// The first segment that a restore needs.
    pub begin_wal: Option<SegmentName>,
    /// The last segment that a restore needs.
    pub end_wal: Option<SegmentName>,
    /// The earliest position that a restore can stop at.
    pub end_lsn: Option<Lsn>,
    /// Its size, in bytes.
    pub size: u64,
    /// Somebody began to delete it, and was interrupted: parts of it may be gone.
    pub marked: bool,
    /// A process works with it, and may need any WAL behind it: a restore to a later point does.
    pub in_use: bool,
}

/// How far a backup has come; the words of Barman's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `EMPTY`: an id and a directory. Policies pass over it.
    Empty,
    /// `STARTED`: being copied, or interrupted while it was.
    Started,
    /// `WAITING_FOR_WALS`: copied.
    WaitingForWals,
    /// `DONE`: complete.
    Done,
    /// `SYNCING`: being copied from the primary Barman host.
    Syncing,
    /// `FAILED`: of no use.
    Failed,
}

impl Stage {
    /// Whether the data of the backup is complete.
    #[must_use]
    pub const fn is_copied(self) -> bool {
        matches!(self, Self::Done | Self::WaitingForWals)
    }

    /// Whether it is or may become a backup whose WAL is needed.
    pub(crate) const fn is_alive(self) -> bool {
        matches!(self, Self::Done | Self::WaitingForWals | Self::Started | Self::Syncing)
    }
}
