//! The index as it was at one moment, read without holding its lock.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use barman_storage::Operation;
use memchr::{memchr, memrchr};
use wal_format::Crc32c;

use super::{BUFFER, LONGEST_LINE, XlogDb, XlogLine, invalid};
use crate::{Catalog, Error, layout};

/// What the index held at one moment. Archiving goes on meanwhile: it appends lines, and these are not looked at.
#[derive(Debug)]
pub(crate) struct Snapshot {
    file: File,
    length: u64,
    path: PathBuf,
}

impl Catalog {
    /// Returns the index as it is now. Its lock is taken for a moment, so that no line is half written.
    pub(crate) fn xlog_snapshot(&self) -> Result<Snapshot, Error> {
        self.xlog_db()?.snapshot()
    }
}

impl XlogDb {
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        let file = self.dir.open_file(&self.path)?;
        let length = file.metadata().map_err(|error| self.unreadable(error))?.len();
        Ok(Snapshot { file, length, path: layout::shown(&self.dir, &self.path) })
    }

    /// Tells whether the index is still what it was, with lines added at most. Where it was written over in place, as
    /// Barman does, its beginning differs, which takes reading all of that.
    pub(super) fn continues(&self, old: &Snapshot, checksum: u32) -> Result<bool, Error> {
        let new = self.snapshot()?;
        if !new.is_same_file(old)? || new.length < old.length {
            return Ok(false);
        }
        let mut crc = Crc32c::new();
        new.read(0..old.length, |bytes| crc.update(bytes))?;
        Ok(crc.finish() == checksum)
    }

    /// Shows the lines that were added since `old`; all lines if the index is another one by now.
    pub(crate) fn scan_since<E: From<Error>>(
        &self,
        old: &Snapshot,
        visit: impl FnMut(XlogLine<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let new = self.snapshot()?;
        let is_longer = new.is_same_file(old)? && new.length >= old.length;
        new.scan_from(if is_longer { old.length } else { 0 }, visit).map(drop)
    }
}

impl Snapshot {
    /// Shows every line to `visit`, in order.
    pub(crate) fn scan<E: From<Error>>(&self, visit: impl FnMut(XlogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        self.scan_from(0, visit).map(drop)
    }

    /// The same from an offset on, where a line begins; returns where the last line ends.
    pub(super) fn scan_from<E: From<Error>>(
        &self,
        offset: u64,
        visit: impl FnMut(XlogLine<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.scan_range(offset..self.length, visit)
    }

    /// Shows every line to one of several visitors, each of which sees a part of the index in order, at the same time as the
    /// others; returns them in the order of their parts.
    pub(super) fn fold<T: Send>(
        &self,
        start: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, XlogLine<'_>) + Sync,
    ) -> Result<Vec<T>, Error> {
        let fold = |part: Range<u64>| {
            let mut visitor = start();
            self.scan_range(part, |line| {
                visit(&mut visitor, line);
                Ok::<_, Error>(())
            })?;
            Ok::<_, Error>(visitor)
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = self.parts(threads)?;
        let folded: Result<Vec<T>, Error> = std::thread::scope(|scope| {
            let fold = &fold;
            let threads: Vec<_> = parts.iter().map(|part| scope.spawn(|| fold(part.clone()))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        // An error is to count its line from the beginning.
        folded.or_else(|_| Ok(vec![fold(0..self.length)?]))
    }

    /// Parts of about the same length, at most so many, which begin where lines do. What is short is one part.
    fn parts(&self, most: usize) -> Result<Vec<Range<u64>>, Error> {
        const LEAST: u64 = 1 << 20;
        let most = (self.length / LEAST).clamp(1, most as u64);
        let mut parts = Vec::new();
        let mut start = 0;
        for number in 1..=most {
            let end = if number == most { self.length } else { self.line_start(self.length / most * number)? };
            parts.push(start..end.max(start));
            start = end;
        }
        Ok(parts)
    }

    /// Where the first line begins that does so behind a place; the end, if that is far away.
    fn line_start(&self, place: u64) -> Result<u64, Error> {
        let mut line = Vec::new();
        self.section(place)?
            .take(LONGEST_LINE as u64)
            .read_to_end(&mut line)
            .map_err(|error| self.unreadable(error))?;
        Ok(memchr(b'\n', &line).map_or(self.length, |end| place + end as u64 + 1))
    }

    /// Shows every line of a range that begins with one; returns where the last line ends.
    fn scan_range<E: From<Error>>(
        &self,
        range: Range<u64>,
        mut visit: impl FnMut(XlogLine<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut block = Block::new(&self.file, range);
        let mut number = 1;
        while block.fill().map_err(|error| self.unreadable(error))? {
            let mut rest = block.lines();
            while !rest.is_empty() {
                let (line, behind) = rest.split_at(memchr(b'\n', rest).map_or(rest.len(), |end| end + 1));
                let parsed = XlogLine::parse(line).filter(|_| line.len() <= LONGEST_LINE);
                parsed.ok_or_else(|| invalid(&self.path, number, line))?.map_or(Ok(()), &mut visit)?;
                (rest, number) = (behind, number + 1);
            }
        }
        Ok(block.at)
    }

    /// Shows all bytes of a range, in pieces.
    fn read(&self, range: std::ops::Range<u64>, mut visit: impl FnMut(&[u8])) -> Result<(), Error> {
        let length = range.end.saturating_sub(range.start);
        let mut reader = BufReader::with_capacity(BUFFER, self.section(range.start)?.take(length));
        loop {
            let bytes = reader.fill_buf().map_err(|error| self.unreadable(error))?;
            if bytes.is_empty() {
                return Ok(());
            }
            visit(bytes);
            let read = bytes.len();
            reader.consume(read);
        }
    }

    /// What lies between an offset and the end that the index had.
    fn section(&self, offset: u64) -> Result<impl Read, Error> {
        let mut file = self.file.try_clone().map_err(|error| self.unreadable(error))?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| self.unreadable(error))?;
        Ok(file.take(self.length.saturating_sub(offset)))
    }

    pub(super) fn is_same_file(&self, other: &Self) -> Result<bool, Error> {
        let identity = |snapshot: &Self| {
            let metadata = snapshot.file.metadata().map_err(|error| snapshot.unreadable(error))?;
            Ok::<_, Error>((metadata.dev(), metadata.ino()))
        };
        Ok(identity(self)? == identity(other)?)
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        barman_storage::Error::new(Operation::Read, self.path.clone(), source).into()
    }
}

/// A range of a file, a piece at a time; a piece ends with a line, if one ends in it.
struct Block<'a> {
    file: &'a File,
    bytes: Vec<u8>,
    /// How many of the bytes were read.
    filled: usize,
    /// How many of these are whole lines, which were shown.
    shown: usize,
    /// Where in the file the first byte lies that was not shown.
    at: u64,
    end: u64,
}

impl<'a> Block<'a> {
    fn new(file: &'a File, range: Range<u64>) -> Self {
        Self { file, bytes: vec![0; BUFFER], filled: 0, shown: 0, at: range.start, end: range.end }
    }

    /// Reads on; `false` at the end.
    fn fill(&mut self) -> std::io::Result<bool> {
        self.bytes.copy_within(self.shown..self.filled, 0);
        self.filled -= self.shown;
        while let Some(room) = self.bytes.get_mut(self.filled..).filter(|room| !room.is_empty()) {
            let read_to = self.at + self.filled as u64;
            let wanted = room.len().min(usize::try_from(self.end.saturating_sub(read_to)).unwrap_or(usize::MAX));
            let Some(room) = room.get_mut(..wanted) else { break };
            let read = self.file.read_at(room, read_to)?;
            if read == 0 {
                break;
            }
            self.filled += read;
        }
        let is_last = self.at + (self.filled as u64) >= self.end || self.filled < self.bytes.len();
        let filled = self.bytes.get(..self.filled).unwrap_or_default();
        self.shown = if is_last { self.filled } else { memrchr(b'\n', filled).map_or(self.filled, |end| end + 1) };
        self.at += self.shown as u64;
        Ok(self.shown > 0)
    }

    /// What was read, as far as lines are whole; at the end, all of it.
    fn lines(&self) -> &[u8] {
        self.bytes.get(..self.shown).unwrap_or_default()
    }
}
