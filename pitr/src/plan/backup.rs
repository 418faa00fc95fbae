//! Which backup to start from, and whether it leads to the target.

use barman_catalog::{BackupInfo, BackupType, Catalog};
use barman_storage::{Dir, RelativePath};
use wal_format::{BackupLabel, BackupSource, ControlFile, Lsn, PgMajor, SegmentName, SegmentNumber, TimelineId};

use super::histories::Histories;
use crate::plan_error::{PlanError, UnsupportedBackup};
use crate::request::{RecoveryRequest, WalSupply};
use crate::target::{RecoveryTarget, StopPoint, TimelineChoice};
use crate::timeline_path::{TimelinePath, UnreachableReason};

/// What WAL a backup needs to become consistent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) timeline: TimelineId,
    pub(super) first_segment: SegmentNumber,
    pub(super) last_segment: SegmentNumber,
    /// Its first record to be replayed.
    pub(super) start: Lsn,
    /// Behind its last record.
    pub(super) end: Lsn,
}

pub(crate) fn check_restorable(info: &BackupInfo, server: &str) -> Result<(), PlanError> {
    let id = info.backup_id;
    if !info.status.is_copied() {
        return Err(PlanError::NotDone { server: server.to_owned(), id, status: info.status });
    }
    if let Some(kind) = unsupported(info) {
        return Err(PlanError::UnsupportedBackup { id, kind });
    }
    let version = info.version.ok_or(PlanError::IncompleteRecord { id, field: "version" })?;
    PgMajor::from_version_num(version).map_err(|source| PlanError::UnsupportedVersion { id, source })?;
    Ok(())
}

fn unsupported(info: &BackupInfo) -> Option<UnsupportedBackup> {
    (info.backup_type() == Some(BackupType::Snapshot)).then_some(UnsupportedBackup::Snapshot)
}

/// Before its end a backup may already hold what was committed later than the target. PostgreSQL does not look.
pub(super) fn check_time(info: &BackupInfo, target: &RecoveryTarget) -> Result<(), PlanError> {
    let Some(StopPoint::Time(time)) = &target.stop else { return Ok(()) };
    let end = info.end_time.ok_or(PlanError::IncompleteRecord { id: info.backup_id, field: "end_time" })?;
    let before = time.instant() < end.instant();
    if before { Err(PlanError::TimeBeforeBackupEnd { target: *time, end }) } else { Ok(()) }
}

/// Returns where the backup is consistent at the latest, and whether a record in the WAL says where it is.
///
/// A standby cannot write that record: its backups are consistent where its control file says.
pub(super) fn consistency(catalog: &Catalog, info: &BackupInfo, extent: &Extent) -> Result<(Lsn, bool), PlanError> {
    let label = info.backup_label.as_deref().and_then(|text| BackupLabel::parse(text).ok());
    if label.is_none_or(|label| label.from == BackupSource::Primary) {
        return Ok((extent.end, true));
    }
    let control = control_file(&catalog.backup_data(info)?.data, info)?;
    let minimum = control.and_then(|control| control.minimum_recovery).map(|minimum| minimum.lsn);
    Ok((minimum.map_or(extent.end, |minimum| minimum.max(extent.start).min(extent.end)), false))
}

/// Reads the control file of a backup; `None` if there is none that can be read.
pub(super) fn control_file(data: &Dir, info: &BackupInfo) -> Result<Option<ControlFile>, PlanError> {
    let bytes = data.read(&RelativePath::literal("global/pg_control"), 2 * ControlFile::FILE_LEN as u64)?;
    Ok(bytes.zip(major(info)).and_then(|(bytes, major)| ControlFile::parse(&bytes, major).ok()))
}

/// Returns how long a block of relations is, in bytes.
pub(crate) fn block_size(control: &ControlFile) -> Option<u32> {
    /// PostgreSQL can be built with no longer ones.
    const LONGEST_BLOCK_BYTES: u32 = 32 << 10;
    Some(control.block_size).filter(|size| size.is_power_of_two() && *size <= LONGEST_BLOCK_BYTES)
}

/// The major version of the backup's server.
pub(crate) fn major(info: &BackupInfo) -> Option<PgMajor> {
    info.version.and_then(|version| PgMajor::from_version_num(version).ok())
}

/// Finds the way from the backup to the target's timeline.
pub(super) fn lead(
    info: &BackupInfo,
    request: &RecoveryRequest<'_>,
    histories: &Histories<'_>,
) -> Result<(Extent, TimelinePath), PlanError> {
    let extent = Extent::of(info)?;
    let from = extent.timeline;
    let to = target_timeline(request, from, histories)?;
    let path = if to == from {
        Ok(TimelinePath::staying_on(from))
    } else {
        match histories.read(to)? {
            Some(history) => TimelinePath::find(from, extent.end, &history),
            None => Err(UnreachableReason::NoHistoryFile),
        }
    };
    let requested = matches!(request.target.timeline, Some(TimelineChoice::Number(_)));
    match path {
        Ok(path) => Ok((extent, path)),
        Err(reason) => Err(PlanError::UnreachableTimeline { id: info.backup_id, timeline: to, requested, reason }),
    }
}

/// Returns the timeline along which PostgreSQL will recover.
fn target_timeline(
    request: &RecoveryRequest<'_>,
    from: TimelineId,
    histories: &Histories<'_>,
) -> Result<TimelineId, PlanError> {
    let recovers_from_archive =
        request.target.is_pitr() || request.standby_mode || matches!(request.wal, WalSupply::GetWal { .. });
    match request.target.timeline {
        Some(TimelineChoice::Number(timeline)) => Ok(timeline),
        Some(TimelineChoice::Current) => Ok(from),
        Some(TimelineChoice::Latest) => histories.newest(from),
        // The default of recovery_target_timeline, since PostgreSQL 12.
        None if recovers_from_archive => histories.newest(from),
        // Recovery as after a crash stays where it is.
        None => Ok(from),
    }
}

impl Extent {
    fn of(info: &BackupInfo) -> Result<Self, PlanError> {
        let incomplete = |field| PlanError::IncompleteRecord { id: info.backup_id, field };
        let segment = |name: Option<SegmentName>, field| {
            let number = name.and_then(|name| name.number(info.xlog_segment_size).ok());
            number.ok_or(incomplete(field))
        };
        Ok(Self {
            timeline: info.timeline.ok_or(incomplete("timeline"))?,
            first_segment: segment(info.begin_wal, "begin_wal")?,
            last_segment: segment(info.end_wal, "end_wal")?,
            start: info.begin_xlog.ok_or(incomplete("begin_xlog"))?,
            end: info.end_xlog.ok_or(incomplete("end_xlog"))?,
        })
    }
}
