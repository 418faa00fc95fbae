//! One configured server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use barman_retention::{Policy, Rules};

use crate::command::Command;
use crate::conninfo::{Conninfo, redacted};
use crate::options::{OptionSpec, SERVER, Support};
use crate::resolution::Values;
use crate::value::Value;
use crate::warning::Warning;

/// Everything that the configuration says about one server.
///
/// Fields exist for what is built. What is configured beyond that is listed in [`unsupported`](Self::unsupported), and
/// whoever starts a piece of work asks [`unsupported_for`](Self::unsupported_for) first.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The name of the section.
    pub name: String,
    /// Off: nothing is maintained, queries still work.
    pub active: bool,
    /// Free text for lists.
    pub description: Option<String>,
    /// The group of servers that models are made for; the name of the server by default.
    pub cluster: Option<String>,

    /// The connection for queries.
    pub conninfo: Option<Conninfo>,
    /// The connection for the replication protocol; the value of `conninfo` by default.
    pub streaming_conninfo: Option<Conninfo>,
    /// The connection that is asked about WAL: `wal_conninfo`, else `wal_streaming_conninfo`, else `conninfo`.
    pub wal_conninfo: Option<Conninfo>,
    /// The replication connection that delivers WAL: `wal_streaming_conninfo`, else `streaming_conninfo`.
    pub wal_streaming_conninfo: Option<Conninfo>,
    /// Who creates the replication slot.
    pub create_slot: CreateSlot,
    /// The replication slot.
    pub slot_name: Option<String>,
    /// How long `check` may take; `None` is as long as it likes.
    pub check_timeout: Option<Duration>,
    /// Directories put before `PATH` for client programs and hook scripts.
    pub path_prefix: Option<String>,
    /// Copied from another Barman host instead of from PostgreSQL (`primary_ssh_command`).
    pub passive: bool,

    /// Everything of this server, unless one of the following says otherwise.
    pub backup_directory: PathBuf,
    /// Backups. The default here where an object store is configured, which is listed as unsupported.
    pub basebackups_directory: PathBuf,
    /// The WAL archive. The default here where an object store is configured, which is listed as unsupported.
    pub wals_directory: PathBuf,
    /// Where `archive_command` delivers WAL.
    pub incoming_wals_directory: PathBuf,
    /// Where the receiver writes WAL.
    pub streaming_wals_directory: PathBuf,
    /// WAL that could not be archived.
    pub errors_directory: PathBuf,
    /// The index of the WAL archive.
    pub xlogdb_directory: PathBuf,
    /// An intermediate store that Barman creates for every server.
    pub cloud_staging_directory: PathBuf,

    /// How backups are taken.
    pub backup_method: BackupMethod,
    /// No warning about configuration files outside of the data directory.
    pub external_configuration: bool,
    /// Backups start with an immediate checkpoint instead of waiting for the next one.
    pub immediate_checkpoint: bool,
    /// The most that a backup or restore may transfer, in kB (1024 bytes) per second.
    pub bandwidth_limit_kb: Option<u64>,
    /// The same for tablespaces, by name.
    pub tablespace_bandwidth_limits_kb: BTreeMap<String, u64>,
    /// What is sent to another host is compressed.
    pub network_compression: bool,
    /// How often a failed copy is tried again.
    pub basebackup_retry_times: u64,
    /// How long to wait before that.
    pub basebackup_retry_sleep: Duration,
    /// `application_name` of a backup.
    pub streaming_backup_name: String,
    /// Where on this host a restore keeps what it cannot put into its place at once: `staging_path`, unless `staging_location`
    /// says that it is on the other host, or else `local_staging_path`.
    pub local_staging_path: Option<PathBuf>,
    /// How many workers copy files, at least 1.
    pub parallel_jobs: u64,
    /// WAL before the first backup is not deleted.
    pub worm_mode: bool,

    /// WAL comes through `incoming_wals_directory`. Forced on where no other archiver is.
    pub archiver: bool,
    /// How many files of `incoming_wals_directory` are archived in one run; `None` is all.
    pub archiver_batch_size: Option<u64>,
    /// WAL comes through `streaming_wals_directory`.
    pub streaming_archiver: bool,
    /// How many files of `streaming_wals_directory` are archived in one run; `None` is all.
    pub streaming_archiver_batch_size: Option<u64>,
    /// `application_name` of the receiver.
    pub streaming_archiver_name: String,
    /// How many files may wait for archiving before `check` fails; zero counts.
    pub max_incoming_wals_queue: Option<u64>,

    /// What WAL is compressed with, such as `zstd`; `custom` stands for the filters.
    pub compression: Option<String>,
    /// `low`, `medium`, `high`, or a number.
    pub compression_level: String,
    /// A shell command that compresses.
    pub custom_compression_filter: Option<String>,
    /// A shell command that undoes that.
    pub custom_decompression_filter: Option<String>,
    /// How its output begins: `0x` and hexadecimal digits.
    pub custom_compression_magic: Option<String>,
    /// WAL is encrypted, by gpg.
    pub encryption: bool,
    /// For whom.
    pub encryption_key_id: Option<String>,
    /// A shell command that prints the passphrase of that key.
    pub encryption_passphrase_command: Option<String>,

    /// What is kept.
    pub retention_policy: RetentionPolicy,
    /// What is kept according to our own option file, which goes before `retention_policy`.
    pub retention_rules: Option<Rules>,
    /// How many backups must remain.
    pub minimum_redundancy: u32,
    /// How old the newest backup may be before `check` fails.
    pub last_backup_maximum_age: Option<Duration>,
    /// How many bytes the newest backup must have.
    pub last_backup_minimum_size: Option<u64>,
    /// How old the newest WAL may be before `check` fails.
    pub last_wal_maximum_age: Option<Duration>,
    /// A recovering server fetches WAL from here instead of from a copy.
    pub get_wal: bool,
    /// `recovery_options` contains `delta-restore`: restores may go over older data directories.
    pub delta_restore: bool,

    /// What is configured but not built, in the order of the option table.
    pub unsupported: Vec<UnsupportedOption>,
    /// Why the server cannot be used, in Barman's words (`msg_list`). Empty for a usable server.
    pub disabled: Vec<String>,
    /// What Barman remarks when a command selects this server.
    pub warnings: Vec<Warning>,

    pub(crate) values: Values,
}

/// An option that is set although what it asks for does not exist here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedOption {
    /// The option.
    pub option: &'static str,
    /// Its value, passwords replaced.
    pub value: String,
    /// What cannot be done while it is set.
    pub affects: &'static [Command],
}

/// `backup_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackupMethod {
    /// `rsync`: over ssh.
    Rsync,
    /// `postgres`: over the replication protocol.
    Postgres,
    /// `local-rsync`: from this host.
    LocalRsync,
    /// `snapshot`: of cloud disks.
    Snapshot,
    /// `local-to-cloud`: from this host to an object store.
    LocalToCloud,
}

/// `create_slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreateSlot {
    /// The user creates the slot.
    Manual,
    /// The receiver creates it if it is missing.
    Auto,
}

/// `retention_policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetentionPolicy {
    /// Nothing is ever obsolete.
    Unset,
    /// What is kept.
    Policy(Policy),
    /// The text is no policy: nothing is obsolete, and `check` fails.
    Invalid(String),
}

impl RetentionPolicy {
    /// The policy, if there is a valid one.
    #[must_use]
    pub const fn policy(&self) -> Option<&Policy> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::Unset | Self::Invalid(_) => None,
        }
    }
}

impl BackupMethod {
    /// The method called `word` in configurations.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "postgres" => Self::Postgres,
            "local-rsync" => Self::LocalRsync,
            "snapshot" => Self::Snapshot,
            "local-to-cloud" => Self::LocalToCloud,
            _ => Self::Rsync,
        }
    }

    /// Whether backups come over the replication protocol.
    #[must_use]
    pub const fn is_postgres(self) -> bool {
        matches!(self, Self::Postgres)
    }

    /// What it is called in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsync => "rsync",
            Self::Postgres => "postgres",
            Self::LocalRsync => "local-rsync",
            Self::Snapshot => "snapshot",
            Self::LocalToCloud => "local-to-cloud",
        }
    }
}

impl ServerConfig {
    /// What stands in the way of `command`: empty if it may start.
    pub fn unsupported_for(&self, command: Command) -> impl Iterator<Item = &UnsupportedOption> {
        self.unsupported.iter().filter(move |option| option.affects.contains(&command))
    }

    /// Whether `wal_conninfo` or `wal_streaming_conninfo` is configured, which Barman announces.
    #[must_use]
    pub fn overrides_wal_connection(&self) -> bool {
        self.values.is_set("wal_conninfo") || self.values.is_set("wal_streaming_conninfo")
    }

    /// Every option of a server and its value as configured, in alphabetical order; passwords included.
    pub fn options(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter()
    }
}

/// The options that are set and not built.
pub(crate) fn unsupported(values: &Values) -> Vec<UnsupportedOption> {
    SERVER.iter().filter_map(|option| unsupported_option(option, values.get(option.name))).collect()
}

fn unsupported_option(option: &OptionSpec, value: &Value) -> Option<UnsupportedOption> {
    let Support::Missing { when, affects } = option.support else { return None };
    when(value).then(|| UnsupportedOption { option: option.name, value: redacted(&value.to_string()), affects })
}
