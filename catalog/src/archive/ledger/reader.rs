//! Asking the ledger about many files.

use barman_storage::{Cancel, RelativePath};
use wal_format::{SegmentName, Timestamp, WalFileName};

use super::{DirectoryFacts, Known, Ledger};
use crate::archive::ingest::{Neighbours, Walk, observe_stored};
use crate::{Catalog, Error, Facts, layout};

/// What is known of archived files, asked for in the order of their names: each directory's journal is read once.
#[derive(Debug)]
pub struct LedgerReader {
    ledger: Option<Ledger>,
    /// The directory that was asked about last.
    directory: Option<(RelativePath, DirectoryFacts)>,
}

impl Catalog {
    /// Opens the ledger for questions about many files. Without a ledger nothing is known of any.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn ledger_reader(&self) -> Result<LedgerReader, Error> {
        Ok(LedgerReader { ledger: self.existing_ledger()?, directory: None })
    }

    /// Reads archived files as if they arrived now, for whoever asks about files that the ledger does not know. Nothing is
    /// noted: that is for [`Catalog::rebuild_ledger`]. Quickest where the files follow each other, and several threads read a
    /// part of them each.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read_facts(&self, names: &[WalFileName], cancel: &Cancel) -> Result<Vec<Option<Facts>>, Error> {
        // What is in the archive is complete: at the end of time nothing is growing any more.
        let now = Timestamp::from_pg_micros(i64::MAX);
        let (mut neighbours, system) = (Neighbours::default(), self.system_id(None)?);
        let read = names.iter().map(|name| {
            cancel.check()?;
            observe_stored(self, &mut neighbours, *name, (system, now), Walk::OneThread)
        });
        read.collect()
    }
}

impl LedgerReader {
    /// Returns what is known of a file; `None` if it was never read.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn facts(&mut self, name: &WalFileName) -> Result<Option<&Facts>, Error> {
        Ok(self.directory(layout::ledger_of(name))?.and_then(|known| known.get(name)).map(|known| &known.facts))
    }

    /// Returns the next transaction, as the cluster counts them with 64 bits, of a checkpoint near a segment: its own, else that
    /// of the nearest segment before it that has one, else behind it, in its directory or one beside that. `None` if there
    /// is none. [`XidRange::full`](crate::XidRange::full) tells with it which transactions the segment has.
    ///
    /// Transactions that are under way are less than 2^31 away from the next one (`xidStopLimit` leaves 3 million of these), and
    /// what two directories hold cannot number as many more: each takes a record of its end.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn next_xid_near(&mut self, name: &SegmentName) -> Result<Option<u64>, Error> {
        let file = WalFileName::Segment(*name);
        let own = layout::ledger_of(&file);
        let next_xid = |known: &Known| known.facts.records.as_ref().and_then(|records| records.next_xid);
        let before = |known: &DirectoryFacts| known.range(..=file).rev().find_map(|(_, known)| next_xid(known));
        let behind = |known: &DirectoryFacts| known.range(file..).find_map(|(_, known)| next_xid(known));
        let journal_of =
            |log: Option<u32>| log.map(|log| layout::ledger_of(&WalFileName::Segment(SegmentName { log, ..*name })));
        let (earlier, later) = (journal_of(name.log.checked_sub(1)), journal_of(name.log.checked_add(1)));
        let places = [(Some(own.clone()), true), (earlier, true), (Some(own), false), (later, false)];
        for (journal, is_before) in places {
            let Some(journal) = journal else { continue };
            let find = |known| if is_before { before(known) } else { behind(known) };
            if let Some(found) = self.directory(journal)?.and_then(find) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a journal says; `None` without a ledger.
    fn directory(&mut self, journal: RelativePath) -> Result<Option<&DirectoryFacts>, Error> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        if self.directory.as_ref().is_none_or(|(known, _)| *known != journal) {
            let known = ledger.directory(&journal)?;
            self.directory = Some((journal, known));
        }
        Ok(self.directory.as_ref().map(|(_, known)| known))
    }
}
