//! Which backup to start from, and whether it leads to the target.

use barman_catalog::{BackupInfo, BackupType, Catalog};
use wal_format::{Lsn, PgMajor, SegmentName, SegmentNumber, TimelineId};

use super::histories::Histories;
use crate::plan_error::{PlanError, UnsupportedBackup};
use crate::request::{BackupChoice, RestoreRequest, WalSupply};
use crate::target::{RecoveryTarget, StopPoint, TimelineChoice};
use crate::timeline_path::{TimelinePath, UnreachableReason};

/// A backup that leads to the target.
pub(super) struct Chosen {
    pub(super) info: BackupInfo,
    pub(super) extent: Extent,
    pub(super) path: TimelinePath,
}

/// What WAL a backup needs to become consistent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) timeline: TimelineId,
    pub(super) first_segment: SegmentNumber,
    pub(super) last_segment: SegmentNumber,
    /// Behind its last record.
    pub(super) end: Lsn,
}

pub(super) fn choose(
    catalog: &Catalog,
    request: &RestoreRequest,
    histories: &Histories<'_>,
) -> Result<Chosen, PlanError> {
    match request.backup {
        BackupChoice::Id(id) => {
            let info = catalog.backup(&id)?;
            check_restorable(&info, &catalog.layout().server)?;
            check_target(&info, &request.target)?;
            lead(info, request, histories)
        }
        BackupChoice::Auto => choose_newest(catalog, request, histories),
    }
}

/// Takes the newest backup that was finished before the target and whose timeline leads there.
fn choose_newest(catalog: &Catalog, request: &RestoreRequest, histories: &Histories<'_>) -> Result<Chosen, PlanError> {
    check_choosable(&request.target)?;
    let server = &catalog.layout().server;
    for info in catalog.backups()?.into_iter().rev() {
        if !info.status.is_copied() || check_target(&info, &request.target).is_err() {
            continue;
        }
        match lead(info, request, histories) {
            Err(PlanError::UnreachableTimeline { .. }) => {}
            Err(error) => return Err(error),
            Ok(chosen) => {
                check_restorable(&chosen.info, server)?;
                return Ok(chosen);
            }
        }
    }
    Err(PlanError::NoCandidate { server: server.clone() })
}

/// Only a time and an LSN can be compared with the end of a backup.
fn check_choosable(target: &RecoveryTarget) -> Result<(), PlanError> {
    match &target.stop {
        Some(stop @ (StopPoint::Xid(_) | StopPoint::Name(_) | StopPoint::Immediate)) => {
            Err(PlanError::TargetNeedsBackup { kind: stop.kind() })
        }
        _ if target.timeline == Some(TimelineChoice::Current) => Err(PlanError::CurrentTimelineNeedsBackup),
        _ => Ok(()),
    }
}

fn check_restorable(info: &BackupInfo, server: &str) -> Result<(), PlanError> {
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
    match info.backup_type() {
        Some(BackupType::Incremental) => Some(UnsupportedBackup::Incremental),
        Some(BackupType::Snapshot) => Some(UnsupportedBackup::Snapshot),
        _ => match (&info.encryption, &info.compression) {
            (Some(encryption), _) => Some(UnsupportedBackup::Encrypted(encryption.clone())),
            // Barman writes `none` for tar files without compression, and nothing for plain files.
            (None, Some(compression)) => Some(UnsupportedBackup::Compressed(compression.clone())),
            (None, None) => None,
        },
    }
}

/// Before its end a backup is not consistent: PostgreSQL would refuse to stop there, after all the copying.
fn check_target(info: &BackupInfo, target: &RecoveryTarget) -> Result<(), PlanError> {
    let incomplete = |field| PlanError::IncompleteRecord { id: info.backup_id, field };
    match &target.stop {
        Some(StopPoint::Time(time)) => {
            let end = info.end_time.ok_or(incomplete("end_time"))?;
            let before = time.instant() < end.instant();
            if before { Err(PlanError::TimeBeforeBackupEnd { target: *time, end }) } else { Ok(()) }
        }
        Some(StopPoint::Lsn(lsn)) => {
            let end = info.end_xlog.ok_or(incomplete("end_xlog"))?;
            if *lsn < end { Err(PlanError::LsnBeforeBackupEnd { target: *lsn, end }) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Finds the way from the backup to the target's timeline.
fn lead(info: BackupInfo, request: &RestoreRequest, histories: &Histories<'_>) -> Result<Chosen, PlanError> {
    let extent = Extent::of(&info)?;
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
        Ok(path) => Ok(Chosen { info, extent, path }),
        Err(reason) => Err(PlanError::UnreachableTimeline { id: info.backup_id, timeline: to, requested, reason }),
    }
}

/// Returns the timeline along which PostgreSQL will recover.
fn target_timeline(
    request: &RestoreRequest,
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
            end: info.end_xlog.ok_or(incomplete("end_xlog"))?,
        })
    }
}
