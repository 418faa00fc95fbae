//! A backup whose process died says `STARTED` for ever in Barman; here the next one that comes by says what happened.

use crate::{Error, Server};
use barman_catalog::Status;

impl Server {
    /// Marks as failed what a killed process left unfinished. The caller holds the backup lock, so that nobody can be
    /// at work on any of them (invariant 7: no state needs a human).
    pub(crate) fn fail_interrupted_backups(&self) -> Result<(), Error> {
        for mut info in self.catalog().backups()? {
            if matches!(info.status, Status::Empty | Status::Started) {
                info.status = Status::Failed;
                info.error = Some("failure copying files (the backup was interrupted)".to_owned());
                self.catalog().save(&info)?;
                tracing::warn!(target: "barman.backup", "backup {} was interrupted: marked as FAILED", info.backup_id);
            }
        }
        Ok(())
    }
}
