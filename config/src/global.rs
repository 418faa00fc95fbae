//! `[barman]`, as far as it concerns the program and not its servers.

use std::path::PathBuf;

use crate::error::Error;
use crate::sections::Merged;

/// The options of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlobalConfig {
    /// The root of the servers' directories.
    pub barman_home: PathBuf,
    /// Who works on the catalog.
    pub barman_user: String,
    /// Lock files; `barman_home` by default.
    pub lock_directory: PathBuf,
    /// Whether cron removes lock files that nobody holds.
    pub lock_directory_cleanup: bool,
    /// Changes that `config-update` leaves for cron.
    pub config_changes_queue: PathBuf,
    /// The include directory.
    pub configuration_files_directory: Option<PathBuf>,
    /// The log; standard error by default.
    pub log_file: Option<PathBuf>,
    /// The name or number of the least level that is logged; `INFO` by default.
    pub log_level: Option<String>,
}

impl GlobalConfig {
    pub(crate) fn read(section: &Merged) -> Result<Self, Error> {
        let text = |option: &str| {
            let setting = section.get(option)?;
            (!setting.text.is_empty()).then(|| setting.text.clone())
        };
        let home = text("barman_home").unwrap_or_default();
        let queue = text("config_changes_queue").unwrap_or_else(|| format!("{home}/cfg_changes.queue"));
        Ok(Self {
            barman_user: text("barman_user").unwrap_or_else(|| "barman".to_owned()),
            lock_directory: text("barman_lock_directory").unwrap_or_else(|| home.clone()).into(),
            lock_directory_cleanup: section.boolean("lock_directory_cleanup")?.unwrap_or(true),
            config_changes_queue: queue.into(),
            configuration_files_directory: text("configuration_files_directory").map(PathBuf::from),
            log_file: text("log_file").map(PathBuf::from),
            log_level: text("log_level"),
            barman_home: home.into(),
        })
    }
}
