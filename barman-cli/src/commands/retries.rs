//! The options of `backup` and `restore` for trying again what failed.

use barman_config::ServerConfig;
use std::time::Duration;

/// How often, and after which pause, it is tried again.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Retries {
    /// How often to try again when the copy fails, or the connection to the other host is lost
    #[arg(long, value_name = "N", conflicts_with = "no_retry")]
    retry_times: Option<u32>,

    /// How many seconds to wait before that
    #[arg(long, value_name = "SECONDS")]
    retry_sleep: Option<u64>,

    /// Do not try again
    #[arg(long)]
    no_retry: bool,
}

impl Retries {
    /// How often, and after which pause; as configured where the command line does not say.
    pub(super) fn of(&self, config: &ServerConfig) -> (u32, Duration) {
        let configured = u32::try_from(config.basebackup_retry_times).unwrap_or(u32::MAX);
        let times = if self.no_retry { 0 } else { self.retry_times.unwrap_or(configured) };
        (times, self.retry_sleep.map_or(config.basebackup_retry_sleep, Duration::from_secs))
    }
}
