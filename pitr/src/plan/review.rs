//! What the configuration of the backup holds that an operator has to know before a server runs with it.

use barman_catalog::BackupInfo;
use barman_storage::{Dir, RelativePath};

use super::PlannedConfiguration;
use super::backup::{control_file, major};
use super::included::{FILES, IncludedSetting, LONGEST_FILE_BYTES, included_settings};
use crate::mangle::{DangerousSetting, mangle};
use crate::plan_error::PlanError;
use crate::setting_line::SettingLine;

/// Settings that tie a server to others.
const TYING: [&str; 3] = ["synchronous_standby_names", "primary_conninfo", "primary_slot_name"];

/// What to look at in the restored configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// What a server has to have at least to be readable in recovery; `None` if `pg_control` does not say.
    pub minimum: Option<MinimumSettings>,
    /// Settings of the backup that are below that: its server was started with others.
    pub low: Vec<LowSetting>,
    /// Settings that point outside the data directory, or take others in.
    pub dangerous: Vec<DangerousSetting>,
    /// Settings that tie the server to those around the original.
    pub tying: Vec<TyingSetting>,
    /// Settings in files that the configuration takes in; these files are restored as they were.
    pub included: Vec<IncludedSetting>,
    /// The server programs that the host to restore to lacks, if it does.
    pub missing_server: Option<MissingServer>,
}

/// A setting by which commits wait for other servers, or a standby follows another one: it is restored as it was, and those
/// servers belong to the original. Its value, which may hold a password, is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TyingSetting {
    /// Its name: `synchronous_standby_names`, `primary_conninfo` or `primary_slot_name`.
    pub name: &'static str,
    /// The configuration file with the value that counts, relative to the data directory.
    pub file: &'static str,
    /// The line in the restored file, counted from zero, as for [`DangerousSetting`].
    pub line: usize,
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

/// The host has programs of PostgreSQL, or none at all, but not of the major version that is needed. A server that was
/// installed elsewhere than where packages put it is not found: this is a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingServer {
    /// The major version of the backup.
    pub needed: u32,
    /// The versions that were found.
    pub found: Vec<u32>,
}

impl MissingServer {
    fn among(found: &[u32], needed: u32) -> Option<Self> {
        (!found.contains(&needed)).then(|| Self { needed, found: found.to_vec() })
    }
}

impl Review {
    /// Looks at the configuration of a backup, for a host that has the servers of these major versions.
    pub(super) fn of(
        data: Option<&Dir>,
        info: &BackupInfo,
        configuration: &PlannedConfiguration,
        servers: &[u32],
    ) -> Result<Self, PlanError> {
        let missing_server = major(info).and_then(|major| MissingServer::among(servers, major.number()));
        // What is in an archive is only seen when it is unpacked.
        let Some(data) = data else { return Ok(Self { missing_server, ..Self::default() }) };
        let included = included_settings(data)?;
        let mut review = Self { minimum: minimum(data, info)?, included, missing_server, ..Self::default() };
        let mut lines = Vec::new();
        for name in FILES {
            let file = RelativePath::literal(name);
            let original = data.read(&file, LONGEST_FILE_BYTES)?.unwrap_or_default();
            let mangled = mangle(name, &original, &configuration.lines_for(&file));
            review.dangerous.extend(mangled.dangerous);
            let text = mangled.text.split(|byte| *byte == b'\n').map(SettingLine::parse);
            lines.extend(text.enumerate().map(|(number, line)| (name, number, line)));
        }
        let needed = review.minimum.iter().flat_map(MinimumSettings::named);
        review.low = needed.filter_map(|(name, needed)| low(&lines, name, needed)).collect();
        review.tying = TYING.iter().filter_map(|name| tying(&lines, name)).collect();
        Ok(review)
    }
}

fn minimum(data: &Dir, info: &BackupInfo) -> Result<Option<MinimumSettings>, PlanError> {
    Ok(control_file(data, info)?.map(|control| MinimumSettings {
        max_connections: control.max_connections,
        max_worker_processes: control.max_worker_processes,
        max_wal_senders: control.max_wal_senders,
        max_prepared_transactions: control.max_prepared_transactions,
        max_locks_per_transaction: control.max_locks_per_transaction,
    }))
}

/// A line of a restored file.
type Line = (&'static str, usize, SettingLine);

/// The line that counts.
fn last_of<'a>(lines: &'a [Line], name: &str) -> Option<&'a Line> {
    lines.iter().rev().find(|(_, _, line)| line.key == name)
}

/// The setting, if the last line that has it sets it too low. What is not a plain number is left to the server.
fn low(lines: &[Line], name: &'static str, needed: u32) -> Option<LowSetting> {
    let (_, _, line) = last_of(lines, name)?;
    let found = line.value().parse().ok().filter(|found| *found < needed)?;
    Some(LowSetting { name, found, needed })
}

fn tying(lines: &[Line], name: &'static str) -> Option<TyingSetting> {
    let (file, number, line) = last_of(lines, name)?;
    (!line.value().trim().is_empty()).then_some(TyingSetting { name, file, line: *number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        text.lines().enumerate().map(|(number, line)| (FILES[0], number, SettingLine::parse(line.as_bytes()))).collect()
    }

    #[test]
    fn only_the_backups_own_version_will_do() {
        let missing = |needed| MissingServer::among(&[14, 17], needed);
        assert_eq!(missing(15), Some(MissingServer { needed: 15, found: vec![14, 17] }));
        assert_eq!(missing(17), None);
    }

    #[test]
    fn the_last_line_decides_whether_a_setting_is_too_low() {
        let found = |text: &str| low(&lines(text), "max_connections", 100).map(|low| low.found);
        assert_eq!(found("max_connections = 50\n"), Some(50));
        assert_eq!(found("Max_Connections '50' # few\n"), Some(50));
        assert_eq!(found("max_connections = 50\nmax_connections = 100\n"), None);
        assert_eq!(found("max_connections = 200\nmax_connections = 99\n"), Some(99));
        assert_eq!(found("#max_connections = 50\nport = 5432\n"), None, "the default will do or not, who knows");
        assert_eq!(found("max_connections = many\n"), None);
    }

    #[test]
    fn the_last_line_decides_whether_a_setting_ties_the_server_to_others() {
        let found = |text: &str| tying(&lines(text), "primary_conninfo").map(|tying| tying.line);
        assert_eq!(found("port = 1\nPrimary_Conninfo 'host=old'\n"), Some(1));
        assert_eq!(found("primary_conninfo = 'host=old'\nprimary_conninfo = ''\n"), None);
        assert_eq!(found("#primary_conninfo = 'host=old'\nprimary_conninfo = # none\n"), None);
    }
}
