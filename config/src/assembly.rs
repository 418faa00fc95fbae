//! A [`ServerConfig`] from the text of its section.

use std::path::PathBuf;
use std::time::Duration;

use crate::conninfo::Conninfo;
use crate::disabled::{DisabledReason, reasons};
use crate::error::Error;
use crate::options::{Kind, SERVER};
use crate::resolution::Values;
use crate::sections::Merged;
use crate::server::{BackupMethod, CreateSlot, RetentionPolicy, ServerConfig, unsupported};
use crate::value::{Value, integer, is_object_store};
use crate::warning::{Warning, WarningKind};

/// Reads the section of a server. Remarks that concern the files go to `file_warnings`, those that Barman makes only
/// when a command selects the server stay with it.
pub(crate) fn server(
    section: &Merged,
    global: &Merged,
    barman_home: &str,
    file_warnings: &mut Vec<Warning>,
) -> Result<ServerConfig, Error> {
    refuse_empty_directories(section, global)?;
    let mut values = Values::resolve(section, global, file_warnings);
    derive(&mut values, barman_home, &section.name);
    let mut maker = Maker { name: &section.name, values, warnings: Vec::new() };
    let disabled = maker.examine();
    maker.interpret_limits();
    let retention_policy = maker.retention();
    Ok(maker.finish(disabled, retention_policy))
}

/// An empty directory option is neither a place nor a request for the default: Barman crashes on it.
fn refuse_empty_directories(section: &Merged, global: &Merged) -> Result<(), Error> {
    for option in SERVER.iter().filter(|option| matches!(option.kind, Kind::Directory | Kind::Location)) {
        let global = option.inherited.then(|| global.get(option.name)).flatten();
        let Some(setting) = section.get(option.name).or(global).filter(|setting| setting.text.is_empty()) else {
            continue;
        };
        return Err(Error::InvalidValue {
            path: setting.path.to_path_buf(),
            line: setting.line,
            section: section.name.clone(),
            option: option.name.to_owned(),
            expected: "a directory",
            found: setting.text.clone(),
        });
    }
    Ok(())
}

/// Sets the options whose default follows from others. Paths are joined as text: Barman shows them that way.
fn derive(values: &mut Values, barman_home: &str, name: &str) {
    values.derive("backup_directory", Value::Text(format!("{barman_home}/{name}")));
    let base = values.owned_text("backup_directory").unwrap_or_default();
    for (option, below) in [
        ("basebackups_directory", "base"),
        ("errors_directory", "errors"),
        ("incoming_wals_directory", "incoming"),
        ("streaming_wals_directory", "streaming"),
        ("wals_directory", "wals"),
    ] {
        values.derive(option, Value::Text(format!("{base}/{below}")));
    }
    let wals = values.owned_text("wals_directory").unwrap_or_default();
    let xlogdb = if is_object_store(&wals) { format!("{base}/meta") } else { wals };
    values.derive("xlogdb_directory", Value::Text(xlogdb));
    values.derive("streaming_conninfo", values.get("conninfo").clone());
}

/// What is known while a server is read.
struct Maker<'a> {
    name: &'a str,
    values: Values,
    warnings: Vec<Warning>,
}

impl Maker<'_> {
    /// Says what keeps the server from working, and sets what Barman sets by itself. Servers that are inactive or passive
    /// have no connection and no archiver that could be wrong.
    fn examine(&mut self) -> Vec<DisabledReason> {
        if !self.values.boolean("active") || self.values.is_set("primary_ssh_command") {
            return Vec::new();
        }
        let method = self.method();
        let disabled = reasons(self.name, method, &self.values);
        if !disabled.iter().any(DisabledReason::stops_method) {
            self.choose_strategy(method);
        }
        if !self.values.boolean("archiver") && !self.values.boolean("streaming_archiver") {
            self.warnings.push(Warning::console(WarningKind::NoArchiver { server: self.name.to_owned() }));
            self.warnings.push(Warning::console(WarningKind::ForcedArchiver));
            self.values.replace("archiver", Value::Boolean(true));
        }
        disabled
    }

    fn method(&self) -> BackupMethod {
        BackupMethod::from_word(self.values.text("backup_method").unwrap_or_default())
    }

    /// Backups are concurrent, unless one of the rsync methods was told otherwise.
    fn choose_strategy(&mut self, method: BackupMethod) {
        let mut words = self.values.words("backup_options");
        match method {
            BackupMethod::LocalToCloud => return,
            BackupMethod::Postgres => {
                if words.remove("exclusive_backup") {
                    let kind = WarningKind::ExclusiveBackup { method: method.as_str() };
                    self.warnings.push(Warning::console(kind));
                }
                words.insert("concurrent_backup");
            }
            BackupMethod::Rsync | BackupMethod::LocalRsync | BackupMethod::Snapshot => {
                if !words.contains("exclusive_backup") && words.insert("concurrent_backup") {
                    let kind = WarningKind::NoBackupOptions { server: self.name.to_owned() };
                    self.warnings.push(Warning::console(kind));
                }
            }
        }
        self.values.replace("backup_options", Value::Words(words));
    }

    /// Turns the texts that Barman reads late, and remarks in the log only, into numbers.
    fn interpret_limits(&mut self) {
        if let Some(text) = self.values.owned_text("bandwidth_limit") {
            let limit = integer(&text).map_or(Value::Unset, Value::Integer);
            if limit == Value::Unset {
                self.log(WarningKind::BandwidthLimit { server: self.name.to_owned(), value: text });
            }
            self.values.replace("bandwidth_limit", limit);
        }
        self.interpret_tablespace_limits();
        self.interpret_minimum_redundancy();
    }

    fn interpret_tablespace_limits(&mut self) {
        let Some(text) = self.values.owned_text("tablespace_bandwidth_limit") else { return };
        let mut rates = std::collections::BTreeMap::new();
        for rule in text.split_whitespace() {
            match rule.split_once(':').and_then(|(tablespace, rate)| Some((tablespace, integer(rate)?))) {
                Some((tablespace, rate)) => drop(rates.insert(tablespace.to_owned(), rate)),
                None => self.log(WarningKind::TablespaceBandwidthLimit { rule: rule.to_owned() }),
            }
        }
        let limits = if rates.is_empty() { Value::Unset } else { Value::Rates(rates) };
        self.values.replace("tablespace_bandwidth_limit", limits);
    }

    fn interpret_minimum_redundancy(&mut self) {
        let text = self.values.owned_text("minimum_redundancy").unwrap_or_default();
        let count = integer(&text);
        if count.is_none_or(|count| count < 0) {
            let server = self.name.to_owned();
            self.log(WarningKind::MinimumRedundancy { server, value: text, negative: count.is_some() });
        }
        self.values.replace("minimum_redundancy", Value::Integer(count.unwrap_or(0).max(0)));
    }

    fn retention(&mut self) -> RetentionPolicy {
        self.only_word("retention_policy_mode", "auto", |server, value| WarningKind::RetentionPolicyMode {
            server,
            value,
        });
        let Some(text) = self.values.owned_text("retention_policy") else { return RetentionPolicy::Unset };
        self.only_word("wal_retention_policy", "main", |server, value| WarningKind::WalRetentionPolicy {
            server,
            value,
        });
        match text.parse() {
            Ok(policy) => RetentionPolicy::Policy(policy),
            Err(_) => {
                self.log(WarningKind::RetentionPolicy { server: self.name.to_owned(), value: text.clone() });
                RetentionPolicy::Invalid(text)
            }
        }
    }

    /// An option for which one word is left that means anything.
    fn only_word(&mut self, option: &'static str, word: &str, kind: fn(String, String) -> WarningKind) {
        let value = self.values.text(option).unwrap_or("None").to_owned();
        if value != word {
            self.log(kind(self.name.to_owned(), value));
            self.values.replace(option, Value::Text(word.to_owned()));
        }
    }

    fn log(&mut self, kind: WarningKind) {
        self.warnings.push(Warning::log(kind));
    }

    fn finish(self, disabled: Vec<DisabledReason>, retention_policy: RetentionPolicy) -> ServerConfig {
        let method = self.method();
        let Self { name, values, warnings } = self;
        let path = |option: &str| PathBuf::from(values.text(option).unwrap_or_default());
        let local = |option: &str, below: &str| {
            let location = values.text(option).unwrap_or_default();
            if is_object_store(location) { path("backup_directory").join(below) } else { PathBuf::from(location) }
        };
        let count = |option: &str| match values.get(option) {
            Value::Integer(count) => u64::try_from(*count).ok(),
            _ => None,
        };
        let connection = |option: &str| values.owned_text(option).map(Conninfo::new);
        let first_connection = |options: &[&str]| options.iter().find_map(|option| connection(option));
        let create_slot =
            if values.text("create_slot") == Some("auto") { CreateSlot::Auto } else { CreateSlot::Manual };
        ServerConfig {
            name: name.to_owned(),
            active: values.boolean("active"),
            description: values.owned_text("description"),
            cluster: values.owned_text("cluster"),
            conninfo: connection("conninfo"),
            streaming_conninfo: connection("streaming_conninfo"),
            wal_conninfo: first_connection(&["wal_conninfo", "wal_streaming_conninfo", "conninfo"]),
            wal_streaming_conninfo: first_connection(&["wal_streaming_conninfo", "streaming_conninfo"]),
            create_slot,
            slot_name: values.owned_text("slot_name"),
            check_timeout: values.seconds("check_timeout"),
            path_prefix: values.owned_text("path_prefix"),
            passive: values.is_set("primary_ssh_command"),
            backup_directory: path("backup_directory"),
            basebackups_directory: local("basebackups_directory", "base"),
            wals_directory: local("wals_directory", "wals"),
            incoming_wals_directory: path("incoming_wals_directory"),
            streaming_wals_directory: path("streaming_wals_directory"),
            errors_directory: path("errors_directory"),
            xlogdb_directory: path("xlogdb_directory"),
            cloud_staging_directory: path("cloud_staging_directory"),
            backup_method: method,
            external_configuration: values.words("backup_options").contains("external_configuration"),
            immediate_checkpoint: values.boolean("immediate_checkpoint"),
            bandwidth_limit_kb: values.positive("bandwidth_limit"),
            basebackup_retry_times: values.positive("basebackup_retry_times").unwrap_or(0),
            basebackup_retry_sleep: values.seconds("basebackup_retry_sleep").unwrap_or(Duration::ZERO),
            streaming_backup_name: values.owned_text("streaming_backup_name").unwrap_or_default(),
            parallel_jobs: values.positive("parallel_jobs").unwrap_or(1),
            worm_mode: values.boolean("worm_mode"),
            archiver: values.boolean("archiver"),
            archiver_batch_size: values.positive("archiver_batch_size"),
            streaming_archiver: values.boolean("streaming_archiver"),
            streaming_archiver_batch_size: values.positive("streaming_archiver_batch_size"),
            streaming_archiver_name: values.owned_text("streaming_archiver_name").unwrap_or_default(),
            max_incoming_wals_queue: count("max_incoming_wals_queue"),
            retention_policy,
            minimum_redundancy: count("minimum_redundancy").and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX),
            last_backup_maximum_age: values.interval("last_backup_maximum_age"),
            last_backup_minimum_size: values.size("last_backup_minimum_size"),
            last_wal_maximum_age: values.interval("last_wal_maximum_age"),
            get_wal: values.words("recovery_options").contains("get-wal"),
            unsupported: unsupported(&values),
            disabled: disabled.iter().map(ToString::to_string).collect(),
            warnings,
            values,
        }
    }
}
