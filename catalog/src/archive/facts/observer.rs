//! Reads the records of a segment, once, and keeps what is worth knowing.

use wal_format::{
    BorderState, ClassRow, Damage, DatabaseRow, Item, Lsn, NamespaceRow, Payload, Pending, Record, RecordHeader,
    RecordReader, ResourceManager, RowChange, RowChangeKind, SegmentName, SegmentSize, Source, SystemId, Timestamp,
    TransactionEnd, Visit, Walk,
};

use super::deletes::{DeletedRows, Deletes};
use super::{CheckpointFacts, RecordFacts, TimeRange, WalEvent, WalEventKind, XidRange};
use crate::journal::LONGEST_ENTRY;

/// How long the events of a segment may be together, in bytes of memory: well below what an entry can hold.
const EVENT_BYTES: usize = LONGEST_ENTRY / 4;

/// Reads the bytes of one segment as they come.
#[derive(Debug)]
pub(crate) struct Observer {
    reader: RecordReader,
    notes: Notes,
    damage: Option<Damage>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Observed {
    /// `None` if no record could be believed.
    pub(crate) records: Option<RecordFacts>,
    /// The first damage.
    pub(crate) damage: Option<Damage>,
    /// Whether what the segment shares with the one before it is not proven.
    pub(crate) border_open: bool,
    /// What the next segment has to go on from.
    pub(crate) border: Option<BorderState>,
}

impl Observer {
    /// An observer of the segment `name`, which begins at `start`. It goes on from `before` if that is known.
    pub(crate) fn new(
        name: SegmentName,
        (start, size): (Lsn, SegmentSize),
        source: Source,
        before: Option<BorderState>,
    ) -> Self {
        let timeline = name.timeline;
        let before = before.filter(|state| state.at == start && state.segment_size == size);
        let border_closed = before.as_ref().is_some_and(|state| match state.pending {
            Pending::Record { .. } | Pending::Begun(_) => true,
            Pending::Nothing => state.previous.is_some(),
            Pending::Unknown | Pending::Rest { .. } => false,
        });
        let reader = match before {
            Some(state) => RecordReader::resume(state, timeline, source),
            None => RecordReader::new(start, timeline, size, source),
        };
        // Of the records that fill WAL only deletes tell anything here; what is passed costs no memory, however long it is.
        let reader = reader.with_walk(Walk { checksums: true, wanted: is_wanted });
        let facts = RecordFacts {
            system_id: SystemId::new(0),
            major: 0,
            first: Lsn::MAX,
            last: start,
            end: start,
            ends: None,
            xids: None,
            next_xid: None,
            checkpoints: Vec::new(),
            events: Vec::new(),
            events_left_out: 0,
            names_changed: Some(false),
        };
        Self { reader, notes: Notes::new(facts, border_closed), damage: None }
    }

    /// Takes the next bytes.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        let Self { reader, notes, damage } = self;
        while let Err(found) = reader.for_each(&mut bytes, notes) {
            *damage = damage.or(Some(found));
        }
    }

    /// Says that there are no more.
    pub(crate) fn finish(mut self) -> Observed {
        self.notes.finish();
        let Notes { mut facts, has_records, border_closed, .. } = self.notes;
        if let Some(layout) = self.reader.layout() {
            (facts.system_id, facts.major) = (layout.system_id, layout.major.number());
        }
        let damage = self.damage.or(self.reader.finish().err());
        // With the contents of a record that crosses it, if that is one of those that tell something.
        let border = self.reader.border_state();
        Observed { records: has_records.then_some(facts), damage, border_open: !border_closed, border }
    }
}

/// What records are added to.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) facts: RecordFacts,
    has_records: bool,
    /// Whether nothing is left to be proven by the segment before.
    border_closed: bool,
    deletes: Deletes,
    event_bytes: usize,
}

impl Visit for Notes {
    #[inline(always)]
    fn visit(&mut self, item: Item<'_>) {
        match item {
            Item::Record(record) => {
                self.header(record.start, record.end, &record.header);
                self.record(&record);
            }
            Item::Passed(passed) => self.header(passed.start, passed.end, &passed.header),
            // An open source ends with its last record.
            Item::Skipped(_) | Item::End(_) => {}
        }
    }
}

impl Notes {
    pub(super) fn new(facts: RecordFacts, border_closed: bool) -> Self {
        Self { facts, has_records: false, border_closed, deletes: Deletes::default(), event_bytes: 0 }
    }

    #[inline(always)]
    fn header(&mut self, start: Lsn, end: Lsn, header: &RecordHeader) {
        if !self.has_records {
            // The first record of a log follows nothing.
            self.border_closed |= header.prev.as_u64() == 0;
            self.facts.first = start;
            self.has_records = true;
        }
        (self.facts.last, self.facts.end) = (start, end);
        self.xid(header.xid);
    }

    #[inline(always)]
    fn xid(&mut self, xid: u32) {
        /// The lowest number that a transaction has (`FirstNormalTransactionId`).
        const FIRST_NORMAL: u32 = 3;
        if xid >= FIRST_NORMAL {
            self.facts.xids = Some(self.facts.xids.map_or(XidRange::of(xid), |range| range.with(xid)));
        }
    }

    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        if changes_names(record) {
            self.facts.names_changed = Some(true);
        }
        if says_something(&record.header) {
            self.contents(record);
        }
    }

    // What is done for every record stays small without this.
    #[inline(never)]
    fn contents(&mut self, record: &Record<'_>) {
        if let Ok(payload) = record.decode() {
            self.payload(record, &payload);
        }
    }

    fn payload(&mut self, record: &Record<'_>, payload: &Payload<'_>) {
        use WalEventKind as Kind;
        let xid = Some(record.header.xid).filter(|xid| *xid != 0);
        let mut note = |at, kind| self.note(WalEvent { lsn: record.start, xid, at, kind });
        match *payload {
            Payload::Commit(ref end) => self.transaction(record.start, end, true),
            Payload::Abort(ref end) => self.transaction(record.start, end, false),
            Payload::Rows(change) => self.rows(record, change),
            Payload::Checkpoint(ref checkpoint) => {
                if checkpoint.timeline != checkpoint.previous_timeline {
                    let (timeline, previous) = (checkpoint.timeline, checkpoint.previous_timeline);
                    note(None, Kind::TimelineBegin { timeline, previous });
                }
                let (redo, unix_time) = (checkpoint.redo, checkpoint.unix_time);
                self.facts.checkpoints.push(CheckpointFacts { lsn: record.start, redo, unix_time });
                self.facts.next_xid = Some(checkpoint.next_xid);
            }
            Payload::EndOfRecovery(ref end) => {
                let (timeline, previous) = (end.timeline, end.previous_timeline);
                note(Some(end.at), Kind::TimelineBegin { timeline, previous });
            }
            Payload::RestorePoint(point) => note(Some(point.at), Kind::RestorePoint { name: point.name.to_vec() }),
            Payload::StorageTruncate(cut) if cut.main => {
                note(None, Kind::FileCut { relation: cut.relation, blocks: cut.blocks });
            }
            Payload::HeapTruncate(ref cut) => {
                note(None, Kind::TablesTruncated { database: cut.database, tables: cut.relations.iter().collect() });
            }
            Payload::DatabaseCopy(copy) => {
                note(None, Kind::DatabaseCreate { database: copy.to.database, tablespace: copy.to.tablespace });
            }
            Payload::DatabaseCreate(made) => {
                note(None, Kind::DatabaseCreate { database: made.database, tablespace: made.tablespace });
            }
            Payload::DatabaseDrop(ref drop) => note(None, Kind::DatabaseDrop { database: drop.database }),
            Payload::TablespaceCreate { tablespace, path } => {
                note(None, Kind::TablespaceCreate { tablespace, path: path.to_vec() });
            }
            Payload::TablespaceDrop { tablespace } => note(None, Kind::TablespaceDrop { tablespace }),
            _ => {}
        }
    }

    fn transaction(&mut self, lsn: Lsn, end: &TransactionEnd<'_>, committed: bool) {
        let at = TimeRange::of(end.at);
        self.facts.ends = Some(self.facts.ends.map_or(at, |range| range.joined(at)));
        // What ends a prepared transaction has no number of its own in its header.
        self.xid(end.xid);
        self.deletes.end(end.xid, end.subxids.iter());
        if !end.dropped.is_empty() {
            let kind = WalEventKind::FilesRemoved { relations: end.dropped.iter().collect(), committed };
            self.note(WalEvent { lsn, xid: Some(end.xid).filter(|xid| *xid != 0), at: Some(end.at), kind });
        }
    }

    fn rows(&mut self, record: &Record<'_>, change: RowChange) {
        if change.kind == RowChangeKind::Delete {
            let (xid, last) = (record.header.xid, record.start);
            self.deletes.add(DeletedRows { xid, relation: change.relation, rows: change.rows.into(), last });
        }
    }

    pub(super) fn note(&mut self, event: WalEvent) {
        self.event_bytes += event.weight();
        if self.event_bytes <= EVENT_BYTES {
            self.facts.events.push(event);
        } else {
            self.facts.events_left_out += 1;
        }
    }

    /// Adds what is only known in the end.
    fn finish(&mut self) {
        for DeletedRows { xid, relation, rows, last } in self.deletes.take() {
            let kind = WalEventKind::LargeDelete { relation, rows };
            self.note(WalEvent { lsn: last, xid: Some(xid), at: None::<Timestamp>, kind });
        }
        self.facts.events.sort_by_key(|event| event.lsn);
    }
}

/// Kinds of records of the resource manager `Heap`, and the bits that say which one it is (`XLOG_HEAP_OPMASK`).
mod heap {
    pub(super) const KIND: u8 = 0x70;
    pub(super) const INSERT: u8 = 0x00;
    pub(super) const DELETE: u8 = 0x10;
    pub(super) const UPDATE: u8 = 0x20;
    pub(super) const TRUNCATE: u8 = 0x30;
    pub(super) const HOT_UPDATE: u8 = 0x40;
    pub(super) const INPLACE: u8 = 0x70;
}

fn is_wanted(header: &RecordHeader) -> bool {
    says_something(header) || may_change_names(header)
}

fn may_change_names(header: &RecordHeader) -> bool {
    match header.manager {
        ResourceManager::REL_MAP => true,
        ResourceManager::HEAP => matches!(
            header.info & heap::KIND,
            heap::INSERT | heap::DELETE | heap::UPDATE | heap::HOT_UPDATE | heap::INPLACE
        ),
        _ => false,
    }
}

/// Whether a record changes a row of one of the catalogs that name things, or which files these have. Nothing else is
/// read of the many records about rows of tables.
#[inline(always)]
fn changes_names(record: &Record<'_>) -> bool {
    if !may_change_names(&record.header) {
        return false;
    }
    // VACUUM and ANALYZE note numbers in place, all the time; but that a database is being dropped is noted so, too.
    let in_place = record.header.info & heap::KIND == heap::INPLACE;
    let is_catalog = |number| match number {
        DatabaseRow::CATALOG => true,
        ClassRow::CATALOG | NamespaceRow::CATALOG => !in_place,
        _ => false,
    };
    let manager = record.header.manager;
    manager == ResourceManager::REL_MAP || record.first_relation().is_some_and(|file| is_catalog(file.number))
}

/// Whether a record may be one that facts are noted of.
fn says_something(header: &RecordHeader) -> bool {
    match header.manager {
        ResourceManager::HEAP => matches!(header.info & heap::KIND, heap::DELETE | heap::TRUNCATE),
        ResourceManager::XLOG
        | ResourceManager::TRANSACTION
        | ResourceManager::STORAGE
        | ResourceManager::DATABASE
        | ResourceManager::TABLESPACE => true,
        _ => false,
    }
}

impl WalEvent {
    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        let held = match &self.kind {
            WalEventKind::RestorePoint { name: bytes } | WalEventKind::TablespaceCreate { path: bytes, .. } => {
                bytes.len()
            }
            WalEventKind::FilesRemoved { relations, .. } => size_of_val(relations.as_slice()),
            WalEventKind::TablesTruncated { tables, .. } => size_of_val(tables.as_slice()),
            _ => 0,
        };
        size_of::<Self>() + held
    }
}
