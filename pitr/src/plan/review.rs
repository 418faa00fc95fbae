//! What the configuration of the backup holds that an operator has to know before a server runs with it.

use barman_catalog::BackupInfo;
use barman_storage::{Dir, RelativePath};
use wal_format::{ControlFile, PgMajor};

use super::PlannedConfiguration;
use crate::mangle::{DangerousSetting, key_and_value, mangle};
use crate::plan_error::PlanError;

/// The files that a server reads, in this order: the last value of a setting counts.
const FILES: [&str; 2] = ["postgresql.conf", "postgresql.auto.conf"];

/// Longer than any configuration file; a bound for what is read.
const LONGEST_FILE_BYTES: u64 = 64 << 20;

/// What to look at in the restored configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// What a server has to have at least to be readable in recovery; `None` if `pg_control` does not say.
    pub minimum: Option<MinimumSettings>,
    /// Settings of the backup that are below that: its server was started with others.
    pub low: Vec<LowSetting>,
    /// Settings that point outside the data directory, or take others in.
    pub dangerous: Vec<DangerousSetting>,
}

/// The settings that must not be lower than they were on the server that wrote the WAL (`RecoveryRequiresIntParameter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumSettings {
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
}

impl MinimumSettings {
    /// Returns the settings by name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u32); 5] {
        [
            ("max_connections", self.max_connections),
            ("max_worker_processes", self.max_worker_processes),
            ("max_wal_senders", self.max_wal_senders),
            ("max_prepared_transactions", self.max_prepared_transactions),
            ("max_locks_per_transaction", self.max_locks_per_transaction),
        ]
    }
}

/// A setting with which recovery would stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowSetting {
    /// Its name.
    pub name: &'static str,
    /// Its value in the restored configuration.
    pub found: u32,
    /// The least that will do.
    pub needed: u32,
}

impl Review {
    pub(super) fn of(data: &Dir, info: &BackupInfo, configuration: &PlannedConfiguration) -> Result<Self, PlanError> {
        let mut review = Self { minimum: minimum(data, info)?, ..Self::default() };
        let mut text = Vec::new();
        for name in FILES {
            let file = RelativePath::literal(name);
            let original = data.read(&file, LONGEST_FILE_BYTES)?.unwrap_or_default();
            let settings = if file == configuration.file { configuration.settings.as_str() } else { "" };
            let mangled = mangle(name, &original, settings);
            review.dangerous.extend(mangled.dangerous);
            text.extend(mangled.text);
            text.push(b'\n');
        }
        let needed = review.minimum.iter().flat_map(MinimumSettings::named);
        review.low = needed.filter_map(|(name, needed)| low(&text, name, needed)).collect();
        Ok(review)
    }
}

fn minimum(data: &Dir, info: &BackupInfo) -> Result<Option<MinimumSettings>, PlanError> {
    /// Twice what the file has.
    const LONGEST_CONTROL_FILE_BYTES: u64 = 16 << 10;
    let bytes = data.read(&RelativePath::literal("global/pg_control"), LONGEST_CONTROL_FILE_BYTES)?;
    let major = info.version.and_then(|version| PgMajor::from_version_num(version).ok());
    let control = bytes.zip(major).and_then(|(bytes, major)| ControlFile::parse(&bytes, major).ok());
    Ok(control.map(|control| MinimumSettings {
        max_connections: control.max_connections,
        max_worker_processes: control.max_worker_processes,
        max_wal_senders: control.max_wal_senders,
        max_prepared_transactions: control.max_prepared_transactions,
        max_locks_per_transaction: control.max_locks_per_transaction,
    }))
}

/// The setting, if the last line that has it sets it too low. What is not a plain number is left to the server.
fn low(text: &[u8], name: &'static str, needed: u32) -> Option<LowSetting> {
    let lines = text.split(|byte| *byte == b'\n').map(key_and_value);
    let (_, value) = lines.rev().find(|(key, _)| key == name)?;
    let number = value.split('#').next()?.trim().trim_matches('\'');
    let found = number.parse().ok().filter(|found| *found < needed)?;
    Some(LowSetting { name, found, needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_decides_whether_a_setting_is_too_low() {
        let found = |text: &str| low(text.as_bytes(), "max_connections", 100).map(|low| low.found);
        assert_eq!(found("max_connections = 50\n"), Some(50));
        assert_eq!(found("Max_Connections '50' # few\n"), Some(50));
        assert_eq!(found("max_connections = 50\nmax_connections = 100\n"), None);
        assert_eq!(found("max_connections = 200\nmax_connections = 99\n"), Some(99));
        assert_eq!(found("#max_connections = 50\nport = 5432\n"), None, "the default will do or not, who knows");
        assert_eq!(found("max_connections = many\n"), None);
    }
}
