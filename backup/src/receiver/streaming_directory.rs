//! What the streaming directory holds.

use barman_storage::{Dir, Kind};
use wal_format::{Lsn, SegmentSize, TimelineId, WalFileName};

use super::error::ReceiveError;
use super::segment_file;

/// Returns where the WAL in `dir` ends, which is where receiving can go on: one place for each file.
///
/// As for pg_receivewal (`FindStreamingStart`), after a complete segment comes the next one; a partial one is received
/// again from its beginning, because nothing says how much of it arrived.
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
        // One that was cut short elsewhere is no end: it is received again.
        if !complete || segment_file::is_complete(dir, segment, size)? {
            let number = segment.number(size)?;
            found.push((segment.timeline, if complete { number.end(size) } else { number.start(size) }));
        }
    }
    Ok(found)
}

/// Brings the directory into the state that a run cut short was about to reach.
///
/// It needs no sync for a name that an earlier run was killed before syncing: the first WAL to be reported comes after a
/// sync of the directory, because its own file needs that.
///
/// # Errors
/// The directory cannot be read or changed.
pub(super) fn settle(dir: &Dir, size: SegmentSize) -> Result<(), ReceiveError> {
    for entry in dir.entries()? {
        if let Some(segment) = segment_file::replaced_segment(&entry.name) {
            segment_file::settle_replacement(dir, segment, size)?;
        }
    }
    Ok(())
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

    /// Where a directory with these files, the complete segments of their full size, ends: timelines and segments.
    fn ends_of(names: &[&str]) -> Vec<(u32, u64)> {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        for name in names {
            let mut file = dir.create_file(&RelativePath::new(name).unwrap(), 0o600).unwrap();
            file.truncate(MIB).unwrap();
        }
        let ends = ends(&dir, SegmentSize::new(MIB).unwrap()).unwrap().into_iter();
        let mut ends: Vec<_> = ends.map(|(timeline, lsn)| (timeline.get(), lsn.as_u64() / MIB)).collect();
        ends.sort_unstable();
        ends
    }

    #[test]
    fn it_ends_after_each_complete_segment_and_at_the_beginning_of_each_partial_file() {
        for (names, expected) in [
            (&[][..], &[][..]),
            (&["00000002.history", "backup_label", "000000010000000000000009.partial.tmp"], &[]),
            (&["000000010000000000000002"], &[(1, 3)]),
            (&["000000010000000000000002.partial"], &[(1, 2)]),
            (&["000000010000000000000002", "000000010000000000000003.partial"], &[(1, 3), (1, 3)]),
            (&["000000010000000000000002", "000000010000000000000002.partial"], &[(1, 2), (1, 3)]),
            (&["000000010000000000000008.partial", "000000020000000000000007.partial"], &[(1, 8), (2, 7)]),
            (&["000000010000000000000FFF"], &[(1, 4096)]),
        ] {
            assert_eq!(ends_of(names), expected, "{names:?}");
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
