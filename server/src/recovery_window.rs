//! What can be recovered, and what stands in the way of more.

use crate::{Error, Server};
use barman_catalog::{BackupId, BackupInfo};
use barman_config::Command;
use barman_retention::{Coverage, RecoveryWindow, recovery_window};
use wal_format::Timestamp;

impl Server {
    /// Returns what can be recovered, as the catalog, the index of the archive and the ledger know it. A gap in WAL that is
    /// older than the policy keeps any is none.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn recovery_window(&self, now: Timestamp) -> Result<RecoveryWindow<BackupId>, Error> {
        self.recovery_window_of(&self.catalog().backups()?, self.catalog().wal_coverage()?, now)
    }

    /// Returns the same for records and WAL that somebody has looked at.
    pub(crate) fn recovery_window_of(
        &self,
        backups: &[BackupInfo],
        coverage: Coverage,
        now: Timestamp,
    ) -> Result<RecoveryWindow<BackupId>, Error> {
        self.refuse_unsupported(Command::Show)?;
        let backups = self.catalog().retention_backups(backups)?;
        let mut window = recovery_window(&backups, coverage, &self.timelines()?);
        if let Some(kept) = self.retention_rules().and_then(|rules| rules.wal) {
            window.gaps.retain(|gap| gap.missing.since >= kept.start(now));
        }
        Ok(window)
    }
}
