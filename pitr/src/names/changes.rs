//! What records do to the catalogs.

use std::collections::BTreeMap;

use wal_format::{
    DatabaseDirectory, Fork, HeapPage, Image, Lsn, Payload, Record, RelFileLocator, RelationMap, ResourceManager,
    RowPlace, Timestamp,
};

use super::rows::{Outcome, Pending, Row};
use super::{Catalogs, RelationId};
use crate::relation_name::RelationName;
use crate::stop::TransactionPoint;

/// A record, as far as it concerns the catalogs.
#[derive(Clone, Debug)]
pub(crate) struct CatalogNote {
    pub(crate) lsn: Lsn,
    kind: NoteKind,
}

#[derive(Clone, Debug)]
enum NoteKind {
    /// A page as it was after the record's change.
    Page {
        file: RelFileLocator,
        block: u32,
        bytes: Vec<u8>,
    },
    /// Versions of a row ended or began.
    Row {
        xid: u32,
        file: RelFileLocator,
        old: Option<RowPlace>,
        new: Option<RowPlace>,
        data: Option<OwnedVersion>,
    },
    Ended {
        xids: Vec<u32>,
        at: Timestamp,
        committed: bool,
    },
    Map {
        directory: DatabaseDirectory,
        bytes: Vec<u8>,
    },
    DatabaseCreated {
        made: DatabaseDirectory,
        template: Option<u32>,
    },
    /// The files of a database are removed.
    DatabaseDropped {
        xid: u32,
        database: u32,
    },
    /// A row was changed where it lies.
    InPlace {
        file: RelFileLocator,
        place: RowPlace,
        data: Vec<u8>,
    },
}

/// [`wal_format::NewVersion`], kept.
#[derive(Clone, Debug)]
struct OwnedVersion {
    prefix_len: u16,
    suffix_len: u16,
    middle: Vec<u8>,
}

impl CatalogNote {
    /// Whether a record can be of interest, by its resource manager.
    pub(crate) fn is_wanted(manager: ResourceManager) -> bool {
        matches!(
            manager,
            ResourceManager::HEAP
                | ResourceManager::HEAP2
                | ResourceManager::XLOG
                | ResourceManager::TRANSACTION
                | ResourceManager::DATABASE
                | ResourceManager::REL_MAP
        )
    }

    /// Adds what a record says about catalogs in some files.
    pub(crate) fn add(record: &Record<'_>, is_catalog: impl Fn(&RelFileLocator) -> bool, notes: &mut Vec<Self>) {
        let lsn = record.start;
        match record.header.manager {
            ResourceManager::HEAP | ResourceManager::HEAP2 | ResourceManager::XLOG => {
                if record.first_relation().is_some_and(|relation| is_catalog(&relation)) {
                    add_rows(record, notes);
                }
            }
            _ => notes.extend(NoteKind::of(record).map(|kind| Self { lsn, kind })),
        }
    }
}

fn add_rows(record: &Record<'_>, notes: &mut Vec<CatalogNote>) {
    let lsn = record.start;
    let Ok(contents) = record.contents() else { return };
    for block in contents.blocks().filter(|block| block.fork == Fork::Main) {
        let bytes = block.image.filter(|image| image.apply).and_then(page_of);
        let kind = bytes.map(|bytes| NoteKind::Page { file: block.relation, block: block.block, bytes });
        notes.extend(kind.map(|kind| CatalogNote { lsn, kind }));
    }
    if let Ok(Some(change)) = record.in_place_change() {
        let (file, place, data) = (change.relation, change.place, change.data.to_vec());
        notes.push(CatalogNote { lsn, kind: NoteKind::InPlace { file, place, data } });
    }
    let Ok(Some(versions)) = record.row_versions() else { return };
    let data = record.new_version().ok().flatten().map(|version| OwnedVersion {
        prefix_len: version.prefix_len,
        suffix_len: version.suffix_len,
        middle: version.middle.to_vec(),
    });
    let (file, old, new) = (versions.relation, versions.old, versions.new);
    notes.push(CatalogNote { lsn, kind: NoteKind::Row { xid: record.header.xid, file, old, new, data } });
}

/// The page of an image. How long pages are is not in the WAL: what fits is a page that says so itself.
fn page_of(image: Image<'_>) -> Option<Vec<u8>> {
    let mut page = Vec::new();
    [8192, 16_384, 32_768, 4096, 2048, 1024].into_iter().find_map(|size| {
        image.restore(size, &mut page).ok().filter(|()| HeapPage::parse(&page).is_some())?;
        Some(std::mem::take(&mut page))
    })
}

impl NoteKind {
    fn of(record: &Record<'_>) -> Option<Self> {
        Some(match record.decode().ok()? {
            // Whoever changed a catalog tells other sessions to forget what they know of it.
            Payload::Commit(end) if !end.invalidations.is_empty() => {
                let xids = end.subxids.iter().chain([end.xid]).collect();
                Self::Ended { xids, at: end.at, committed: true }
            }
            Payload::Abort(end) => {
                let xids = end.subxids.iter().chain([end.xid]).collect();
                Self::Ended { xids, at: end.at, committed: false }
            }
            Payload::RelationMapUpdate(update) => Self::Map { directory: update.directory, bytes: update.map.to_vec() },
            Payload::DatabaseCreate(made) => Self::DatabaseCreated { made, template: None },
            Payload::DatabaseCopy(copy) => Self::DatabaseCreated { made: copy.to, template: Some(copy.from.database) },
            Payload::DatabaseDrop(drop) => Self::DatabaseDropped { xid: record.header.xid, database: drop.database },
            _ => return None,
        })
    }
}

/// What a record, or the transaction that it ended, did to relations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CatalogChange {
    /// A transaction committed that changed relations.
    Relations { end: TransactionPoint, changes: Vec<RelationChange> },
    /// A transaction committed that had dropped a database, with these relations. Before `lsn` nothing was done to it.
    DatabaseDropped { lsn: Lsn, end: TransactionPoint, relations: Vec<(RelationId, NamedRelation)> },
}

/// What became of one relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationChange {
    pub(crate) id: RelationId,
    /// What it was before; `None` if it is new.
    pub(crate) before: Option<NamedRelation>,
    /// What it is now; `None` if it is gone.
    pub(crate) after: Option<NamedRelation>,
    /// Whether its file was first that of a relation which was there only in between.
    pub(crate) by_way_of_another: bool,
}

/// A relation as it was at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedRelation {
    pub(crate) name: RelationName,
    /// Its file, if it has one.
    pub(crate) file: Option<RelFileLocator>,
    /// `pg_class.relkind`.
    pub(crate) kind: u8,
}

impl Catalogs {
    /// Carries the catalogs on.
    pub(crate) fn apply(&mut self, note: &CatalogNote) -> Option<CatalogChange> {
        match &note.kind {
            NoteKind::Page { file, block, bytes } => {
                if let Some(page) = HeapPage::parse(bytes) {
                    self.page(*file, *block, &page);
                }
            }
            NoteKind::Row { xid, file, old, new, data } => self.row(*xid, *file, (*old, *new), data.as_ref()),
            NoteKind::Ended { xids, at, committed } => return self.ended(note.lsn, xids, *at, *committed),
            NoteKind::Map { directory, bytes } => {
                if let Ok(map) = RelationMap::parse(bytes, self.major) {
                    self.map(*directory, &map);
                }
            }
            NoteKind::DatabaseCreated { made, template } => self.create_database(*made, *template),
            NoteKind::InPlace { file, place, data } => self.changed_in_place(note.lsn, *file, *place, data),
            NoteKind::DatabaseDropped { xid, database } => {
                // Later minor versions first mark the row of pg_database, in place: nobody can connect from there on.
                let marked = self.marked.remove(database);
                let relations = self.drop_database(*database);
                self.dropped.insert(*xid, (marked.unwrap_or(note.lsn), relations));
            }
        }
        None
    }

    fn row(
        &mut self,
        xid: u32,
        file: RelFileLocator,
        (old, new): (Option<RowPlace>, Option<RowPlace>),
        version: Option<&OwnedVersion>,
    ) {
        let Some(table) = self.tables.get(&file).copied() else { return };
        let old_data = old.and_then(|place| self.data.get(&(file, place)).cloned());
        if let Some(new) = new
            && let Some(version) = version
        {
            let OwnedVersion { prefix_len, suffix_len, middle } = version;
            let version = wal_format::NewVersion { prefix_len: *prefix_len, suffix_len: *suffix_len, middle };
            match version.data(old_data.as_deref()) {
                Some(data) => drop(self.data.insert((file, new), data)),
                None => drop(self.data.remove(&(file, new))),
            }
        }
        let parse = |data: &[u8]| Row::parse(table, data, self.major);
        let ended = old.zip(old_data.as_deref().and_then(parse));
        let began = new.and_then(|place| Some((place, parse(self.data.get(&(file, place))?)?)));
        let pending = self.pending.entry(xid).or_default();
        if let Some((place, row)) = ended {
            pending.end(file, place, row);
        }
        if let Some((place, row)) = began {
            pending.begin(file, place, row);
        }
    }

    fn changed_in_place(&mut self, lsn: Lsn, file: RelFileLocator, place: RowPlace, data: &[u8]) {
        let Some(table) = self.tables.get(&file).copied() else { return };
        if !data.is_empty() {
            self.data.insert((file, place), data.to_vec());
        }
        let row = self.data.get(&(file, place)).and_then(|data| Row::parse(table, data, self.major));
        if let Some(Row::Database(row)) = row.filter(|row| matches!(row, Row::Database(row) if row.is_invalid)) {
            self.marked.entry(row.oid).or_insert(lsn);
        }
    }

    fn ended(&mut self, lsn: Lsn, xids: &[u32], at: Timestamp, committed: bool) -> Option<CatalogChange> {
        let mut done = Pending::default();
        for xid in xids {
            if committed || self.pending.contains_key(xid) {
                self.ended.insert(*xid, committed);
            }
            self.pending.remove(xid).into_iter().for_each(|pending| done.join(pending));
        }
        if !committed {
            return None;
        }
        let xid = xids.last().copied().unwrap_or(0);
        let end = TransactionPoint { lsn, xid, full_xid: None, at, committed };
        let outcome = done.outcome();
        let mut changes = relation_changes(&outcome);
        let named = |catalogs: &Self, id: RelationId| catalogs.relation(id).map(|row| catalogs.named(id.0, row));
        changes.iter_mut().for_each(|change| change.before = named(self, change.id));
        let Outcome { before, after, .. } = outcome;
        before.iter().filter(|old| !after.iter().any(|new| new.is_version_of(old))).for_each(|row| self.remove(row));
        after.into_iter().for_each(|row| self.set(row));
        changes.iter_mut().for_each(|change| change.after = named(self, change.id));
        if let Some((lsn, relations)) = self.dropped.remove(&xid) {
            return Some(CatalogChange::DatabaseDropped { lsn, end, relations });
        }
        (!changes.is_empty()).then_some(CatalogChange::Relations { end, changes })
    }
}

/// Which relations a transaction changed. What they were and are is not filled in.
fn relation_changes(outcome: &Outcome) -> Vec<RelationChange> {
    let Outcome { before, after, between } = outcome;
    let class = |row: &'_ Row| match row {
        Row::Class(database, row) => Some(((*database, row.oid), row.file)),
        _ => None,
    };
    let transient: Vec<_> = between.iter().filter_map(class).collect();
    let files: BTreeMap<_, _> = before.iter().chain(after).filter_map(class).collect();
    let change = |(id, file): (RelationId, u32)| {
        let is_other = |other: &(RelationId, u32)| other.0.0 == id.0 && other.0 != id && other.1 == file && file != 0;
        let by_way_of_another = transient.iter().any(is_other);
        RelationChange { id, before: None, after: None, by_way_of_another }
    };
    files.into_iter().map(change).collect()
}
