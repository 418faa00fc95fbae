//! The WAL that a recovery will read: segment after segment, up to the first that is missing.

use std::collections::BTreeMap;

use barman_catalog::{Catalog, Partial};
use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, WalFileName};

use crate::plan_error::PlanError;
use crate::timeline_path::TimelinePath;

/// Segments that follow each other, as PostgreSQL will find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalRow {
    pub(crate) size: SegmentSize,
    pub(crate) segments: Vec<RowSegment>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowSegment {
    pub(crate) number: SegmentNumber,
    /// What it is called where it is stored: whole, or what there is of it.
    pub(crate) file: WalFileName,
    pub(crate) name: SegmentName,
    /// Its length where it is stored, in bytes, if the index of the archive knows it.
    pub(crate) stored_bytes: Option<u64>,
    /// Where recovery has to leave it for a timeline whose segment is missing.
    pub(crate) limit: Option<Lsn>,
}

impl RowSegment {
    /// Whether it was completed.
    pub(crate) const fn is_whole(&self) -> bool {
        matches!(self.file, WalFileName::Segment(_))
    }
}

/// Where to look for it.
pub(crate) struct RowSource<'a> {
    pub(crate) catalog: &'a Catalog,
    /// The archived files, with their lengths as stored.
    pub(crate) archived: &'a BTreeMap<WalFileName, u64>,
    pub(crate) path: &'a TimelinePath,
    pub(crate) size: SegmentSize,
    /// Whether the server gets segments that were never completed, and those that are not archived yet.
    pub(crate) unfinished: bool,
}

impl RowSource<'_> {
    /// Lines the segments up from `first` on.
    pub(crate) fn row(&self, first: SegmentNumber) -> Result<WalRow, PlanError> {
        let mut row = WalRow { size: self.size, segments: Vec::new() };
        let mut number = first;
        while let Some(segment) = self.segment(number)? {
            row.segments.push(segment);
            if segment.limit.is_some() || !segment.is_whole() {
                break;
            }
            number = number.next();
        }
        Ok(row)
    }

    /// As PostgreSQL does, looks for the newest timeline first (`XLogFileReadAnyTLI`).
    fn segment(&self, number: SegmentNumber) -> Result<Option<RowSegment>, PlanError> {
        for (index, name) in self.path.names(number, self.size).enumerate() {
            let Some((file, stored_bytes)) = self.file(name)? else { continue };
            // What an older timeline wrote behind the branch is not part of this history.
            let limit = if index == 0 { None } else { self.path.end_of(name.timeline) };
            return Ok(Some(RowSegment { number, file, name, stored_bytes, limit }));
        }
        Ok(None)
    }

    fn file(&self, name: SegmentName) -> Result<Option<(WalFileName, Option<u64>)>, PlanError> {
        let whole = WalFileName::Segment(name);
        if let Some(bytes) = self.archived.get(&whole) {
            return Ok(Some((whole, Some(*bytes))));
        }
        if !self.unfinished {
            return Ok(None);
        }
        let found = self.catalog.find_wal(&whole, Partial::Include)?;
        Ok(found.map(|stored| (stored.name, Some(stored.size))))
    }
}

impl WalRow {
    /// Returns where the row ends: behind its last segment, at most.
    pub(crate) fn end(&self) -> Option<Lsn> {
        self.segments.last().map(|last| last.limit.unwrap_or_else(|| last.number.end(self.size)))
    }

    /// Returns the index of the segment with this position.
    pub(crate) fn index_of(&self, lsn: Lsn) -> Option<usize> {
        let first = self.segments.first()?.number.get();
        let index = SegmentNumber::containing(lsn, self.size).get().checked_sub(first)?;
        usize::try_from(index).ok().filter(|index| *index < self.segments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barman_catalog::{LocalZone, ServerLayout};
    use wal_format::{TimelineHistory, TimelineId};

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    /// Timeline 2 branched off 1 within segment 5.
    fn path() -> TimelinePath {
        let history = TimelineHistory::parse(timeline(2), b"1\t0/5800000\tfailover\n").unwrap();
        TimelinePath::find(timeline(1), Lsn::new(0x300_0000), &history).unwrap()
    }

    /// The row of these archived segments from segment 3 on, as `timeline/number`.
    fn row(archived: &[(u32, u64)]) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(ServerLayout::below(home.path(), "main"), LocalZone::UTC);
        let name =
            |&(on, number)| WalFileName::Segment(SegmentNumber::new(number).name(timeline(on), SegmentSize::DEFAULT));
        let archived: BTreeMap<_, _> = archived.iter().map(|one| (name(one), 100)).collect();
        let (path, size) = (path(), SegmentSize::DEFAULT);
        let source = RowSource { catalog: &catalog, archived: &archived, path: &path, size, unfinished: true };
        let row = source.row(SegmentNumber::new(3)).unwrap();
        let shown = |one: &RowSegment| {
            let limit = one.limit.map_or(String::new(), |limit| format!(" up to {limit}"));
            format!("{}/{}{limit}", one.name.timeline, one.number.get())
        };
        row.segments.iter().map(shown).collect()
    }

    #[test]
    fn a_row_follows_the_timelines_and_ends_at_a_hole() {
        assert_eq!(row(&[(1, 3), (1, 4), (1, 5), (2, 5), (2, 6), (2, 8)]), ["1/3", "1/4", "2/5", "2/6"]);
        assert_eq!(row(&[(1, 4), (2, 5)]), [""; 0]);
    }

    #[test]
    fn without_its_own_segment_a_timeline_is_not_entered() {
        let rows = row(&[(1, 3), (1, 4), (1, 5), (1, 6), (2, 6)]);
        assert_eq!(rows, ["1/3", "1/4", "1/5 up to 0/5800000"]);
    }
}
