//! Combinations of options that leave a server unusable: Barman's `msg_list`.

use std::fmt;

use crate::conninfo::{is_connection_string, redacted};
use crate::resolution::Values;
use crate::server::BackupMethod;

/// Why a server is disabled. Displays as the line that `check` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DisabledReason {
    /// A connection that is needed has no connection string.
    NoConnection {
        /// The server.
        server: String,
        /// Which one.
        connection: Connection,
    },
    /// A connection string that cannot be one; passwords are not kept.
    InvalidConnection {
        /// Which one.
        connection: Connection,
        /// The text, passwords replaced.
        text: String,
    },
    /// The method copies over ssh.
    NoSshCommand {
        /// The server.
        server: String,
    },
    /// The method copies on this host.
    UnwantedSshCommand {
        /// The server.
        server: String,
    },
    /// An option that the method does not support.
    UnsupportedByMethod {
        /// The option.
        option: &'static str,
        /// What Barman calls the method here.
        method: &'static str,
    },
    /// An option that the method needs.
    RequiredByMethod {
        /// The option.
        option: &'static str,
        /// The method.
        method: &'static str,
    },
    /// WAL comes by streaming alone, without a slot that holds it back.
    StreamingWithoutSlot,
    /// The active model does not exist.
    UnknownModel {
        /// The model.
        model: String,
        /// The server.
        server: String,
    },
}

/// One of the connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// For queries.
    Normal,
    /// For the replication protocol.
    Streaming,
}

impl Connection {
    const fn option(self) -> &'static str {
        match self {
            Self::Normal => "conninfo",
            Self::Streaming => "streaming_conninfo",
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "PostgreSQL connection",
            Self::Streaming => "Streaming connection",
        })
    }
}

impl DisabledReason {
    /// Whether Barman never gets to look at the other options of the method.
    pub(crate) const fn stops_method(&self) -> bool {
        matches!(self, Self::NoSshCommand { .. } | Self::UnwantedSshCommand { .. })
    }
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection { server, connection } => {
                write!(f, "{connection}: Missing '{}' parameter for server '{server}'", connection.option())
            }
            Self::InvalidConnection { connection, text } => {
                write!(f, "{connection}: Cannot connect to postgres: \"{text}\" is not a valid connection string")
            }
            Self::NoSshCommand { server } => {
                write!(f, "Missing or invalid ssh_command in barman configuration for server {server}")
            }
            Self::UnwantedSshCommand { server } => {
                write!(f, "Local copy requires ssh_command in barman configuration to be empty for server {server}")
            }
            Self::UnsupportedByMethod { option, method } => {
                write!(f, "{option} option is not supported by {method} backup_method")
            }
            Self::RequiredByMethod { option, method } => {
                write!(f, "{option} option is required by {method} backup_method")
            }
            Self::StreamingWithoutSlot => {
                f.write_str("Streaming-only archiver requires 'streaming_conninfo' and 'slot_name' options ")?;
                f.write_str("to be properly configured")
            }
            Self::UnknownModel { model, server } => {
                write!(f, "Model '{model}' is set as the active model for the server '{server}' ")?;
                f.write_str("but the model does not exist.")
            }
        }
    }
}

/// What keeps a server that is active and not passive from working, in Barman's order.
pub(crate) fn reasons(server: &str, method: BackupMethod, values: &Values) -> Vec<DisabledReason> {
    let mut reasons = Vec::new();
    reasons
        .extend(["conninfo", "primary_conninfo"].iter().find_map(|option| normal_connection(server, option, values)));
    let streaming_only = values.boolean("streaming_archiver") && !values.boolean("archiver");
    let streams = method == BackupMethod::Postgres || values.boolean("streaming_archiver");
    let streaming = streams.then(|| connection(server, Connection::Streaming, "streaming_conninfo", values)).flatten();
    reasons.extend(streaming);
    method_reasons(server, method, values, &mut reasons);
    if streaming_only && !values.is_set("slot_name") {
        reasons.push(DisabledReason::StreamingWithoutSlot);
    }
    reasons
}

fn normal_connection(server: &str, option: &'static str, values: &Values) -> Option<DisabledReason> {
    let needed = option == "conninfo" || values.is_set(option);
    needed.then(|| connection(server, Connection::Normal, option, values)).flatten()
}

fn connection(server: &str, connection: Connection, option: &str, values: &Values) -> Option<DisabledReason> {
    match values.text(option) {
        None => Some(DisabledReason::NoConnection { server: server.to_owned(), connection }),
        Some(text) if is_connection_string(text) => None,
        Some(text) => Some(DisabledReason::InvalidConnection { connection, text: redacted(text) }),
    }
}

const SNAPSHOT_REFUSES: &[&str] =
    &["backup_compression", "bandwidth_limit", "network_compression", "tablespace_bandwidth_limit", "reuse_backup"];

const POSTGRES_REFUSES: &[&str] = &["tablespace_bandwidth_limit", "reuse_backup", "network_compression"];

fn method_reasons(server: &str, method: BackupMethod, values: &Values, reasons: &mut Vec<DisabledReason>) {
    let server = || server.to_owned();
    let has_ssh = values.is_set("ssh_command");
    match method {
        BackupMethod::Rsync | BackupMethod::Snapshot if !has_ssh => {
            reasons.push(DisabledReason::NoSshCommand { server: server() });
        }
        BackupMethod::LocalRsync if has_ssh => {
            reasons.push(DisabledReason::UnwantedSshCommand { server: server() });
        }
        BackupMethod::Rsync | BackupMethod::LocalRsync => {
            refuse("rsync", &["backup_compression"], values, reasons);
        }
        BackupMethod::Postgres => refuse("postgres", POSTGRES_REFUSES, values, reasons),
        BackupMethod::Snapshot => {
            refuse("snapshot", SNAPSHOT_REFUSES, values, reasons);
            require("snapshot", &["snapshot_disks", "snapshot_instance", "snapshot_provider"], values, reasons);
        }
        BackupMethod::LocalToCloud => {}
    }
}

fn refuse(method: &'static str, options: &[&'static str], values: &Values, reasons: &mut Vec<DisabledReason>) {
    let set = options.iter().filter(|option| asks_for_something(option, values));
    reasons.extend(set.map(|option| DisabledReason::UnsupportedByMethod { option, method }));
}

fn require(method: &'static str, options: &[&'static str], values: &Values, reasons: &mut Vec<DisabledReason>) {
    let missing = options.iter().filter(|option| !values.is_set(option));
    reasons.extend(missing.map(|option| DisabledReason::RequiredByMethod { option, method }));
}

/// An option that is off, or says `off`, does not ask for anything.
fn asks_for_something(option: &str, values: &Values) -> bool {
    values.boolean(option) || values.text(option).is_some_and(|text| text != "off")
}
