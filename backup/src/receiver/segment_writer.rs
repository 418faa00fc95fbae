//! Writes the WAL of one timeline into segment files.

use barman_storage::Dir;
use replication_client::Durable;
use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId};

use super::error::ReceiveError;
use super::segment_file::SegmentFile;

/// Where a stream of WAL begins, and which cluster and timeline it is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamStart {
    pub(super) system: SystemId,
    pub(super) size: SegmentSize,
    pub(super) timeline: TimelineId,
    /// The first byte of a segment.
    pub(super) position: Lsn,
}

/// Takes WAL in order, keeps each segment in a partial file until it is complete, and says what is durable.
///
/// ```text
///            write             write up to its end            finish_segment
/// (no file) ───────▶ (partial) ───────────────────▶ (complete) ───────────────▶ (no file)
///                     │     ▲
///                     └─────┘ write, sync
/// ```
#[derive(Debug)]
pub(super) struct SegmentWriter {
    dir: Dir,
    start: StreamStart,
    /// Where the next byte belongs.
    position: Lsn,
    open: Option<SegmentFile>,
    /// No sync has seen what lies between this and `position`.
    synced: Lsn,
}

impl SegmentWriter {
    pub(super) fn new(dir: Dir, start: StreamStart) -> Self {
        Self { dir, start, position: start.position, open: None, synced: start.position }
    }

    /// Returns where the next byte belongs: everything before it is written, though perhaps not durable.
    pub(super) fn position(&self) -> Lsn {
        self.position
    }

    /// Returns how much is written that no sync has seen.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.position.as_u64() - self.synced.as_u64()
    }

    /// Writes the bytes that begin at `at`, up to the end of the segment they begin in, and returns the others.
    ///
    /// # Errors
    /// `at` is not where the bytes before ended, or the file cannot be opened or written.
    pub(super) fn write<'a>(&mut self, at: Lsn, data: &'a [u8]) -> Result<&'a [u8], ReceiveError> {
        if at != self.position {
            return Err(ReceiveError::OutOfOrder { expected: self.position, found: at });
        }
        let segment = SegmentNumber::containing(at, self.start.size);
        let offset = at.as_u64() - segment.start(self.start.size).as_u64();
        let room = usize::try_from(self.start.size.bytes() - offset).unwrap_or(usize::MAX);
        let (data, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
        let position = at.checked_add(data.len() as u64).ok_or(ReceiveError::EndOfAddresses)?;
        self.open_file()?.write_at(offset, data)?;
        self.position = position;
        Ok(rest)
    }

    /// Gives the segment its final name if it is complete, and returns that with the proof that it is durable there.
    ///
    /// # Errors
    /// As [`sync`](Self::sync), or a file of that name exists already.
    pub(super) fn finish_segment(&mut self) -> Result<Option<(SegmentName, Durable)>, ReceiveError> {
        let StreamStart { system, size, timeline, .. } = self.start;
        let complete = self.position == SegmentNumber::containing(self.position, size).start(size);
        let Some(file) = self.open.take_if(|_| complete) else { return Ok(None) };
        let segment = file.segment();
        self.synced = self.position;
        // Invariant 1: the position is reported only after the file and its name are synced.
        let durable = Durable::after_sync(system, timeline, self.position, || file.finish())?;
        Ok(Some((segment, durable)))
    }

    /// Makes everything written so far durable, and returns the proof, or `None` if there is nothing new to report: nothing is
    /// new before a file that replaces another one is as far.
    ///
    /// # Errors
    /// [`ReceiveError::Sync`]: the segment is to be received again by another writer, which begins a new file (invariant 2).
    pub(super) fn sync(&mut self) -> Result<Option<Durable>, ReceiveError> {
        let is_new = |file: &&mut SegmentFile| self.synced < self.position && !file.is_behind();
        let Some(file) = self.open.as_mut().filter(is_new) else { return Ok(None) };
        let StreamStart { system, timeline, .. } = self.start;
        let durable = Durable::after_sync(system, timeline, self.position, || file.sync())?;
        self.synced = self.position;
        Ok(Some(durable))
    }

    fn open_file(&mut self) -> Result<&mut SegmentFile, ReceiveError> {
        let StreamStart { system, size, timeline, .. } = self.start;
        let segment = SegmentNumber::containing(self.position, size).name(timeline, size);
        match &mut self.open {
            Some(file) => Ok(file),
            closed => Ok(closed.insert(SegmentFile::open(&self.dir, segment, size, system)?)),
        }
    }
}

#[cfg(test)]
mod tests;
