//! Asking the ledger about many files.

use barman_storage::{Cancel, RelativePath};
use wal_format::{Timestamp, WalFileName};

use super::{DirectoryFacts, Ledger};
use crate::archive::ingest::{Neighbours, observe_stored};
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
    /// noted: that is for [`Catalog::rebuild_ledger`]. Quickest where the files follow each other.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read_facts(&self, names: &[WalFileName], cancel: &Cancel) -> Result<Vec<Option<Facts>>, Error> {
        // What is in the archive is complete: at the end of time nothing is growing any more.
        let now = Timestamp::from_pg_micros(i64::MAX);
        let (mut neighbours, system) = (Neighbours::default(), self.system_id(None)?);
        let read = names.iter().map(|name| {
            cancel.check()?;
            observe_stored(self, &mut neighbours, *name, (system, now))
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
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let path = layout::ledger_of(name);
        if self.directory.as_ref().is_none_or(|(known, _)| *known != path) {
            self.directory = Some((path.clone(), ledger.directory(&path)?));
        }
        let known = self.directory.as_ref().and_then(|(_, known)| known.get(name));
        Ok(known.map(|known| &known.facts))
    }
}
