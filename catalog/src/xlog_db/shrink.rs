//! Removing many lines at once, while archiving goes on.

use barman_storage::Replacement;
use wal_format::{Crc32c, WalFileName};

use super::snapshot::Snapshot;
use super::{XlogDb, XlogLine};
use crate::catalog::FILE_MODE;
use crate::{Catalog, Error};

/// An index without the lines that were to go.
#[derive(Debug)]
pub(crate) struct Shrunk {
    /// The files whose lines went, in the order of the index.
    pub(crate) removed: Vec<WalFileName>,
    /// The index as it is without them.
    pub(crate) index: Snapshot,
}

impl Catalog {
    /// Removes the lines of all files that `goes` says yes to. The index is replaced as a whole, once.
    ///
    /// Writing millions of lines anew and syncing them takes seconds, in which no WAL could be archived. So it is done
    /// without the lock; under the lock, the lines that were appended meanwhile are added. If somebody else has rewritten
    /// the index meanwhile, it is done again, the last time under the lock.
    pub(crate) fn shrink_index(&self, goes: &dyn Fn(&WalFileName) -> bool) -> Result<Shrunk, Error> {
        const ATTEMPTS_WITHOUT_LOCK: usize = 3;
        for _ in 0..ATTEMPTS_WITHOUT_LOCK {
            // The lock is released at the end of the line.
            let (dir, path, old) =
                self.xlog_db().and_then(|db| Ok((db.dir.clone(), db.path.clone(), db.snapshot()?)))?;
            let written = Written::begin(dir.replacement(&path, FILE_MODE)?, &old, goes)?;
            if written.removed.is_empty() {
                return Ok(Shrunk { removed: written.removed, index: old });
            }
            let db = self.xlog_db()?;
            if db.continues(&old, written.checksum)? {
                return written.finish(&db, &old);
            }
        }
        let db = self.xlog_db()?;
        let old = db.snapshot()?;
        Written::begin(db.dir.replacement(&db.path, FILE_MODE)?, &old, goes)?.finish(&db, &old)
    }
}

/// A new index that has not its name yet.
struct Written<'a> {
    file: Replacement<'a>,
    goes: &'a dyn Fn(&WalFileName) -> bool,
    removed: Vec<WalFileName>,
    /// Of the old index.
    checksum: u32,
}

impl<'a> Written<'a> {
    /// Writes what stays of `old`, and makes that durable.
    fn begin(file: Replacement<'a>, old: &Snapshot, goes: &'a dyn Fn(&WalFileName) -> bool) -> Result<Self, Error> {
        let mut written = Self { file, goes, removed: Vec::new(), checksum: 0 };
        let mut crc = Crc32c::new();
        let mut kept = Buffered::default();
        old.scan(|line| {
            crc.update(line.raw);
            written.sort_out(&line, &mut kept)
        })?;
        kept.flush(&mut written.file)?;
        written.file.file().sync()?;
        written.checksum = crc.finish();
        Ok(written)
    }

    /// Adds what was appended to `old`, and gives the new index its name.
    fn finish(mut self, db: &XlogDb, old: &Snapshot) -> Result<Shrunk, Error> {
        let mut kept = Buffered::default();
        db.scan_since(old, |line| self.sort_out(&line, &mut kept))?;
        kept.flush(&mut self.file)?;
        self.file.commit()?;
        Ok(Shrunk { removed: self.removed, index: db.snapshot()? })
    }

    fn sort_out(&mut self, line: &XlogLine<'_>, kept: &mut Buffered) -> Result<(), Error> {
        match line.name.parse() {
            Ok(name) if (self.goes)(&name) => self.removed.push(name),
            _ => kept.add(line.raw, &mut self.file)?,
        }
        Ok(())
    }
}

/// Lines on their way into the new index.
#[derive(Default)]
struct Buffered(Vec<u8>);

impl Buffered {
    fn add(&mut self, line: &[u8], file: &mut Replacement<'_>) -> Result<(), Error> {
        self.0.extend_from_slice(line);
        if self.0.len() >= super::BUFFER { self.flush(file) } else { Ok(()) }
    }

    fn flush(&mut self, file: &mut Replacement<'_>) -> Result<(), Error> {
        file.file().write_all(&self.0)?;
        self.0.clear();
        Ok(())
    }
}
