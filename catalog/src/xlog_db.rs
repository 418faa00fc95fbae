//! The index of the WAL archive, `<server>-xlog.db`: one line for every archived file, in the order of archiving, but for segments
//! that come late.

mod late;
mod line;
mod rebuild;
mod shrink;
mod snapshot;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use barman_storage::{Dir, LockFile, Operation, RelativePath};
use memchr::memchr;
use wal_format::{WalFileName, crc32c};

use crate::catalog::{DIRECTORY_MODE, FILE_MODE, existing};
use crate::{Catalog, Error, layout};

pub use line::{XlogEntry, XlogLine};
pub use rebuild::Rebuilt;
pub(crate) use rebuild::{described, entry as entry_of};
pub(crate) use shrink::Shrunk;
pub(crate) use snapshot::Snapshot;

/// Longer than any line; a bound for what is read of a damaged file before it is refused.
const LONGEST_LINE: usize = 4096;

/// How much of the file is read at a time.
const BUFFER: usize = 256 * 1024;

/// The index, while this process holds Barman's lock on it: nobody else reads or changes it meanwhile.
///
/// Barman's readers and writers wait for the same lock. Hold it for moments only.
#[derive(Debug)]
pub struct XlogDb {
    dir: Dir,
    path: RelativePath,
    _lock: LockFile,
}

impl Catalog {
    /// Waits for Barman's lock and opens the index.
    ///
    /// A missing index is rebuilt from the archive first, as Barman does; and lines of which a crash left a part are
    /// completed or removed, so that the next line does not continue one, and readers understand all.
    ///
    /// # Errors
    /// The lock, the index, or for a rebuild the archive, cannot be read or written.
    pub fn xlog_db(&self) -> Result<XlogDb, Error> {
        let lock = self.lock_xlog_db()?;
        let dir = match existing(&self.layout().xlogdb_directory)? {
            Some(dir) => dir,
            None => Dir::create(&self.layout().xlogdb_directory, DIRECTORY_MODE)?,
        };
        let mut db = XlogDb { dir, path: self.layout().xlog_db()?, _lock: lock };
        if db.dir.stat(&db.path)?.is_none() {
            self.rebuild_xlog_db(&mut db)?;
        }
        self.mend_end(&mut db)?;
        Ok(db)
    }

    /// Writes the index anew from what is in the archive. What cannot be seen in a file is kept from the line that it had:
    /// how an encrypted one is compressed, and that a filter of the user's compressed it.
    ///
    /// # Errors
    /// The archive cannot be read, or the index not written; then it is as it was.
    pub fn rebuild_index(&self) -> Result<Rebuilt, Error> {
        let lock = self.lock_xlog_db()?;
        let dir = Dir::create(&self.layout().xlogdb_directory, DIRECTORY_MODE)?;
        let mut db = XlogDb { dir, path: self.layout().xlog_db()?, _lock: lock };
        self.rebuild_xlog_db(&mut db)
    }

    fn rebuild_xlog_db(&self, db: &mut XlogDb) -> Result<Rebuilt, Error> {
        let wals = self.wals_dir()?;
        let mut entries = rebuild::entries(&wals, self.wal_storage())?;
        // Before 3.13 the index had another name; Barman removes that file when it makes the new one.
        let old = layout::old_xlog_db();
        let older_lines = wals.read(&old, u64::MAX)?;
        let has_old = older_lines.is_some();
        rebuild::keep_what_lines_say(&mut entries, &[older_lines.unwrap_or_default(), db.read_all()?].join(&b'\n'));
        db.rewrite(&entries)?;
        if has_old {
            wals.remove_file(&old)?;
        }
        Ok(Rebuilt::of(&entries))
    }

    /// Deals with an append that a crash interrupted: it left a line that is cut short, or where a sector got lost and one
    /// behind it did not, zeros. The files it was about are archived already, or still wait to be.
    fn mend_end(&self, db: &mut XlogDb) -> Result<(), Error> {
        if !db.is_torn()? {
            return Ok(());
        }
        tracing::warn!(path = %layout::shown(&db.dir, &db.path).display(), "the end of the WAL index is torn: it is mended");
        let wals = self.wals_dir()?;
        let mut text = Vec::new();
        for line in db.read_all()?.split_inclusive(|byte| *byte == b'\n') {
            if is_whole(line) {
                text.extend_from_slice(line);
            } else if let Some(name) = name_in_part(line) {
                let entry = rebuild::entry(&wals, &name, self.wal_storage())?;
                text.extend(entry.into_iter().flat_map(|entry| entry.to_line().into_bytes()));
            }
        }
        Ok(db.dir.replace(&db.path, FILE_MODE, &text)?)
    }
}

impl XlogDb {
    /// Shows every line to `visit`, in order.
    ///
    /// # Errors
    /// The file cannot be read, a line is not an entry, or `visit` says so.
    pub fn scan<E: From<Error>>(&self, visit: impl FnMut(XlogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        self.scan_from(0, visit).map(drop)
    }

    /// Shows every line from `offset` on, where a line begins, and returns where the last one ends. Lines are counted from
    /// there in errors.
    pub(crate) fn scan_from<E: From<Error>>(
        &self,
        offset: u64,
        visit: impl FnMut(XlogLine<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.snapshot()?.scan_from(offset, visit)
    }

    /// Shows every line to one of several visitors, each of which sees a part of the index in order, at the same time as the
    /// others; returns them in the order of their parts.
    pub(crate) fn fold<T: Send>(
        &self,
        start: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, XlogLine<'_>) + Sync,
    ) -> Result<Vec<T>, Error> {
        self.snapshot()?.fold(start, visit)
    }

    /// The checksum of the lines right before `offset`, as many as tell this place from any other; `None` if the file is
    /// shorter. Names are not repeated in an index, so the same lines in the same place mean that none before was removed.
    pub(crate) fn checksum_before(&self, offset: u64) -> Result<Option<u32>, Error> {
        let start = offset.saturating_sub(LONGEST_LINE as u64);
        let mut file = self.dir.open_file(&self.path)?;
        file.seek(SeekFrom::Start(start)).map_err(|error| self.unreadable(error))?;
        let mut tail = Vec::new();
        file.take(offset - start).read_to_end(&mut tail).map_err(|error| self.unreadable(error))?;
        Ok((tail.len() as u64 == offset - start).then(|| crc32c(&tail)))
    }

    /// Tells whether nothing is archived.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.dir.stat(&self.path)?.is_none_or(|stat| stat.size == 0))
    }

    /// Returns every entry, in order.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not an entry.
    pub fn entries(&self) -> Result<Vec<XlogEntry>, Error> {
        let mut entries = Vec::new();
        let mut number = 0;
        self.scan(|line| {
            number += 1;
            let entry = line.to_entry().ok_or_else(|| self.invalid(number, line.name().as_bytes()))?;
            entries.push(entry);
            Ok::<_, Error>(())
        })?;
        Ok(entries)
    }

    /// Tells whether an archived file has an entry. The newest entries are looked at first: that is where the question is
    /// asked about.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn contains(&self, name: &WalFileName) -> Result<bool, Error> {
        let name = name.to_string();
        let mut file = self.dir.open_file(&self.path)?;
        let mut end = file.seek(SeekFrom::End(0)).map_err(|error| self.unreadable(error))?;
        let mut block = vec![0; BUFFER];
        while end > 0 {
            // Blocks overlap by the longest line, so that none is missed between two of them.
            let start = end.saturating_sub(BUFFER as u64);
            let length = usize::try_from(end - start).unwrap_or(BUFFER).min(BUFFER);
            let Some(bytes) = block.get_mut(..length) else { break };
            file.seek(SeekFrom::Start(start)).map_err(|error| self.unreadable(error))?;
            file.read_exact(bytes).map_err(|error| self.unreadable(error))?;
            if begins_a_line(bytes, name.as_bytes()) {
                return Ok(true);
            }
            end = if start == 0 { 0 } else { start + LONGEST_LINE as u64 };
        }
        Ok(false)
    }

    /// Adds entries, in this order; a segment that comes late goes before those of its timeline that follow it. When this
    /// returns, they are durable (invariant 1).
    ///
    /// # Errors
    /// The lines cannot be written or synced; some of them, and a part of one, may be there.
    pub fn append<'e>(&mut self, entries: impl IntoIterator<Item = &'e XlogEntry>) -> Result<(), Error> {
        let entries: Vec<&XlogEntry> = entries.into_iter().collect();
        match self.insert_late(&entries) {
            Ok(true) => return Ok(()),
            // What is broken elsewhere in the file keeps no WAL waiting.
            Ok(false) | Err(Error::XlogDb { .. }) => {}
            Err(error) => return Err(error),
        }
        let lines: String = entries.into_iter().map(XlogEntry::to_line).collect();
        match lines.as_str() {
            "" => Ok(()),
            lines => Ok(self.dir.append(&self.path, FILE_MODE, lines.as_bytes())?),
        }
    }

    /// Removes the entries that `keep` says no to, if there are any; returns how many there were.
    ///
    /// The lines kept stay as they are, byte for byte. The file is replaced as a whole: a crash leaves the old one or the
    /// new one, where Barman, which writes over the old one, can leave a part.
    ///
    /// # Errors
    /// The file cannot be read or written; then it is as it was.
    pub fn retain(&mut self, mut keep: impl FnMut(&XlogLine<'_>) -> bool) -> Result<usize, Error> {
        let mut kept = Vec::new();
        let mut removed = 0;
        self.scan(|line| {
            if keep(&line) {
                kept.extend_from_slice(line.raw);
            } else {
                removed += 1;
            }
            Ok::<_, Error>(())
        })?;
        if removed > 0 {
            self.dir.replace(&self.path, FILE_MODE, &kept)?;
        }
        Ok(removed)
    }

    /// Writes all entries anew.
    fn rewrite(&mut self, entries: &[XlogEntry]) -> Result<(), Error> {
        let text: String = entries.iter().map(XlogEntry::to_line).collect();
        Ok(self.dir.replace(&self.path, FILE_MODE, text.as_bytes())?)
    }

    /// Tells whether a crash interrupted an append, and nobody has mended that. It lies at the end, behind which Barman may
    /// have added lines.
    fn is_torn(&self) -> Result<bool, Error> {
        let end = self.end()?;
        Ok(!end.is_empty() && !is_whole(&end))
    }

    /// The last lines, of the first of which a part may be missing.
    fn end(&self) -> Result<Vec<u8>, Error> {
        const END: u64 = 16 * 1024;
        let mut file = self.dir.open_file(&self.path)?;
        let length = file.seek(SeekFrom::End(0)).map_err(|error| self.unreadable(error))?;
        file.seek(SeekFrom::Start(length.saturating_sub(END))).map_err(|error| self.unreadable(error))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).map_err(|error| self.unreadable(error))?;
        Ok(end)
    }

    fn read_all(&self) -> Result<Vec<u8>, Error> {
        Ok(self.dir.read(&self.path, u64::MAX)?.unwrap_or_default())
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        barman_storage::Error::new(Operation::Read, layout::shown(&self.dir, &self.path), source).into()
    }

    fn invalid(&self, line: u64, found: &[u8]) -> Error {
        invalid(&layout::shown(&self.dir, &self.path), line, found)
    }
}

fn invalid(path: &Path, line: u64, found: &[u8]) -> Error {
    let found = String::from_utf8_lossy(found).chars().take(60).collect();
    Error::XlogDb { path: path.to_owned(), line, found }
}

/// Tells whether lines, or one, are as they were written: a sector that got lost leaves zeros, and no line has any.
fn is_whole(lines: &[u8]) -> bool {
    lines.ends_with(b"\n") && memchr(0, lines).is_none()
}

/// The name at the beginning of a line of which a part is missing, if that is whole.
fn name_in_part(line: &[u8]) -> Option<WalFileName> {
    let begin = line.split(|byte| *byte == 0).next()?;
    let length = begin.iter().position(u8::is_ascii_whitespace)?;
    std::str::from_utf8(begin.get(..length)?).ok()?.parse().ok()
}

/// Tells whether a line of `block` begins with `name` and a blank.
fn begins_a_line(block: &[u8], name: &[u8]) -> bool {
    block
        .split(|byte| *byte == b'\n')
        .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_whitespace)))
}
