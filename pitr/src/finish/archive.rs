//! Whether a server may go on with an archive: two lives of one timeline in it could not be told apart by any recovery.

use std::fs::File;
use std::io::Read;

use barman_catalog::{ArchivedSegment, Catalog};
use barman_storage::{Dir, Operation, RelativePath};
use wal_format::{Lsn, SegmentName, SegmentNumber, TimelineHistory, WalFileName};

use super::state::Promoted;
use super::{FinishError, ForeignTimeline};
use crate::plan::archived_names;
use crate::restore_record::RestoreRecord;

/// Refuses an archive that holds WAL of the server's timeline that the server did not write.
pub(super) fn check(
    catalog: &Catalog,
    data: &Dir,
    promoted: &Promoted,
    record: Option<&RestoreRecord>,
) -> Result<(), FinishError> {
    let foreign = |reason| FinishError::ForeignArchive { server: catalog.layout().server.clone(), reason };
    let archived = catalog.identity()?.map(|identity| identity.system_id);
    if let Some(archived) = archived.filter(|archived| *archived != promoted.system_id) {
        return Err(foreign(ForeignTimeline::Cluster { archived, own: promoted.system_id }));
    }
    let own = own_history(data, promoted)?;
    if let Some(known) = catalog.timeline_history(promoted.timeline)?
        && !is_same(&known, &own)
    {
        let [archived, own] = [&known, &own].map(|history| history.entries.last().map(|entry| entry.switch_lsn));
        return Err(foreign(ForeignTimeline::History { timeline: promoted.timeline, archived, own }));
    }
    let branched_off = own.entries.last().map(|entry| entry.switch_lsn);
    let shared = branched_off.or_else(|| record?.end).unwrap_or(promoted.redo);
    match first_foreign(catalog, data, promoted, shared)? {
        Some(reason) => Err(foreign(reason)),
        None => Ok(()),
    }
}

/// Where the server's timeline came from, as its own history file says.
fn own_history(data: &Dir, promoted: &Promoted) -> Result<TimelineHistory, FinishError> {
    /// Far more than any has: a line for each promotion.
    const LIMIT: u64 = 1 << 20;
    let name = wal_path(&WalFileName::History(promoted.timeline).to_string());
    let text = data.read(&name, LIMIT)?.unwrap_or_default();
    // One that cannot be read has another history than any that can.
    Ok(TimelineHistory::parse(promoted.timeline, &text)
        .unwrap_or_else(|_| TimelineHistory::without_ancestors(promoted.timeline)))
}

/// The reasons are for people, and differ between servers that share a history.
fn is_same(one: &TimelineHistory, other: &TimelineHistory) -> bool {
    let points = |history: &TimelineHistory| {
        history.entries.iter().map(|entry| (entry.parent, entry.switch_lsn)).collect::<Vec<_>>()
    };
    points(one) == points(other)
}

/// Returns the first archived segment of the timeline that the server did not write. Everything before `shared` was there
/// when the server was restored.
fn first_foreign(
    catalog: &Catalog,
    data: &Dir,
    promoted: &Promoted,
    shared: Lsn,
) -> Result<Option<ForeignTimeline>, FinishError> {
    let first_own = SegmentNumber::containing(shared, promoted.segment_size);
    let is_ours = |name: &WalFileName| matches!(name, WalFileName::Segment(name) if name.timeline == promoted.timeline);
    for file in archived_names(catalog, is_ours)? {
        let (WalFileName::Segment(name), Some(archived)) = (file, catalog.find_archived(&file)?) else { continue };
        let is_shared = name.number(promoted.segment_size).is_ok_and(|number| number < first_own);
        match data.open_file(&wal_path(&name.to_string())) {
            Ok(own) => {
                if !is_equal(&archived, own, name)? {
                    return Ok(Some(ForeignTimeline::Segment { name }));
                }
            }
            Err(error) if error.is_not_found() && is_shared => {}
            Err(error) if error.is_not_found() => return Ok(Some(ForeignTimeline::UnknownSegment { name })),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn is_equal(archived: &ArchivedSegment, mut own: File, name: SegmentName) -> Result<bool, FinishError> {
    const BUFFER_BYTES: usize = 128 * 1024;
    let path = archived.display_path();
    let unreadable = |source| barman_storage::Error::new(Operation::Read, &path, source);
    let own_unreadable = |source| barman_storage::Error::new(Operation::Read, format!("pg_wal/{name}"), source);
    let mut contents = archived.contents()?;
    let (mut left, mut right) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let taken = fill(&mut contents, &mut left).map_err(unreadable)?;
        let other = fill(&mut own, &mut right).map_err(own_unreadable)?;
        if taken != other || left.get(..taken) != right.get(..other) {
            return Ok(false);
        }
        if taken == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut taken = 0;
    while let Some(rest) = buffer.get_mut(taken..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            more => taken += more,
        }
    }
    Ok(taken)
}

#[allow(clippy::expect_used, reason = "WAL file names are plain names")]
fn wal_path(name: &str) -> RelativePath {
    RelativePath::literal("pg_wal").join(&RelativePath::new(name).expect("a plain name"))
}
