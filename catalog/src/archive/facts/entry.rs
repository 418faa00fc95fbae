//! Facts as an entry of a journal.
//!
//! Positions are kept as distances from the one before, times as distances from the least one: an entry without events has
//! about 80 bytes.

use wal_format::{Lsn, RelFileLocator, SystemId, TimelineId, Timestamp};

use super::{
    CheckpointFacts, Content, Facts, RecordFacts, TimeRange, Unread, Verdict, WalEvent, WalEventKind, XidRange,
};
use crate::journal::{FieldReader, FieldWriter};

impl Facts {
    /// The entry.
    pub(crate) fn to_entry(&self) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.bytes(self.name.to_string().as_bytes());
        put_content(&mut fields, &self.stored);
        fields.number(u64::from(self.raw.is_some()));
        self.raw.iter().for_each(|raw| put_content(&mut fields, raw));
        put_verdict(&mut fields, &self.verdict);
        fields.number(u64::from(self.records.is_some()));
        self.records.iter().for_each(|records| put_records(&mut fields, records));
        fields.finish()
    }

    /// What an entry says; `None` if it is none. Fields behind those that are known are passed over.
    pub(crate) fn of_entry(entry: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(entry);
        let name = std::str::from_utf8(fields.bytes()?).ok()?.parse().ok()?;
        let stored = content(&mut fields)?;
        let raw = if flag(&mut fields)? { Some(content(&mut fields)?) } else { None };
        let verdict = verdict(&mut fields)?;
        let records = if flag(&mut fields)? { Some(records(&mut fields)?) } else { None };
        Some(Self { name, raw, stored, verdict, records })
    }
}

fn flag(fields: &mut FieldReader<'_>) -> Option<bool> {
    fields.number().map(|number| number != 0)
}

fn put_content(fields: &mut FieldWriter, content: &Content) {
    fields.number(content.bytes).number(content.crc32c.into());
}

fn content(fields: &mut FieldReader<'_>) -> Option<Content> {
    Some(Content { bytes: fields.number()?, crc32c: fields.small()? })
}

fn put_verdict(fields: &mut FieldWriter, verdict: &Verdict) {
    match verdict {
        Verdict::Verified => fields.number(0),
        Verdict::BorderOpen => fields.number(1),
        Verdict::Unverified(Unread::Compressed) => fields.number(2),
        Verdict::Unverified(Unread::Encrypted) => fields.number(3),
        Verdict::Unverified(Unread::Version) => fields.number(4),
        Verdict::Damaged { at, what } => fields.number(5).number(at.as_u64()).bytes(what.as_bytes()),
    };
}

fn verdict(fields: &mut FieldReader<'_>) -> Option<Verdict> {
    Some(match fields.number()? {
        0 => Verdict::Verified,
        1 => Verdict::BorderOpen,
        2 => Verdict::Unverified(Unread::Compressed),
        3 => Verdict::Unverified(Unread::Encrypted),
        4 => Verdict::Unverified(Unread::Version),
        5 => {
            let at = Lsn::new(fields.number()?);
            Verdict::Damaged { at, what: String::from_utf8(fields.bytes()?.to_vec()).ok()? }
        }
        _ => return None,
    })
}

fn put_records(fields: &mut FieldWriter, records: &RecordFacts) {
    let RecordFacts { system_id, major, first, last, end, ends, xids, next_xid, .. } = records;
    fields.number(system_id.as_u64()).number((*major).into()).number(first.as_u64());
    put_lsn(fields, *first, *last);
    put_lsn(fields, *last, *end);
    match ends {
        Some(TimeRange { least, greatest }) => {
            fields.number(1).signed(least.pg_micros()).signed(greatest.pg_micros().wrapping_sub(least.pg_micros()))
        }
        None => fields.number(0),
    };
    match xids {
        Some(XidRange { lowest, span }) => fields.number(1).number((*lowest).into()).number((*span).into()),
        None => fields.number(0),
    };
    fields.optional(*next_xid);
    fields.number(records.checkpoints.len() as u64);
    for checkpoint in &records.checkpoints {
        put_lsn(fields, *first, checkpoint.lsn);
        put_lsn(fields, *first, checkpoint.redo);
        fields.signed(checkpoint.unix_time);
    }
    fields.number(records.events_left_out).number(records.events.len() as u64);
    records.events.iter().for_each(|event| put_event(fields, *first, event));
    fields.optional(records.names_changed.map(u64::from));
}

fn records(fields: &mut FieldReader<'_>) -> Option<RecordFacts> {
    let (system_id, major) = (SystemId::new(fields.number()?), fields.small()?);
    let first = Lsn::new(fields.number()?);
    let last = lsn(fields, first)?;
    let end = lsn(fields, last)?;
    let ends = if flag(fields)? {
        let least = fields.signed()?;
        let greatest = Timestamp::from_pg_micros(least.wrapping_add(fields.signed()?));
        Some(TimeRange { least: Timestamp::from_pg_micros(least), greatest })
    } else {
        None
    };
    let xids = if flag(fields)? { Some(XidRange { lowest: fields.small()?, span: fields.small()? }) } else { None };
    let next_xid = fields.optional()?;
    let mut checkpoints = Vec::new();
    for _ in 0..fields.number()? {
        let (at, redo) = (lsn(fields, first)?, lsn(fields, first)?);
        checkpoints.push(CheckpointFacts { lsn: at, redo, unix_time: fields.signed()? });
    }
    let events_left_out = fields.number()?;
    let mut events = Vec::new();
    for _ in 0..fields.number()? {
        events.push(event(fields, first)?);
    }
    // Older versions end here.
    let names_changed = fields.optional().flatten().map(|changed| changed != 0);
    Some(RecordFacts {
        system_id,
        major,
        first,
        last,
        end,
        ends,
        xids,
        next_xid,
        checkpoints,
        events,
        events_left_out,
        names_changed,
    })
}

/// A position as its distance from another one.
fn put_lsn(fields: &mut FieldWriter, from: Lsn, lsn: Lsn) {
    fields.signed(lsn.as_u64().wrapping_sub(from.as_u64()).cast_signed());
}

fn lsn(fields: &mut FieldReader<'_>, from: Lsn) -> Option<Lsn> {
    Some(Lsn::new(from.as_u64().wrapping_add_signed(fields.signed()?)))
}

fn put_event(fields: &mut FieldWriter, first: Lsn, event: &WalEvent) {
    put_lsn(fields, first, event.lsn);
    fields.optional(event.xid.map(u64::from));
    fields.number(u64::from(event.at.is_some()));
    if let Some(at) = event.at {
        fields.signed(at.pg_micros());
    }
    match &event.kind {
        WalEventKind::RestorePoint { name } => {
            fields.number(0).bytes(name);
        }
        WalEventKind::TimelineBegin { timeline, previous } => {
            fields.number(1).number(timeline.get().into()).number(previous.get().into());
        }
        WalEventKind::FilesRemoved { relations, committed } => {
            fields.number(2).number(u64::from(*committed)).number(relations.len() as u64);
            relations.iter().for_each(|relation| put_relation(fields, relation));
        }
        WalEventKind::FileCut { relation, blocks } => {
            put_relation(fields.number(3), relation);
            fields.number((*blocks).into());
        }
        WalEventKind::TablesTruncated { database, tables } => {
            fields.number(4).number((*database).into()).number(tables.len() as u64);
            for table in tables {
                fields.number((*table).into());
            }
        }
        WalEventKind::LargeDelete { relation, rows } => {
            put_relation(fields.number(5), relation);
            fields.number(*rows);
        }
        WalEventKind::DatabaseCreate { database, tablespace } => {
            fields.number(6).number((*database).into()).number((*tablespace).into());
        }
        WalEventKind::DatabaseDrop { database } => {
            fields.number(7).number((*database).into());
        }
        WalEventKind::TablespaceCreate { tablespace, path } => {
            fields.number(8).number((*tablespace).into()).bytes(path);
        }
        WalEventKind::TablespaceDrop { tablespace } => {
            fields.number(9).number((*tablespace).into());
        }
    }
}

fn event(fields: &mut FieldReader<'_>, first: Lsn) -> Option<WalEvent> {
    let lsn = lsn(fields, first)?;
    let xid = fields.optional()?.map(u32::try_from).transpose().ok()?;
    let at = if flag(fields)? { Some(Timestamp::from_pg_micros(fields.signed()?)) } else { None };
    let kind = match fields.number()? {
        0 => WalEventKind::RestorePoint { name: fields.bytes()?.to_vec() },
        1 => WalEventKind::TimelineBegin { timeline: timeline(fields)?, previous: timeline(fields)? },
        2 => {
            let committed = flag(fields)?;
            let relations = (0..fields.number()?).map(|_| relation(fields)).collect::<Option<_>>()?;
            WalEventKind::FilesRemoved { relations, committed }
        }
        3 => WalEventKind::FileCut { relation: relation(fields)?, blocks: fields.small()? },
        4 => {
            let database = fields.small()?;
            let tables = (0..fields.number()?).map(|_| fields.small()).collect::<Option<_>>()?;
            WalEventKind::TablesTruncated { database, tables }
        }
        5 => WalEventKind::LargeDelete { relation: relation(fields)?, rows: fields.number()? },
        6 => WalEventKind::DatabaseCreate { database: fields.small()?, tablespace: fields.small()? },
        7 => WalEventKind::DatabaseDrop { database: fields.small()? },
        8 => WalEventKind::TablespaceCreate { tablespace: fields.small()?, path: fields.bytes()?.to_vec() },
        9 => WalEventKind::TablespaceDrop { tablespace: fields.small()? },
        _ => return None,
    };
    Some(WalEvent { lsn, xid, at, kind })
}

fn timeline(fields: &mut FieldReader<'_>) -> Option<TimelineId> {
    TimelineId::new(fields.small()?)
}

fn put_relation(fields: &mut FieldWriter, relation: &RelFileLocator) {
    let RelFileLocator { tablespace, database, number } = *relation;
    fields.number(tablespace.into()).number(database.into()).number(number.into());
}

fn relation(fields: &mut FieldReader<'_>) -> Option<RelFileLocator> {
    Some(RelFileLocator { tablespace: fields.small()?, database: fields.small()?, number: fields.small()? })
}
