//! Reading what the ledger does not know yet: what Barman archived, what an interrupted run left, or everything.
//!
//! How far the ledger is complete is kept in `ledger/state`: a place in the index up to which every file has an entry, and
//! the checksum of the lines before it. An index that was only added to is looked through from there on; one that was
//! rewritten, from its beginning. The place moves on in large steps, each after a sync of what it speaks of.

use std::collections::{BTreeMap, BTreeSet};

use barman_storage::{Cancel, RelativePath};
use wal_format::{Timestamp, WalFileName};

use super::{DirectoryFacts, FORMAT, Known, Ledger, Noted};
use crate::archive::for_each_archived;
use crate::archive::ingest::{Neighbours, Walk, judge_followers, observe_stored};
use crate::journal::{FieldReader, FieldWriter, Format, Journal};
use crate::{Catalog, Error, Facts, Verdict, layout};

const STATE: Format = Format { name: *b"WALS", version: 1 };

/// How much of the index may be looked through again each time, in bytes: some thousand lines.
const STEP: u64 = 64 * 1024;

/// What was found out about files that the ledger knew nothing of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CatchUp {
    /// How many files were read.
    pub read: usize,
    /// Those among them with damage in them.
    pub damaged: usize,
    /// How many are left for later.
    pub left: usize,
}

impl CatchUp {
    fn count(&mut self, facts: &Facts) {
        self.read += 1;
        self.damaged += usize::from(facts.is_damaged());
    }
}

/// A place in the index up to which all is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    offset: u64,
    /// Of the lines before it: that it is still the same place.
    checksum: u32,
}

impl Place {
    fn to_entry(self) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.number(self.offset).number(self.checksum.into());
        fields.finish()
    }

    fn of_entry(entry: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(entry);
        Some(Self { offset: fields.number()?, checksum: fields.small()? })
    }
}

impl Catalog {
    /// Reads up to `limit` archived files that the ledger knows nothing of, oldest in the index first.
    ///
    /// # Errors
    /// The archive, its index or the ledger cannot be read or written.
    pub fn catch_up_ledger(&self, limit: usize, now: Timestamp, cancel: &Cancel) -> Result<CatchUp, Error> {
        let mut ledger = self.ledger()?;
        let (mut done, mut neighbours, system) = (CatchUp::default(), Neighbours::default(), self.system_id(None)?);
        let (names, end) = self.names_since(ledger.place()?)?;
        let mut entries = Entries::default();
        for name in &names {
            if entries.has(&ledger, name)? {
                continue;
            }
            if done.read >= limit {
                done.left += 1;
                continue;
            }
            cancel.check()?;
            let facts = match observe_stored(self, &mut neighbours, *name, (system, now), Walk::TwoThreads) {
                Err(error) => {
                    self.pass_over(name, error)?;
                    done.left += 1;
                    continue;
                }
                Ok(facts) => facts,
            };
            if let Some(facts) = facts {
                ledger.append(&self.xlog_db()?, &facts)?;
                done.count(&facts);
                let state = match facts.name {
                    WalFileName::Segment(name) => neighbours.state_behind(name),
                    _ => None,
                };
                let judged = judge_followers(self, &mut ledger, &mut neighbours, (&facts, state))?;
                done.damaged += judged.iter().filter(|facts| facts.is_damaged()).count();
            }
        }
        if done.left == 0 {
            ledger.is_complete_to(self, end, entries.journals())?;
        }
        Ok(done)
    }

    /// Leaves a file alone that cannot be read: nothing more is known of it than before, and of the others something is.
    fn pass_over(&self, name: &WalFileName, error: Error) -> Result<(), Error> {
        let why = self.why_unreadable(name, error)?;
        tracing::warn!(why, "the archived {name} cannot be read");
        Ok(())
    }

    /// The names in the index behind the place up to which the ledger is complete, and its end.
    fn names_since(&self, place: Place) -> Result<(Vec<WalFileName>, Place), Error> {
        let db = self.xlog_db()?;
        let is_same = db.checksum_before(place.offset)? == Some(place.checksum);
        let start = if is_same { place.offset } else { 0 };
        let mut names = Vec::new();
        let offset = db.scan_from(start, |line| {
            names.extend(line.name().parse::<WalFileName>());
            Ok::<_, Error>(())
        })?;
        let checksum = db.checksum_before(offset)?.unwrap_or_default();
        Ok((names, Place { offset, checksum }))
    }

    /// Makes the ledger anew from the archive: every file is read. `read` is told of each, and of what is believed of it. What
    /// is archived meanwhile keeps its entry, and what cannot be seen any more is kept from the old ledger.
    ///
    /// # Errors
    /// The archive cannot be read, or the ledger not written. What was done stays; running again does the rest.
    pub fn rebuild_ledger(
        &self,
        now: Timestamp,
        cancel: &Cancel,
        read: &mut dyn FnMut(&Facts),
    ) -> Result<CatchUp, Error> {
        let mut ledger = self.ledger()?;
        let (mut done, mut neighbours, system) = (CatchUp::default(), Neighbours::default(), self.system_id(None)?);
        let mut directories: BTreeMap<RelativePath, Vec<WalFileName>> = BTreeMap::new();
        for_each_archived(&self.wals_dir()?, |file| {
            directories.entry(layout::ledger_of(&file.name)).or_default().push(file.name);
            Ok::<_, Error>(())
        })?;
        ledger.forget_summary()?;
        for (journal, names) in &directories {
            let mut seen = Vec::new();
            for name in names {
                cancel.check()?;
                match observe_stored(self, &mut neighbours, *name, (system, now), Walk::TwoThreads) {
                    Err(error) => self.pass_over(name, error)?,
                    Ok(facts) => seen.extend(facts),
                }
            }
            for facts in ledger.replace_directory(self, journal, seen, now)? {
                read(&facts);
                done.count(&facts);
            }
        }
        ledger.forget_gone_directories(&self.xlog_db()?, self)?;
        ledger.summarize()?;
        Ok(done)
    }
}

impl Ledger {
    fn state(&self) -> Journal {
        Journal::new(&self.dir, layout::ledger_state(), STATE)
    }

    /// The place that was noted last; the beginning, if none was or it cannot be read.
    fn place(&self) -> Result<Place, Error> {
        let mut place = Place::default();
        let read = self.state().read(|entry| {
            place = Place::of_entry(entry).unwrap_or_default();
            Ok(())
        });
        match read {
            Err(Error::Journal { .. }) => Ok(Place::default()),
            read => read.map(|_| place),
        }
    }

    /// Notes that every file up to `end` has an entry, in these journals among others.
    fn is_complete_to<'j>(
        &self,
        catalog: &Catalog,
        end: Place,
        journals: impl Iterator<Item = &'j RelativePath>,
    ) -> Result<(), Error> {
        let place = self.place()?;
        if end.offset >= place.offset && end.offset - place.offset < STEP {
            return Ok(());
        }
        // A place that outlived the entries it speaks of would hide for ever that they are missing.
        for path in journals {
            Journal::new(&self.dir, path.clone(), FORMAT).sync()?;
        }
        self.state().rewrite(&[end.to_entry()])?;
        if end.offset < place.offset {
            // Files were removed, by Barman perhaps, which knows nothing of the ledger.
            self.forget_gone_directories(&catalog.xlog_db()?, catalog)?;
        }
        self.summarize()
    }

    /// Writes the journal of one directory anew from what was `seen` in its files, and returns what is believed of them. Entries
    /// of files that came meanwhile stay.
    pub(super) fn replace_directory(
        &mut self,
        catalog: &Catalog,
        path: &RelativePath,
        seen: Vec<Facts>,
        now: Timestamp,
    ) -> Result<Vec<Facts>, Error> {
        let _lock = catalog.xlog_db()?;
        // One that cannot be read is what a rebuild is there to mend.
        let Noted { mut known, announced } = self.readable(path)?;
        let mut entries = DirectoryFacts::new();
        for seen in seen {
            let (name, stored) = (seen.name, seen.stored);
            let facts = believed(known.remove(&name).map(|known| known.facts), seen);
            // It was read this very moment: that is a verification as good as any, unless something is wrong with it.
            let is_sound = facts.stored == stored && !facts.is_damaged();
            entries.insert(name, Known { facts, verified: is_sound.then_some(now) });
        }
        let read = entries.values().map(|known| known.facts.clone()).collect();
        for (name, entry) in known {
            // What is there and cannot be read, too.
            if !matches!(catalog.find_archived(&name), Ok(None)) {
                entries.insert(name, entry);
            }
        }
        self.rewrite_directory(path, &Noted { known: entries, announced })?;
        Ok(read)
    }
}

/// What is believed of a file that was read just now and of which the ledger knew something already.
///
/// What cannot be seen any more is worth more than that it cannot: what was read before the file was encrypted, or a border
/// whose other side is gone. And a file that has changed since and does not show that it is sound is still what
/// [`Catalog::verify_archive`] has to find.
fn believed(known: Option<Facts>, seen: Facts) -> Facts {
    let Some(known) = known else { return seen };
    let shows_itself = if seen.stored == known.stored {
        seen.verdict == Verdict::Verified || seen.verdict == known.verdict
    } else {
        seen.records.is_some() || (seen.raw.is_some() && seen.raw == known.raw)
    };
    if shows_itself || seen.is_damaged() { seen } else { known }
}

/// Which files have entries, and were not archived since by a run that was interrupted. One directory is held at a time: the
/// index is in the order of the archive, nearly.
#[derive(Debug, Default)]
struct Entries {
    looked: BTreeSet<RelativePath>,
    current: Option<(RelativePath, BTreeSet<WalFileName>)>,
}

impl Entries {
    fn has(&mut self, ledger: &Ledger, name: &WalFileName) -> Result<bool, Error> {
        let path = layout::ledger_of(name);
        if self.current.as_ref().is_none_or(|(current, _)| *current != path) {
            let names = ledger.settled(&path)?;
            self.looked.insert(path.clone());
            self.current = Some((path, names));
        }
        Ok(self.current.as_ref().is_some_and(|(_, names)| names.contains(name)))
    }

    fn journals(&self) -> impl Iterator<Item = &RelativePath> {
        self.looked.iter()
    }
}
