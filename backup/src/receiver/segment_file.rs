//! The file of one segment while it is being received.

use std::ffi::OsStr;
use std::io::Read;

use barman_storage::{Dir, Operation, OutFile, PublishError, RelativePath};
use wal_format::{SegmentHeader, SegmentName, SegmentSize, SystemId};

use super::error::ReceiveError;

/// pg_receivewal's mode for what it writes (`pg_file_create_mode`).
const MODE: u32 = 0o600;

/// How much WAL gathers before the disk is told to write it.
const WRITE_BACK: u64 = 1 << 20;
/// Zeros ahead of small pieces reach up to the next multiple of this.
const ZEROS: u64 = 256 << 10;
/// What is synced in larger pieces than this is not worth writing twice.
const SMALL_PIECE: u64 = ZEROS / 4;

/// `<segment>.partial`, open for writing.
///
/// It has the size of a segment from the beginning: pg_receivewal, and Barman with it, refuse to take over a partial
/// file of another size. The file system is asked for the space instead of writing zeros first, so that WAL that comes in
/// large amounts is written once; and the disk begins with it long before the sync at the end of the segment.
///
/// Small pieces that are synced one by one are another matter: for each, the file system would note in its journal that a
/// part of the reserved space is in use now, which takes longer than writing the piece. So now and then a sync takes some
/// zeros along, which lie where the next pieces will.
#[derive(Debug)]
pub(super) struct SegmentFile {
    dir: Dir,
    segment: SegmentName,
    size: SegmentSize,
    file: OutFile,
    entry: DirectoryEntry,
    /// Where the WAL written by us ends, as this and all the others in bytes from the beginning of the file.
    end: u64,
    /// Where `end` was at the last sync.
    synced: u64,
    /// Where `end` was when the disk was last told to write, be it by a sync.
    written_back: u64,
    /// Up to here there are zeros behind the WAL that a sync has seen, or bytes of an earlier run, which stay.
    prepared: u64,
}

/// What is known about the name of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DirectoryEntry {
    /// A crash may still lose it.
    Unsynced,
    Synced,
    /// The name is a temporary one: a file that a failed sync has left in doubt holds the real name. It may have been
    /// reported as flushed up to `until`, so it stays until this one is as far.
    Replacement {
        until: u64,
    },
}

impl SegmentFile {
    /// Creates the partial file of `segment`, or opens the one that an earlier run left.
    ///
    /// What an earlier run wrote is kept, for it may have been reported as flushed: the same bytes are received and
    /// written over it again, as pg_receivewal would. Where a sync of it has failed, in this run or in an earlier one, they
    /// are written into a new file instead (invariant 2).
    ///
    /// # Errors
    /// The file cannot be created or has WAL of another cluster in it, or there is no room for it.
    pub(super) fn open(
        dir: &Dir,
        segment: SegmentName,
        size: SegmentSize,
        system: SystemId,
    ) -> Result<Self, ReceiveError> {
        if is_cut_short(dir, segment, size)? {
            refuse_foreign(dir, &segment_path(segment), system)?;
        }
        let path = partial_path(segment);
        let found = dir.stat(&path)?;
        if let Some(found) = found {
            if found.size > size.bytes() {
                return Err(ReceiveError::PartialSize { segment, expected: size, found: found.size });
            }
            refuse_foreign(dir, &path, system)?;
        }
        if dir.stat(&replacement_path(segment))?.is_some() {
            return Self::replace(dir, segment, size);
        }
        if found.is_none() {
            return Self::create(dir, segment, size);
        }
        let mut file = dir.edit_file(&path)?;
        file.allocate(size.bytes())?;
        // Zeros would be written over WAL that may have been reported.
        let prepared = size.bytes();
        Ok(Self { prepared, ..Self::new(dir, segment, size, file, DirectoryEntry::Unsynced) })
    }

    /// Returns the segment that the file is of.
    pub(super) fn segment(&self) -> SegmentName {
        self.segment
    }

    /// Writes bytes of the segment, `offset` bytes from its beginning.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ReceiveError> {
        self.file.write_all_at(offset, bytes)?;
        self.end = offset + bytes.len() as u64;
        if self.end - self.written_back >= WRITE_BACK {
            self.file.start_write_back(self.written_back, self.end - self.written_back);
            self.written_back = self.end;
        }
        Ok(())
    }

    /// Returns whether the file that this one replaces may still hold more.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self.entry, DirectoryEntry::Replacement { until } if self.end < until)
    }

    /// Makes what was written durable, and findable under the name `<segment>.partial`.
    ///
    /// # Errors
    /// [`ReceiveError::Sync`]: nothing written since the last good sync may be believed (invariant 2), and whoever opens the
    /// file next, in this run or in another, will not believe it.
    pub(super) fn sync(&mut self) -> Result<(), ReceiveError> {
        self.prepare_next_pieces();
        self.make_durable().map_err(|error| self.doubted(error.into()))?;
        if matches!(self.entry, DirectoryEntry::Replacement { .. }) {
            // Its content is beyond doubt by now, and the name of the mark may still be its own after a crash.
            put_in_place(&self.dir, self.segment).map_err(|error| failure(self.segment, error))?;
        }
        self.entry = DirectoryEntry::Synced;
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), barman_storage::Error> {
        self.file.sync_data()?;
        self.synced = self.end;
        // What is on the disk already would only leave the cache, from which it is about to be archived.
        self.written_back = self.end;
        if self.entry == DirectoryEntry::Synced { Ok(()) } else { self.dir.sync() }
    }

    /// Writes zeros where only zeros can be, ahead of pieces to come.
    fn prepare_next_pieces(&mut self) {
        if self.end < self.prepared || self.end - self.synced > SMALL_PIECE {
            return;
        }
        self.prepared = ((self.end / ZEROS + 1) * ZEROS).min(self.size.bytes());
        let zeros = vec![0; usize::try_from(self.prepared - self.end).unwrap_or_default()];
        // Nobody misses them: a failure that matters shows in the sync that follows.
        let _ = self.file.write_all_at(self.end, &zeros);
    }

    /// Makes the complete segment durable under its final name.
    ///
    /// A file that was cut short gives the name up, but only now: what it holds may have been reported as flushed.
    ///
    /// # Errors
    /// As [`sync`](Self::sync), or another file has that name.
    pub(super) fn finish(mut self) -> Result<(), ReceiveError> {
        let cut_short = is_cut_short(&self.dir, self.segment, self.size)?;
        if cut_short || matches!(self.entry, DirectoryEntry::Replacement { .. }) {
            self.sync()?;
        }
        if cut_short {
            tracing::warn!(segment = %self.segment, "replacing a segment that was cut short");
            self.dir.remove_file(&segment_path(self.segment))?;
        }
        // Syncs the file before it gets the name, and then the directory, with which no earlier name needs a sync.
        let renamed = self.dir.rename_new(&partial_path(self.segment), &self.dir, &segment_path(self.segment));
        renamed.map(drop).map_err(|error| self.doubted(error))
    }

    /// Leaves a mark where a sync failed, for the kernel reports that once: the name of a replacement, be it of a file
    /// without content. A power failure may take the mark away, because the file then has only what the disk has.
    ///
    /// Nor is anything lost if the process is killed before it is there. The next run begins with the first byte of the
    /// segment, and reports none that it has not written and synced itself: what it writes is to be written anew for the
    /// kernel, too, whatever became of the same bytes before, and a disk that still fails fails that sync. What an earlier
    /// run reported had been synced before. The name alone is believed, and with it the journal of the file system: one that
    /// could not be written has no sync succeed any more. What the mark adds is a new file, in other blocks than those that
    /// failed.
    fn doubted(&self, error: PublishError) -> ReceiveError {
        let failure = failure(self.segment, error);
        if matches!(failure, ReceiveError::Sync { .. })
            && let Err(error) = mark_as_doubtful(&self.dir, self.segment)
        {
            tracing::warn!(segment = %self.segment, %error, "cannot note that a sync of the segment failed");
        }
        failure
    }

    /// Creates a new file beside the partial file of `segment`, in place of the mark or of an earlier replacement.
    fn replace(dir: &Dir, segment: SegmentName, size: SegmentSize) -> Result<Self, ReceiveError> {
        settle_replacement(dir, segment, size)?;
        let path = replacement_path(segment);
        // What cannot be read may hold any part of the segment.
        let until = written_end(dir, &partial_path(segment)).unwrap_or(size.bytes());
        dir.replace(&path, MODE, &[])?;
        let mut file = dir.edit_file(&path)?;
        file.allocate(size.bytes())?;
        Ok(Self::new(dir, segment, size, file, DirectoryEntry::Replacement { until }))
    }

    fn create(dir: &Dir, segment: SegmentName, size: SegmentSize) -> Result<Self, ReceiveError> {
        let path = partial_path(segment);
        let mut file = dir.create_file(&path, MODE)?;
        if let Err(error) = file.allocate(size.bytes()) {
            // A file of part of the size would keep pg_receivewal from taking over. Without this, Barman cuts it to
            // nothing and we go on with it, so a failure to remove it is not worth hiding the first one.
            let _ = dir.remove_file(&path);
            return Err(error.into());
        }
        Ok(Self::new(dir, segment, size, file, DirectoryEntry::Unsynced))
    }

    fn new(dir: &Dir, segment: SegmentName, size: SegmentSize, file: OutFile, entry: DirectoryEntry) -> Self {
        Self { dir: dir.clone(), segment, size, file, entry, end: 0, synced: 0, written_back: 0, prepared: 0 }
    }
}

/// Finishes what a replacement of the segment's partial file began and a crash or a failed sync cut short, where it had come
/// far enough. Beside a partial file it stays, as the mark that a sync of that file has failed.
///
/// # Errors
/// The directory cannot be read or changed.
pub(super) fn settle_replacement(dir: &Dir, segment: SegmentName, size: SegmentSize) -> Result<(), ReceiveError> {
    let Some(replacement) = dir.stat(&replacement_path(segment))? else { return Ok(()) };
    if is_complete(dir, segment, size)? {
        Ok(dir.remove_file(&replacement_path(segment))?)
    } else if dir.stat(&partial_path(segment))?.is_some() {
        Ok(())
    } else if replacement.size == size.bytes() {
        Ok(put_in_place(dir, segment)?)
    } else {
        // A mark alone: what it was beside is gone.
        Ok(dir.remove_file(&replacement_path(segment))?)
    }
}

/// Tells a failed sync from other failures.
fn failure(segment: SegmentName, error: PublishError) -> ReceiveError {
    match error {
        PublishError::Storage(source) if source.operation() == Operation::Sync => {
            ReceiveError::Sync { segment, source }
        }
        error => error.into(),
    }
}

fn mark_as_doubtful(dir: &Dir, segment: SegmentName) -> Result<(), barman_storage::Error> {
    let path = replacement_path(segment);
    if dir.stat(&path)?.is_none() {
        dir.create_file(&path, MODE)?;
    }
    Ok(())
}

/// Returns where the WAL in a partial file ends, in bytes from its beginning: behind it there are only zeros.
///
/// # Errors
/// The file is not there, or cannot be read.
pub(super) fn written_end(dir: &Dir, path: &RelativePath) -> Result<u64, ReceiveError> {
    let failed = |source| barman_storage::Error::new(Operation::Read, dir.path().join(path), source);
    let mut file = dir.open_file(path)?;
    let mut buffer = vec![0; 128 << 10];
    let (mut at, mut end) = (0, 0);
    loop {
        let length = file.read(&mut buffer).map_err(failed)?;
        let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else { return Ok(end) };
        if let Some(last) = read.iter().rposition(|byte| *byte != 0) {
            end = at + last as u64 + 1;
        }
        at += length as u64;
    }
}

/// Returns whether the segment has its final name and its full size.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn is_complete(dir: &Dir, segment: SegmentName, size: SegmentSize) -> Result<bool, ReceiveError> {
    Ok(dir.stat(&segment_path(segment))?.is_some_and(|stat| stat.size == size.bytes()))
}

/// Returns whether the segment has its final name and lacks its end, by whoever's doing: it is to be received again.
fn is_cut_short(dir: &Dir, segment: SegmentName, size: SegmentSize) -> Result<bool, ReceiveError> {
    Ok(dir.stat(&segment_path(segment))?.is_some_and(|stat| stat.size < size.bytes()))
}

/// Gives the replacement its name. A crash in between leaves the replacement alone, complete and synced, for
/// [`settle_replacement`] to find.
fn put_in_place(dir: &Dir, segment: SegmentName) -> Result<(), PublishError> {
    dir.remove_file(&partial_path(segment))?;
    dir.rename_new(&replacement_path(segment), dir, &partial_path(segment))?;
    Ok(())
}

/// Refuses to write over another cluster's WAL. A file that has no readable header yet is nobody's.
fn refuse_foreign(dir: &Dir, path: &RelativePath, expected: SystemId) -> Result<(), ReceiveError> {
    let mut header = Vec::new();
    let read = dir.open_file(path)?.take(SegmentHeader::LEN as u64).read_to_end(&mut header);
    read.map_err(|source| barman_storage::Error::new(Operation::Read, dir.path().join(path), source))?;
    match SegmentHeader::parse(&header) {
        Ok(header) if header.system_id != expected => {
            Err(ReceiveError::ForeignSystem { expected: header.system_id, found: expected })
        }
        _ => Ok(()),
    }
}

/// The final name of a segment's file.
pub(super) fn segment_path(segment: SegmentName) -> RelativePath {
    plain_name(segment.to_string())
}

/// The name of a segment's file while it is being received.
pub(super) fn partial_path(segment: SegmentName) -> RelativePath {
    plain_name(format!("{segment}.partial"))
}

/// Both Barman and pg_receivewal ignore names that end in `.tmp`.
fn replacement_path(segment: SegmentName) -> RelativePath {
    plain_name(format!("{segment}.partial.tmp"))
}

/// Returns the segment that a file of this name would replace the partial file of.
pub(super) fn replaced_segment(name: &OsStr) -> Option<SegmentName> {
    name.to_str()?.strip_suffix(".partial.tmp")?.parse().ok()
}

#[allow(clippy::expect_used, reason = "digits and dots are a plain file name")]
fn plain_name(name: String) -> RelativePath {
    RelativePath::new(name).expect("digits and dots are a plain file name")
}
