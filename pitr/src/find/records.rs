//! Reading archived WAL record by record, several segments side by side.

use std::io::Read as _;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use barman_catalog::Catalog;
use barman_storage::{Cancel, Cancelled};
use wal_format::{Item, Lsn, Pending, Record, RecordReader, SegmentSize, Source, WalFileName, Walk};

use super::FindError;
use super::archived::contents;
use crate::plan_error::PlanError;
use crate::stop::wal_row::RowSegment;

/// Does something for each of `count` numbers, on all processors, and returns what came of it in their order.
pub(super) fn side_by_side<T: Send>(
    count: usize,
    cancel: &Cancel,
    work: impl Fn(usize) -> Result<T, PlanError> + Sync,
) -> Result<Vec<T>, FindError> {
    let threads = processors().min(count.max(1));
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(done);
            }
            cancel.check()?;
            done.push((index, work(index)?));
        }
    };
    let done: Vec<Result<_, FindError>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take_turns)).collect();
        let own = take_turns();
        let theirs = others.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Cancelled.into())));
        std::iter::once(own).chain(theirs).collect()
    });
    let mut all = Vec::with_capacity(count);
    for part in done {
        all.extend(part?);
    }
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// How many threads there are to work at once.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Divides segments into those that are there and those that are gone, which are not looked for one by one.
pub(super) fn there_and_lost<T>(
    catalog: &Catalog,
    segments: Vec<T>,
    file: impl Fn(&T) -> WalFileName,
) -> Result<(Vec<T>, Vec<T>), PlanError> {
    let mut listing = catalog.wal_listing()?;
    let (mut there, mut lost) = (Vec::new(), Vec::new());
    for segment in segments {
        if listing.has(&file(&segment))? { there.push(segment) } else { lost.push(segment) }
    }
    Ok((there, lost))
}

/// Shows `visit` the records that begin in the first of some segments; the others are there for the one that crosses its end.
/// Returns whether the segment can be read here.
pub(super) fn records_of_first(
    catalog: &Catalog,
    size: SegmentSize,
    segments: &[RowSegment],
    walk: Walk,
    visit: &mut dyn FnMut(&Record<'_>),
) -> Result<bool, PlanError> {
    const BUFFER_BYTES: usize = 256 * 1024;
    let Some(first) = segments.first() else { return Ok(false) };
    let mut buffer = vec![0; BUFFER_BYTES];
    let source = |segment: &RowSegment| if segment.is_whole() { Source::Complete } else { Source::Open };
    let start = first.number.start(size);
    let mut reader = RecordReader::new(start, first.name.timeline, size, source(first)).with_walk(walk);
    let end = first.number.end(size);
    for segment in segments {
        let is_first = segment.number == first.number;
        if !is_first && !crosses_border(&reader) {
            break;
        }
        reader.begin_segment(segment.name.timeline, source(segment));
        let Some(mut contents) = contents(catalog, segment)? else { return Ok(!is_first) };
        loop {
            // What is broken where it lies ends recovery, too.
            let length = contents.read(&mut buffer).unwrap_or(0);
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            let limit = segment.limit.unwrap_or(Lsn::MAX).min(end);
            if take(&mut reader, bytes, limit, visit).is_break() {
                return Ok(true);
            }
        }
    }
    Ok(true)
}

/// Breaks at the first record that is not of the segment, and where the WAL cannot be believed.
fn take(
    reader: &mut RecordReader,
    mut bytes: &[u8],
    limit: Lsn,
    visit: &mut dyn FnMut(&Record<'_>),
) -> ControlFlow<()> {
    loop {
        match reader.next(&mut bytes) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(Item::Record(record))) if record.start < limit => visit(&record),
            Ok(Some(Item::Passed(passed))) if passed.start < limit => {}
            _ => return ControlFlow::Break(()),
        }
    }
}

fn crosses_border(reader: &RecordReader) -> bool {
    let pending = reader.border_state().map(|state| state.pending);
    pending.is_some_and(|pending| matches!(pending, Pending::Record { .. } | Pending::Begun(_)))
}
