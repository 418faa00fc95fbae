//! What the streaming directory holds.

use barman_storage::{Dir, Kind, PublishError, RelativePath};
use wal_format::{Lsn, SegmentName, SegmentSize, TimelineId, WalFileName};

use super::error::ReceiveError;
use super::segment_file;

/// Where the WAL of one file ends, which is where receiving can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) timeline: TimelineId,
    pub(super) position: Lsn,
    /// Whether the segment before the position is there. Otherwise a part of the one behind it is.
    pub(super) complete: bool,
}

/// Returns where the WAL in `dir` ends: one place for each file.
///
/// As for pg_receivewal (`FindStreamingStart`), after a complete segment comes the next one; a partial one is received
/// again from its beginning, because nothing says how much of it arrived.
///
/// # Errors
/// The directory cannot be read, or a name in it cannot occur with this segment size.
pub(super) fn ends(dir: &Dir, size: SegmentSize) -> Result<Vec<End>, ReceiveError> {
    let mut found = Vec::new();
    for (segment, complete) in segments(dir)? {
        // One that was cut short elsewhere is no end: it is received again.
        if !complete || segment_file::is_complete(dir, segment, size)? {
            let number = segment.number(size)?;
            let position = if complete { number.end(size) } else { number.start(size) };
            found.push(End { timeline: segment.timeline, position, complete });
        }
    }
    Ok(found)
}

/// Returns the files of `timeline` that hold WAL from `at` on, where the server left the timeline, and gives complete
/// segments the name `<segment>.partial`, unless that is taken: what lies in them beyond that point never became part of
/// the server's past, so they must not look like segments of it.
///
/// # Errors
/// The directory cannot be read or changed.
pub(super) fn set_surplus_aside(
    dir: &Dir,
    timeline: TimelineId,
    at: Lsn,
    size: SegmentSize,
) -> Result<Vec<WalFileName>, ReceiveError> {
    let mut surplus = Vec::new();
    for (segment, complete) in segments(dir)? {
        if segment.timeline != timeline || segment.number(size)?.end(size) <= at {
            continue;
        }
        let (name, path) = match complete && !set_aside(dir, segment)? {
            true => (WalFileName::Segment(segment), segment_file::segment_path(segment)),
            false => (WalFileName::Partial(segment), segment_file::partial_path(segment)),
        };
        if reaches_beyond(dir, &path, segment.start(size)?, at)? {
            surplus.push(name);
        }
    }
    surplus.dedup();
    Ok(surplus)
}

/// Gives a complete segment the name of a partial one; returns whether it no longer has its own.
fn set_aside(dir: &Dir, segment: SegmentName) -> Result<bool, ReceiveError> {
    let (from, to) = (segment_file::segment_path(segment), segment_file::partial_path(segment));
    if dir.stat(&to)?.is_some() {
        return Ok(false);
    }
    match dir.rename_new(&from, dir, &to) {
        // An archiver was faster.
        Err(PublishError::Storage(error)) if error.is_not_found() => Ok(true),
        renamed => Ok(renamed.map(|_| true)?),
    }
}

/// Whether there is WAL beyond `at` in a file whose segment begins at `start`. A partial file has its full size from the
/// beginning, with zeros where nothing was received. Of a file that an archiver has taken meanwhile, nothing is here.
fn reaches_beyond(dir: &Dir, path: &RelativePath, start: Lsn, at: Lsn) -> Result<bool, ReceiveError> {
    match segment_file::written_end(dir, path) {
        Err(ReceiveError::Storage(error)) if error.is_not_found() => Ok(false),
        end => Ok(end? > at.as_u64().saturating_sub(start.as_u64())),
    }
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

/// Returns the segments in the directory in the order of their names, and whether each is complete by its name.
fn segments(dir: &Dir) -> Result<Vec<(SegmentName, bool)>, ReceiveError> {
    let files = dir.entries()?.into_iter().filter(|entry| entry.kind == Kind::File);
    let segments = files.filter_map(|entry| match entry.name.to_str()?.parse().ok()? {
        WalFileName::Segment(segment) => Some((segment, true)),
        WalFileName::Partial(segment) => Some((segment, false)),
        WalFileName::BackupLabel { .. } | WalFileName::History(_) => None,
    });
    Ok(segments.collect())
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
        let mut ends: Vec<_> = ends.map(|end| (end.timeline.get(), end.position.as_u64() / MIB)).collect();
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

    /// A directory with files of their full size, in which WAL reaches this far.
    fn received(files: &[(&str, u64)]) -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        for (name, end) in files {
            let mut file = dir.create_file(&RelativePath::new(name).unwrap(), 0o600).unwrap();
            file.write_all(&vec![1; *end as usize]).unwrap();
            file.truncate(MIB).unwrap();
        }
        (root, dir)
    }

    /// What is told of WAL beyond this position of timeline 1, and which files there are then.
    fn surplus(dir: &Dir, at: u64) -> (Vec<String>, Vec<String>) {
        let size = SegmentSize::new(MIB).unwrap();
        let told = set_surplus_aside(dir, TimelineId::FIRST, Lsn::new(at), size).unwrap();
        let names = dir.entries().unwrap().into_iter().map(|entry| entry.name.into_string().unwrap());
        (told.iter().map(ToString::to_string).collect(), names.collect())
    }

    #[test]
    fn what_lies_beyond_the_end_of_a_timeline_is_kept_as_partial_files() {
        let (_root, dir) = received(&[
            ("000000010000000000000001", MIB),
            ("000000010000000000000002", MIB),
            ("000000010000000000000003", MIB),
            ("000000010000000000000004.partial", 1),
            ("000000010000000000000005.partial", 0),
            ("000000020000000000000003", MIB),
        ]);
        for _ in 0..2 {
            let (told, names) = surplus(&dir, 2 * MIB + 5);
            assert_eq!(
                told,
                [
                    "000000010000000000000002.partial",
                    "000000010000000000000003.partial",
                    "000000010000000000000004.partial",
                ]
            );
            assert_eq!(
                names,
                [
                    "000000010000000000000001",
                    "000000010000000000000002.partial",
                    "000000010000000000000003.partial",
                    "000000010000000000000004.partial",
                    "000000010000000000000005.partial",
                    "000000020000000000000003",
                ]
            );
        }
    }

    #[test]
    fn what_was_received_of_the_segment_under_way_is_surplus_behind_the_point_alone() {
        let partial = "000000010000000000000002.partial";
        for (end, expected) in [(4, &[][..]), (5, &[]), (6, &[partial])] {
            let (_root, dir) = received(&[(partial, end)]);
            assert_eq!(surplus(&dir, 2 * MIB + 5).0, expected, "{end}");
        }
    }

    #[test]
    fn a_power_failure_while_it_is_set_aside_takes_no_surplus_away() {
        let segments = ["000000010000000000000002", "000000010000000000000003"];
        let (root, _) = received(&segments.map(|name| (name, MIB)));
        let recorder = barman_storage::testing::Recorder::start(root.path());
        surplus(&Dir::open(root.path()).unwrap(), 2 * MIB + 5);
        let recording = recorder.recording();
        assert!(!recording.is_empty());
        let crash = recording.find_crash(12, |_, survivors| {
            segments.iter().all(|name| {
                let files = [survivors.file(name), survivors.file(format!("{name}.partial"))];
                files
                    .into_iter()
                    .flatten()
                    .any(|bytes| bytes.len() as u64 == MIB && bytes.iter().all(|byte| *byte == 1))
            })
        });
        assert_eq!(crash, None);
    }

    #[test]
    fn a_segment_whose_other_name_is_taken_keeps_its_own_and_is_called_by_it() {
        let both = ["000000010000000000000002", "000000010000000000000002.partial"];
        let (_root, dir) = received(&[(both[0], MIB), (both[1], 7)]);
        assert_eq!(surplus(&dir, 2 * MIB + 5), (both.map(str::to_owned).into(), both.map(str::to_owned).into()));
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
