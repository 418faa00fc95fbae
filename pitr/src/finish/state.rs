//! Whether the server in a directory is on its own.

use barman_storage::{Dir, RelativePath};
use wal_format::{ClusterState, ControlFile, Lsn, PgMajor, SegmentSize, SystemId, TimelineId};

use super::{FinishError, NotPromoted};
use crate::recovery_settings::Signal;

/// A cluster whose recovery is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promoted {
    pub(super) system_id: SystemId,
    pub(super) timeline: TimelineId,
    /// Where the WAL begins that the server may still need.
    pub(super) redo: Lsn,
    pub(super) segment_size: SegmentSize,
}

impl Promoted {
    /// Looks at `global/pg_control` and at the files by which a server is told to recover.
    pub(super) fn find(data: &Dir) -> Result<Self, FinishError> {
        let control = control_file(data)?;
        match why_not_promoted(data, control.state)? {
            Some(reason) => Err(FinishError::NotPromoted { path: data.path().to_owned(), reason }),
            None => Ok(Self::of(&control)),
        }
    }

    fn of(control: &ControlFile) -> Self {
        // A server that has just been promoted has its last checkpoint on the timeline before.
        let since = control.minimum_recovery.map(|minimum| minimum.timeline);
        Self {
            system_id: control.system_id,
            timeline: control.checkpoint.timeline.max(since.unwrap_or(control.checkpoint.timeline)),
            redo: control.checkpoint.redo,
            segment_size: control.segment_size,
        }
    }
}

/// Reads `global/pg_control` of a data directory of whichever version.
pub(crate) fn control_file(data: &Dir) -> Result<ControlFile, FinishError> {
    const LONGEST_VERSION: u64 = 64;
    let no_data_directory = || FinishError::NoDataDirectory { path: data.path().to_owned() };
    let version = data.read(&RelativePath::literal("PG_VERSION"), LONGEST_VERSION)?.ok_or_else(no_data_directory)?;
    let number: Option<u32> = String::from_utf8_lossy(&version).trim().parse().ok();
    let number = number.and_then(|number| number.checked_mul(10_000));
    let major = number.and_then(|number| PgMajor::from_version_num(number).ok()).ok_or_else(no_data_directory)?;
    let limit = 2 * ControlFile::FILE_LEN as u64;
    let bytes = data.read(&RelativePath::literal("global/pg_control"), limit)?.ok_or_else(no_data_directory)?;
    ControlFile::parse(&bytes, major)
        .map_err(|source| FinishError::ControlFile { path: data.path().to_owned(), source })
}

/// Returns why the server in a directory is not on its own, if it is not.
pub(crate) fn why_not_promoted(data: &Dir, state: ClusterState) -> Result<Option<NotPromoted>, FinishError> {
    let is_there = |name| Ok::<_, FinishError>(data.stat(&RelativePath::literal(name))?.is_some());
    // The control file of a backup says that the server runs, as the one did that was backed up.
    let is_untouched = is_there("backup_label")?;
    let is_told_to_recover = is_there(Signal::Recovery.file_name())? || is_there(Signal::Standby.file_name())?;
    Ok(not_promoted(state, is_untouched, is_told_to_recover))
}

fn not_promoted(state: ClusterState, is_untouched: bool, is_told_to_recover: bool) -> Option<NotPromoted> {
    if is_untouched {
        return Some(NotPromoted::NeverStarted);
    }
    match state {
        ClusterState::ShutDownInRecovery => Some(NotPromoted::ShutDown),
        ClusterState::InArchiveRecovery => Some(NotPromoted::InRecovery),
        ClusterState::InCrashRecovery | ClusterState::Starting => Some(NotPromoted::AfterCrash),
        // It was restored from a backup of a running server, or stopped before it had begun to recover.
        _ if is_told_to_recover => Some(NotPromoted::NeverStarted),
        ClusterState::InProduction | ClusterState::ShutDown | ClusterState::ShuttingDown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_on_its_own_when_it_runs_and_nothing_tells_it_to_recover() {
        use ClusterState::{InArchiveRecovery, InCrashRecovery, InProduction, ShutDown, ShutDownInRecovery};
        let no = Some;
        for (state, is_untouched, is_told, expected) in [
            (InProduction, true, false, no(NotPromoted::NeverStarted)),
            (InProduction, true, true, no(NotPromoted::NeverStarted)),
            (InProduction, false, true, no(NotPromoted::NeverStarted)),
            (InArchiveRecovery, false, true, no(NotPromoted::InRecovery)),
            // The signal file goes a moment before recovery ends.
            (InArchiveRecovery, false, false, no(NotPromoted::InRecovery)),
            (ShutDownInRecovery, false, true, no(NotPromoted::ShutDown)),
            (InCrashRecovery, false, false, no(NotPromoted::AfterCrash)),
            (InProduction, false, false, None),
            (ShutDown, false, false, None),
        ] {
            assert_eq!(not_promoted(state, is_untouched, is_told), expected, "{state:?} {is_untouched} {is_told}");
        }
    }
}
