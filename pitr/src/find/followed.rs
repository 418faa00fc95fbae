//! Following relations by their names: from the catalogs of a backup through the WAL behind it.
//!
//! A table's file changes with TRUNCATE, VACUUM FULL and much else, and its name with ALTER TABLE; the OID of its row in
//! `pg_class` stays. So all changes of that catalog are followed, and a DROP is the end of a row, whatever became of files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use barman_catalog::{BackupId, BackupInfo, Catalog, RecordFacts, Verdict};
use barman_storage::Cancel;
use wal_format::{Lsn, RelFileLocator, SegmentName, TimelineHistory, TimelineId, WalFileName, Walk};

use super::FindError;
use super::records::{records_of_first, side_by_side, there_and_lost};
use super::tracker::Tracker;
use crate::names::{CatalogChange, CatalogNote, Catalogs, NamedRelation};
use crate::plan_error::PlanError;
use crate::relation_name::RelationPattern;
use crate::stop::TransactionPoint;
use crate::stop::wal_row::{RowSegment, RowSource, WalRow};
use crate::timeline_path::TimelinePath;

/// Something that happened to a relation of the name.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) timeline: TimelineId,
    /// The first record that shows it.
    pub(super) lsn: Lsn,
    /// The transaction that did it.
    pub(super) end: TransactionPoint,
    pub(super) database: u32,
    pub(super) oid: u32,
    pub(super) before: NamedRelation,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its row was deleted.
    Dropped,
    /// It went with its database.
    DatabaseDropped,
    /// It got another file.
    NewFile { after: NamedRelation, by_way_of_another: bool },
}

/// What became of the relations of a name.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    /// The backup that the names come from.
    pub(super) backup: BackupId,
    pub(super) happenings: Vec<Happening>,
    /// All files that they had.
    pub(super) files: BTreeSet<RelFileLocator>,
    /// Segments that could not be read.
    pub(super) unread: u64,
}

/// A backup whose catalogs can be read.
struct Snapshot {
    info: BackupInfo,
    catalogs: Catalogs,
    /// The relations of the name, and their files.
    named: BTreeSet<(u32, u32, Option<RelFileLocator>)>,
}

/// Follows the relations of a name through the archive.
///
/// The search begins at the first backup after which the name stood for something else than in the next one; where that finds
/// nothing, at the first of all.
pub(super) fn follow(catalog: &Catalog, pattern: &RelationPattern, cancel: &Cancel) -> Result<Followed, FindError> {
    let snapshots = snapshots(catalog, pattern)?;
    let changes = |pair: &[Snapshot]| matches!(pair, [one, next] if one.named != next.named);
    let from = snapshots.windows(2).position(changes).unwrap_or(snapshots.len().saturating_sub(1));
    let Some(snapshot) = snapshots.get(from) else { return Err(FindError::NoNames { nameless: Vec::new() }) };
    let mut followed = follow_from(catalog, snapshot, pattern, cancel)?;
    if let Some(first) = snapshots.first().filter(|_| from > 0 && followed.happenings.is_empty()) {
        followed = follow_from(catalog, first, pattern, cancel)?;
    }
    followed.files.extend(snapshots.iter().flat_map(|snapshot| &snapshot.named).filter_map(|(_, _, file)| *file));
    Ok(followed)
}

fn snapshots(catalog: &Catalog, pattern: &RelationPattern) -> Result<Vec<Snapshot>, FindError> {
    let mut snapshots = Vec::new();
    for info in catalog.backups().map_err(PlanError::from)? {
        if let Some(catalogs) = Catalogs::of_backup(catalog, &info)? {
            let matching = catalogs.relations().filter(|(_, relation)| pattern.matches(&relation.name));
            let named = matching.map(|((database, oid), relation)| (database, oid, relation.file)).collect();
            snapshots.push(Snapshot { info, catalogs, named });
        }
    }
    Ok(snapshots)
}

fn follow_from(
    catalog: &Catalog,
    snapshot: &Snapshot,
    pattern: &RelationPattern,
    cancel: &Cancel,
) -> Result<Followed, FindError> {
    let mut way = Way::of(catalog, &snapshot.info)?;
    let mut tracker = Tracker::default();
    for row in way.rows.clone() {
        let mut catalogs = snapshot.catalogs.clone();
        let (mut besides, mut at_a_time) = (0..0, 4);
        loop {
            let known: HashSet<_> = catalogs.files().collect();
            let mut later = catalogs.clone();
            let mut tracked = tracker.clone();
            tracked.begin(&catalogs, pattern);
            way.read(catalog, &row, &catalogs, &besides, cancel)?;
            let unread = way.apply(&row, &mut later, &mut |timeline, change| tracked.change(pattern, timeline, change));
            if let Some(index) = unread {
                // Most transactions end at once. Some never do, in a server that crashed: then all is read.
                besides = index..index + at_a_time;
                at_a_time *= 2;
                continue;
            }
            besides = 0..0;
            if later.files().all(|file| known.contains(&file)) {
                tracker = tracked;
                break;
            }
            catalogs.foresee(&later);
        }
    }
    tracker.finish(pattern, snapshot.info.backup_id, way.unread.len() as u64)
}

/// The WAL behind a backup, on all timelines that it leads to.
struct Way {
    redo: Lsn,
    rows: Vec<(TimelinePath, WalRow)>,
    /// Segments of which the ledger knows that names do not change in them.
    quiet: BTreeSet<SegmentName>,
    /// What was read of each segment, for these files.
    notes: BTreeMap<SegmentName, Vec<CatalogNote>>,
    files: HashSet<RelFileLocator>,
    unread: BTreeSet<SegmentName>,
}

impl Way {
    fn of(catalog: &Catalog, info: &BackupInfo) -> Result<Self, PlanError> {
        let incomplete = |field| PlanError::IncompleteRecord { id: info.backup_id, field };
        let (begin, end) = (info.begin_xlog.ok_or(incomplete("begin_xlog"))?, info.end_xlog);
        let own = info.timeline.ok_or(incomplete("timeline"))?;
        let first = info.begin_wal.and_then(|name| name.number(info.xlog_segment_size).ok());
        let first = first.ok_or(incomplete("begin_wal"))?;
        let mut archived = BTreeMap::new();
        catalog.xlog_db()?.scan(|line| {
            archived.extend(line.segment().map(|name| (WalFileName::Segment(name), line.size)));
            Ok::<_, barman_catalog::Error>(())
        })?;
        let (mut rows, mut quiet) = (Vec::new(), BTreeSet::new());
        for timeline in std::iter::once(own).chain(catalog.reachable_timelines(info)?) {
            let history = catalog.timeline_history(timeline)?;
            let history = history.unwrap_or_else(|| TimelineHistory::without_ancestors(timeline));
            let Ok(path) = TimelinePath::find(own, end.unwrap_or(begin), &history) else { continue };
            let size = info.xlog_segment_size;
            let source = RowSource { catalog, archived: &archived, path: &path, size, unfinished: false };
            let row = source.row(first)?;
            quiet.extend(quiet_segments(catalog, &row, end.unwrap_or(Lsn::MAX))?);
            rows.push((path, row));
        }
        let (notes, files, unread) = (BTreeMap::new(), HashSet::new(), BTreeSet::new());
        Ok(Self { redo: begin, rows, quiet, notes, files, unread })
    }

    /// Reads what is not read yet: the segments in which names change, and those `besides`.
    fn read(
        &mut self,
        catalog: &Catalog,
        (_, row): &(TimelinePath, WalRow),
        catalogs: &Catalogs,
        besides: &Range<usize>,
        cancel: &Cancel,
    ) -> Result<(), FindError> {
        let wanted: HashSet<_> = catalogs.files().collect();
        if !wanted.is_subset(&self.files) {
            self.notes.clear();
            self.files.extend(wanted);
        }
        let (files, were_moved) = (&self.files, catalogs.were_moved());
        let is_due = |(index, segment): &(usize, &RowSegment)| {
            let is_loud = were_moved || besides.contains(index) || !self.quiet.contains(&segment.name);
            is_loud && !self.notes.contains_key(&segment.name)
        };
        let due: Vec<_> = row.segments.iter().enumerate().filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let (due, lost) = there_and_lost(catalog, due, |(_, segment)| segment.file)?;
        for (_, segment) in lost {
            self.notes.insert(segment.name, Vec::new());
            self.unread.insert(segment.name);
        }
        let read = side_by_side(due.len(), cancel, |index| {
            let segments = due.get(index).and_then(|(index, _)| row.segments.get(*index..)).unwrap_or_default();
            let mut notes = Vec::new();
            let is_read = records_of_first(catalog, row.size, segments, WALK, &mut |record| {
                CatalogNote::add(record, |file| files.contains(file), &mut notes);
            })?;
            Ok((segments.first().map(|segment| segment.name), notes, is_read))
        })?;
        for (name, notes, is_read) in read {
            let Some(name) = name else { continue };
            self.notes.insert(name, notes);
            if !is_read {
                self.unread.insert(name);
            }
        }
        Ok(())
    }

    /// Carries the catalogs on. Where transactions that changed names may go on, or end, in a segment that was not read, that
    /// is returned instead.
    fn apply(
        &self,
        (path, row): &(TimelinePath, WalRow),
        catalogs: &mut Catalogs,
        changed: &mut dyn FnMut(TimelineId, CatalogChange),
    ) -> Option<usize> {
        for (index, segment) in row.segments.iter().enumerate() {
            let Some(notes) = self.notes.get(&segment.name) else {
                if catalogs.has_unended() {
                    return Some(index);
                }
                continue;
            };
            let is_replayed = |lsn| lsn >= self.redo && segment.limit.is_none_or(|limit| lsn < limit);
            for note in notes.iter().filter(|note| is_replayed(note.lsn)) {
                if let Some(change) = catalogs.apply(note) {
                    changed(path.timeline_at(note.lsn), change);
                }
            }
        }
        None
    }
}

/// The segments behind the end of a backup in which names do not change, as far as the ledger knows. Up to there all is read:
/// what is torn in the backup's files comes whole in the WAL.
fn quiet_segments(catalog: &Catalog, row: &WalRow, backup_end: Lsn) -> Result<Vec<SegmentName>, PlanError> {
    let mut ledger = catalog.ledger_reader()?;
    let (mut quiet, mut next_is_quiet) = (Vec::new(), true);
    for segment in row.segments.iter().rev().take_while(|segment| segment.number.start(row.size) >= backup_end) {
        let facts = ledger.facts(&segment.file)?.filter(|facts| facts.verdict == Verdict::Verified);
        let records = facts.and_then(|facts| facts.records.as_ref());
        let own_are_quiet = |records: &RecordFacts| records.names_changed == Some(false);
        let is_quiet = facts.is_some() && records.is_none_or(own_are_quiet);
        // A record that crosses into the next segment is noted there.
        let ends_at_border = records.is_some_and(|records| records.end == segment.number.end(row.size));
        quiet.extend((is_quiet && (ends_at_border || next_is_quiet)).then_some(segment.name));
        next_is_quiet = is_quiet;
    }
    Ok(quiet)
}

const WALK: Walk = Walk { checksums: true, wanted: |header| CatalogNote::is_wanted(header.manager) };
