//! The writer under power failures, failed syncs and restarts, with 1 MiB segments.
//!
//! `BARMAN_SEEDS` says how often chance decides what a power failure leaves of unsynced changes, at each position: 12 times by
//! default, 2000 in `scripts/receiver-faults`.

use std::ffi::OsString;
use std::path::Path;
use std::sync::LazyLock;

use barman_storage::testing::{Recorder, Survivors};
use barman_storage::{Dir, RelativePath};
use proptest::prelude::*;
use wal_format::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineId};

use super::super::error::ReceiveError;
use super::super::streaming_directory;
use super::{SegmentWriter, StreamStart};

const MIB: u64 = 1 << 20;
const SYSTEM: SystemId = SystemId::new(7_710_294_594_766_418_489);
const EIO: i32 = 5;

fn seeds() -> u64 {
    std::env::var("BARMAN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn start_at(position: u64) -> StreamStart {
    let size = SegmentSize::new(MIB).unwrap();
    StreamStart { system: SYSTEM, size, timeline: TimelineId::FIRST, position: Lsn::new(position) }
}

/// WAL that is different at every position, and never zero. It is made once: it is compared with thousands of times.
fn wal(from: u64, to: u64) -> &'static [u8] {
    static WAL: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..8 * MIB).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 | 1).collect());
    &WAL[from as usize..to as usize]
}

fn name(position: u64) -> String {
    let size = SegmentSize::new(MIB).unwrap();
    SegmentNumber::containing(Lsn::new(position), size).name(TimelineId::FIRST, size).to_string()
}

/// A streaming directory that is recorded, and what was promised about it, each promise with the number of changes that
/// had been made by then.
struct Ground {
    _root: tempfile::TempDir,
    dir: Dir,
    recorder: Recorder,
    flushed: Vec<(usize, u64)>,
    finished: Vec<(usize, String)>,
}

impl Ground {
    fn new() -> Self {
        Self::below(tempfile::tempdir().unwrap())
    }

    fn below(root: tempfile::TempDir) -> Self {
        let recorder = Recorder::start(root.path());
        let dir = Dir::open(root.path()).unwrap();
        Self { _root: root, dir, recorder, flushed: Vec::new(), finished: Vec::new() }
    }

    fn writer(&self, position: u64) -> SegmentWriter {
        SegmentWriter::new(self.dir.clone(), start_at(position))
    }

    /// Writes up to `to` in pieces of at most `piece` bytes, as the session does.
    fn write(&mut self, writer: &mut SegmentWriter, to: u64, piece: u64) -> Result<(), ReceiveError> {
        while writer.position() < Lsn::new(to) {
            let at = writer.position();
            let data = wal(at.as_u64(), to.min(at.as_u64() + piece));
            writer.write(at, data)?;
            if let Some((segment, durable)) = writer.finish_segment()? {
                self.flushed.push((self.recorder.position(), durable.lsn().as_u64()));
                self.finished.push((self.recorder.position(), segment.to_string()));
            }
        }
        Ok(())
    }

    fn sync(&mut self, writer: &mut SegmentWriter) -> Result<(), ReceiveError> {
        if let Some(durable) = writer.sync()? {
            self.flushed.push((self.recorder.position(), durable.lsn().as_u64()));
        }
        Ok(())
    }

    /// Whether everything that had been promised survived: WAL from `start` up to each flush position, in the files that
    /// the next run would go on with, and each finished segment under its name.
    fn keeps_promises(&self, start: u64) -> impl Fn(usize, &Survivors) -> bool + '_ {
        move |position, survivors| {
            let flushed = self.flushed.iter().filter(|(made, _)| *made <= position).map(|(_, lsn)| *lsn).max();
            let is_flushed = flushed.is_none_or(|lsn| readable(survivors, start, lsn));
            let finished = self.finished.iter().filter(|(made, _)| *made <= position);
            is_flushed && finished.into_iter().all(|(_, name)| survivors.contains(name))
        }
    }

    fn assert_safe(&self, start: u64) {
        assert_eq!(self.recorder.recording().find_crash(seeds(), self.keeps_promises(start)), None);
    }
}

/// Whether all WAL from `from` to `to` can be read after a crash, once the next run has settled the directory.
fn readable(survivors: &Survivors, from: u64, to: u64) -> bool {
    let segments = (from / MIB..to.div_ceil(MIB)).map(|number| number * MIB);
    segments.into_iter().all(|segment| {
        let end = to.min(segment + MIB);
        let name = name(segment);
        let whole = survivors.file(&name);
        let partial = || survivors.file(format!("{name}.partial"));
        let replacement = || survivors.file(format!("{name}.partial.tmp"));
        // Two of them where one is cut short and about to be replaced by the other.
        let wanted = wal(segment, end);
        [whole, partial(), replacement()].into_iter().flatten().any(|bytes| bytes.starts_with(wanted))
    })
}

#[test]
fn whatever_a_power_failure_takes_flushed_wal_is_readable_and_every_sync_is_needed() {
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    ground.write(&mut writer, 2 * MIB + 300_000, 100_000).unwrap();
    ground.sync(&mut writer).unwrap();
    ground.write(&mut writer, 2 * MIB + 500_000, 100_000).unwrap();
    ground.sync(&mut writer).unwrap();
    ground.write(&mut writer, 3 * MIB + 200_000, 131_072).unwrap();
    ground.sync(&mut writer).unwrap();
    assert_eq!(ground.finished.len(), 1);
    assert_eq!(ground.flushed.len(), 4);
    ground.assert_safe(2 * MIB);

    let recording = ground.recorder.recording();
    for sync in recording.syncs() {
        let crash = recording.without_sync(sync).find_crash(seeds(), ground.keeps_promises(2 * MIB));
        assert!(crash.is_some(), "sync {sync} of {:?} could be left out", recording.syncs());
    }
}

/// Writes pieces of this size up to `to` and syncs each of them, as if a commit waited for it.
fn write_commits(ground: &mut Ground, writer: &mut SegmentWriter, to: u64, piece: u64) -> Result<(), ReceiveError> {
    while writer.position() < Lsn::new(to) {
        ground.write(writer, to.min(writer.position().as_u64() + piece), piece)?;
        ground.sync(writer)?;
    }
    Ok(())
}

#[test]
fn small_pieces_that_are_synced_one_by_one_survive_with_the_zeros_written_ahead_of_them() {
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    write_commits(&mut ground, &mut writer, 2 * MIB + 300_000, 20_000).unwrap();
    // More than the zeros are ahead, across the end of the segment, and small ones again.
    ground.write(&mut writer, 3 * MIB + 50_000, 131_072).unwrap();
    ground.sync(&mut writer).unwrap();
    write_commits(&mut ground, &mut writer, 3 * MIB + 90_000, 20_000).unwrap();
    ground.assert_safe(2 * MIB);
}

#[test]
fn zeros_are_written_ahead_of_small_pieces_now_and_then_and_never_behind_the_end_of_the_segment() {
    const PIECE: u64 = 8192;
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    write_commits(&mut ground, &mut writer, 2 * MIB + PIECE, PIECE).unwrap();
    let first = ground.recorder.position();
    write_commits(&mut ground, &mut writer, 3 * MIB - PIECE, PIECE).unwrap();
    // A write and a sync for each piece, and three writes of zeros: the first 256 KiB have theirs already.
    let pieces = usize::try_from(MIB / PIECE).unwrap() - 2;
    assert_eq!(ground.recorder.position() - first, 2 * pieces + 3);
    let partial = read(ground.dir.path(), &format!("{}.partial", name(2 * MIB)));
    assert!(partial[..(MIB - PIECE) as usize] == *wal(2 * MIB, 3 * MIB - PIECE));
    assert!(partial[(MIB - PIECE) as usize..] == [0; PIECE as usize]);

    ground.write(&mut writer, 3 * MIB, PIECE).unwrap();
    assert!(read(ground.dir.path(), &name(2 * MIB)) == wal(2 * MIB, 3 * MIB));
}

#[test]
fn large_pieces_are_written_once() {
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    ground.write(&mut writer, 2 * MIB + 131_072, 131_072).unwrap();
    ground.sync(&mut writer).unwrap();
    let first = ground.recorder.position();
    write_commits(&mut ground, &mut writer, 3 * MIB - 131_072, 131_072).unwrap();
    assert_eq!(ground.recorder.position() - first, 2 * 6);
}

#[test]
fn a_partial_file_is_written_over_in_place_because_it_may_have_been_reported() {
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    ground.write(&mut writer, 2 * MIB + 400_000, 100_000).unwrap();
    ground.sync(&mut writer).unwrap();
    drop(writer);
    let mut again = ground.writer(2 * MIB);
    // No zeros may go ahead of these.
    write_commits(&mut ground, &mut again, 2 * MIB + 40_000, 10_000).unwrap();
    ground.write(&mut again, 2 * MIB + 200_000, 100_000).unwrap();
    ground.sync(&mut again).unwrap();
    ground.write(&mut again, 3 * MIB, 100_000).unwrap();
    ground.assert_safe(2 * MIB);
}

#[test]
fn after_a_failed_sync_the_segment_is_written_again_into_a_new_file() {
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    ground.write(&mut writer, 2 * MIB + 300_000, 100_000).unwrap();
    ground.sync(&mut writer).unwrap();
    ground.write(&mut writer, 2 * MIB + 600_000, 100_000).unwrap();
    ground.recorder.fail_at(ground.recorder.position(), EIO);
    let error = ground.sync(&mut writer).unwrap_err();
    assert!(matches!(error, ReceiveError::Sync { .. }), "{error:?}");

    // Another run, as likely as not: what it goes by is in the directory.
    drop(writer);
    streaming_directory::settle(&ground.dir, start_at(0).size).unwrap();
    let partial = ground.dir.path().join(format!("{}.partial", name(2 * MIB)));
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&partial).unwrap());
    let doubtful = inode();
    let mut again = ground.writer(2 * MIB);
    let promises = ground.flushed.len();
    ground.write(&mut again, 2 * MIB + 599_999, 100_000).unwrap();
    ground.sync(&mut again).unwrap();
    assert_eq!(ground.flushed.len(), promises, "the old file holds more than the new one");
    assert_eq!(inode(), doubtful);
    ground.write(&mut again, 2 * MIB + 600_000, 100_000).unwrap();
    ground.sync(&mut again).unwrap();
    assert_eq!(ground.flushed.last().map(|(_, lsn)| *lsn), Some(2 * MIB + 600_000));
    assert_ne!(inode(), doubtful);
    assert_eq!(ground.dir.entries().unwrap().len(), 1, "the mark stayed");
    ground.write(&mut again, 3 * MIB, 100_000).unwrap();
    ground.assert_safe(2 * MIB);
}

#[test]
fn a_sync_that_fails_while_the_new_file_takes_its_place_is_one_that_failed() {
    let doubtful = || {
        let mut ground = Ground::new();
        let mut writer = ground.writer(2 * MIB);
        ground.write(&mut writer, 2 * MIB + 50_000, 100_000).unwrap();
        ground.sync(&mut writer).unwrap();
        ground.write(&mut writer, 2 * MIB + 100_000, 100_000).unwrap();
        ground.recorder.fail_at(ground.recorder.position(), EIO);
        ground.sync(&mut writer).unwrap_err();
        let mut again = ground.writer(2 * MIB);
        ground.write(&mut again, 2 * MIB + 100_000, 100_000).unwrap();
        (ground, again)
    };
    let syncs = {
        let (mut ground, mut again) = doubtful();
        let before = ground.recorder.position();
        ground.sync(&mut again).unwrap();
        ground.recorder.recording().syncs().into_iter().filter(|sync| *sync >= before).collect::<Vec<_>>()
    };
    // Its content, its temporary name, its content once more, its name.
    assert_eq!(syncs.len(), 4, "{syncs:?}");
    for (sync, is_next_run) in syncs.into_iter().flat_map(|sync| [(sync, false), (sync, true)]) {
        let (mut ground, mut again) = doubtful();
        ground.recorder.fail_at(sync, EIO);
        let error = ground.sync(&mut again).unwrap_err();
        assert!(matches!(error, ReceiveError::Sync { .. }), "{sync}: {error:?}");
        drop(again);
        if is_next_run {
            streaming_directory::settle(&ground.dir, start_at(0).size).unwrap();
        }
        let mut third = ground.writer(2 * MIB);
        ground.write(&mut third, 3 * MIB, 100_000).unwrap();
        ground.assert_safe(2 * MIB);
    }
}

#[test]
fn a_failed_sync_at_the_end_of_a_segment_is_repaired_whichever_it_is() {
    let count = {
        let mut ground = Ground::new();
        let mut writer = ground.writer(2 * MIB);
        ground.write(&mut writer, 3 * MIB, MIB).unwrap();
        ground.recorder.recording().syncs()
    };
    for sync in count {
        let mut ground = Ground::new();
        let mut writer = ground.writer(2 * MIB);
        ground.recorder.fail_at(sync, EIO);
        let error = ground.write(&mut writer, 3 * MIB, MIB).unwrap_err();
        assert!(matches!(error, ReceiveError::Sync { .. }), "{error:?}");
        let mut again = ground.writer(2 * MIB);
        ground.write(&mut again, 3 * MIB, MIB).unwrap();
        assert_eq!(ground.finished.len(), 1);
        ground.assert_safe(2 * MIB);
    }
}

/// A run that is killed between a sync that fails and the mark that it would leave: the next one believes the file's name, but
/// none of its bytes before it has written and synced them itself.
#[test]
fn a_file_in_doubt_that_nobody_has_marked_is_written_again_from_its_beginning() {
    let begin = |ground: &mut Ground| {
        let mut writer = ground.writer(2 * MIB);
        write_commits(ground, &mut writer, 2 * MIB + 40_000, 20_000)?;
        ground.write(&mut writer, 2 * MIB + 600_000, 100_000)?;
        ground.sync(&mut writer)?;
        ground.write(&mut writer, 3 * MIB, 100_000)
    };
    let syncs = {
        let mut ground = Ground::new();
        begin(&mut ground).unwrap();
        ground.recorder.recording().syncs()
    };
    for sync in syncs {
        let mut ground = Ground::new();
        ground.recorder.fail_at(sync, EIO);
        let error = begin(&mut ground).unwrap_err();
        assert!(matches!(error, ReceiveError::Sync { .. }), "{sync}: {error:?}");
        let mark = RelativePath::new(format!("{}.partial.tmp", name(2 * MIB))).unwrap();
        ground.dir.remove_file(&mark).unwrap();

        let size = start_at(0).size;
        streaming_directory::settle(&ground.dir, size).unwrap();
        let start = streaming_directory::ends(&ground.dir, size).unwrap()[0].position.as_u64();
        let mut again = ground.writer(start);
        write_commits(&mut ground, &mut again, start + 50_000, 10_000).unwrap();
        ground.write(&mut again, 3 * MIB + 200_000, 100_000).unwrap();
        ground.sync(&mut again).unwrap();
        ground.assert_safe(2 * MIB);
    }
}

#[test]
fn a_replacement_that_a_crash_left_behind_is_settled() {
    let segment = name(2 * MIB);
    let full = MIB as usize;
    for (present, settled) in [
        // Only the replacement is left: it was complete, and the old file had just been removed.
        (&[(".partial.tmp", full)][..], &[".partial"][..]),
        // The old file is still there, so the replacement may not have reached as far; nor is the old one to be believed.
        (&[(".partial.tmp", full), (".partial", full)], &[".partial", ".partial.tmp"]),
        (&[(".partial.tmp", 0), (".partial", full)], &[".partial", ".partial.tmp"]),
        // A mark beside nothing.
        (&[(".partial.tmp", 0)], &[]),
        (&[(".partial.tmp", full), ("", full)], &[""]),
        // One that is cut short is no reason to give up the replacement.
        (&[(".partial.tmp", full), ("", full - 1)], &["", ".partial"]),
    ] {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        for (suffix, length) in present {
            let path = RelativePath::new(format!("{segment}{suffix}")).unwrap();
            dir.replace(&path, 0o600, &vec![1; *length]).unwrap();
        }
        streaming_directory::settle(&dir, start_at(0).size).unwrap();
        let names: Vec<_> = dir.entries().unwrap().into_iter().map(|entry| entry.name).collect();
        let expected: Vec<_> = settled.iter().map(|suffix| OsString::from(format!("{segment}{suffix}"))).collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn a_name_that_an_earlier_run_could_not_sync_is_durable_before_anything_later_is_reported() {
    let syncs = {
        let mut ground = Ground::new();
        let mut writer = ground.writer(2 * MIB);
        ground.write(&mut writer, 3 * MIB, MIB).unwrap();
        ground.recorder.recording().syncs()
    };
    let mut ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    // The last one, of the directory, when the segment has its name already.
    ground.recorder.fail_at(*syncs.last().unwrap(), EIO);
    ground.write(&mut writer, 3 * MIB, MIB).unwrap_err();
    drop(writer);

    let size = start_at(0).size;
    streaming_directory::settle(&ground.dir, size).unwrap();
    let ends = streaming_directory::ends(&ground.dir, size).unwrap();
    let end = streaming_directory::End { timeline: TimelineId::FIRST, position: Lsn::new(3 * MIB), complete: true };
    assert_eq!(ends, [end]);
    let mut again = ground.writer(3 * MIB);
    ground.write(&mut again, 3 * MIB + 100_000, 100_000).unwrap();
    ground.sync(&mut again).unwrap();
    assert_eq!(ground.flushed.last().map(|(_, lsn)| *lsn), Some(3 * MIB + 100_000));
    ground.assert_safe(2 * MIB);
}

/// What an earlier run left: a file with the beginning of a segment, durable.
fn leave_behind(root: &Path, name: &str, length: u64) {
    let content = wal(2 * MIB, 2 * MIB + length);
    Dir::open(root).unwrap().replace(&RelativePath::new(name).unwrap(), 0o600, content).unwrap();
}

#[test]
fn a_segment_that_was_cut_short_gives_way_to_the_complete_one_and_not_before() {
    for partial_exists in [false, true] {
        let root = tempfile::tempdir().unwrap();
        leave_behind(root.path(), &name(2 * MIB), 300_000);
        if partial_exists {
            leave_behind(root.path(), &format!("{}.partial", name(2 * MIB)), 100_000);
        }
        let mut ground = Ground::below(root);
        // It may have been reported by whoever received it.
        ground.flushed.push((0, 2 * MIB + 300_000));
        let mut writer = ground.writer(2 * MIB);
        ground.write(&mut writer, 2 * MIB + 500_000, 100_000).unwrap();
        ground.sync(&mut writer).unwrap();
        ground.write(&mut writer, 3 * MIB, 100_000).unwrap();

        assert_eq!(ground.finished.len(), 1);
        let left: Vec<_> = ground.dir.entries().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(left, [name(2 * MIB).as_str()]);
        assert!(read(ground.dir.path(), &name(2 * MIB)) == wal(2 * MIB, 3 * MIB));
        ground.assert_safe(2 * MIB);
    }
}

#[test]
fn one_that_was_cut_short_stays_if_the_complete_one_cannot_be_synced() {
    let syncs = {
        let root = tempfile::tempdir().unwrap();
        leave_behind(root.path(), &name(2 * MIB), 300_000);
        let mut ground = Ground::below(root);
        let mut writer = ground.writer(2 * MIB);
        ground.write(&mut writer, 3 * MIB, MIB).unwrap();
        ground.recorder.recording().syncs()
    };
    for sync in syncs {
        let root = tempfile::tempdir().unwrap();
        leave_behind(root.path(), &name(2 * MIB), 300_000);
        let mut ground = Ground::below(root);
        ground.flushed.push((0, 2 * MIB + 300_000));
        let mut writer = ground.writer(2 * MIB);
        ground.recorder.fail_at(sync, EIO);
        let error = ground.write(&mut writer, 3 * MIB, MIB).unwrap_err();
        assert!(matches!(error, ReceiveError::Sync { .. }), "{error:?}");
        let mut again = ground.writer(2 * MIB);
        ground.write(&mut again, 3 * MIB, MIB).unwrap();
        assert_eq!(ground.finished.len(), 1);
        ground.assert_safe(2 * MIB);
    }
}

#[test]
fn partial_files_have_the_size_that_pg_receivewal_takes_over() {
    let ground = Ground::new();
    let partial = RelativePath::new(format!("{}.partial", name(2 * MIB))).unwrap();
    let size = || ground.dir.stat(&partial).unwrap().map(|stat| stat.size);
    ground.writer(2 * MIB).write(Lsn::new(2 * MIB), b"begin").unwrap();
    assert_eq!(size(), Some(MIB));
    // A crash left it shorter.
    ground.dir.edit_file(&partial).unwrap().truncate(1000).unwrap();
    ground.writer(2 * MIB).write(Lsn::new(2 * MIB), b"begin").unwrap();
    assert_eq!(size(), Some(MIB));
    // Another segment size.
    ground.dir.edit_file(&partial).unwrap().truncate(2 * MIB).unwrap();
    let error = ground.writer(2 * MIB).write(Lsn::new(2 * MIB), b"begin").unwrap_err();
    assert!(matches!(error, ReceiveError::PartialSize { found, .. } if found == 2 * MIB), "{error:?}");
}

#[test]
fn where_there_is_no_room_no_file_is_left() {
    const ENOSPC: i32 = 28;
    let ground = Ground::new();
    // After the file was created.
    ground.recorder.fail_at(1, ENOSPC);
    let error = ground.writer(2 * MIB).write(Lsn::new(2 * MIB), b"begin").unwrap_err();
    assert!(matches!(&error, ReceiveError::Storage(error) if error.is_disk_full()), "{error:?}");
    assert_eq!(ground.dir.entries().unwrap(), []);
}

#[test]
fn wal_of_another_cluster_is_not_written_over() {
    let ground = Ground::new();
    let partial = RelativePath::new(format!("{}.partial", name(2 * MIB))).unwrap();
    let mut header = Vec::new();
    header.extend(0xD110_u16.to_ne_bytes());
    header.extend(0x0002_u16.to_ne_bytes());
    header.extend(1_u32.to_ne_bytes());
    header.extend((2 * MIB).to_ne_bytes());
    header.extend([0; 8]);
    header.extend(4711_u64.to_ne_bytes());
    header.extend((MIB as u32).to_ne_bytes());
    header.extend(8192_u32.to_ne_bytes());
    // A partial file, and one that was cut short.
    for path in [partial, RelativePath::new(name(2 * MIB)).unwrap()] {
        ground.dir.replace(&path, 0o600, &header).unwrap();
        let error = ground.writer(2 * MIB).write(Lsn::new(2 * MIB), b"begin").unwrap_err();
        let foreign = |error: &ReceiveError| match error {
            ReceiveError::ForeignSystem { expected, found } => Some((*expected, *found)),
            _ => None,
        };
        assert_eq!(foreign(&error), Some((SystemId::new(4711), SYSTEM)), "{error:?}");
        ground.dir.remove_file(&path).unwrap();
    }
}

#[test]
fn a_gap_and_a_repetition_are_refused() {
    let ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    writer.write(Lsn::new(2 * MIB), b"abc").unwrap();
    for found in [2 * MIB, 2 * MIB + 2, 2 * MIB + 4] {
        let error = writer.write(Lsn::new(found), b"d").unwrap_err();
        assert!(matches!(error, ReceiveError::OutOfOrder { expected, .. } if expected == Lsn::new(2 * MIB + 3)));
    }
}

#[test]
fn a_sync_without_new_wal_reports_nothing() {
    let ground = Ground::new();
    let mut writer = ground.writer(2 * MIB);
    assert_eq!(writer.sync().unwrap(), None);
    writer.write(Lsn::new(2 * MIB), b"abc").unwrap();
    assert!(writer.sync().unwrap().is_some());
    assert_eq!(writer.sync().unwrap(), None);
}

fn read(root: &Path, name: &str) -> Vec<u8> {
    std::fs::read(root.join(name)).unwrap()
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]

    #[test]
    fn however_wal_is_cut_the_same_segments_come_out(
        pieces in proptest::collection::vec((prop_oneof![1..200_000_u64, 1..20_000_u64], any::<bool>()), 5..40),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::new(Dir::open(root.path()).unwrap(), start_at(MIB));
        let (mut at, mut finished) = (MIB, 0);
        for (length, sync) in pieces {
            let data = wal(at, at + length);
            let mut rest = data;
            while !rest.is_empty() {
                rest = writer.write(writer.position(), rest).unwrap();
                finished += usize::from(writer.finish_segment().unwrap().is_some());
            }
            at += length;
            if sync {
                writer.sync().unwrap();
            }
        }
        prop_assert_eq!(finished as u64, at / MIB - 1);
        for segment in 1..at / MIB {
            prop_assert!(read(root.path(), &name(segment * MIB)) == wal(segment * MIB, (segment + 1) * MIB));
        }
        let begun = at / MIB * MIB;
        if at > begun {
            let partial = read(root.path(), &format!("{}.partial", name(begun)));
            let (received, ahead) = partial.split_at((at - begun) as usize);
            prop_assert!(received == wal(begun, at));
            prop_assert!(ahead.len() as u64 == begun + MIB - at && ahead.iter().all(|byte| *byte == 0));
        }
    }
}
