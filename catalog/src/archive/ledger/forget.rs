//! Forgetting files that were removed: what gets one of their names later is another file.

use std::collections::{BTreeMap, BTreeSet};

use barman_storage::Kind;
use wal_format::WalFileName;

use super::Ledger;
use crate::{Catalog, Error, XlogDb, layout};

impl Catalog {
    /// Forgets what is known of files that were removed from the archive; not of those that it has again. What is left after a
    /// crash counts for nothing until a file of the same name comes.
    ///
    /// # Errors
    /// The ledger or the archive cannot be read or written. A ledger of another version stays as it is.
    pub(crate) fn forget_facts(&self, lock: &XlogDb, removed: &[WalFileName]) -> Result<(), Error> {
        let Some(mut ledger) = self.existing_ledger()? else { return Ok(()) };
        ledger.forget_gone_directories(lock, self)?;
        match ledger.forget_files(lock, self, removed) {
            // Whatever it says is not believed either.
            Err(Error::Journal { .. }) => Ok(()),
            forgotten => forgotten,
        }
    }
}

impl Ledger {
    /// Removes the journals of directories that the archive does not have. The lock keeps others from making one meanwhile. An
    /// archive that has none at all may only not be mounted.
    pub(super) fn forget_gone_directories(&self, _lock: &XlogDb, catalog: &Catalog) -> Result<(), Error> {
        let directories = catalog.wals_dir()?.entries()?.into_iter().filter(|entry| entry.kind == Kind::Directory);
        let archived: BTreeSet<_> = directories.map(|directory| directory.path()).collect();
        // They have the same names.
        let journals = self.dir.entries()?.into_iter().map(|entry| entry.path()).filter(layout::is_ledger_of_directory);
        let gone: Vec<_> = journals.filter(|journal| !archived.contains(journal)).collect();
        if archived.is_empty() || gone.is_empty() {
            return Ok(());
        }
        gone.iter().try_for_each(|journal| self.dir.remove_file(journal))?;
        Ok(self.dir.sync()?)
    }

    fn forget_files(&mut self, _lock: &XlogDb, catalog: &Catalog, removed: &[WalFileName]) -> Result<(), Error> {
        let mut directories: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for name in removed {
            directories.entry(layout::ledger_of(name)).or_default().insert(*name);
        }
        for (journal, names) in directories {
            let mut noted = self.noted(&journal)?;
            let before = noted.known.len();
            for name in names {
                if noted.known.contains_key(&name) && catalog.find_archived(&name)?.is_none() {
                    noted.known.remove(&name);
                }
            }
            if noted.known.len() < before {
                self.rewrite_directory(&journal, &noted)?;
            }
        }
        Ok(())
    }
}
