//! How a backup is recovered: from where, through which WAL, and to which record.

use std::collections::{BTreeMap, BTreeSet};

use barman_catalog::{BackupInfo, Catalog, Verdict, WalEventKind};
use wal_format::{SegmentName, SegmentNumber, TimelineId, WalFileName};

use super::backup::{self, Extent};
use super::chain;
use super::histories::Histories;
use super::{PassedOverReason, PlanWarning};
use crate::plan_error::PlanError;
use crate::request::{BackupChoice, RecoveryRequest, WalSupply};
use crate::stop::search::{Found, Scope};
use crate::stop::wal_row::{RowSource, WalRow};
use crate::stop::{PlannedStop, StopReason, Unreached};
use crate::target::RecoveryTarget;
use crate::timeline_path::TimelinePath;
use crate::wal_selection::{MissingWal, WalRange};

/// A recovery that can be done.
#[derive(Debug)]
pub struct RecoveryPlan {
    /// The record of the backup.
    pub backup: BackupInfo,
    /// The records of those that it builds on if it is incremental, the full one first.
    pub ancestors: Vec<BackupInfo>,
    /// Where recovery is to end.
    pub target: RecoveryTarget,
    /// The timelines that recovery passes through.
    pub path: TimelinePath,
    /// The WAL that it replays.
    pub wal: RecoveryWal,
    /// The record at which it stops; `None` if that depends on WAL that cannot be read here, or is yet to come.
    pub stop: Option<PlannedStop>,
    /// What an operator should know before it begins.
    pub warnings: Vec<PlanWarning>,
}

impl RecoveryPlan {
    /// Returns the timeline on which recovery ends.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.path.last()
    }
}

/// The segments that a recovery replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryWal {
    /// The first.
    pub first: SegmentName,
    /// The last: that of the record at which recovery stops.
    pub last: SegmentName,
    /// How many they are.
    pub segments: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many bytes they have as they are stored.
    pub stored_bytes: u64,
    /// Those of which nobody has seen yet whether they can be believed.
    pub unverified: Vec<SegmentName>,
}

/// A backup, and the way from it.
pub(super) struct Way {
    pub(super) recovery: RecoveryPlan,
    pub(super) extent: Extent,
}

pub(super) fn plan(
    catalog: &Catalog,
    request: &RecoveryRequest<'_>,
    histories: &Histories<'_>,
) -> Result<Way, PlanError> {
    match request.backup {
        BackupChoice::Id(id) => {
            let info = catalog.backup(&id)?;
            backup::check_restorable(&info, &catalog.layout().server)?;
            backup::check_time(&info, request.target)?;
            way(catalog, request, histories, info)
        }
        BackupChoice::Auto => newest(catalog, request, histories),
    }
}

/// Takes the newest backup from which the target is reached.
fn newest(catalog: &Catalog, request: &RecoveryRequest<'_>, histories: &Histories<'_>) -> Result<Way, PlanError> {
    let server = &catalog.layout().server;
    let (mut refused, mut passed_over) = (None, Vec::new());
    for info in catalog.backups()?.into_iter().rev() {
        if !info.status.is_copied() || backup::check_time(&info, request.target).is_err() {
            continue;
        }
        backup::check_restorable(&info, server)?;
        let id = info.backup_id;
        match way(catalog, request, histories, info) {
            // Nobody asked for the timeline that is in the way.
            Err(error @ PlanError::UnreachableTimeline { requested: false, .. }) => refused = refused.or(Some(error)),
            Err(PlanError::UnreachableTimeline { .. } | PlanError::Unreached(Unreached::Inconsistent { .. })) => {}
            Err(error @ PlanError::Unreached(_)) => refused = refused.or(Some(error)),
            Err(error @ (PlanError::MissingWal { .. } | PlanError::BrokenChain { .. })) => {
                passed_over.push(PlanWarning::PassedOver { id, reason: PassedOverReason::of(&error) });
                refused = refused.or(Some(error));
            }
            Err(error) => return Err(error),
            Ok(mut way) => {
                way.recovery.warnings.extend(passed_over);
                return Ok(way);
            }
        }
    }
    Err(refused.unwrap_or_else(|| PlanError::NoCandidate { server: server.clone() }))
}

/// Plans the recovery of one backup.
fn way(
    catalog: &Catalog,
    request: &RecoveryRequest<'_>,
    histories: &Histories<'_>,
    info: BackupInfo,
) -> Result<Way, PlanError> {
    let ancestors = chain::ancestors(catalog, &info)?;
    let (extent, path) = backup::lead(&info, request, histories)?;
    let Archived { there: archived, lost } = archived(catalog, &path, &extent, &info)?;
    let unfinished = replays_unfinished(request);
    let size = info.xlog_segment_size;
    let source = RowSource { catalog, archived: &archived, path: &path, size, unfinished };
    let row = source.row(extent.first_segment)?;
    check_consistent(&row, &path, &extent)?;
    let (consistent, has_end_record) = backup::consistency(catalog, &info, &extent)?;
    let scope = Scope { catalog, row: &row, path: &path, redo: extent.start, consistent, has_end_record };
    let mut warnings = Vec::new();
    let stop = match scope.find(request.target)? {
        Found::Stop(stop) => Some(stop),
        Found::Unknown(name) => {
            warnings.push(PlanWarning::StopUnknown { name });
            None
        }
        // A standby goes on waiting for it.
        Found::Unreached(_) if request.standby_mode && matches!(request.wal, WalSupply::GetWal { .. }) => {
            warnings.push(PlanWarning::NotYetArchived);
            None
        }
        Found::Unreached(unreached) => {
            let lost = lost_behind(&lost, &row, &path);
            return Err(lost.map_or(PlanError::Unreached(unreached), |missing| PlanError::MissingWal { missing }));
        }
    };
    if stop.as_ref().is_none_or(|stop| stop.reason == StopReason::EndOfWal) {
        warnings.extend(
            lost_behind(&lost, &row, &path)
                .map(|lost| PlanWarning::LostWal { first: WalFileName::Segment(lost.first), count: lost.count }),
        );
    }
    warnings.extend(half_dropped(catalog, &row, stop.as_ref())?);
    let needed = needed(&row, stop.as_ref());
    if matches!(request.wal, WalSupply::GetWal { .. }) {
        warnings.extend(hole(&archived, &row, &needed).map(PlanWarning::MissingWal));
    }
    let wal = recovery_wal(catalog, &row, &needed, &path, &extent)?;
    let target = request.target.clone();
    Ok(Way { recovery: RecoveryPlan { backup: info, ancestors, target, path, wal, stop, warnings }, extent })
}

/// Whether recovery gets a segment that was never completed. A standby that asks for its WAL does not: it waits for the whole
/// segment.
fn replays_unfinished(request: &RecoveryRequest<'_>) -> bool {
    match request.wal {
        WalSupply::GetWal(_) => !request.standby_mode,
        WalSupply::Copy { partial, .. } => *partial,
    }
}

/// A time before DROP DATABASE is hardly ever before it has begun: its files go first, and then it commits.
fn half_dropped(catalog: &Catalog, row: &WalRow, stop: Option<&PlannedStop>) -> Result<Option<PlanWarning>, PlanError> {
    let Some((stop, end)) = stop.and_then(|stop| Some((stop, stop.first_left_out?))) else { return Ok(None) };
    let last = row.index_of(stop.at).unwrap_or_default();
    let mut ledger = catalog.ledger_reader()?;
    // Between the two nothing is waited for, but that they are flushed.
    for segment in row.segments.iter().take(last + 1).skip(last.saturating_sub(1)) {
        let records = ledger.facts(&segment.file)?.and_then(|facts| facts.records.as_ref());
        let replayed = records.iter().flat_map(|records| &records.events).filter(|event| event.lsn < stop.replayed_to);
        let mut dropped = replayed.filter(|event| event.xid == Some(end.xid)).filter_map(|event| match event.kind {
            WalEventKind::DatabaseDrop { database } => Some(database),
            _ => None,
        });
        if let Some(database) = dropped.next() {
            return Ok(Some(PlanWarning::DatabaseHalfDropped { database, end }));
        }
    }
    Ok(None)
}

/// The segments in the index of the archive that recovery may read.
struct Archived {
    /// Those that are there, and their lengths as stored.
    there: BTreeMap<WalFileName, u64>,
    /// Those that are gone.
    lost: BTreeSet<WalFileName>,
}

fn archived(catalog: &Catalog, path: &TimelinePath, extent: &Extent, info: &BackupInfo) -> Result<Archived, PlanError> {
    let range = WalRange { path, size: info.xlog_segment_size, first: extent.first_segment, last: None };
    let (mut there, mut lost) = (BTreeMap::new(), BTreeSet::new());
    catalog.xlog_db()?.scan(|line| {
        let name = line.segment().map(WalFileName::Segment).filter(|name| range.wants(name, false));
        there.extend(name.map(|name| (name, line.size)));
        Ok::<_, barman_catalog::Error>(())
    })?;
    let mut listing = catalog.wal_listing()?;
    for name in there.keys() {
        if !listing.has(name)? {
            lost.insert(*name);
        }
    }
    there.retain(|name, _| !lost.contains(name));
    Ok(Archived { there, lost })
}

/// The segments right behind the row that are gone.
fn lost_behind(lost: &BTreeSet<WalFileName>, row: &WalRow, path: &TimelinePath) -> Option<MissingWal> {
    let name = |number| path.names(number, row.size).find(|name| lost.contains(&WalFileName::Segment(*name)));
    let behind = row.segments.last()?.number.next();
    let following = std::iter::successors(Some(behind), |number| Some(number.next()));
    let mut names = following.map_while(name);
    Some(MissingWal { first: names.next()?, count: 1 + names.count() as u64 })
}

/// Without the WAL up to its end a backup never becomes consistent.
fn check_consistent(row: &WalRow, path: &TimelinePath, extent: &Extent) -> Result<(), PlanError> {
    let behind = row.segments.last().map_or(extent.first_segment, |last| last.number.next());
    if row.end().is_some_and(|end| end >= extent.end) || behind > extent.last_segment {
        return Ok(());
    }
    let count = extent.last_segment.next().get().saturating_sub(behind.get());
    let first = path.names(behind, row.size).next().unwrap_or(behind.name(extent.timeline, row.size));
    Err(PlanError::MissingWal { missing: MissingWal { first, count } })
}

/// The segments up to the one in which the record ends at which recovery stops.
fn needed(row: &WalRow, stop: Option<&PlannedStop>) -> WalRow {
    // The record itself is read whole, even if it is not replayed.
    let last = stop.and_then(|stop| row.index_of(stop.replayed_to.max(stop.at)));
    let count = last.map_or(row.segments.len(), |last| last + 1);
    WalRow { size: row.size, segments: row.segments.iter().take(count).copied().collect() }
}

/// What is missing behind the row, if recovery goes as far as that and there is more behind it.
fn hole(archived: &BTreeMap<WalFileName, u64>, row: &WalRow, needed: &WalRow) -> Option<MissingWal> {
    let last = row.segments.last().filter(|last| needed.segments.last() == Some(last))?;
    let missing = last.number.next();
    let numbers = archived.keys().filter_map(|file| match file {
        WalFileName::Segment(name) => name.number(row.size).ok(),
        _ => None,
    });
    let next = numbers.filter(|number| *number > missing).min()?;
    let first = missing.name(last.name.timeline, row.size);
    Some(MissingWal { first, count: next.get().saturating_sub(missing.get()) })
}

fn recovery_wal(
    catalog: &Catalog,
    row: &WalRow,
    needed: &WalRow,
    path: &TimelinePath,
    extent: &Extent,
) -> Result<RecoveryWal, PlanError> {
    let name = |number: SegmentNumber| number.name(path.timeline_at(number.start(row.size)), row.size);
    let first = needed.segments.first().map_or_else(|| name(extent.first_segment), |first| first.name);
    let mut ledger = catalog.ledger_reader()?;
    let mut unverified = Vec::new();
    for segment in &needed.segments {
        let verdict = ledger.facts(&segment.file)?.map(|facts| &facts.verdict);
        // What was never completed is not judged before it is.
        if segment.is_whole() && verdict != Some(&Verdict::Verified) {
            unverified.push(segment.name);
        }
    }
    let segments = u64::try_from(needed.segments.len()).unwrap_or(u64::MAX);
    Ok(RecoveryWal {
        first,
        last: needed.segments.last().map_or(first, |last| last.name),
        segments,
        bytes: segments.saturating_mul(row.size.bytes()),
        stored_bytes: needed.segments.iter().filter_map(|segment| segment.stored_bytes).sum(),
        unverified,
    })
}
