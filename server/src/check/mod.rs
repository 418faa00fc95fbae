//! `check`: everything a backup and a continuous archive need, each under the name that monitoring knows.
//!
//! Names, order and hints are Barman's. Checks that Barman prints only when they fail are recorded here only when
//! they fail.

mod archive;
mod backups;
mod configuration;
mod connections;

use crate::{Error, Server, one_line};
use barman_catalog::{BackupInfo, WalStats};
use barman_retention::Coverage;
use std::fmt;
use std::time::Duration;
use wal_format::Timestamp;

/// One check of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The name, for example `replication slot`.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was found, in words; often empty where the check passed.
    pub hint: String,
}

/// `replication slot (slot 'barman' not active)`
impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint.is_empty() {
            true => f.write_str(&self.name),
            false => write!(f, "{} ({})", self.name, self.hint),
        }
    }
}

/// All checks of one server, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// The results.
    pub results: Vec<CheckResult>,
    /// The size of the newest backup, in bytes.
    pub backup_bytes: u64,
    /// The size of the WAL after it, as stored, in bytes.
    pub wal_bytes: u64,
}

impl CheckReport {
    /// Returns the checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CheckResult> {
        self.results.iter().filter(|result| !result.passed)
    }

    /// Returns the failed checks that stand in the way of a backup: the rest is what a backup itself mends, or what
    /// can wait until it is done.
    pub fn backup_obstacles(&self) -> impl Iterator<Item = &CheckResult> {
        const TOLERATED: [&str; 15] = [
            // Those that concern a backup refuse it by name.
            configuration::UNBUILT,
            "minimum redundancy requirements",
            "backup maximum age",
            "backup minimum size",
            "failed backups",
            backups::ORPHANS,
            "archiver errors",
            "empty incoming directory",
            "empty streaming directory",
            "incoming WALs directory",
            "streaming WALs directory",
            "wal maximum age",
            "PostgreSQL server is standby",
            // Nothing but a backup helps against these.
            "WAL gaps",
            "WAL damage",
        ];
        self.failed().filter(|result| !TOLERATED.contains(&result.name.as_str()))
    }

    fn push(&mut self, name: &str, passed: bool, hint: impl Into<String>) {
        let hint = hint.into();
        if !passed {
            tracing::error!(target: "barman.server", "check '{name}' failed: {hint}");
        }
        self.results.push(CheckResult { name: name.to_owned(), passed, hint });
    }

    fn pass(&mut self, name: &str) {
        self.push(name, true, "");
    }

    fn fail(&mut self, name: &str, hint: impl Into<String>) {
        self.push(name, false, hint);
    }
}

/// What checks of the catalog look at.
struct Survey {
    backups: Vec<BackupInfo>,
    newest: Option<(BackupInfo, WalStats)>,
    wal: Coverage,
}

impl Survey {
    fn of(server: &Server) -> Result<Self, Error> {
        let backups = server.catalog().backups()?;
        let (mut stats, wal) = server.catalog().wal_survey(&backups)?;
        let newest = backups.iter().rev().find(|info| info.status.is_copied()).cloned();
        let newest = newest.map(|info| (stats.remove(&info.backup_id).unwrap_or_default(), info));
        Ok(Self { newest: newest.map(|(stats, info)| (info, stats)), backups, wal })
    }
}

impl Server {
    /// Runs every check, for at most `timeout`; a check that takes longer fails as `check timeout`.
    pub async fn check(&self, timeout: Option<Duration>, now: Timestamp) -> CheckReport {
        let mut report = CheckReport::default();
        let checks = self.run_checks(now, timeout, &mut report);
        let finished = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, checks).await.is_ok(),
            None => {
                checks.await;
                true
            }
        };
        if !finished {
            report.fail("check timeout", "barman check command timed out");
        }
        report
    }

    async fn run_checks(&self, now: Timestamp, timeout: Option<Duration>, report: &mut CheckReport) {
        let catalog = if self.config().active {
            let mut connections = connections::open(self).await;
            archive::wal_archive(self, connections.sql(), timeout, now, report).await;
            archive::queues(self, report);
            connections::check(self, &mut connections, report).await;
            let catalog = self.check_catalog(now, report);
            configuration::client_programs(self, report);
            configuration::problems(self, report);
            connections::identity(self, &mut connections, report).await;
            archive::receiver(self, report);
            archive::server_archiver(self, connections.sql(), report).await;
            catalog
        } else {
            archive::wal_archive(self, None, timeout, now, report).await;
            archive::queues(self, report);
            let catalog = self.check_catalog(now, report);
            configuration::problems(self, report);
            report.push("systemid coherence", true, "no system Id available");
            catalog
        };
        archive::errors(self, report);
        if let Some(catalog) = catalog {
            archive::recoverable(self, catalog, now, report);
        }
    }

    /// Returns what was looked at, if it could be: a large index is not read twice.
    fn check_catalog(&self, now: Timestamp, report: &mut CheckReport) -> Option<Survey> {
        configuration::directories(self, report);
        configuration::retention_policy(self, report);
        match Survey::of(self) {
            Ok(survey) => {
                backups::check(self, &survey, now, report);
                Some(survey)
            }
            Err(error) => {
                report.fail("catalog", one_line(&error));
                None
            }
        }
    }
}
