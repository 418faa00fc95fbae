//! What a run is told, and what it tells.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;

use barman_storage::{Cancel, RelativePath};
use wal_format::{Lsn, SystemId, Timestamp, WalFileName};

use super::{Gap, Refusal, Unverified};
use crate::{Hooks, WalSource, XlogEntry};

/// How a run goes about it.
#[derive(Clone, Copy)]
pub struct IngestOptions<'a> {
    /// How many files one run archives at most.
    pub batch_size: Option<NonZeroUsize>,
    /// The cluster that WAL must be of, as far as the caller knows. What the catalog itself says comes first.
    pub system_id: Option<SystemId>,
    /// When the run started.
    pub now: Timestamp,
    /// Scripts that run around every file.
    pub hooks: &'a dyn Hooks,
    /// Looked at before every file and once per buffer.
    pub cancel: &'a Cancel,
}

impl fmt::Debug for IngestOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch_size, system_id, now, .. } = self;
        f.debug_struct("IngestOptions")
            .field("batch_size", batch_size)
            .field("system_id", system_id)
            .field("now", now)
            .finish_non_exhaustive()
    }
}

/// What happens during a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum IngestEvent<'a> {
    /// The run begins.
    Started {
        /// Where it takes files from.
        source: WalSource,
        /// How many it is going to archive.
        files: usize,
        /// How many names there are, those that are left for later included.
        candidates: usize,
    },
    /// A file's turn has come.
    File {
        /// Its name.
        name: WalFileName,
        /// Its number in this run, from 1.
        number: usize,
        /// How many files this run has.
        files: usize,
    },
    /// The file is archived and recorded.
    Archived(&'a XlogEntry),
    /// The archive had the file already, with the same contents.
    AlreadyArchived(WalFileName),
    /// The file is archived although it could not be checked.
    Unverified(WalFileName, &'a Unverified),
    /// WAL in the file cannot be believed from here on. It is archived all the same: nobody can be asked to send it again.
    Damaged {
        /// Its name.
        name: WalFileName,
        /// Where; a record that goes on in this segment may begin in the one before.
        at: Lsn,
        /// What is wrong there.
        what: &'a str,
    },
    /// Segments are missing before a segment that was archived now.
    Gap(&'a Gap),
    /// The file was moved to `errors/`.
    Refused {
        /// Its name.
        name: WalFileName,
        /// Its name in `errors/`.
        moved_to: &'a RelativePath,
        /// Why.
        reason: &'a Refusal,
    },
    /// The file cannot be read. It stays where it is, those behind it are archived, and the run fails in the end.
    Unreadable {
        /// Its name.
        name: WalFileName,
        /// Why.
        error: &'a barman_storage::Error,
    },
    /// The file is shorter than its segment and was written to just now: it is left for the next run.
    Unfinished(WalFileName),
    /// Files of these names, which are not of WAL, were moved to `errors/` at the end of the run.
    Unknown(&'a [OsString]),
    /// A hook ended the run before this file.
    Stopped(WalFileName),
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestSummary {
    /// Files that the archive has now and had not before.
    pub archived: usize,
    /// Those among them with damage in them.
    pub damaged: usize,
    /// Files that it had already.
    pub already_archived: usize,
    /// Files moved to `errors/` because the archive has other contents under their name.
    pub duplicates: usize,
    /// Files moved to `errors/` because they are not what they should be.
    pub refused: usize,
    /// Files moved to `errors/` because their names are not of WAL.
    pub unknown: usize,
    /// Files that could not be read. With any, the run fails in the end.
    pub unreadable: usize,
}
