//! What a backup is asked to do.

use std::time::Duration;

/// How a backup is to be taken.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// What the user calls it.
    pub name: Option<String>,
    /// Whether the server begins with an immediate checkpoint.
    pub immediate_checkpoint: bool,
    /// The highest rate in kB (1024 bytes) per second.
    pub bandwidth_limit_kb: Option<u32>,
    /// How often a copy that failed for a passing reason is tried again.
    pub retries: u32,
    /// How long to wait before each of those.
    pub retry_sleep: Duration,
    /// Whether to wait until the WAL that the backup needs is archived.
    pub wait: Wait,
    /// How long the checks before it may take.
    pub check_timeout: Option<Duration>,
}

/// Whether to wait for the WAL that ends a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until it is there, or for as long as the duration says.
    For(Option<Duration>),
}
