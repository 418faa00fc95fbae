//! What is wrong in a configuration without stopping anything, in Barman's words.

use std::fmt;

/// Where Barman shows a warning. Everything goes to the log as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard error, at every invocation of every command.
    Console,
    /// The log alone.
    Log,
}

/// One remark; `Display` is Barman's message without the prefix `WARNING: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it is shown.
    pub channel: Channel,
    /// What it is about.
    pub kind: WarningKind,
}

/// What a [`Warning`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// An option that nobody knows.
    UnknownOption {
        /// The section.
        section: String,
        /// The option.
        option: String,
    },
    /// A value that was left aside for the next source: `[barman]`, then the default.
    InvalidValue {
        /// The section.
        section: String,
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// Why it was left aside.
        reason: String,
    },
    /// Neither archiver is on: the file archiver is turned on.
    NoArchiver {
        /// The server.
        server: String,
    },
    /// Follows [`NoArchiver`](Self::NoArchiver).
    ForcedArchiver,
    /// The rsync methods were not told how to take backups.
    NoBackupOptions {
        /// The server.
        server: String,
    },
    /// The postgres method only takes concurrent backups.
    ExclusiveBackup {
        /// The method.
        method: &'static str,
    },
    /// `bandwidth_limit` is not a number.
    BandwidthLimit {
        /// The server.
        server: String,
        /// The value.
        value: String,
    },
    /// One rule of `tablespace_bandwidth_limit` is not `name:number`.
    TablespaceBandwidthLimit {
        /// The rule.
        rule: String,
    },
    /// `minimum_redundancy` is not a number, or negative.
    MinimumRedundancy {
        /// The server.
        server: String,
        /// The value.
        value: String,
        /// It is a number, but negative.
        negative: bool,
    },
    /// `retention_policy_mode` is not `auto`.
    RetentionPolicyMode {
        /// The server.
        server: String,
        /// The value.
        value: String,
    },
    /// `wal_retention_policy` is not `main`.
    WalRetentionPolicy {
        /// The server.
        server: String,
        /// The value.
        value: String,
    },
    /// `retention_policy` is not a policy: none is enforced and `check` fails.
    RetentionPolicy {
        /// The server.
        server: String,
        /// The value.
        value: String,
    },
    /// `configuration_files_directory` is not a directory.
    NoIncludeDirectory {
        /// The directory.
        directory: String,
    },
    /// A name in the include directory that is not a file.
    NotAFile {
        /// The name.
        name: String,
        /// It is a link that leads nowhere, or vanished.
        missing: bool,
    },
}

impl Warning {
    pub(crate) fn console(kind: WarningKind) -> Self {
        Self { channel: Channel::Console, kind }
    }

    pub(crate) fn log(kind: WarningKind) -> Self {
        Self { channel: Channel::Log, kind }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for WarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption { section, option } => {
                write!(f, "Invalid configuration option \"{option}\" in [{section}] section.")
            }
            Self::InvalidValue { section, option, value, reason } => {
                write!(
                    f,
                    "Ignoring invalid configuration value '{value}' for key {option} in [{section}] section: {reason}"
                )
            }
            Self::NoArchiver { server } => {
                write!(f, "No archiver enabled for server '{server}'. ")?;
                f.write_str("Please turn on 'archiver', 'streaming_archiver' or both")
            }
            Self::ForcedArchiver => f.write_str("Forcing 'archiver = on'"),
            Self::NoBackupOptions { server } => {
                write!(f, "No backup strategy set for server '{server}' (using default 'concurrent_backup').")
            }
            Self::ExclusiveBackup { method } => {
                write!(f, "'exclusive_backup' is not a valid backup_option using {method} backup_method. ")?;
                f.write_str("Overriding with 'concurrent_backup'.")
            }
            Self::BandwidthLimit { server, value } => fallback(f, "Invalid bandwidth_limit", value, server, "0"),
            Self::TablespaceBandwidthLimit { rule } => {
                write!(f, "Invalid tablespace_bandwidth_limit rule '{rule}'")
            }
            Self::MinimumRedundancy { server, value, negative: true } => {
                fallback(f, "Negative value of minimum_redundancy", value, server, "0")
            }
            Self::MinimumRedundancy { server, value, negative: false } => {
                fallback(f, "Invalid minimum_redundancy", value, server, "0")
            }
            Self::RetentionPolicyMode { server, value } => {
                fallback(f, "Unsupported retention_policy_mode", value, server, "auto")
            }
            Self::WalRetentionPolicy { server, value } => {
                fallback(f, "Unsupported wal_retention_policy value", value, server, "main")
            }
            Self::RetentionPolicy { server, value } => {
                write!(f, "Invalid retention_policy setting \"{value}\" for server \"{server}\"")
            }
            Self::NoIncludeDirectory { directory } => {
                write!(f, "Ignoring the \"configuration_files_directory\" option as \"{directory}\" is not a directory")
            }
            Self::NotAFile { name, missing } => {
                let reason = if *missing { "not found" } else { "not a file" };
                write!(f, "Discarding configuration file: {name} ({reason})")
            }
        }
    }
}

fn fallback(f: &mut fmt::Formatter<'_>, what: &str, value: &str, server: &str, used: &str) -> fmt::Result {
    write!(f, "{what} \"{value}\" for server \"{server}\" (fallback to \"{used}\")")
}
