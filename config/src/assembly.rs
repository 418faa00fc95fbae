//! A [`ServerConfig`] from the text of its section.

use std::path::PathBuf;
use std::time::Duration;

use crate::conninfo::Conninfo;
use crate::error::Error;
use crate::interpretation::{Interpretation, method};
use crate::options::{Kind, SERVER};
use crate::resolution::Values;
use crate::sections::Merged;
use crate::server::{CreateSlot, ServerConfig, unsupported};
use crate::value::{Value, is_object_store};
use crate::warning::Warning;

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
    Ok(typed(&section.name, Interpretation::of(&section.name, values)))
}

/// An empty directory option is neither a place nor a request for the default: Barman crashes on it.
fn refuse_empty_directories(section: &Merged, global: &Merged) -> Result<(), Error> {
    for option in SERVER.iter().filter(|option| matches!(option.kind, Kind::Directory | Kind::Location)) {
        let global = option.inherited.then(|| global.get(option.name)).flatten();
        let Some(setting) = section.get(option.name).or(global).filter(|setting| setting.text.is_empty()) else {
            continue;
        };
        return Err(setting.refused(&section.name, "a directory"));
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

/// Gives every option its type.
fn typed(name: &str, interpretation: Interpretation) -> ServerConfig {
    let Interpretation { values, warnings, disabled, retention_policy } = interpretation;
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
    let create_slot = if values.text("create_slot") == Some("auto") { CreateSlot::Auto } else { CreateSlot::Manual };
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
        backup_method: method(&values),
        external_configuration: values.words("backup_options").contains("external_configuration"),
        immediate_checkpoint: values.boolean("immediate_checkpoint"),
        bandwidth_limit_kb: values.positive("bandwidth_limit"),
        tablespace_bandwidth_limits_kb: values.rates("tablespace_bandwidth_limit"),
        network_compression: values.boolean("network_compression"),
        basebackup_retry_times: values.positive("basebackup_retry_times").unwrap_or(0),
        basebackup_retry_sleep: values.seconds("basebackup_retry_sleep").unwrap_or(Duration::ZERO),
        streaming_backup_name: values.owned_text("streaming_backup_name").unwrap_or_default(),
        local_staging_path: local_staging_path(&values),
        parallel_jobs: values.positive("parallel_jobs").unwrap_or(1),
        worm_mode: values.boolean("worm_mode"),
        archiver: values.boolean("archiver"),
        archiver_batch_size: values.positive("archiver_batch_size"),
        streaming_archiver: values.boolean("streaming_archiver"),
        streaming_archiver_batch_size: values.positive("streaming_archiver_batch_size"),
        streaming_archiver_name: values.owned_text("streaming_archiver_name").unwrap_or_default(),
        max_incoming_wals_queue: count("max_incoming_wals_queue"),
        compression: values.owned_text("compression"),
        compression_level: match values.get("compression_level") {
            Value::Unset => "medium".to_owned(),
            level => level.to_string(),
        },
        custom_compression_filter: values.owned_text("custom_compression_filter"),
        custom_decompression_filter: values.owned_text("custom_decompression_filter"),
        custom_compression_magic: values.owned_text("custom_compression_magic"),
        encryption: values.text("encryption") == Some("gpg"),
        encryption_key_id: values.owned_text("encryption_key_id"),
        encryption_passphrase_command: values.owned_text("encryption_passphrase_command"),
        retention_policy,
        retention_rules: None,
        minimum_redundancy: count("minimum_redundancy").and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX),
        last_backup_maximum_age: values.interval("last_backup_maximum_age"),
        last_backup_minimum_size: values.size("last_backup_minimum_size"),
        last_wal_maximum_age: values.interval("last_wal_maximum_age"),
        get_wal: values.words("recovery_options").contains("get-wal"),
        delta_restore: values.words("recovery_options").contains("delta-restore"),
        unsupported: unsupported(&values),
        disabled: disabled.iter().map(ToString::to_string).collect(),
        warnings,
        values,
    }
}

/// The place for intermediate copies on this host.
fn local_staging_path(values: &Values) -> Option<PathBuf> {
    let is_here = values.text("staging_location") != Some("remote");
    let path = values.text("staging_path").filter(|_| is_here);
    path.or_else(|| values.text("local_staging_path")).map(PathBuf::from)
}
