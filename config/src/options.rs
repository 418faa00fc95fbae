//! The one option table: it drives parsing, inheritance, validation, defaults and what is not built yet.
//!
//! Its order is the order in which Barman examines options, and so the order of its warnings.

use crate::choices::{
    AWS_ENCRYPTION, BACKUP_COMPRESSION, BACKUP_COMPRESSION_FORMAT, BACKUP_COMPRESSION_LOCATION, BACKUP_METHOD,
    COMBINE_MODE, COMPRESSION, CREATE_SLOT, Choice, ENCRYPTION, REUSE_BACKUP, STAGING_LOCATION,
};
use crate::command::Command;
use crate::value::{Value, is_object_store};

/// How the text of an option is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text; empty means unset.
    Text,
    Boolean,
    Integer,
    /// A count and a unit: `7 DAYS`.
    Interval,
    /// A number of bytes with an SI or IEC suffix.
    Size,
    /// Lower-case letters, digits and `_`.
    SlotName,
    Choice(Choice),
    /// A comma list of known words.
    Words(&'static [&'static str]),
    /// A comma list of anything.
    List,
    AbsolutePath,
    /// A directory; empty is refused, since nothing can be done without it.
    Directory,
    /// A directory, or the URL of an object store.
    Location,
    CompressionLevel,
}

/// What an option is when no file sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefaultValue {
    Unset,
    /// Parsed like a value from a file.
    Is(&'static str),
    /// The name of the server.
    ServerName,
    /// Follows from other options, by rules of its own in `assembly.rs`.
    Derived,
}

/// Whether what an option asks for exists here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Support {
    Built,
    /// Says nothing by itself: only what another option turns on reads it, and that option is refused by name.
    Detail,
    /// Not built: while `when` holds for its value, these commands fail.
    Missing {
        when: fn(&Value) -> bool,
        affects: &'static [Command],
    },
}

/// One row: an option of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OptionSpec {
    pub(crate) name: &'static str,
    /// May also stand in `[barman]`, for all servers.
    pub(crate) inherited: bool,
    pub(crate) kind: Kind,
    pub(crate) default: DefaultValue,
    pub(crate) support: Support,
}

/// The section of global options.
pub(crate) const GLOBAL_SECTION: &str = "barman";

/// Options of `[barman]` alone.
pub(crate) const GLOBAL: &[&str] = &[
    "barman_home",
    "barman_lock_directory",
    "barman_user",
    "config_changes_queue",
    "configuration_files_directory",
    "lock_directory_cleanup",
    "log_file",
    "log_level",
];

/// An option that Barman accepts and does not read.
const DISABLED: &str = "disabled";

/// Whether Barman knows `name` as an option of a server.
pub(crate) fn is_server_option(name: &str) -> bool {
    name == DISABLED || OptionSpec::named(name).is_some()
}

/// Whether Barman knows `name` as an option of a model: everything but paths and hook scripts.
pub(crate) fn is_model_option(name: &str) -> bool {
    let allowed = |kind| !matches!(kind, Kind::Directory | Kind::Location) && !name.ends_with("_script");
    ["model", DISABLED].contains(&name) || OptionSpec::named(name).is_some_and(|option| allowed(option.kind))
}

/// Whether Barman accepts `name` in `[barman]`: global options, and silently every option of servers.
pub(crate) fn is_global_option(name: &str) -> bool {
    GLOBAL.contains(&name) || is_server_option(name)
}

/// Every option of a server.
pub(crate) const SERVER: &[OptionSpec] = &[
    option("active", Kind::Boolean).own().default("true"),
    option("archiver", Kind::Boolean).default("off"),
    option("archiver_batch_size", Kind::Integer).default("0"),
    option("autogenerate_manifest", Kind::Boolean).default("false").detail(),
    option("aws_await_snapshots_timeout", Kind::Integer).default("3600").detail(),
    option("aws_check_object_lock", Kind::Boolean).default("off").detail(),
    option("aws_encryption", Kind::Choice(AWS_ENCRYPTION)).detail(),
    option("aws_profile", Kind::Text).detail(),
    option("aws_read_timeout", Kind::Integer).detail(),
    option("aws_region", Kind::Text).detail(),
    option("aws_snapshot_lock_cool_off_period", Kind::Integer).detail(),
    option("aws_snapshot_lock_duration", Kind::Integer).detail(),
    option("aws_snapshot_lock_expiration_date", Kind::Text).detail(),
    option("aws_snapshot_lock_mode", Kind::Text).detail(),
    option("aws_sse_kms_key_id", Kind::Text).detail(),
    option("azure_credential", Kind::Text).detail(),
    option("azure_resource_group", Kind::Text).detail(),
    option("azure_subscription_id", Kind::Text).detail(),
    option("backup_compression", Kind::Choice(BACKUP_COMPRESSION)).missing(&[Command::Backup]),
    option("backup_compression_format", Kind::Choice(BACKUP_COMPRESSION_FORMAT)).detail(),
    option("backup_compression_level", Kind::Integer).detail(),
    option("backup_compression_location", Kind::Choice(BACKUP_COMPRESSION_LOCATION)).detail(),
    option("backup_compression_workers", Kind::Integer).detail(),
    option("backup_directory", Kind::Directory).own().derived(),
    option("backup_method", Kind::Choice(BACKUP_METHOD))
        .default("rsync")
        .missing_when(is_other_method, &[Command::Backup]),
    option("backup_options", Kind::Words(BACKUP_OPTIONS)).default(""),
    option("bandwidth_limit", Kind::Text),
    option("basebackup_retry_sleep", Kind::Integer).default("30"),
    option("basebackup_retry_times", Kind::Integer).default("0"),
    option("basebackups_directory", Kind::Location).own().derived().missing_when(is_url, Command::ALL),
    option("check_timeout", Kind::Integer).default("30"),
    option("cloud_delete_batch_size", Kind::Integer).detail(),
    option("cloud_staging_directory", Kind::AbsolutePath).default("/tmp/barman/cloud-staging").detail(),
    option("cloud_staging_max_size", Kind::Size).default("30Gi").detail(),
    option("cloud_upload_max_archive_size", Kind::Size).own().default("100Gi").detail(),
    option("cloud_upload_min_chunk_size", Kind::Size).own().detail(),
    option("cloud_wal_archive_parallel", Kind::Integer).default("0").detail(),
    option("cloud_wal_restore_parallel", Kind::Integer).default("0").detail(),
    option("cluster", Kind::Text).own().default_server_name(),
    option("compression", Kind::Choice(COMPRESSION)),
    option("compression_level", Kind::CompressionLevel).default("medium"),
    option("conninfo", Kind::Text).own(),
    option("custom_compression_filter", Kind::Text),
    option("custom_compression_magic", Kind::Text),
    option("custom_decompression_filter", Kind::Text),
    option("description", Kind::Text).own(),
    option("encryption", Kind::Choice(ENCRYPTION)).missing(&[Command::Backup]),
    option("encryption_key_id", Kind::Text),
    option("encryption_passphrase_command", Kind::Text),
    option("errors_directory", Kind::Directory).own().derived(),
    option("forward_config_path", Kind::Boolean).default("false").detail(),
    option("gcp_project", Kind::Text).detail(),
    option("gcp_zone", Kind::Text).own().detail(),
    option("immediate_checkpoint", Kind::Boolean).default("false"),
    option("incoming_wals_directory", Kind::Directory).own().derived(),
    option("keepalive_interval", Kind::Integer).own().default("60").detail(),
    option("last_backup_maximum_age", Kind::Interval),
    option("last_backup_minimum_size", Kind::Size),
    option("last_wal_maximum_age", Kind::Interval),
    option("combine_mode", Kind::Choice(COMBINE_MODE)).default("copy").detail(),
    option("local_staging_path", Kind::AbsolutePath),
    option("max_incoming_wals_queue", Kind::Integer),
    option("minimum_redundancy", Kind::Text).default("0"),
    option("network_compression", Kind::Boolean).default("false").detail(),
    option("parallel_jobs", Kind::Integer).default("1"),
    option("parallel_jobs_start_batch_period", Kind::Integer).default("1").detail(),
    option("parallel_jobs_start_batch_size", Kind::Integer).default("10").detail(),
    option("path_prefix", Kind::Text),
    option("post_archive_retry_script", Kind::Text).missing(ARCHIVING),
    option("post_archive_script", Kind::Text).missing(ARCHIVING),
    option("post_backup_retry_script", Kind::Text).missing(&[Command::Backup]),
    option("post_backup_script", Kind::Text).missing(&[Command::Backup]),
    option("post_delete_retry_script", Kind::Text).missing(&[Command::Delete]),
    option("post_delete_script", Kind::Text).missing(&[Command::Delete]),
    option("post_recovery_retry_script", Kind::Text).missing(&[Command::Restore]),
    option("post_recovery_script", Kind::Text).missing(&[Command::Restore]),
    option("post_wal_delete_retry_script", Kind::Text).missing(WAL_DELETION),
    option("post_wal_delete_script", Kind::Text).missing(WAL_DELETION),
    option("pre_archive_retry_script", Kind::Text).missing(ARCHIVING),
    option("pre_archive_script", Kind::Text).missing(ARCHIVING),
    option("pre_backup_retry_script", Kind::Text).missing(&[Command::Backup]),
    option("pre_backup_script", Kind::Text).missing(&[Command::Backup]),
    option("pre_delete_retry_script", Kind::Text).missing(&[Command::Delete]),
    option("pre_delete_script", Kind::Text).missing(&[Command::Delete]),
    option("pre_recovery_retry_script", Kind::Text).missing(&[Command::Restore]),
    option("pre_recovery_script", Kind::Text).missing(&[Command::Restore]),
    option("pre_wal_delete_retry_script", Kind::Text).missing(WAL_DELETION),
    option("pre_wal_delete_script", Kind::Text).missing(WAL_DELETION),
    option("primary_checkpoint_timeout", Kind::Integer).own().default("0").detail(),
    option("primary_conninfo", Kind::Text).own().missing(&[Command::Backup, Command::SwitchWal]),
    option("primary_ssh_command", Kind::Text).missing(&[Command::Cron]),
    option("recovery_options", Kind::Words(RECOVERY_OPTIONS)).default(""),
    option("recovery_staging_path", Kind::AbsolutePath).detail(),
    option("create_slot", Kind::Choice(CREATE_SLOT)).default("manual"),
    option("retention_policy", Kind::Text),
    option("retention_policy_mode", Kind::Text).default("auto"),
    option("reuse_backup", Kind::Choice(REUSE_BACKUP)).detail(),
    option("slot_name", Kind::SlotName),
    option("snapshot_disks", Kind::List).own().detail(),
    option("snapshot_gcp_project", Kind::Text).detail(),
    option("snapshot_instance", Kind::Text).own().detail(),
    option("snapshot_provider", Kind::Text).detail(),
    option("snapshot_zone", Kind::Text).own().detail(),
    option("ssh_command", Kind::Text).own().detail(),
    option("staging_path", Kind::AbsolutePath),
    option("staging_location", Kind::Choice(STAGING_LOCATION)).default("local"),
    option("streaming_archiver", Kind::Boolean).default("off"),
    option("streaming_archiver_batch_size", Kind::Integer).default("0"),
    option("streaming_archiver_name", Kind::Text).default("barman_receive_wal"),
    option("streaming_backup_name", Kind::Text).default("barman_streaming_backup"),
    option("streaming_conninfo", Kind::Text).own().derived(),
    option("streaming_wals_directory", Kind::Directory).own().derived(),
    option("tablespace_bandwidth_limit", Kind::Text).detail(),
    option("wal_conninfo", Kind::Text).own(),
    option("wal_retention_policy", Kind::Text).default("main"),
    option("wal_streaming_conninfo", Kind::Text).own(),
    option("wals_directory", Kind::Location).own().derived().missing_when(is_url, Command::ALL),
    option("warehousepg_dbid", Kind::Integer).missing(&[Command::Backup]),
    option("worm_mode", Kind::Boolean).default("off"),
    option("xlogdb_directory", Kind::Directory).derived(),
];

/// The archive pipeline, and a backup: without its WAL it would stay unusable.
const ARCHIVING: &[Command] = &[Command::ArchiveWal, Command::Backup];

/// The first backup of a server deletes the WAL before it.
const WAL_DELETION: &[Command] = &[Command::Backup, Command::Delete];

const BACKUP_OPTIONS: &[&str] = &["concurrent_backup", "exclusive_backup", "external_configuration"];

const RECOVERY_OPTIONS: &[&str] = &["get-wal", "delta-restore"];

/// A row for the most common case: inheritable, unset by default, built.
const fn option(name: &'static str, kind: Kind) -> OptionSpec {
    OptionSpec { name, inherited: true, kind, default: DefaultValue::Unset, support: Support::Built }
}

impl OptionSpec {
    /// The row called `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SERVER.iter().find(|option| option.name == name)
    }

    const fn own(self) -> Self {
        Self { inherited: false, ..self }
    }

    const fn default(self, text: &'static str) -> Self {
        Self { default: DefaultValue::Is(text), ..self }
    }

    const fn default_server_name(self) -> Self {
        Self { default: DefaultValue::ServerName, ..self }
    }

    const fn derived(self) -> Self {
        Self { default: DefaultValue::Derived, ..self }
    }

    const fn detail(self) -> Self {
        Self { support: Support::Detail, ..self }
    }

    const fn missing(self, affects: &'static [Command]) -> Self {
        self.missing_when(is_set, affects)
    }

    const fn missing_when(self, when: fn(&Value) -> bool, affects: &'static [Command]) -> Self {
        Self { support: Support::Missing { when, affects }, ..self }
    }
}

fn is_set(value: &Value) -> bool {
    *value != Value::Unset
}

fn is_other_method(value: &Value) -> bool {
    !matches!(value, Value::Text(method) if method == "postgres")
}

fn is_url(value: &Value) -> bool {
    matches!(value, Value::Text(location) if is_object_store(location))
}
