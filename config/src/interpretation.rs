//! What values mean for each other, and texts that Barman reads only when a command selects their server.

use std::collections::BTreeMap;

use crate::disabled::{DisabledReason, reasons};
use crate::resolution::Values;
use crate::server::{BackupMethod, RetentionPolicy};
use crate::value::{Value, integer};
use crate::warning::{Warning, WarningKind};

/// The values of a server as they are used, and everything to be said about them.
pub(crate) struct Interpretation {
    pub(crate) values: Values,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) disabled: Vec<DisabledReason>,
    pub(crate) retention_policy: RetentionPolicy,
}

impl Interpretation {
    pub(crate) fn of(name: &str, values: Values) -> Self {
        let mut interpreter = Interpreter { name, values, warnings: Vec::new() };
        let disabled = interpreter.examine();
        interpreter.interpret_limits();
        let retention_policy = interpreter.retention();
        Self { values: interpreter.values, warnings: interpreter.warnings, disabled, retention_policy }
    }
}

/// How backups are taken.
pub(crate) fn method(values: &Values) -> BackupMethod {
    BackupMethod::from_word(values.text("backup_method").unwrap_or_default())
}

/// Works through the values in Barman's order, which is the order of the warnings.
struct Interpreter<'a> {
    name: &'a str,
    values: Values,
    warnings: Vec<Warning>,
}

impl Interpreter<'_> {
    /// Says what keeps the server from working, and sets what Barman sets by itself. Servers that are inactive or passive
    /// have no connection and no archiver that could be wrong.
    fn examine(&mut self) -> Vec<DisabledReason> {
        if !self.values.boolean("active") || self.values.is_set("primary_ssh_command") {
            return Vec::new();
        }
        let method = method(&self.values);
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
        let mut rates = BTreeMap::new();
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
}
