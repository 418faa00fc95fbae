//! The record of a backup as `backup` adds it to its JSON document: every field of `backup.info`.

use crate::output::time::ctime;
use barman_catalog::{BackupInfo, PythonLiteral};
use serde_json::{Map, Value, json};
use std::fmt::Display;

pub(super) fn of(info: &BackupInfo) -> Map<String, Value> {
    let value = json!({
        "backup_id": info.backup_id.to_string(),
        "backup_label": info.backup_label.as_ref().map(|label| PythonLiteral::from(label.as_str()).to_string()),
        "begin_offset": info.begin_offset,
        "begin_time": info.begin_time.map(ctime),
        "begin_wal": text(info.begin_wal),
        "begin_xlog": text(info.begin_xlog),
        "children_backup_ids": children(info),
        "cluster_size": info.cluster_size,
        "compression": info.compression,
        "config_file": info.config_file,
        "copy_stats": copy_stats(info),
        "data_checksums": info.data_checksums,
        "deduplicated_size": info.deduplicated_size,
        "encryption": info.encryption,
        "end_offset": info.end_offset,
        "end_time": info.end_time.map(ctime),
        "end_wal": text(info.end_wal),
        "end_xlog": text(info.end_xlog),
        "error": info.error,
        "hba_file": info.hba_file,
        "ident_file": info.ident_file,
        "included_files": info.included_files,
        "mode": text(info.mode.as_ref()),
        "parent_backup_id": text(info.parent_backup_id),
        "pgdata": info.pgdata,
        "server_name": info.server_name,
        "size": info.size,
        "status": info.status.as_str(),
        "summarize_wal": info.summarize_wal,
        "systemid": text(info.systemid),
        "tablespaces": tablespaces(info),
        "timeline": info.timeline.map(wal_format::TimelineId::get),
        "version": info.version,
        "xlog_segment_size": info.xlog_segment_size.bytes(),
    });
    let Value::Object(mut map) = value else {
        return Map::new();
    };
    if let Some(name) = &info.backup_name {
        map.insert("backup_name".to_owned(), json!(name));
    }
    map
}

fn text(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn children(info: &BackupInfo) -> Option<Vec<String>> {
    let ids = &info.children_backup_ids;
    (!ids.is_empty()).then(|| ids.iter().map(ToString::to_string).collect())
}

fn copy_stats(info: &BackupInfo) -> Option<Value> {
    let stats = info.copy_stats.as_ref()?;
    Some(json!({"copy_time": stats.copy_seconds(), "total_time": stats.total_seconds()}))
}

fn tablespaces(info: &BackupInfo) -> Option<Value> {
    let all = info.tablespaces.as_ref()?;
    Some(all.iter().map(|one| json!([one.name, one.oid, one.location])).collect())
}
