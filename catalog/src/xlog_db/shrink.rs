//! Removing many lines at once, while archiving goes on.

use barman_storage::{OutFile, Replacement};
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
    ///
    /// `holds` is asked under the lock whether what decided about the files still holds. If not, nothing happens, and `None`
    /// is returned.
    pub(crate) fn shrink_index(
        &self,
        goes: &dyn Fn(&WalFileName) -> bool,
        holds: &dyn Fn() -> Result<bool, Error>,
    ) -> Result<Option<Shrunk>, Error> {
        const ATTEMPTS_WITHOUT_LOCK: usize = 3;
        for _ in 0..ATTEMPTS_WITHOUT_LOCK {
            // The lock is released at the end of the line.
            let (dir, path, old) =
                self.xlog_db().and_then(|db| Ok((db.dir.clone(), db.path.clone(), db.snapshot()?)))?;
            let written = Written::begin(dir.replacement(&path, FILE_MODE)?, &old, goes)?;
            if written.removed.is_empty() {
                return Ok(Some(Shrunk { removed: written.removed, index: old }));
            }
            let db = self.xlog_db()?;
            if !holds()? {
                return Ok(None);
            }
            if db.continues(&old, written.checksum)? {
                return written.finish(&db, &old).map(Some);
            }
        }
        let db = self.xlog_db()?;
        if !holds()? {
            return Ok(None);
        }
        let old = db.snapshot()?;
        Written::begin(db.dir.replacement(&db.path, FILE_MODE)?, &old, goes)?.finish(&db, &old).map(Some)
    }
}

/// A new index that has not its name yet.
struct Written<'a> {
    file: Replacement,
    goes: &'a dyn Fn(&WalFileName) -> bool,
    removed: Vec<WalFileName>,
    /// Of the old index.
    checksum: u32,
}

impl<'a> Written<'a> {
    /// Writes what stays of `old`, and makes that durable.
    fn begin(file: Replacement, old: &Snapshot, goes: &'a dyn Fn(&WalFileName) -> bool) -> Result<Self, Error> {
        let mut written = Self { file, goes, removed: Vec::new(), checksum: 0 };
        let mut crc = Crc32c::new();
        let mut kept = Buffered::default();
        old.scan(|line| {
            crc.update(line.raw);
            written.sort_out(&line, &mut kept)
        })?;
        kept.flush(written.file.file())?;
        written.file.file().sync()?;
        written.checksum = crc.finish();
        Ok(written)
    }

    /// Adds what was appended to `old`, and gives the new index its name.
    fn finish(mut self, db: &XlogDb, old: &Snapshot) -> Result<Shrunk, Error> {
        let mut kept = Buffered::default();
        db.scan_since(old, |line| self.sort_out(&line, &mut kept))?;
        kept.flush(self.file.file())?;
        self.file.commit()?;
        Ok(Shrunk { removed: self.removed, index: db.snapshot()? })
    }

    fn sort_out(&mut self, line: &XlogLine<'_>, kept: &mut Buffered) -> Result<(), Error> {
        match line.name().parse() {
            Ok(name) if (self.goes)(&name) => self.removed.push(name),
            _ => kept.add(line.raw, self.file.file())?,
        }
        Ok(())
    }
}

/// Lines on their way into the new index.
#[derive(Default)]
pub(super) struct Buffered(Vec<u8>);

impl Buffered {
    pub(super) fn add(&mut self, line: &[u8], file: &mut OutFile) -> Result<(), Error> {
        self.0.extend_from_slice(line);
        if self.0.len() >= super::BUFFER { self.flush(file) } else { Ok(()) }
    }

    pub(super) fn flush(&mut self, file: &mut OutFile) -> Result<(), Error> {
        file.write_all(&self.0)?;
        self.0.clear();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a throwaway directory")]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{LocalZone, ServerLayout, XlogEntry};

    const INDEX: &str = "000000010000000000000001\t1\t1.0\tNone\tNone\n000000010000000000000002\t1\t1.0\tNone\tNone\n";

    fn name(number: u32) -> WalFileName {
        format!("0000000100000000{number:08X}").parse().unwrap()
    }

    fn entry(number: u32) -> XlogEntry {
        XlogEntry { name: name(number), size: 1, modified: 1.0, compression: None, encryption: None }
    }

    /// Removes segment 1 from an index of 1 and 2; `meanwhile` happens each time that the index has been read.
    fn shrink(meanwhile: impl Fn(&Catalog, &std::path::Path)) -> (Vec<WalFileName>, Vec<WalFileName>) {
        let root = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(ServerLayout::below(root.path(), "main"), LocalZone::UTC);
        let path = root.path().join("main/wals/main-xlog.db");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, INDEX).unwrap();
        let goes = |line: &WalFileName| {
            if *line == name(2) {
                meanwhile(&catalog, &path);
            }
            *line == name(1)
        };
        let removed = catalog.shrink_index(&goes, &|| Ok(true)).unwrap().unwrap().removed;
        let left = catalog.xlog_db().unwrap().entries().unwrap();
        (removed, left.into_iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn lines_that_are_appended_meanwhile_are_kept() {
        let times = Cell::new(0);
        let (removed, left) = shrink(|catalog, _| {
            times.set(times.get() + 1);
            catalog.xlog_db().unwrap().append([&entry(3)]).unwrap();
        });
        assert_eq!((removed, left), (vec![name(1)], vec![name(2), name(3)]));
        assert_eq!(times.get(), 1, "appending is no reason to begin again");
    }

    #[test]
    fn an_index_that_barman_writes_over_meanwhile_is_read_again() {
        let times = Cell::new(0);
        let (removed, left) = shrink(|_, path| {
            times.set(times.get() + 1);
            if times.get() == 1 {
                // In place, as Barman does, and longer than before.
                let lines: String = [1, 2, 4, 5].map(|number| entry(number).to_line()).concat();
                std::fs::write(path, lines.replace("\t1\t", "\t7\t")).unwrap();
            }
        });
        assert_eq!((removed, left), (vec![name(1)], vec![name(2), name(4), name(5)]));
        assert_eq!(times.get(), 2);
    }

    #[test]
    fn an_index_that_somebody_replaces_again_and_again_is_shrunk_under_the_lock() {
        let times = Cell::new(0);
        let (removed, left) = shrink(|_, path| {
            times.set(times.get() + 1);
            if times.get() <= 3 {
                let other = path.with_extension("other");
                std::fs::write(&other, INDEX).unwrap();
                std::fs::rename(&other, path).unwrap();
            }
        });
        assert_eq!((removed, left, times.get()), (vec![name(1)], vec![name(2)], 4));
    }

    #[test]
    fn an_index_of_which_nothing_goes_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(ServerLayout::below(root.path(), "main"), LocalZone::UTC);
        catalog.xlog_db().unwrap().append([&entry(1)]).unwrap();
        let before = catalog.xlog_snapshot().unwrap();
        let after = catalog.shrink_index(&|_| false, &|| Ok(true)).unwrap().unwrap().index;
        assert!(after.is_same_file(&before).unwrap());
    }

    #[test]
    fn nothing_goes_when_what_decided_about_it_does_not_hold_any_more() {
        let root = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(ServerLayout::below(root.path(), "main"), LocalZone::UTC);
        catalog.xlog_db().unwrap().append([&entry(1)]).unwrap();
        let before = catalog.xlog_snapshot().unwrap();
        assert!(catalog.shrink_index(&|_| true, &|| Ok(false)).unwrap().is_none());
        assert!(catalog.xlog_snapshot().unwrap().is_same_file(&before).unwrap());
    }
}
