//! What the streaming directory holds.

use barman_storage::{Dir, Kind};
use wal_format::{Lsn, SegmentName, SegmentSize, TimelineId, WalFileName};

use super::error::ReceiveError;
use super::segment_file;

/// Returns where the WAL in `dir` ends, which is where receiving goes on, or `None` if it holds none.
///
/// As for pg_receivewal (`FindStreamingStart`), the furthest segment counts, and of the same segment the newest
/// timeline's. After a complete segment comes the next one; a partial one is received again from its beginning, because
/// nothing says how much of it arrived.
///
/// # Errors
/// The directory cannot be read, or a name in it cannot occur with this segment size.
pub(super) fn end(dir: &Dir, size: SegmentSize) -> Result<Option<(TimelineId, Lsn)>, ReceiveError> {
    let mut furthest = None;
    for name in wal_files(dir)? {
        let (segment, complete) = match name {
            WalFileName::Segment(segment) => (segment, true),
            WalFileName::Partial(segment) => (segment, false),
            WalFileName::BackupLabel { .. } | WalFileName::History(_) => continue,
        };
        if !complete || has_size(dir, segment, size)? {
            furthest = furthest.max(Some((segment.number(size)?, segment.timeline, complete)));
        }
    }
    Ok(furthest.map(|(number, timeline, complete)| {
        let start = if complete { number.end(size) } else { number.start(size) };
        (timeline, start)
    }))
}

/// A segment that was cut short elsewhere counts as absent, and is received again.
fn has_size(dir: &Dir, segment: SegmentName, size: SegmentSize) -> Result<bool, ReceiveError> {
    let stat = dir.stat(&segment_file::segment_path(segment))?;
    Ok(stat.is_some_and(|stat| stat.size == size.bytes()))
}

/// Brings the directory into the state that a run cut short was about to reach.
///
/// # Errors
/// The directory cannot be read or changed.
pub(super) fn settle(dir: &Dir) -> Result<(), ReceiveError> {
    for entry in dir.entries()? {
        if let Some(segment) = segment_file::replaced_segment(&entry.name) {
            segment_file::settle_replacement(dir, segment)?;
        }
    }
    // A name that an earlier run was killed before syncing is about to be built upon.
    Ok(dir.sync()?)
}

fn wal_files(dir: &Dir) -> Result<impl Iterator<Item = WalFileName>, ReceiveError> {
    let files = dir.entries()?.into_iter().filter(|entry| entry.kind == Kind::File);
    Ok(files.filter_map(|entry| entry.name.to_str()?.parse().ok()))
}
