//! What a base backup tells while it runs.

use wal_format::{Lsn, TimelineId};

/// Something happened during a base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaseBackupEvent {
    /// The server has begun: every byte of WAL from `start` on belongs to the backup.
    Started {
        /// Where replay will begin.
        start: Lsn,
        /// The timeline of `start`.
        timeline: TimelineId,
        /// The oids of the tablespaces besides the data directory.
        tablespaces: Vec<u32>,
        /// The server's estimate of the bytes to come.
        total_bytes: u64,
    },
    /// This many bytes have been received in all, tar headers included; it can end a little above the estimate.
    Received {
        /// Bytes since the beginning.
        bytes: u64,
    },
    /// The server says something, for example that it waits for WAL to be archived.
    Notice {
        /// Its words.
        message: String,
    },
    /// All files are written and equal the server's manifest; now they are made durable.
    Verified {
        /// How many files the manifest names.
        files: u64,
    },
}
