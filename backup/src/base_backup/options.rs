//! What a base backup is asked to do.

use std::num::NonZeroUsize;

/// How the server is asked for a base backup.
#[derive(Debug, Clone)]
pub struct BaseBackupOptions {
    /// The label that ends up in `backup_label`; Barman's backups say `pg_basebackup base backup`.
    pub label: String,
    /// Whether the server begins with an immediate checkpoint instead of waiting for the next one.
    pub fast_checkpoint: bool,
    /// The highest rate the server may send at, in kB (1024 bytes) per second: 32 to 1048576.
    pub max_rate_kb: Option<u32>,
    /// Whether the server waits, before the backup ends, until its own archiver has taken the WAL that the backup needs.
    /// A server without archiving does not wait either way.
    pub wait_for_archive: bool,
    /// How many files are synced at the same time at the end. Syncing waits for the disk, which serves several at once.
    pub sync_jobs: NonZeroUsize,
}

impl BaseBackupOptions {
    /// Returns the command for the server.
    ///
    /// Tablespace links come as entries of the archive, as pg_basebackup asks for when it writes plain files: a stored
    /// `tablespace_map` would make a server that starts from the backup replace the links by ones to the original places.
    pub(super) fn command(&self) -> replication_client::BaseBackupOptions {
        let mut command = replication_client::BaseBackupOptions::new(self.label.clone());
        command.fast_checkpoint = self.fast_checkpoint;
        command.max_rate_kb = self.max_rate_kb;
        command.wait_for_archive = self.wait_for_archive;
        command.tablespace_map = false;
        command
    }
}

impl Default for BaseBackupOptions {
    fn default() -> Self {
        Self {
            label: "pg_basebackup base backup".to_owned(),
            fast_checkpoint: false,
            max_rate_kb: None,
            wait_for_archive: true,
            sync_jobs: NonZeroUsize::MIN.saturating_add(3),
        }
    }
}
