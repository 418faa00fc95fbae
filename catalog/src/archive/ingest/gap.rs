//! Segments that are missing before one that arrives.

use std::fmt;

use barman_storage::{Dir, Kind};
use wal_format::{SegmentName, SegmentSize, WalFileName};

use crate::{Catalog, Error, layout};

use super::observe::Neighbours;

/// Segments that are missing between two that are archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first that is missing.
    pub first: SegmentName,
    /// The last that is missing, on the same timeline.
    pub last: SegmentName,
    /// How many there are.
    pub segments: u64,
    /// The archived segment behind them; of the same timeline, or of one that branched off there.
    pub next: SegmentName,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, segments, next } = self;
        match segments {
            1 => write!(f, "segment {first} is missing in the archive")?,
            _ => write!(f, "{segments} segments from {first} to {last} are missing in the archive")?,
        }
        write!(f, ": recovery from any backup before them ends there, and cannot reach {next}")
    }
}

/// Returns what is missing right before `name`, if something is: none where the archive begins with it.
pub(super) fn before(
    catalog: &Catalog,
    wals: &Dir,
    neighbours: &mut Neighbours,
    name: SegmentName,
    size: SegmentSize,
) -> Result<Option<Gap>, Error> {
    let Some(last) = neighbours.predecessor(catalog, name, size) else { return Ok(None) };
    if wals.stat(&layout::archived(&WalFileName::Segment(last)))?.is_some() {
        return Ok(None);
    }
    let Some(archived) = newest_before(wals, last)? else { return Ok(None) };
    let (Ok(first), Ok(end)) = (archived.number(size), last.number(size)) else { return Ok(None) };
    let segments = end.get().saturating_sub(first.get());
    Ok(Some(Gap { first: first.next().name(last.timeline, size), last, segments, next: name }))
}

/// The newest archived segment of the timeline of `limit` that lies before it.
fn newest_before(wals: &Dir, limit: SegmentName) -> Result<Option<SegmentName>, Error> {
    let is_before = |name: &SegmentName| name.timeline == limit.timeline && *name < limit;
    let first_of = |name: &std::ffi::OsStr| format!("{}00000000", name.to_str()?).parse::<SegmentName>().ok();
    let entries = wals.entries()?;
    let directories = entries.iter().rev().filter(|entry| entry.kind == Kind::Directory);
    for directory in
        directories.filter(|entry| first_of(&entry.name).is_some_and(|first| first == limit || is_before(&first)))
    {
        let files = wals.subdir(&directory.path())?.entries()?;
        let segments = files.iter().rev().filter_map(|file| file.name.to_str()?.parse::<SegmentName>().ok());
        if let Some(newest) = segments.filter(is_before).max() {
            return Ok(Some(newest));
        }
    }
    Ok(None)
}
