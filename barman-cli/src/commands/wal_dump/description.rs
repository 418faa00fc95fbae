//! What records mean, in the words of `pg_waldump` (the files of `access/rmgrdesc`): those kinds that are decoded.

use super::text::Line;
use jiff::tz::TimeZone;
use std::fmt::{self, Write};
use wal_format::{
    Checkpoint, DatabaseDirectory, Fork, HeapTruncate, InvalidationMessage, List, Lsn, ParameterChange, Payload,
    PgMajor, Prepare, Record, RelFileLocator, Timestamp, TransactionEnd, WalLevel,
};

/// Adds what the record means, or nothing.
pub(super) fn describe(line: &mut Line, record: &Record<'_>, zone: &TimeZone) {
    let Ok(payload) = record.decode() else { return };
    if !matches!(payload, Payload::Other | Payload::Switch | Payload::Rows(_)) {
        // Nothing that is written to memory fails.
        let _ = Describer { line, record, zone }.payload(&payload);
    }
}

struct Describer<'a> {
    line: &'a mut Line,
    record: &'a Record<'a>,
    zone: &'a TimeZone,
}

impl<'a> Describer<'a> {
    fn payload(&mut self, payload: &Payload<'_>) -> fmt::Result {
        let major = self.record.major;
        match payload {
            Payload::Commit(end) | Payload::Abort(end) => self.transaction_end(end),
            Payload::Prepare(prepare) => self.prepare(prepare),
            Payload::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Payload::EndOfRecovery(end) => {
                let (timeline, previous) = (end.timeline, end.previous_timeline);
                write!(self.line, "tli {timeline}; prev tli {previous}; time {}", self.time(end.at))?;
                end.wal_level.map_or(Ok(()), |level| write!(self.line, "; wal_level {}", level_name(level)))
            }
            Payload::RestorePoint(point) => {
                self.line.bytes(point.name);
                Ok(())
            }
            Payload::ParameterChange(change) => self.parameter_change(change),
            Payload::BackupEnd { start_lsn } => write!(self.line, "{}", Position(*start_lsn, major)),
            Payload::OverwriteContrecord(cut) => {
                write!(self.line, "lsn {}; time {}", Position(cut.overwritten, major), self.time(cut.at))
            }
            Payload::FullPageWrites { on } => write!(self.line, "{on}"),
            Payload::StorageCreate { relation, fork } => write!(self.line, "{}", FilePath(*relation, *fork, major)),
            Payload::StorageTruncate(cut) => {
                let flags = u8::from(cut.main) | u8::from(cut.visibility_map) << 1 | u8::from(cut.free_space_map) << 2;
                let path = FilePath(cut.relation, Fork::Main, major);
                write!(self.line, "{path} to {} blocks flags {flags}", cut.blocks)
            }
            Payload::DatabaseCopy(copy) => {
                write!(self.line, "copy dir {} to {}", directory(copy.from), directory(copy.to))
            }
            Payload::DatabaseCreate(created) => write!(self.line, "create dir {}", directory(*created)),
            Payload::DatabaseDrop(drop) => {
                self.line.text("dir");
                drop.tablespaces.iter().try_for_each(|tablespace| write!(self.line, " {tablespace}/{}", drop.database))
            }
            Payload::TablespaceCreate { tablespace, path } => {
                write!(self.line, "{tablespace} \"")?;
                self.line.bytes(path);
                self.line.write_char('"')
            }
            Payload::TablespaceDrop { tablespace } => write!(self.line, "{tablespace}"),
            Payload::RelationMapUpdate(update) => {
                let DatabaseDirectory { database, tablespace } = update.directory;
                write!(self.line, "database {database} tablespace {tablespace} size {}", update.map.len())
            }
            Payload::HeapTruncate(cut) => self.heap_truncate(cut),
            _ => Ok(()),
        }
    }

    fn transaction_end(&mut self, end: &TransactionEnd<'_>) -> fmt::Result {
        if end.prepared {
            write!(self.line, "{}: ", end.xid)?;
        }
        write!(self.line, "{}", self.time(end.at))?;
        self.relations("rels", &end.dropped)?;
        self.subtransactions(&end.subxids)?;
        if end.drops_relcache_files {
            let (database, tablespace) = (end.database.unwrap_or(0), end.tablespace.unwrap_or(0));
            write!(self.line, "; relcache init file inval dbid {database} tsid {tablespace}")?;
        }
        self.invalidations(&end.invalidations)?;
        if end.must_sync {
            self.line.text("; sync");
        }
        if let Some(origin) = end.origin {
            let node = self.record.contents().ok().and_then(|contents| contents.origin()).unwrap_or(0);
            let (lsn, at) = (Position(origin.lsn, self.record.major), self.time(origin.at));
            write!(self.line, "; origin: node {node}, lsn {lsn}, at {at}")?;
        }
        Ok(())
    }

    fn prepare(&mut self, prepare: &Prepare<'_>) -> fmt::Result {
        self.line.text("gid ");
        self.line.bytes(prepare.gid.strip_suffix(b"\0").unwrap_or(prepare.gid));
        write!(self.line, ": {}", self.time(prepare.at))?;
        self.relations("rels(commit)", &prepare.dropped_on_commit)?;
        self.relations("rels(abort)", &prepare.dropped_on_abort)?;
        self.subtransactions(&prepare.subxids)?;
        self.invalidations(&prepare.invalidations)
    }

    fn relations(&mut self, label: &str, relations: &List<'_, RelFileLocator>) -> fmt::Result {
        if relations.is_empty() {
            return Ok(());
        }
        write!(self.line, "; {label}:")?;
        let major = self.record.major;
        relations.iter().try_for_each(|relation| write!(self.line, " {}", FilePath(relation, Fork::Main, major)))
    }

    fn subtransactions(&mut self, subxids: &List<'_, u32>) -> fmt::Result {
        if subxids.is_empty() {
            return Ok(());
        }
        self.line.text("; subxacts:");
        subxids.iter().try_for_each(|xid| write!(self.line, " {xid}"))
    }

    fn invalidations(&mut self, messages: &List<'_, InvalidationMessage>) -> fmt::Result {
        use InvalidationMessage as Message;
        if messages.is_empty() {
            return Ok(());
        }
        self.line.text("; inval msgs:");
        messages.iter().try_for_each(|message| match message {
            Message::CatalogCache { cache, .. } => write!(self.line, " catcache {cache}"),
            Message::Catalog { catalog, .. } => write!(self.line, " catalog {catalog}"),
            Message::Relation { relation, .. } => write!(self.line, " relcache {relation}"),
            Message::Storage(_) => self.line.write_str(" smgr"),
            Message::RelationMap { database } => write!(self.line, " relmap db {database}"),
            Message::Snapshot { relation, .. } => write!(self.line, " snapshot {relation}"),
            Message::RelationSync { relation, .. } => write!(self.line, " relsync {relation}"),
            Message::Unknown { id } => write!(self.line, " unrecognized id {id}"),
            _ => Ok(()),
        })
    }

    fn checkpoint(&mut self, c: &Checkpoint) -> fmt::Result {
        let redo = Position(c.redo, self.record.major);
        let (timeline, previous) = (c.timeline, c.previous_timeline);
        write!(self.line, "redo {redo}; tli {timeline}; prev tli {previous}; fpw {}; ", c.full_page_writes)?;
        if let Some(level) = c.wal_level {
            write!(self.line, "wal_level {}; ", level_name(level))?;
        }
        if let Some(on) = c.logical_decoding {
            write!(self.line, "logical decoding {on}; ")?;
        }
        let (epoch, xid) = (c.next_xid >> 32, c.next_xid & 0xFFFF_FFFF);
        let (oid, multi, offset) = (c.next_oid, c.next_multixact, c.next_multixact_offset);
        write!(self.line, "xid {epoch}:{xid}; oid {oid}; multi {multi}; offset {offset}; ")?;
        write!(
            self.line,
            "oldest xid {} in DB {}; oldest multi {} in DB {}; oldest/newest commit timestamp xid: {}/{}; \
             oldest running xid {}; {}",
            c.oldest_xid,
            c.oldest_xid_database,
            c.oldest_multixact,
            c.oldest_multixact_database,
            c.oldest_commit_timestamp_xid,
            c.newest_commit_timestamp_xid,
            c.oldest_active_xid,
            if c.is_shutdown { "shutdown" } else { "online" },
        )
    }

    fn parameter_change(&mut self, c: &ParameterChange) -> fmt::Result {
        write!(
            self.line,
            "max_connections={} max_worker_processes={} max_wal_senders={} max_prepared_xacts={} \
             max_locks_per_xact={} wal_level={} wal_log_hints={} track_commit_timestamp={}",
            c.max_connections,
            c.max_worker_processes,
            c.max_wal_senders,
            c.max_prepared_transactions,
            c.max_locks_per_transaction,
            level_name(c.wal_level),
            on_off(c.wal_log_hints),
            on_off(c.track_commit_timestamp),
        )
    }

    fn heap_truncate(&mut self, cut: &HeapTruncate<'_>) -> fmt::Result {
        let flags = [(cut.cascade, "CASCADE"), (cut.restart_sequences, "RESTART_SEQS")];
        let set = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
        let count = cut.relations.len();
        if self.record.major < PgMajor::V16 {
            set.for_each(|name| {
                self.line.text(&name.to_ascii_lowercase());
                self.line.text(" ");
            });
            write!(self.line, "nrelids {count} relids")?;
            return cut.relations.iter().try_for_each(|relation| write!(self.line, " {relation}"));
        }
        let set: Vec<_> = set.collect();
        let relations: Vec<_> = cut.relations.iter().map(|relation| relation.to_string()).collect();
        write!(self.line, "flags: [{}], nrelids: {count}, relids: [{}]", set.join(", "), relations.join(", "))
    }

    fn time(&self, at: Timestamp) -> Moment<'a> {
        Moment(at, self.zone)
    }
}

/// A moment as PostgreSQL's programs print it: `2026-11-20 16:44:17.005962 UTC`.
struct Moment<'a>(Timestamp, &'a TimeZone);

impl fmt::Display for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0.unix_micros()) {
            Ok(at) => write!(f, "{}", at.to_zoned(self.1.clone()).strftime("%Y-%m-%d %H:%M:%S%.6f %Z")),
            // Beyond the years that calendars know: no server wrote it.
            Err(_) => write!(f, "{} microseconds since 2000-01-01 UTC", self.0.pg_micros()),
        }
    }
}

/// A position within a description, which is padded since 19 only.
struct Position(Lsn, PgMajor);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(lsn, major) = self;
        match *major < PgMajor::V19 {
            true => write!(f, "{lsn}"),
            false => write!(f, "{:X}/{:08X}", lsn.as_u64() >> 32, lsn.as_u64() & 0xFFFF_FFFF),
        }
    }
}

/// The path of a relation's file (`GetRelationPath`, `common/relpath.c`). The directory of a tablespace is named after the
/// catalog's version too, which WAL does not have: it is left out.
struct FilePath(RelFileLocator, Fork, PgMajor);

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DEFAULT: u32 = 1663;
        const GLOBAL: u32 = 1664;
        let Self(RelFileLocator { tablespace, database, number }, fork, major) = self;
        match *tablespace {
            DEFAULT => write!(f, "base/{database}/{number}")?,
            GLOBAL => write!(f, "global/{number}")?,
            _ => write!(f, "pg_tblspc/{tablespace}/PG_{}/{database}/{number}", major.number())?,
        }
        if *fork == Fork::Main { Ok(()) } else { write!(f, "_{fork}") }
    }
}

fn directory(DatabaseDirectory { database, tablespace }: DatabaseDirectory) -> impl fmt::Display {
    format!("{tablespace}/{database}")
}

pub(super) fn level_name(level: WalLevel) -> &'static str {
    match level {
        WalLevel::Minimal => "minimal",
        WalLevel::Replica => "replica",
        WalLevel::Logical => "logical",
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
