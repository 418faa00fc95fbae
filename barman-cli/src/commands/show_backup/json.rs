//! `show-backup` for programs.

use super::text::{LATEST, OLDEST};
use crate::output::time::epoch_seconds;
use barman_catalog::{BackupInfo, BackupType, CopyStats};
use barman_server::{BackupDetail, human};
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::time::Duration;

pub(super) fn of(detail: &BackupDetail) -> Value {
    let info = detail.info();
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("backup_id", json!(info.backup_id.to_string()));
    if let Some(kind) = info.backup_type().filter(|_| info.status.is_copied()) {
        put("backup_type", json!(kind.as_str()));
    }
    if let Some(name) = &info.backup_name {
        put("backup_name", json!(name));
    }
    put("status", json!(info.status.as_str()));
    put("system_id", text(info.systemid));
    put("server_information", server(info));
    if info.status.is_copied() {
        put("postgresql_version", json!(info.version));
        put("pgdata_directory", json!(info.pgdata));
        put("cluster_size", json!(info.cluster_size.map(human::size_of)));
        put("cluster_size_bytes", json!(info.cluster_size));
        put("tablespaces", tablespaces(info));
        put("base_backup_information", base_backup(detail));
        put("wal_information", wal(detail));
        put("catalog_information", catalog(detail));
    } else if let Some(error) = &info.error {
        put("error", json!(error));
    }
    Value::Object(map)
}

fn server(info: &BackupInfo) -> Value {
    json!({"data_checksums": info.data_checksums, "summarize_wal": info.summarize_wal})
}

fn tablespaces(info: &BackupInfo) -> Value {
    let all = info.tablespaces.iter().flatten();
    all.map(|one| json!({"location": one.location, "name": one.name, "oid": one.oid})).collect()
}

fn base_backup(detail: &BackupDetail) -> Value {
    let info = detail.info();
    let size = detail.own_size();
    let with_wals = size + detail.summary.wal.wal_size;
    let mut value = json!({
        "backup_method": text(info.mode.as_ref()),
        "backup_size": human::size_of(size),
        "backup_size_bytes": size,
        "backup_size_with_wals": human::size_of(with_wals),
        "backup_size_with_wals_bytes": with_wals,
        "begin_lsn": text(info.begin_xlog),
        "begin_offset": info.begin_offset,
        "begin_time": text(info.begin_time),
        "begin_time_timestamp": info.begin_time.map(epoch_seconds),
        "begin_wal": text(info.begin_wal),
        "compression": info.compression,
        "encryption": info.encryption,
        "end_lsn": text(info.end_xlog),
        "end_offset": info.end_offset,
        "end_time": text(info.end_time),
        "end_time_timestamp": info.end_time.map(epoch_seconds),
        "end_wal": text(info.end_wal),
        "timeline": info.timeline.map(wal_format::TimelineId::get),
        "wal_num": detail.summary.wal.wal_num,
        "wal_size": human::size_of(detail.summary.wal.wal_size),
        "wal_size_bytes": detail.summary.wal.wal_size,
    });
    if let Some(seconds) = info.copy_stats.as_ref().and_then(CopyStats::copy_seconds) {
        value["copy_time"] = json!(human::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()));
        value["copy_time_seconds"] = json!(seconds);
        value["number_of_workers"] = json!(detail.workers());
        value["throughput"] = json!(detail.throughput().map(|rate| format!("{}/s", human::size(rate))));
        value["throughput_bytes"] = json!(detail.throughput().map(whole));
    }
    if let Some(ratio) = detail.wal_compression_ratio() {
        value["wal_compression_ratio"] = json!(format!("{:.2}%", ratio * 100.0));
    }
    if let Some((saved, percent)) = detail.resources_saved() {
        value["resources_saved"] = json!(human::size_of(saved));
        value["resources_saved_bytes"] = json!(saved);
        value["resources_saved_percentage"] = json!(format!("{percent:.2}%"));
    }
    value
}

fn wal(detail: &BackupDetail) -> Value {
    let rate = detail.summary.wal.wals_per_second();
    let ratio = detail.later_wal_compression_ratio();
    let timelines: Vec<String> = detail.reachable_timelines.iter().map(ToString::to_string).collect();
    let mut value = json!({
        "compression_ratio": ratio.map_or(json!(0), |ratio| json!(format!("{:.2}%", ratio * 100.0))),
        "disk_usage": human::size_of(detail.summary.wal.wal_until_next_size),
        "disk_usage_bytes": detail.summary.wal.wal_until_next_size,
        "last_available": text(detail.last_wal()),
        "no_of_files": detail.summary.wal.wal_until_next_num,
        "timelines": timelines,
        "wal_rate": rate.map_or(json!(0), |rate| json!(format!("{:.2}/hour", rate * 3600.0))),
        "wal_rate_per_second": rate.map_or(json!(0), |rate| json!(rate)),
    });
    if !detail.reachable_timelines.is_empty() {
        value["_WARNING"] = json!(TIMELINES_WARNING);
    }
    value
}

/// The value that programs know, blanks included.
const TIMELINES_WARNING: &str = "WAL information is inaccurate                     \
                                 due to multiple timelines interacting with                     this backup";

fn catalog(detail: &BackupDetail) -> Value {
    let neighbour = |id: Option<barman_catalog::BackupId>, none: &str| id.map_or(none.to_owned(), |id| id.to_string());
    let mut value = json!({
        "next_backup": neighbour(detail.next, LATEST),
        "previous_backup": neighbour(detail.previous, OLDEST),
        "retention_policy": detail.retention_text(),
    });
    if let Some(chain) = &detail.chain {
        value["root_backup_id"] = json!(chain.root.to_string());
        value["parent_backup_id"] = json!(chain.parent.to_string());
        value["chain_size"] = json!(chain.size);
    }
    // Only what the replication protocol made can have incremental children.
    if detail.info().backup_type() != Some(BackupType::Rsync) {
        let children: Vec<String> = detail.info().children_backup_ids.iter().map(ToString::to_string).collect();
        value["children_backup_ids"] = if children.is_empty() { Value::Null } else { json!(children) };
    }
    value
}

fn text(value: Option<impl Display>) -> Value {
    value.map_or(Value::Null, |value| Value::String(value.to_string()))
}

/// Returns a rate without its fraction.
fn whole(rate: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // The cast saturates, and a rate is never negative.
    let whole = rate as u64;
    whole
}
