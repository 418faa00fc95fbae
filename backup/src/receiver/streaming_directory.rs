//! What the streaming directory holds.

use barman_storage::{Dir, Kind};
use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};

use super::error::ReceiveError;
use super::segment_file;

/// Returns where the WAL in `dir` ends, which is where receiving can go on: one place for each file, the best first.
///
/// As for pg_receivewal (`FindStreamingStart`), the furthest segment counts, and of the same segment the newest
/// timeline's. After a complete segment comes the next one; a partial one is received again from its beginning, because
/// nothing says how much of it arrived.
///
/// # Errors
/// The directory cannot be read, or a name in it cannot occur with this segment size.
pub(super) fn ends(dir: &Dir, size: SegmentSize) -> Result<Vec<(TimelineId, Lsn)>, ReceiveError> {
    let mut found = Vec::new();
    for name in wal_files(dir)? {
        let (segment, complete) = match name {
            WalFileName::Segment(segment) => (segment, true),
            WalFileName::Partial(segment) => (segment, false),
            WalFileName::BackupLabel { .. } | WalFileName::History(_) => continue,
        };
        if !complete || has_size(dir, segment, size)? {
            found.push((segment.number(size)?, segment.timeline, complete));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let end = |(number, timeline, complete): (SegmentNumber, _, _)| {
        (timeline, if complete { number.end(size) } else { number.start(size) })
    };
    Ok(found.into_iter().map(end).collect())
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

#[cfg(test)]
mod tests {
    use barman_storage::RelativePath;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Where a directory with these files, the complete segments of their full size, ends.
    fn end_of(names: &[&str]) -> Option<(u32, u64)> {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        for name in names {
            let mut file = dir.create_file(&RelativePath::new(name).unwrap(), 0o600).unwrap();
            file.truncate(MIB).unwrap();
        }
        let ends = ends(&dir, SegmentSize::new(MIB).unwrap()).unwrap();
        ends.first().map(|(timeline, lsn)| (timeline.get(), lsn.as_u64() / MIB))
    }

    #[test]
    fn it_ends_after_the_furthest_segment_or_at_the_beginning_of_its_partial_file() {
        for (names, expected) in [
            (&[][..], None),
            (&["00000002.history", "backup_label", "000000010000000000000009.partial.tmp"], None),
            (&["000000010000000000000002"], Some((1, 3))),
            (&["000000010000000000000002.partial"], Some((1, 2))),
            (&["000000010000000000000002", "000000010000000000000003.partial"], Some((1, 3))),
            // Both: the complete one counts.
            (&["000000010000000000000002", "000000010000000000000002.partial"], Some((1, 3))),
            // The newest timeline of the furthest segment, wherever it sorts.
            (&["000000010000000000000007.partial", "000000020000000000000007.partial"], Some((2, 7))),
            (&["000000010000000000000008.partial", "000000020000000000000007.partial"], Some((1, 8))),
            (&["000000010000000000000FFF"], Some((1, 4096))),
        ] {
            assert_eq!(end_of(names), expected, "{names:?}");
        }
    }

    #[test]
    fn a_segment_of_another_length_is_received_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        dir.create_file(&RelativePath::literal("000000010000000000000002"), 0o600).unwrap();
        assert_eq!(ends(&dir, SegmentSize::new(MIB).unwrap()).unwrap(), []);
    }

    #[test]
    fn a_name_that_the_segment_size_rules_out_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        dir.create_file(&RelativePath::literal("000000010000000000000FFF.partial"), 0o600).unwrap();
        assert!(matches!(ends(&dir, SegmentSize::DEFAULT), Err(ReceiveError::SegmentName(_))));
    }
}
