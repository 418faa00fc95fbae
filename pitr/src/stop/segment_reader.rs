//! Reads the records of single segments of a row, with the one that begins before each.

use std::io::Read as _;
use std::ops::ControlFlow;

use barman_catalog::{ArchivedSegment, Catalog, LedgerReader, Partial, Verdict};
use barman_storage::Operation;
use wal_format::{
    BorderState, Item, Lsn, Pending, RecordHeader, RecordReader, ResourceManager, SegmentName, Source, Walk,
};

use super::TransactionPoint;
use super::rule::{Mark, Step};
use super::wal_row::{RowSegment, WalRow};
use crate::plan_error::PlanError;

/// What came before a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// Where the last record begins.
    pub(crate) last: Option<Lsn>,
    /// Where it ends.
    pub(crate) end: Option<Lsn>,
    /// The last end of a transaction that was seen.
    pub(crate) transaction: Option<TransactionPoint>,
    /// The segment from which on everything was seen.
    pub(crate) since: usize,
}

/// How far reading a segment got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Its end.
    Border,
    /// Where the visitor had seen enough.
    Enough,
    /// A position in it behind which there is no WAL that can be believed.
    EndOfWal(Lsn),
    /// Nothing: the segment cannot be read here.
    Unreadable(SegmentName),
}

/// Reads segments of a row; cheapest in order.
pub(crate) struct SegmentReader<'a> {
    catalog: &'a Catalog,
    row: &'a WalRow,
    /// Where recovery begins: what lies before is not replayed.
    redo: Lsn,
    pub(crate) past: Past,
    /// The segment that reading ended in because it cannot be believed, or has an end.
    pub(crate) broken: Option<SegmentName>,
    /// The segment that comes next, and what stands at its border.
    next: Option<(usize, BorderState)>,
    buffer: Vec<u8>,
}

impl<'a> SegmentReader<'a> {
    pub(crate) fn new(catalog: &'a Catalog, row: &'a WalRow, redo: Lsn) -> Self {
        const BUFFER_BYTES: usize = 256 * 1024;
        Self { catalog, row, redo, past: Past::default(), broken: None, next: None, buffer: vec![0; BUFFER_BYTES] }
    }

    /// Shows `visit` each record that ends in segment `index`, with what came before it.
    pub(crate) fn read(
        &mut self,
        index: usize,
        ledger: &mut LedgerReader,
        visit: &mut dyn FnMut(&Past, &Step) -> ControlFlow<()>,
    ) -> Result<Reached, PlanError> {
        let is_next = self.next.as_ref().is_some_and(|(next, _)| *next == index);
        if !is_next {
            match self.approach(index, ledger)? {
                Reached::Border => {}
                other => return Ok(other),
            }
        }
        self.read_on(index, visit)
    }

    /// Gets to the border in front of a segment, from as far back as the record begins that crosses it.
    fn approach(&mut self, index: usize, ledger: &mut LedgerReader) -> Result<Reached, PlanError> {
        let mut from = index;
        while from > 0 && !self.begins_cleanly(from, ledger)? {
            from -= 1;
            self.begin_at(from);
            match self.read_on(from, &mut |_, _| ControlFlow::Continue(()))? {
                Reached::Border if self.knows_border() => break,
                Reached::Border => {}
                other => return Ok(other),
            }
        }
        if from == index {
            self.begin_at(index);
            return Ok(Reached::Border);
        }
        for between in from + 1..index {
            match self.read_on(between, &mut |_, _| ControlFlow::Continue(()))? {
                Reached::Border => {}
                other => return Ok(other),
            }
        }
        Ok(Reached::Border)
    }

    /// Whether the ledger proves that no record crosses into a segment.
    fn begins_cleanly(&self, index: usize, ledger: &mut LedgerReader) -> Result<bool, PlanError> {
        let Some(before) = index.checked_sub(1).and_then(|before| self.row.segments.get(before)) else {
            return Ok(true);
        };
        let facts = ledger.facts(&before.file)?.filter(|facts| facts.verdict == Verdict::Verified);
        let end = facts.and_then(|facts| facts.records.as_ref()).map(|records| records.end);
        Ok(end == Some(before.number.end(self.row.size)))
    }

    fn begin_at(&mut self, index: usize) {
        self.next = None;
        // What a segment before this one that is known to end with a record left behind is not looked up.
        let border = self.row.segments.get(index).map(|segment| segment.number.start(self.row.size));
        self.past = Past { last: None, end: border.filter(|_| index > 0), transaction: None, since: index };
    }

    fn knows_border(&self) -> bool {
        let pending = self.next.as_ref().map(|(_, state)| &state.pending);
        pending.is_some_and(|pending| !matches!(pending, Pending::Unknown | Pending::Rest { .. }))
    }

    fn read_on(
        &mut self,
        index: usize,
        visit: &mut dyn FnMut(&Past, &Step) -> ControlFlow<()>,
    ) -> Result<Reached, PlanError> {
        let Some(segment) = self.row.segments.get(index).copied() else { return Ok(Reached::Border) };
        let reached = self.read_segment(index, &segment, visit)?;
        self.broken = matches!(reached, Reached::EndOfWal(_)).then_some(segment.name);
        Ok(reached)
    }

    fn read_segment(
        &mut self,
        index: usize,
        segment: &RowSegment,
        visit: &mut dyn FnMut(&Past, &Step) -> ControlFlow<()>,
    ) -> Result<Reached, PlanError> {
        let mut reader = self.reader(segment);
        let Some(stored) = self.catalog.find_wal(&segment.file, Partial::Include)? else {
            return Ok(Reached::EndOfWal(segment.number.start(self.row.size)));
        };
        let mut contents = match stored.contents() {
            Err(barman_catalog::Error::Encoded { .. }) => return Ok(Reached::Unreadable(segment.name)),
            contents => contents?,
        };
        let limit = segment.limit.unwrap_or(Lsn::MAX);
        let mut buffer = std::mem::take(&mut self.buffer);
        let reached = loop {
            let length = match contents.read(&mut buffer) {
                Ok(length) => length,
                // Broken where it lies: recovery gets no further either.
                Err(error) if error.raw_os_error().is_none() => break Some(Reached::EndOfWal(reader.position())),
                Err(error) => return Err(unreadable(&stored, error)),
            };
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break None };
            if let Some(reached) = self.take(&mut reader, bytes, limit, visit) {
                break Some(reached);
            }
        };
        self.buffer = buffer;
        let reached = reached.unwrap_or_else(|| self.finish(&reader, segment));
        self.next = reader.border_state().filter(|_| reached == Reached::Border).map(|state| (index + 1, state));
        Ok(reached)
    }

    fn reader(&mut self, segment: &RowSegment) -> RecordReader {
        // The end of a timeline is where its last segment was left: what is behind it is no damage.
        let source = if segment.is_whole() { Source::Complete } else { Source::Open };
        let timeline = segment.name.timeline;
        let reader = match self.next.take() {
            Some((_, state)) => RecordReader::resume(state, timeline, source),
            None => RecordReader::new(segment.number.start(self.row.size), timeline, self.row.size, source),
        };
        reader.with_walk(Walk { checksums: true, wanted: is_wanted })
    }

    fn take(
        &mut self,
        reader: &mut RecordReader,
        mut bytes: &[u8],
        limit: Lsn,
        visit: &mut dyn FnMut(&Past, &Step) -> ControlFlow<()>,
    ) -> Option<Reached> {
        loop {
            let step = match reader.next(&mut bytes) {
                Ok(None) => return None,
                Ok(Some(Item::Record(record))) => {
                    let of_transactions = record.header.manager == ResourceManager::TRANSACTION;
                    Step { start: record.start, end: record.end, of_transactions, mark: Mark::of(&record) }
                }
                Ok(Some(Item::Passed(passed))) => {
                    Step { start: passed.start, end: passed.end, of_transactions: false, mark: Mark::Other }
                }
                Ok(Some(Item::Skipped(range))) => return Some(Reached::EndOfWal(range.start)),
                Ok(Some(Item::End(end))) => return Some(Reached::EndOfWal(end.at)),
                Err(damage) => return Some(Reached::EndOfWal(damage.at)),
            };
            if step.start >= limit {
                return Some(Reached::EndOfWal(limit));
            }
            if step.start < self.redo {
                continue;
            }
            if visit(&self.past, &step).is_break() {
                return Some(Reached::Enough);
            }
            self.past.last = Some(step.start);
            self.past.end = Some(step.end);
            self.past.transaction = step.mark.transaction().or(self.past.transaction);
        }
    }

    fn finish(&self, reader: &RecordReader, segment: &RowSegment) -> Reached {
        let end = segment.number.end(self.row.size);
        match segment.limit {
            Some(limit) => Reached::EndOfWal(limit),
            None if reader.border_state().is_some() && reader.position() == end => Reached::Border,
            None => Reached::EndOfWal(self.past.end.unwrap_or(reader.position())),
        }
    }
}

fn unreadable(stored: &ArchivedSegment, error: std::io::Error) -> PlanError {
    barman_storage::Error::new(Operation::Read, stored.display_path(), error).into()
}

/// What can be a target, or tells the time.
fn is_wanted(header: &RecordHeader) -> bool {
    matches!(header.manager, ResourceManager::TRANSACTION | ResourceManager::XLOG)
}
