//! Which files of the WAL archive a recovery needs.

use std::collections::{BTreeMap, BTreeSet};

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, WalFileName};

use crate::target::StopPoint;
use crate::timeline_path::TimelinePath;

/// The WAL that a recovery replays.
#[derive(Clone, Debug)]
pub(crate) struct WalRange<'a> {
    /// The timelines it lies on.
    pub(crate) path: &'a TimelinePath,
    /// Size of a segment.
    pub(crate) size: SegmentSize,
    /// The first segment.
    pub(crate) first: SegmentNumber,
    /// The last segment; `None` for all that there is.
    pub(crate) last: Option<SegmentNumber>,
}

/// A file to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectedWal {
    /// Its name in the archive.
    pub(crate) archived: WalFileName,
    /// Its name where the server looks for it: that of the whole segment, where the archive has an incomplete one.
    pub(crate) name: WalFileName,
}

impl SelectedWal {
    fn whole(name: WalFileName) -> Self {
        Self { archived: name, name }
    }

    /// An incomplete segment, which the server reads like a whole one up to where it ends.
    pub(crate) fn partial(segment: SegmentName) -> Self {
        Self { archived: WalFileName::Partial(segment), name: WalFileName::Segment(segment) }
    }
}

/// Segments that recovery will look for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingWal {
    /// The first of them, under the name of the newest timeline that it can lie on.
    pub first: SegmentName,
    /// How many they are.
    pub count: u64,
}

impl WalRange<'_> {
    /// Returns the last segment that a recovery to `stop` can need, from a backup that is consistent at `consistent` and needs
    /// segments up to `backup_end`.
    pub(crate) fn last_segment(
        stop: Option<&StopPoint>,
        consistent: Lsn,
        backup_end: SegmentNumber,
        size: SegmentSize,
    ) -> Option<SegmentNumber> {
        match stop {
            // The record behind the end is read before recovery stops.
            Some(StopPoint::Immediate) => Some(SegmentNumber::containing(consistent, size).max(backup_end)),
            Some(StopPoint::Lsn(lsn)) => {
                // Never before the end of the backup; it could not become consistent.
                let last = lsn.checked_add(TWO_RECORDS_BYTES)?;
                Some(SegmentNumber::containing(last, size).max(backup_end))
            }
            _ => None,
        }
    }

    /// Returns whether recovery wants this file of the archive: it lies in the range, or is one of the history files, from
    /// which PostgreSQL learns which timelines there are. With `partial`, incomplete segments are wanted, too.
    pub(crate) fn wants(&self, archived: &WalFileName, partial: bool) -> bool {
        match archived {
            WalFileName::History(_) => true,
            WalFileName::Segment(segment) | WalFileName::BackupLabel { segment, .. } => self.has(*segment),
            WalFileName::Partial(segment) => partial && self.has(*segment),
        }
    }

    /// Selects from the names in the archive what recovery wants. Of an incomplete segment and a whole one, it is the whole
    /// one.
    pub(crate) fn select<'n>(
        &self,
        archived: impl IntoIterator<Item = &'n WalFileName>,
        partial: bool,
    ) -> Vec<SelectedWal> {
        let mut selected = BTreeMap::new();
        for archived in archived.into_iter().filter(|archived| self.wants(archived, partial)) {
            match archived {
                WalFileName::Partial(segment) => {
                    selected.entry(segment.to_string()).or_insert(SelectedWal::partial(*segment));
                }
                whole => {
                    selected.insert(whole.to_string(), SelectedWal::whole(*whole));
                }
            }
        }
        selected.into_values().collect()
    }

    /// Returns the segment behind the last selected one, on the last timeline: the one that is still being received.
    pub(crate) fn next_segment(&self, selected: &[SelectedWal]) -> Option<SegmentName> {
        let newest = self.numbers(selected).last().map_or(self.first, SegmentNumber::next);
        self.path.names(newest, self.size).next()
    }

    /// Returns the holes in the selection: from the first segment of the range to `until`, or to the last one selected.
    pub(crate) fn missing(&self, selected: &[SelectedWal], until: Option<SegmentNumber>) -> Vec<MissingWal> {
        let mut missing = Vec::new();
        let mut expected = self.first;
        let numbers = self.numbers(selected).filter(|number| until.is_none_or(|until| *number <= until));
        // The segment behind `until` counts as there, so that a hole in front of it has an end.
        for number in numbers.chain(until.map(SegmentNumber::next)) {
            if number > expected {
                missing.extend(self.missing_between(expected, number));
            }
            expected = expected.max(number.next());
        }
        missing
    }

    fn missing_between(&self, first: SegmentNumber, end: SegmentNumber) -> Option<MissingWal> {
        let name = self.path.names(first, self.size).next()?;
        Some(MissingWal { first: name, count: end.get() - first.get() })
    }

    /// The numbers of the selected segments, ascending.
    fn numbers(&self, selected: &[SelectedWal]) -> impl DoubleEndedIterator<Item = SegmentNumber> + use<> {
        let number = |wal: &SelectedWal| match &wal.name {
            WalFileName::Segment(segment) => segment.number(self.size).ok(),
            _ => None,
        };
        let numbers: BTreeSet<_> = selected.iter().filter_map(number).collect();
        numbers.into_iter()
    }

    fn has(&self, segment: SegmentName) -> bool {
        let in_range = |number| number >= self.first && self.last.is_none_or(|last| number <= last);
        self.path.has(segment, self.size) && segment.number(self.size).is_ok_and(in_range)
    }
}

/// How far behind a target LSN recovery can have to read. It stops at the first record that starts there or later, and
/// that one has to be read whole: the record in progress at the LSN and the one that follows. PostgreSQL's longest record
/// has 1020 MiB (`XLogRecordMaxSize`), less than 1 GiB with the page headers in it.
const TWO_RECORDS_BYTES: u64 = 2 << 30;

#[cfg(test)]
mod tests;
