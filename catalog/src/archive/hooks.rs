//! Where hook scripts run.

use std::path::Path;

use crate::{BackupInfo, XlogEntry};

/// What a hook is told about a file.
#[derive(Debug, Clone, Copy)]
pub struct ArchivedFile<'a> {
    /// Where it is: before archiving in `incoming/` or `streaming/`, afterwards in the archive.
    pub path: &'a Path,
    /// Its name, size, time and compression.
    pub entry: &'a XlogEntry,
    /// Why it was not archived, afterwards.
    pub error: Option<&'a str>,
}

/// Whether work goes on after a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookDecision {
    /// It does.
    Continue,
    /// The run ends before this file, which stays where it is.
    Stop,
}

/// Scripts of the user's that run around archiving and deleting. Only the `server` crate knows how they are started.
pub trait Hooks {
    /// Whether there are any that run around archiving: then a file is archived before the next one is looked at. Without,
    /// several are, together.
    fn surround_archiving(&self) -> bool {
        true
    }

    /// Runs before a file is looked at. No lock on the WAL index is held.
    fn before_archive(&self, _file: ArchivedFile<'_>) -> HookDecision {
        HookDecision::Continue
    }

    /// Runs when a file is archived and recorded, or was refused.
    fn after_archive(&self, _file: ArchivedFile<'_>) {}

    /// Runs before a backup is deleted. Its lock is held.
    fn before_delete(&self, _backup: &BackupInfo) -> HookDecision {
        HookDecision::Continue
    }

    /// Runs when a backup is deleted with all that belonged to it.
    fn after_delete(&self, _backup: &BackupInfo) {}
}

/// No scripts at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn surround_archiving(&self) -> bool {
        false
    }
}
