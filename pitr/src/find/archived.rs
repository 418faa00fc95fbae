//! The archived segments of all timelines, and reading what lies around a place in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use barman_catalog::{Catalog, Facts, LedgerReader, Partial, WalEvent};
use barman_storage::Cancel;
use wal_format::{Lsn, RelFileLocator, SegmentNumber, SegmentSize, TimelineHistory, TimelineId, WalFileName};

use super::FindError;
use super::followed::{Happening, What};
use super::records::{processors, side_by_side, there_and_lost};
use super::story::{Fate, Story};
use crate::names::NamedRelation;
use crate::plan_error::PlanError;
use crate::stop::TransactionPoint;
use crate::stop::rule::Mark;
use crate::stop::segment_reader::SegmentReader;
use crate::stop::wal_row::{RowSegment, WalRow};

/// How far from something that a transaction did its end or its beginning is looked for, in segments.
pub(super) const REACH: usize = 64;

/// Is told what is known of a segment.
type Visit<'v> = dyn FnMut(Place, Option<&Facts>) -> Result<(), PlanError> + 'v;

/// The archived segments.
pub(super) struct Archived<'a> {
    catalog: &'a Catalog,
    size: SegmentSize,
    /// Rows of segments that follow each other, by timeline and position.
    rows: Vec<WalRow>,
    histories: BTreeMap<TimelineId, TimelineHistory>,
    /// For questions about one segment: those that follow each other are in one journal, which is read once.
    ledger: Mutex<LedgerReader>,
}

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    row: usize,
    index: usize,
}

impl<'a> Archived<'a> {
    pub(super) fn list(catalog: &'a Catalog) -> Result<Self, PlanError> {
        let size = catalog.wal_segment_size()?;
        let mut names: BTreeSet<(TimelineId, SegmentNumber)> = BTreeSet::new();
        catalog.xlog_db()?.scan(|line| {
            let found = line.segment().and_then(|name| Some((name.timeline, name.number(size).ok()?)));
            names.extend(found);
            Ok::<_, barman_catalog::Error>(())
        })?;
        let mut histories = BTreeMap::new();
        for timeline in names.iter().map(|(timeline, _)| *timeline).collect::<BTreeSet<_>>() {
            histories.extend(catalog.timeline_history(timeline)?.map(|history| (timeline, history)));
        }
        let ledger = Mutex::new(catalog.ledger_reader()?);
        Ok(Self { catalog, size, rows: rows(names, size), histories, ledger })
    }

    /// Where each timeline came from that has segments.
    pub(super) fn histories(&self) -> &BTreeMap<TimelineId, TimelineHistory> {
        &self.histories
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(row, segments)| (0..segments.segments.len()).map(move |index| Place { row, index }))
    }

    pub(super) fn file(&self, place: Place) -> WalFileName {
        let segment = self.rows.get(place.row).and_then(|row| row.segments.get(place.index));
        segment.map_or(WalFileName::History(TimelineId::FIRST), |segment| segment.file)
    }

    /// Shows what is known of each segment, in order. Those that the ledger does not know are read.
    pub(super) fn for_each_facts(&self, cancel: &Cancel, visit: &mut Visit<'_>) -> Result<(), FindError> {
        let mut ledger = self.catalog.ledger_reader().map_err(PlanError::from)?;
        let mut unknown = Vec::new();
        for place in self.places() {
            cancel.check()?;
            match ledger.facts(&self.file(place)).map_err(PlanError::from)? {
                None => unknown.push(place),
                Some(facts) => {
                    self.read_facts(std::mem::take(&mut unknown), cancel, visit)?;
                    visit(place, Some(facts))?;
                }
            }
        }
        self.read_facts(unknown, cancel, visit)
    }

    /// Reads segments that follow each other, several runs of them side by side: each run reads the segment before it, too.
    fn read_facts(&self, places: Vec<Place>, cancel: &Cancel, visit: &mut Visit<'_>) -> Result<(), FindError> {
        const LONGEST_RUN: usize = 32;
        // Between two segments that the ledger knows there are none: neither directories nor processors are looked at for that.
        if places.is_empty() {
            return Ok(());
        }
        let (places, lost) = there_and_lost(self.catalog, places, |place| self.file(*place))?;
        // Few segments are divided, too.
        let run = places.len().div_ceil(processors()).clamp(1, LONGEST_RUN);
        let runs: Vec<&[Place]> = places.chunks(run).collect();
        let read = side_by_side(runs.len(), cancel, |index| {
            let run = runs.get(index).copied().unwrap_or_default();
            let names: Vec<_> = run.iter().map(|place| self.file(*place)).collect();
            Ok(self.catalog.read_facts(&names, cancel)?)
        })?;
        for (place, facts) in places.iter().zip(read.into_iter().flatten()) {
            visit(*place, facts.as_ref())?;
        }
        lost.into_iter().try_for_each(|place| Ok(visit(place, None)?))
    }

    /// What a relation became that has another file now.
    pub(super) fn fate_of_new_file(&self, happening: &Happening, after: &NamedRelation) -> Result<Fate, PlanError> {
        let What::NewFile { by_way_of_another, .. } = happening.what else { return Ok(Fate::Dropped) };
        let tablespace = |file: Option<RelFileLocator>| file.map(|file| file.tablespace);
        let has_moved = tablespace(happening.before.file) != tablespace(after.file);
        let holds_rows = matches!(after.kind, b'r' | b'm' | b't');
        if by_way_of_another || has_moved || !holds_rows {
            return Ok(Fate::Rewritten);
        }
        let Some((place, file)) = self.place_of(happening.timeline, happening.lsn).zip(after.file) else {
            return Ok(Fate::CannotTell);
        };
        let story = self.story(place, happening.lsn)?;
        Ok(story
            .map_or(Fate::CannotTell, |story| if story.has_filled(file) { Fate::Rewritten } else { Fate::Truncated }))
    }

    /// The segment that a record begins in.
    fn place_of(&self, timeline: TimelineId, lsn: Lsn) -> Option<Place> {
        let number = SegmentNumber::containing(lsn, self.size);
        self.places().find(|place| {
            let segment = self.rows.get(place.row).and_then(|row| row.segments.get(place.index));
            segment.is_some_and(|segment| segment.number == number) && self.timeline_at(*place, lsn) == timeline
        })
    }

    /// The next transaction of a checkpoint near a segment.
    pub(super) fn next_xid_near(&self, place: Place) -> Result<Option<u64>, PlanError> {
        match self.file(place) {
            WalFileName::Segment(name) => {
                Ok(self.ledger.lock().unwrap_or_else(PoisonError::into_inner).next_xid_near(&name)?)
            }
            _ => Ok(None),
        }
    }

    /// The same of the segment that a record begins in.
    pub(super) fn next_xid_at(&self, timeline: TimelineId, lsn: Lsn) -> Result<Option<u64>, PlanError> {
        self.place_of(timeline, lsn).map_or(Ok(None), |place| self.next_xid_near(place))
    }

    /// The timeline of a record: a segment in which one begins holds the end of the one before.
    pub(super) fn timeline_at(&self, place: Place, lsn: Lsn) -> TimelineId {
        let row = self.rows.get(place.row).and_then(|row| row.segments.first());
        let timeline = row.map_or(TimelineId::FIRST, |segment| segment.name.timeline);
        self.histories.get(&timeline).map_or(timeline, |history| history.timeline_at(lsn))
    }

    /// The transactions that ended in a segment.
    pub(super) fn transaction_ends(&self, place: Place) -> Result<Vec<TransactionPoint>, PlanError> {
        let mut ends = Vec::new();
        self.read(place, &mut |mark| {
            ends.extend(mark.transaction());
            ControlFlow::Continue(())
        })?;
        Ok(ends)
    }

    /// The end of the transaction that did something, there or in the segments behind it.
    pub(super) fn end_of(&self, place: Place, event: &WalEvent) -> Result<Option<TransactionPoint>, PlanError> {
        let Some(xid) = event.xid else { return Ok(None) };
        for index in place.index..place.index.saturating_add(REACH) {
            let mut found = None;
            let is_there = self.read(Place { index, ..place }, &mut |mark| match mark {
                Mark::TransactionEnd(end, subtransactions) if end.xid == xid || subtransactions.contains(&xid) => {
                    found = Some(*end);
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })?;
            if found.is_some() || !is_there {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// All that the transaction did that ended at `lsn`.
    pub(super) fn story(&self, place: Place, lsn: Lsn) -> Result<Option<Story>, PlanError> {
        let Some(row) = self.rows.get(place.row) else { return Ok(None) };
        let first = place.index.saturating_sub(REACH);
        // The nearest segments hold most transactions whole; one that began further back is read again from there.
        let mut from = place.index.saturating_sub(1);
        loop {
            let segments = row.segments.get(from..=place.index).unwrap_or_default();
            match Story::read(self.catalog, self.size, segments, lsn)? {
                Some(story) if story.began() || from == first => return Ok(Some(story)),
                None => return Ok(None),
                Some(_) => from = from.saturating_sub(4).max(first),
            }
        }
    }

    /// Shows the marks of a segment; returns whether there is one.
    fn read(&self, place: Place, visit: &mut dyn FnMut(&Mark) -> ControlFlow<()>) -> Result<bool, PlanError> {
        let Some(row) = self.rows.get(place.row).filter(|row| place.index < row.segments.len()) else {
            return Ok(false);
        };
        let mut ledger = self.catalog.ledger_reader()?;
        let mut reader = SegmentReader::new(self.catalog, row, Lsn::new(0));
        reader.read(place.index, &mut ledger, &mut |_, step| visit(&step.mark))?;
        Ok(true)
    }
}

fn rows(names: BTreeSet<(TimelineId, SegmentNumber)>, size: SegmentSize) -> Vec<WalRow> {
    let mut rows: Vec<WalRow> = Vec::new();
    for (timeline, number) in names {
        let name = number.name(timeline, size);
        let segment = RowSegment { number, file: WalFileName::Segment(name), name, stored_bytes: None, limit: None };
        let follows = |row: &&mut WalRow| {
            let last = row.segments.last();
            last.is_some_and(|last| last.name.timeline == timeline && last.number.next() == number)
        };
        match rows.last_mut().filter(follows) {
            Some(row) => row.segments.push(segment),
            None => rows.push(WalRow { size, segments: vec![segment] }),
        }
    }
    rows
}

/// Opens a segment for reading; `None` if it is gone or cannot be read here.
pub(super) fn contents(
    catalog: &Catalog,
    segment: &RowSegment,
) -> Result<Option<Box<dyn std::io::Read + Send>>, PlanError> {
    let Some(stored) = catalog.find_wal(&segment.file, Partial::Exclude)? else { return Ok(None) };
    match stored.contents() {
        Err(barman_catalog::Error::Encoded { .. }) => Ok(None),
        contents => Ok(Some(contents?)),
    }
}
