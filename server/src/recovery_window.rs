//! What can be recovered, and what stands in the way of more.

use crate::{Error, Server};
use barman_catalog::BackupId;
use barman_config::Command;
use barman_retention::{RecoveryWindow, recovery_window};
use wal_format::Timestamp;

impl Server {
    /// Returns what can be recovered, as the catalog, the index of the archive and the ledger know it. A gap in WAL that is
    /// older than the policy keeps any is none.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn recovery_window(&self, now: Timestamp) -> Result<RecoveryWindow<BackupId>, Error> {
        self.refuse_unsupported(Command::Show)?;
        let catalog = self.catalog();
        let backups = catalog.retention_backups(&catalog.backups()?)?;
        let mut window = recovery_window(&backups, catalog.wal_coverage()?, &self.timelines()?);
        if let Some(kept) = self.retention_rules().and_then(|rules| rules.wal) {
            window.gaps.retain(|gap| gap.missing.since >= kept.start(now));
        }
        Ok(window)
    }
}
