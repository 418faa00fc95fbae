//! Records as JSON, one object a line; `docs/wal-dump.md` says what is in them.

use super::description::level_name;
use super::{Printer, Target, flush};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use wal_format::{
    Checkpoint, Contents, DatabaseDirectory, Fork, List, ParameterChange, Payload, Prepare, Record, RelFileLocator,
    RowChangeKind, Timestamp, TransactionEnd,
};

/// Prints an object for each record.
pub(super) struct JsonLines {
    target: Target,
}

impl JsonLines {
    pub(super) fn new(target: Target) -> Self {
        Self { target }
    }
}

impl Printer for JsonLines {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.target, &Object::of(record))?;
        self.target.write_all(b"\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        flush(&mut self.target)
    }
}

/// What is said of every record.
#[derive(Debug, Serialize)]
struct Object {
    lsn: String,
    end: String,
    prev: String,
    timeline: u32,
    version: u32,
    manager: String,
    /// `null` for kinds without a name.
    name: Option<&'static str>,
    info: u8,
    xid: u32,
    length: u32,
    image_length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_level_xid: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Block>,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
}

#[derive(Debug, Serialize)]
struct Block {
    id: u8,
    #[serde(flatten)]
    relation: Relation,
    fork: &'static str,
    block: u32,
    image: bool,
}

#[derive(Debug, Serialize)]
struct Relation {
    tablespace: u32,
    database: u32,
    relation: u32,
}

impl From<RelFileLocator> for Relation {
    fn from(RelFileLocator { tablespace, database, number }: RelFileLocator) -> Self {
        Self { tablespace, database, relation: number }
    }
}

impl Object {
    fn of(record: &Record<'_>) -> Self {
        let header = record.header;
        let contents = record.contents().ok();
        let blocks = contents.iter().flat_map(Contents::blocks).map(|block| Block {
            id: block.id,
            relation: block.relation.into(),
            fork: block.fork.name(),
            block: block.block,
            image: block.image.is_some(),
        });
        Self {
            lsn: record.start.to_string(),
            end: record.end.to_string(),
            prev: header.prev.to_string(),
            timeline: record.timeline.get(),
            version: record.major.number(),
            manager: header.manager.to_string(),
            name: record.name(),
            info: header.info,
            xid: header.xid,
            length: header.total_len,
            image_length: contents.map_or(0, |contents| contents.image_len()),
            origin: contents.and_then(|contents| contents.origin()),
            top_level_xid: contents.and_then(|contents| contents.top_level_xid()),
            blocks: blocks.collect(),
            data: record.decode().map_or(Value::Null, |payload| data(&payload)),
        }
    }
}

fn data(payload: &Payload<'_>) -> Value {
    match payload {
        Payload::Commit(end) | Payload::Abort(end) => transaction_end(end),
        Payload::Prepare(prepare) => prepared(prepare),
        Payload::Checkpoint(checkpoint) => checkpoint_data(checkpoint),
        Payload::EndOfRecovery(end) => json!({
            "time": time(end.at),
            "timeline": end.timeline.get(),
            "previous_timeline": end.previous_timeline.get(),
            "wal_level": end.wal_level.map(level_name),
        }),
        Payload::RestorePoint(point) => json!({ "time": time(point.at), "restore_point": text(point.name) }),
        Payload::ParameterChange(change) => parameters(change),
        Payload::BackupEnd { start_lsn } => json!({ "backup_start": start_lsn.to_string() }),
        Payload::OverwriteContrecord(cut) => {
            json!({ "time": time(cut.at), "overwritten": cut.overwritten.to_string() })
        }
        Payload::FullPageWrites { on } => json!({ "full_page_writes": on }),
        Payload::StorageCreate { relation, fork } => with_fork(*relation, *fork),
        Payload::StorageTruncate(cut) => {
            let mut data = with_fork(cut.relation, Fork::Main);
            data["blocks"] = cut.blocks.into();
            data
        }
        Payload::DatabaseCopy(copy) => json!({ "from": directory(copy.from), "to": directory(copy.to) }),
        Payload::DatabaseCreate(created) => directory(*created),
        Payload::DatabaseDrop(drop) => {
            json!({ "database": drop.database, "tablespaces": drop.tablespaces.iter().collect::<Vec<_>>() })
        }
        Payload::TablespaceCreate { tablespace, path } => json!({ "tablespace": tablespace, "path": text(path) }),
        Payload::TablespaceDrop { tablespace } => json!({ "tablespace": tablespace }),
        Payload::RelationMapUpdate(update) => directory(update.directory),
        Payload::HeapTruncate(cut) => json!({
            "database": cut.database,
            "relations": cut.relations.iter().collect::<Vec<_>>(),
            "cascade": cut.cascade,
            "restart_sequences": cut.restart_sequences,
        }),
        Payload::Rows(change) => json!({ "rows": change.rows, "change": change_name(change.kind) }),
        _ => Value::Null,
    }
}

fn transaction_end(end: &TransactionEnd<'_>) -> Value {
    let mut data = Map::new();
    data.insert("time".to_owned(), time(end.at));
    if end.prepared {
        data.insert("prepared_xid".to_owned(), end.xid.into());
    }
    if let Some(gid) = end.gid {
        data.insert("gid".to_owned(), text(gid).into());
    }
    add_list(&mut data, "subxids", end.subxids.iter().map(Value::from));
    add_list(&mut data, "dropped", relations(&end.dropped));
    if let Some(origin) = end.origin {
        data.insert("origin_lsn".to_owned(), origin.lsn.to_string().into());
        data.insert("origin_time".to_owned(), time(origin.at));
    }
    Value::Object(data)
}

fn prepared(prepare: &Prepare<'_>) -> Value {
    let mut data = Map::new();
    data.insert("time".to_owned(), time(prepare.at));
    data.insert("gid".to_owned(), text(prepare.gid.strip_suffix(b"\0").unwrap_or(prepare.gid)).into());
    data.insert("database".to_owned(), prepare.database.into());
    add_list(&mut data, "subxids", prepare.subxids.iter().map(Value::from));
    add_list(&mut data, "dropped_on_commit", relations(&prepare.dropped_on_commit));
    add_list(&mut data, "dropped_on_abort", relations(&prepare.dropped_on_abort));
    Value::Object(data)
}

/// Most records have most lists empty: those are left out.
fn add_list(data: &mut Map<String, Value>, key: &str, values: impl Iterator<Item = Value>) {
    let values: Vec<_> = values.collect();
    if !values.is_empty() {
        data.insert(key.to_owned(), values.into());
    }
}

fn relations<'a>(list: &List<'a, RelFileLocator>) -> impl Iterator<Item = Value> + use<'a> {
    list.iter().map(|relation| json!(Relation::from(relation)))
}

fn checkpoint_data(c: &Checkpoint) -> Value {
    json!({
        "redo": c.redo.to_string(),
        "shutdown": c.is_shutdown,
        "timeline": c.timeline.get(),
        "previous_timeline": c.previous_timeline.get(),
        "full_page_writes": c.full_page_writes,
        "wal_level": c.wal_level.map(level_name),
        "next_xid": c.next_xid,
        "next_oid": c.next_oid,
        "next_multixact": c.next_multixact,
        "next_multixact_offset": c.next_multixact_offset,
        "oldest_xid": c.oldest_xid,
        "oldest_xid_database": c.oldest_xid_database,
        "oldest_multixact": c.oldest_multixact,
        "oldest_multixact_database": c.oldest_multixact_database,
        "oldest_commit_timestamp_xid": c.oldest_commit_timestamp_xid,
        "newest_commit_timestamp_xid": c.newest_commit_timestamp_xid,
        "oldest_active_xid": c.oldest_active_xid,
    })
}

fn parameters(c: &ParameterChange) -> Value {
    json!({
        "max_connections": c.max_connections,
        "max_worker_processes": c.max_worker_processes,
        "max_wal_senders": c.max_wal_senders,
        "max_prepared_transactions": c.max_prepared_transactions,
        "max_locks_per_transaction": c.max_locks_per_transaction,
        "wal_level": level_name(c.wal_level),
        "wal_log_hints": c.wal_log_hints,
        "track_commit_timestamp": c.track_commit_timestamp,
    })
}

fn with_fork(relation: RelFileLocator, fork: Fork) -> Value {
    let RelFileLocator { tablespace, database, number } = relation;
    json!({ "tablespace": tablespace, "database": database, "relation": number, "fork": fork.name() })
}

fn directory(DatabaseDirectory { database, tablespace }: DatabaseDirectory) -> Value {
    json!({ "database": database, "tablespace": tablespace })
}

/// ISO 8601 in UTC; microseconds since 2000-01-01 beyond the years that calendars know.
fn time(at: Timestamp) -> Value {
    match jiff::Timestamp::from_microsecond(at.unix_micros()) {
        Ok(at) => format!("{at:.6}").into(),
        Err(_) => at.pg_micros().into(),
    }
}

/// Text of the server in UTF-8, with what is none replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn change_name(kind: RowChangeKind) -> &'static str {
    match kind {
        RowChangeKind::Insert => "insert",
        RowChangeKind::Update => "update",
        RowChangeKind::Delete => "delete",
    }
}
