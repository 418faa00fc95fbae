//! Asking the ledger about many files.

use barman_storage::RelativePath;
use wal_format::WalFileName;

use super::{DirectoryFacts, Ledger};
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
