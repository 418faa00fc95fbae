//! The ledger: what is known of every archived file.
//!
//! Why it is as it is: `docs/design/ledger.md`. It lies in `ledger/` beside `meta/`, where Barman does not look: a journal
//! for every directory of the archive, with the same name, and one for history files. The last entry of a name counts.
//! What is archived is decided by the archive and its index, never by the ledger: entries of files that are gone count for
//! nothing, and a file without an entry is read when its turn comes.

mod catch_up;

use std::collections::BTreeMap;

use barman_storage::{Dir, RelativePath};
use wal_format::WalFileName;

use crate::catalog::{DIRECTORY_MODE, existing};
use crate::journal::{Extent, Format, Journal};
use crate::{Catalog, Error, Facts, XlogDb, layout};

pub use catch_up::CatchUp;

/// Entries of [`Facts`]. Another version of the program makes the ledger anew.
const FORMAT: Format = Format { name: *b"WALF", version: 1 };

/// What is known of the files in one directory of the archive.
pub(crate) type DirectoryFacts = BTreeMap<WalFileName, Facts>;

/// The ledger of one server.
#[derive(Debug)]
pub(crate) struct Ledger {
    dir: Dir,
    /// How far the journals that were written to last are sound. Whether that is still so is told by their length.
    extents: BTreeMap<RelativePath, Extent>,
}

impl Catalog {
    /// Opens the ledger for writing; makes its directory if it is missing.
    pub(crate) fn ledger(&self) -> Result<Ledger, Error> {
        let dir = self.backup_dir()?.create_subdir(&layout::ledger(), DIRECTORY_MODE)?;
        Ok(Ledger { dir, extents: BTreeMap::new() })
    }

    /// Opens the ledger for reading, if there is one.
    pub(crate) fn existing_ledger(&self) -> Result<Option<Ledger>, Error> {
        let dir = existing(&self.layout().backup_directory.join(layout::ledger()))?;
        Ok(dir.map(|dir| Ledger { dir, extents: BTreeMap::new() }))
    }

    /// Returns what is known of an archived file; `None` if it was never read.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn facts(&self, name: &WalFileName) -> Result<Option<Facts>, Error> {
        let Some(ledger) = self.existing_ledger()? else { return Ok(None) };
        Ok(ledger.directory(&layout::ledger_of(name))?.remove(name))
    }
}

impl Ledger {
    /// Returns what is known of the files of one directory, by the name of its journal.
    pub(crate) fn directory(&self, journal: &RelativePath) -> Result<DirectoryFacts, Error> {
        let mut facts = BTreeMap::new();
        Journal::new(&self.dir, journal.clone(), FORMAT).read(|entry| {
            // An entry with a right checksum that cannot be read is of a kind that came later: the file is read again.
            facts.extend(Facts::of_entry(entry).map(|entry| (entry.name, entry)));
            Ok(())
        })?;
        Ok(facts)
    }

    /// Adds what was found out about a file. It is not synced: what a power failure takes away is read from the archive
    /// again. Barman's lock on the index is what lets one process at a time write.
    pub(crate) fn append(&mut self, _lock: &XlogDb, facts: &Facts) -> Result<(), Error> {
        let path = layout::ledger_of(&facts.name);
        let journal = Journal::new(&self.dir, path.clone(), FORMAT);
        let length = self.dir.stat(&path)?.map_or(0, |stat| stat.size);
        let mut extent = match self.extents.get(&path) {
            Some(extent) if extent.length == length => *extent,
            _ => journal.read(|_| Ok(()))?,
        };
        let appended = journal.append(&mut extent, &[facts.to_entry()]);
        self.extents.insert(path, extent);
        appended
    }
}
