//! The ledger: what is known of every archived file.
//!
//! Why it is as it is: `docs/design/ledger.md`. It lies in `ledger/` beside `meta/`, where Barman does not look: a journal
//! for every directory of the archive, with the same name, and one for history files. The last entry of a name counts.
//! What is archived is decided by the archive and its index, never by the ledger: entries of files that are gone count for
//! nothing, and a file without an entry is read when its turn comes.

mod catch_up;
mod forget;
mod reader;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use barman_storage::{Dir, Operation, RelativePath};
use wal_format::{Timestamp, WalFileName};

use crate::catalog::{DIRECTORY_MODE, existing};
use crate::journal::{Extent, FieldReader, FieldWriter, Format, Journal};
use crate::{Catalog, Content, Error, Facts, XlogDb, layout};

pub use catch_up::CatchUp;
pub use reader::LedgerReader;
pub(crate) use summary::{DirectorySummary, Summaries};

/// Entries of [`Facts`]. Another version of the program makes the ledger anew.
const FORMAT: Format = Format { name: *b"WALF", version: 1 };

/// What is known of the files in one directory of the archive.
pub(crate) type DirectoryFacts = BTreeMap<WalFileName, Known>;

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) facts: Facts,
    /// When it was last read again, and was what it should be.
    pub(crate) verified: Option<Timestamp>,
}

/// What one journal says.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) known: DirectoryFacts,
    /// Of files that were to get their names when a run was interrupted: whether they have them is told by their contents.
    pub(crate) announced: BTreeMap<WalFileName, Facts>,
}

/// What an entry that is no fact begins with, where others have the length of a name.
const NO_FACT: u64 = 0;

/// The ledger of one server.
#[derive(Debug)]
pub(crate) struct Ledger {
    dir: Dir,
    /// How far the journals that were written to last are sound. Whether that is still so is told by their length.
    extents: BTreeMap<RelativePath, Extent>,
    /// What the journal says that was asked last, and its length then.
    asked: Option<(RelativePath, u64, DirectoryFacts)>,
}

impl Catalog {
    /// Opens the ledger for writing; makes its directory if it is missing.
    pub(crate) fn ledger(&self) -> Result<Ledger, Error> {
        let dir = self.backup_dir()?.create_subdir(&layout::ledger(), DIRECTORY_MODE)?;
        Ok(Ledger::at(dir))
    }

    /// Opens the ledger for reading, if there is one.
    pub(crate) fn existing_ledger(&self) -> Result<Option<Ledger>, Error> {
        let dir = existing(&self.layout().backup_directory.join(layout::ledger()))?;
        Ok(dir.map(Ledger::at))
    }

    /// Returns what is known of an archived file; `None` if it was never read.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn facts(&self, name: &WalFileName) -> Result<Option<Facts>, Error> {
        let Some(ledger) = self.existing_ledger()? else { return Ok(None) };
        Ok(ledger.directory(&layout::ledger_of(name))?.remove(name).map(|known| known.facts))
    }

    /// Returns what an archived file held before it was stored as it is, which is `stored`; `None` if nobody has noted it.
    pub(crate) fn noted_of(&self, name: &WalFileName, stored: Content) -> Result<Option<Facts>, Error> {
        let Some(ledger) = self.existing_ledger()? else { return Ok(None) };
        let Noted { mut known, mut announced } = ledger.noted(&layout::ledger_of(name))?;
        let noted = [known.remove(name).map(|known| known.facts), announced.remove(name)];
        Ok(noted.into_iter().flatten().find(|facts| facts.stored == stored && facts.raw.is_some()))
    }
}

impl Ledger {
    const fn at(dir: Dir) -> Self {
        Self { dir, extents: BTreeMap::new(), asked: None }
    }

    /// Returns what is known of one file. Quickest where the files follow each other, and nothing is added meanwhile: then
    /// each journal is read once.
    pub(crate) fn known(&mut self, name: &WalFileName) -> Result<Option<&Known>, Error> {
        let journal = layout::ledger_of(name);
        let length = self.dir.stat(&journal)?.map_or(0, |stat| stat.size);
        if self.asked.as_ref().is_none_or(|(asked, then, _)| (asked, *then) != (&journal, length)) {
            let known = self.directory(&journal)?;
            self.asked = Some((journal, length, known));
        }
        Ok(self.asked.as_ref().and_then(|(_, _, known)| known.get(name)))
    }

    /// Returns what is known of the files of one directory, by the name of its journal.
    pub(crate) fn directory(&self, journal: &RelativePath) -> Result<DirectoryFacts, Error> {
        self.noted(journal).map(|noted| noted.known)
    }

    /// The files of one directory of which all is known: an announcement that nothing follows tells that it may be another file now.
    fn settled(&self, journal: &RelativePath) -> Result<BTreeSet<WalFileName>, Error> {
        let Noted { known, announced } = self.noted(journal)?;
        Ok(known.into_keys().filter(|name| !announced.contains_key(name)).collect())
    }

    /// Returns all that a journal says.
    pub(crate) fn noted(&self, journal: &RelativePath) -> Result<Noted, Error> {
        let mut noted = Noted::default();
        self.read(journal, &mut noted)?;
        Ok(noted)
    }

    /// Returns what a journal says as far as it can be read: nothing where it is none.
    fn readable(&self, journal: &RelativePath) -> Result<Noted, Error> {
        let mut noted = Noted::default();
        match self.read(journal, &mut noted) {
            Err(Error::Journal { .. }) => Ok(noted),
            // On a bad sector. One that cannot even be opened may be whole.
            Err(Error::Storage(error)) if error.operation() == Operation::Read => Ok(noted),
            read => read.map(|()| noted),
        }
    }

    fn read(&self, journal: &RelativePath, noted: &mut Noted) -> Result<(), Error> {
        let take = |entry: &[u8]| {
            noted.take(entry);
            Ok(())
        };
        Journal::new(&self.dir, journal.clone(), FORMAT).read(take).map(drop)
    }

    /// Notes, durably, what is going to be known of files that get their names next and of which nobody could tell afterwards
    /// what they hold: an interrupted run leaves one that has its name and no facts, and it may come again.
    pub(crate) fn announce(&mut self, lock: &XlogDb, files: &[&Facts]) -> Result<(), Error> {
        let mut journals = BTreeSet::new();
        for facts in files {
            self.append_entry(lock, &facts.name, announcement_entry(facts))?;
            journals.insert(layout::ledger_of(&facts.name));
        }
        journals.into_iter().try_for_each(|journal| Journal::new(&self.dir, journal, FORMAT).sync())
    }

    /// Notes that a file was read again and is what it should be.
    pub(crate) fn note_verified(&mut self, lock: &XlogDb, name: &WalFileName, at: Timestamp) -> Result<(), Error> {
        self.append_entry(lock, name, verification_entry(name, at))
    }

    /// Adds what was found out about a file. It is not synced: what a power failure takes away is read from the archive
    /// again. Barman's lock on the index is what lets one process at a time write.
    pub(crate) fn append(&mut self, lock: &XlogDb, facts: &Facts) -> Result<(), Error> {
        self.append_entry(lock, &facts.name, facts.to_entry())
    }

    /// Writes the journal of a directory anew, durably: this is all that it says.
    fn rewrite_directory(&mut self, path: &RelativePath, noted: &Noted) -> Result<(), Error> {
        let verified = |known: &Known| known.verified.map(|at| verification_entry(&known.facts.name, at));
        let entries = noted.known.values().flat_map(|one| [Some(one.facts.to_entry()), verified(one)]).flatten();
        let entries: Vec<_> = entries.chain(noted.announced.values().map(announcement_entry)).collect();
        let extent = Journal::new(&self.dir, path.clone(), FORMAT).rewrite(&entries)?;
        self.extents.insert(path.clone(), extent);
        Ok(())
    }

    fn append_entry(&mut self, _lock: &XlogDb, name: &WalFileName, entry: Vec<u8>) -> Result<(), Error> {
        let path = layout::ledger_of(name);
        let journal = Journal::new(&self.dir, path.clone(), FORMAT);
        let length = self.dir.stat(&path)?.map_or(0, |stat| stat.size);
        let mut extent = match self.extents.get(&path) {
            Some(extent) if extent.length == length => *extent,
            _ => journal.read(|_| Ok(()))?,
        };
        let appended = journal.append(&mut extent, &[entry]);
        self.extents.insert(path, extent);
        appended
    }
}

impl Noted {
    fn take(&mut self, entry: &[u8]) {
        if let Some((name, verified)) = verification(entry) {
            self.known.entry(name).and_modify(|known| known.verified = Some(verified));
        } else if let Some(facts) = announcement(entry) {
            self.announced.insert(facts.name, facts);
        } else if let Some(facts) = Facts::of_entry(entry) {
            self.announced.remove(&facts.name);
            self.known.insert(facts.name, Known { facts, verified: None });
        }
        // Anything else has a right checksum and is of a kind that came later: the file is read again.
    }
}

fn verification_entry(name: &WalFileName, at: Timestamp) -> Vec<u8> {
    let mut fields = FieldWriter::default();
    fields.number(NO_FACT).bytes(name.to_string().as_bytes()).signed(at.pg_micros());
    fields.finish()
}

fn verification(entry: &[u8]) -> Option<(WalFileName, Timestamp)> {
    let mut fields = FieldReader::new(entry);
    fields.number().filter(|kind| *kind == NO_FACT)?;
    let name = std::str::from_utf8(fields.bytes()?).ok()?.parse().ok()?;
    Some((name, Timestamp::from_pg_micros(fields.signed()?)))
}

/// Where a verification names a file it has nothing, which older versions pass over.
fn announcement_entry(facts: &Facts) -> Vec<u8> {
    let mut fields = FieldWriter::default();
    fields.number(NO_FACT).bytes(b"").bytes(&facts.to_entry());
    fields.finish()
}

fn announcement(entry: &[u8]) -> Option<Facts> {
    let mut fields = FieldReader::new(entry);
    fields.number().filter(|kind| *kind == NO_FACT)?;
    fields.bytes()?.is_empty().then_some(())?;
    Facts::of_entry(fields.bytes()?)
}
