//! Reading stored WAL again: disks forget, and nobody notices before the restore.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use barman_storage::{Cancel, RelativePath};
use wal_format::{SystemId, Timestamp, WalFileName};

use crate::archive::ingest::{Neighbours, Walk, observe_stored};
use crate::archive::ledger::{Known, Ledger, Noted};
use crate::{Catalog, Content, Error, Facts, Verdict, layout};

/// Which files are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Those that were never read again since they were archived.
    Never,
    /// Those that were not read again since this moment.
    Since(Timestamp),
    /// All.
    All,
}

impl Due {
    fn is_due(self, verified: Option<Timestamp>) -> bool {
        match (self, verified) {
            (Self::All, _) | (_, None) => true,
            (Self::Never, Some(_)) => false,
            (Self::Since(moment), Some(verified)) => verified < moment,
        }
    }
}

/// What is wrong with an archived file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveFault {
    /// The index has it, and it is gone.
    Missing {
        /// Its name.
        name: WalFileName,
    },
    /// It cannot be read, as on a bad sector.
    Unreadable {
        /// Its name.
        name: WalFileName,
        /// What the system said.
        why: String,
    },
    /// It is not what was archived.
    Changed {
        /// Its name.
        name: WalFileName,
        /// What was archived.
        expected: Content,
        /// What is there now.
        found: Content,
    },
    /// WAL in it cannot be believed, and could not when it was archived.
    Damaged {
        /// Its name.
        name: WalFileName,
        /// From where on.
        at: wal_format::Lsn,
        /// What is wrong there.
        what: String,
    },
}

/// What a verification did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files that were read, and are what was archived.
    pub sound: usize,
    /// Those among them that could only be compared with what was archived: their records cannot be read.
    pub unread: usize,
    /// Files with something wrong.
    pub faults: usize,
    /// Files that were not due.
    pub not_due: usize,
}

impl Catalog {
    /// Reads the archived files that are due, compares them with the ledger, and notes that it did. Files that the ledger
    /// does not know are read as if they arrived now.
    ///
    /// # Errors
    /// The archive, its index or the ledger cannot be read or written. What was verified until then is noted.
    pub fn verify_archive(
        &self,
        due: Due,
        now: Timestamp,
        cancel: &Cancel,
        found: &mut dyn FnMut(&ArchiveFault),
    ) -> Result<Verification, Error> {
        let names = self.archived_names()?;
        let mut run = Run {
            catalog: self,
            ledger: self.ledger()?,
            neighbours: Neighbours::default(),
            system: self.system_id(None)?,
            now,
            cancel,
            done: Verification::default(),
            missing: Vec::new(),
            found,
        };
        // One journal at a time is in memory.
        let mut directories: BTreeMap<RelativePath, Vec<WalFileName>> = BTreeMap::new();
        names.into_iter().for_each(|name| directories.entry(layout::ledger_of(&name)).or_default().push(name));
        for (directory, names) in directories {
            let Noted { known, announced } = run.ledger.noted(&directory)?;
            for name in names {
                run.verify(name, known.get(&name), announced.get(&name), due)?;
            }
        }
        run.settle_missing()?;
        // Every journal has grown.
        run.ledger.summarize()?;
        Ok(run.done)
    }

    /// Says why an archived file could not be read.
    ///
    /// # Errors
    /// Something else failed: with that error.
    pub(crate) fn why_unreadable(&self, name: &WalFileName, error: Error) -> Result<String, Error> {
        match error {
            Error::Storage(error) if error.path() == self.layout().wals_directory.join(layout::archived(name)) => {
                Ok(error.source().map_or_else(|| error.to_string(), ToString::to_string))
            }
            error => Err(error),
        }
    }

    /// The names in the index, in its order.
    fn archived_names(&self) -> Result<Vec<WalFileName>, Error> {
        let mut names = Vec::new();
        self.xlog_db()?.scan(|line| {
            names.extend(line.name().parse::<WalFileName>());
            Ok::<_, Error>(())
        })?;
        Ok(names)
    }
}

struct Run<'a> {
    catalog: &'a Catalog,
    ledger: Ledger,
    neighbours: Neighbours,
    system: Option<SystemId>,
    now: Timestamp,
    cancel: &'a Cancel,
    done: Verification,
    /// Files that the index had when this began, and that are gone: lost, or deleted meanwhile.
    missing: Vec<(WalFileName, Option<Known>)>,
    found: &'a mut dyn FnMut(&ArchiveFault),
}

impl Run<'_> {
    fn verify(
        &mut self,
        name: WalFileName,
        known: Option<&Known>,
        announced: Option<&Facts>,
        due: Due,
    ) -> Result<(), Error> {
        // Another file may have taken its place since it was verified.
        let settled = known.filter(|_| announced.is_none());
        if !due.is_due(settled.and_then(|known| known.verified)) {
            self.done.not_due += 1;
            return Ok(());
        }
        let examined = match self.examine(name, known.map(|known| &known.facts), announced) {
            Err(error) => Err(ArchiveFault::Unreadable { name, why: self.catalog.why_unreadable(&name, error)? }),
            Ok(examined) => examined,
        };
        match examined {
            Ok(verdict) => {
                self.done.sound += 1;
                self.done.unread += usize::from(matches!(verdict, Verdict::Unverified(_)));
                self.ledger.note_verified(&self.catalog.xlog_db()?, &name, self.now)
            }
            Err(ArchiveFault::Missing { .. }) => {
                self.missing.push((name, settled.cloned()));
                Ok(())
            }
            Err(fault) => self.tell(&fault, settled),
        }
    }

    fn tell(&mut self, fault: &ArchiveFault, known: Option<&Known>) -> Result<(), Error> {
        self.done.faults += 1;
        (self.found)(fault);
        self.make_due(known)
    }

    /// Whoever deletes takes a file out of the index before it goes: those that the index still has are lost.
    fn settle_missing(&mut self) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let recorded: BTreeSet<_> = self.catalog.archived_names()?.into_iter().collect();
        for (name, known) in std::mem::take(&mut self.missing) {
            if recorded.contains(&name) {
                self.tell(&ArchiveFault::Missing { name }, known.as_ref())?;
            }
        }
        Ok(())
    }

    /// Forgets that a file was what it should be once: until it is so again, each run is to find that it is not.
    fn make_due(&mut self, known: Option<&Known>) -> Result<(), Error> {
        match known.filter(|known| known.verified.is_some()) {
            Some(known) => self.ledger.append(&self.catalog.xlog_db()?, &known.facts),
            None => Ok(()),
        }
    }

    /// Returns what is thought of a file that is as it was, or what is wrong with it.
    fn examine(
        &mut self,
        name: WalFileName,
        known: Option<&Facts>,
        announced: Option<&Facts>,
    ) -> Result<Result<Verdict, ArchiveFault>, Error> {
        let Some(found) = self.content(&name)? else { return Ok(Err(ArchiveFault::Missing { name })) };
        let arrived = announced.filter(|announced| announced.stored == found);
        if let Some(arrived) = arrived {
            self.ledger.append(&self.catalog.xlog_db()?, arrived)?;
        }
        let facts = match arrived.or(known) {
            // What lies before it may have arrived since.
            Some(facts) if facts.verdict != Verdict::BorderOpen => Some(facts.clone()),
            known => self.judge_again(name, known)?,
        };
        let Some(facts) = facts else { return Ok(Err(ArchiveFault::Missing { name })) };
        let expected = facts.stored;
        Ok(match facts.verdict {
            _ if found != expected => Err(ArchiveFault::Changed { name, expected, found }),
            Verdict::Damaged { at, what } => Err(ArchiveFault::Damaged { name, at, what }),
            verdict => Ok(verdict),
        })
    }

    /// Reads the records of a file of which nothing is known, or not all.
    fn judge_again(&mut self, name: WalFileName, known: Option<&Facts>) -> Result<Option<Facts>, Error> {
        let facts =
            observe_stored(self.catalog, &mut self.neighbours, name, (self.system, self.now), Walk::TwoThreads)?;
        match (known, facts) {
            // Not what was archived: what is in it now is of no interest. And what was seen before it was encrypted is worth
            // more than that it cannot be seen any more.
            (Some(known), Some(facts)) if facts.stored != known.stored || !facts.is_judged() => Ok(Some(known.clone())),
            (known, Some(facts)) => {
                if known != Some(&facts) {
                    self.ledger.append(&self.catalog.xlog_db()?, &facts)?;
                }
                Ok(Some(facts))
            }
            (_, None) => Ok(None),
        }
    }

    /// What is stored now; `None` if the file is gone.
    fn content(&self, name: &WalFileName) -> Result<Option<Content>, Error> {
        self.catalog.find_archived(name)?.map(|found| found.stored_content(self.cancel)).transpose()
    }
}
