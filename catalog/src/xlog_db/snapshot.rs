//! The index as it was at one moment, read without holding its lock.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use barman_storage::Operation;
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
        mut visit: impl FnMut(XlogLine<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut reader = BufReader::with_capacity(BUFFER, self.section(offset)?);
        let (mut line, mut end) = (Vec::new(), offset);
        for number in 1.. {
            line.clear();
            let limited = reader.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut line);
            let length = limited.map_err(|error| self.unreadable(error))?;
            if length == 0 {
                break;
            }
            end += length as u64;
            let parsed = XlogLine::parse(&line).ok_or_else(|| invalid(&self.path, number, &line))?;
            parsed.map_or(Ok(()), &mut visit)?;
        }
        Ok(end)
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
