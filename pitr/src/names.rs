//! What relations are called, and what becomes of them: the catalogs of a backup, carried on through the WAL behind it.
//!
//! A backup's files are copied while the server runs. As in recovery, what is torn or half-way in them is put right by the
//! WAL: since the backup began, the first record about a page has the whole page.

mod backup_files;
mod changes;
mod rows;

use std::collections::{BTreeMap, HashMap};

use wal_format::{
    ClassRow, DatabaseDirectory, DatabaseRow, Deleted, HeapPage, HeapTuple, Inserted, Lsn, NamespaceRow, PgMajor,
    RelFileLocator, RelationMap, RowPlace,
};

pub(crate) use changes::{CatalogChange, CatalogNote, NamedRelation, RelationChange};
use rows::{Pending, Row};

use crate::relation_name::RelationName;

/// One of the catalogs that name things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// `pg_class` of a database.
    Class(u32),
    /// `pg_namespace` of a database.
    Namespace(u32),
    /// `pg_database`, which all share.
    Database,
}

/// The tablespaces that every cluster has (`catalog/pg_tablespace.dat`).
const DEFAULT_TABLESPACE: u32 = 1663;
const GLOBAL_TABLESPACE: u32 = 1664;

/// The catalogs, at some position of the WAL.
#[derive(Clone, Debug)]
pub(crate) struct Catalogs {
    major: PgMajor,
    /// Which files are which catalogs.
    tables: HashMap<RelFileLocator, Table>,
    /// The columns of all versions of rows that were seen last.
    data: HashMap<(RelFileLocator, RowPlace), Vec<u8>>,
    /// What transactions did that have not ended.
    pending: HashMap<u32, Pending>,
    /// Transactions that were seen to end, and whether they committed.
    ended: HashMap<u32, bool>,
    /// Those that `pg_xact` of the backup says had ended.
    ended_before: backup_files::TransactionStatuses,
    /// Where databases were marked as invalid, which is how dropping them begins.
    marked: HashMap<u32, Lsn>,
    /// Transactions that have dropped a database and not ended: where that began, and the relations in it.
    dropped: HashMap<u32, (Lsn, Vec<(RelationId, NamedRelation)>)>,
    relations: BTreeMap<(u32, u32), ClassRow>,
    namespaces: BTreeMap<(u32, u32), Vec<u8>>,
    databases: BTreeMap<u32, DatabaseRow>,
}

/// A relation: its database and its OID.
pub(crate) type RelationId = (u32, u32);

impl Catalogs {
    /// What a relation is called, and where it is.
    pub(crate) fn named(&self, database: u32, row: &ClassRow) -> NamedRelation {
        NamedRelation { name: self.name_of(database, row), file: self.file_of(database, row), kind: row.kind }
    }

    /// What a row says the name is. Parts that are not known are shown as numbers.
    fn name_of(&self, database: u32, row: &ClassRow) -> RelationName {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let schema = self.namespaces.get(&(database, row.namespace));
        let shown = self.databases.get(&database).map(|row| text(&row.name));
        RelationName {
            database: shown.unwrap_or_else(|| database.to_string()),
            schema: schema.map_or_else(|| row.namespace.to_string(), |name| text(name)),
            relation: text(&row.name),
        }
    }

    /// All relations that are there.
    pub(crate) fn relations(&self) -> impl Iterator<Item = (RelationId, NamedRelation)> {
        self.relations.iter().map(|(id, row)| (*id, self.named(id.0, row)))
    }

    /// The row of a relation.
    fn relation(&self, id: RelationId) -> Option<&ClassRow> {
        self.relations.get(&id)
    }

    /// Where a relation's file is, if it has one of its own.
    fn file_of(&self, database: u32, row: &ClassRow) -> Option<RelFileLocator> {
        let own = self.databases.get(&database).map_or(DEFAULT_TABLESPACE, |row| row.tablespace);
        let tablespace = if row.tablespace == 0 { own } else { row.tablespace };
        let database = if row.is_shared { 0 } else { database };
        (row.file != 0).then_some(RelFileLocator { tablespace, database, number: row.file })
    }

    /// Learns which files are catalogs from a later state of them: the pages of a catalog that is written anew come before
    /// the word that they are its pages.
    pub(crate) fn foresee(&mut self, later: &Self) {
        self.tables.extend(&later.tables);
    }

    /// Whether one of the catalogs was written anew: what the ledger knows of names is about the files that they began in.
    pub(crate) fn were_moved(&self) -> bool {
        const ORIGINAL: [u32; 3] = [ClassRow::CATALOG, NamespaceRow::CATALOG, DatabaseRow::CATALOG];
        self.files().any(|file| !ORIGINAL.contains(&file.number))
    }

    /// Whether transactions that changed something have not ended yet.
    pub(crate) fn has_unended(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The files whose records these catalogs are carried on by.
    pub(crate) fn files(&self) -> impl Iterator<Item = RelFileLocator> + '_ {
        self.tables.keys().copied()
    }

    /// Takes a page as it is on the disk, or in the WAL.
    fn page(&mut self, file: RelFileLocator, block: u32, page: &HeapPage<'_>) {
        let Some(table) = self.tables.get(&file).copied() else { return };
        for (offset, tuple) in page.tuples() {
            let place = RowPlace { block, offset };
            self.data.insert((file, place), tuple.data.to_vec());
            if let Some(row) = Row::parse(table, tuple.data, self.major) {
                self.version(file, place, &tuple, row);
            }
        }
    }

    fn version(&mut self, file: RelFileLocator, place: RowPlace, tuple: &HeapTuple<'_>, row: Row) {
        let inserted = match tuple.inserted {
            Inserted::Committed => Some(true),
            Inserted::RolledBack => Some(false),
            Inserted::By(xid) => self.outcome(xid),
        };
        let deleted = match tuple.deleted {
            Deleted::No => Some(false),
            Deleted::Committed => Some(true),
            // Several can hold a row together, of which one may change it: it has a successor then.
            Deleted::ByOneOfSeveral => Some(tuple.next != place),
            Deleted::By(xid) => self.outcome(xid),
        };
        if let (None, Inserted::By(xid)) = (inserted, tuple.inserted) {
            self.pending.entry(xid).or_default().begin(file, place, row.clone());
        }
        if let (Some(true) | None, None, Deleted::By(xid)) = (inserted, deleted, tuple.deleted) {
            self.pending.entry(xid).or_default().end(file, place, row.clone());
        }
        if inserted == Some(true) && deleted != Some(true) {
            self.set(row);
        }
    }

    /// Whether a transaction committed; `None` as long as it has not ended.
    fn outcome(&mut self, xid: u32) -> Option<bool> {
        self.ended.get(&xid).copied().or_else(|| self.ended_before.outcome(xid))
    }

    fn set(&mut self, row: Row) {
        match row {
            Row::Class(database, row) => {
                // pg_namespace can be written anew, as a table can.
                if row.oid == NamespaceRow::CATALOG
                    && let Some(file) = self.file_of(database, &row)
                {
                    self.tables.insert(file, Table::Namespace(database));
                }
                self.relations.insert((database, row.oid), row);
            }
            Row::Namespace(database, row) => drop(self.namespaces.insert((database, row.oid), row.name)),
            Row::Database(row) => drop(self.databases.insert(row.oid, row)),
        }
    }

    fn remove(&mut self, row: &Row) {
        match row {
            Row::Class(database, row) => drop(self.relations.remove(&(*database, row.oid))),
            Row::Namespace(database, row) => drop(self.namespaces.remove(&(*database, row.oid))),
            Row::Database(row) => drop(self.databases.remove(&row.oid)),
        }
    }

    /// Takes a relation map: of one database, or the one that all share.
    fn map(&mut self, directory: DatabaseDirectory, map: &RelationMap) {
        let DatabaseDirectory { database, tablespace } = directory;
        let locator = |number| RelFileLocator { tablespace, database, number };
        if database == 0 {
            let shared = RelFileLocator { tablespace: GLOBAL_TABLESPACE, ..locator(0) };
            let file = map.file_of(DatabaseRow::CATALOG).map(|number| RelFileLocator { number, ..shared });
            self.tables.extend(file.map(|file| (file, Table::Database)));
        } else {
            let file = map.file_of(ClassRow::CATALOG).map(locator);
            self.tables.extend(file.map(|file| (file, Table::Class(database))));
        }
    }

    /// A database was made: from a template, whose schemas and system catalogs it has.
    fn create_database(&mut self, made: DatabaseDirectory, template: Option<u32>) {
        /// The OID of `template1`, which databases are made from unless another is named.
        const TEMPLATE1: u32 = 1;
        let template = template.unwrap_or(TEMPLATE1);
        let of_template = |id: &RelationId| id.0 == template;
        let relations: Vec<_> =
            self.relations.iter().filter(|(id, _)| of_template(id)).map(|(_, row)| row.clone()).collect();
        let schemas: Vec<_> =
            self.namespaces.iter().filter(|(id, _)| of_template(id)).map(|(id, name)| (id.1, name.clone())).collect();
        let class = self.tables.iter().find(|(_, table)| **table == Table::Class(template)).map(|(file, _)| *file);
        let number = class.map_or(ClassRow::CATALOG, |file| file.number);
        let DatabaseDirectory { database, tablespace } = made;
        self.tables.insert(RelFileLocator { tablespace, database, number }, Table::Class(database));
        self.namespaces.extend(schemas.into_iter().map(|(oid, name)| ((database, oid), name)));
        relations.into_iter().for_each(|row| self.set(Row::Class(database, row)));
    }

    /// A database is gone; returns the relations that it had.
    fn drop_database(&mut self, database: u32) -> Vec<(RelationId, NamedRelation)> {
        let of_it: Vec<_> = self.relations.range((database, 0)..=(database, u32::MAX)).map(|(id, _)| *id).collect();
        let gone = of_it.into_iter().filter_map(|id| Some((id, self.relations.remove(&id)?)));
        let gone: Vec<_> = gone.collect();
        gone.into_iter().map(|(id, row)| (id, self.named(database, &row))).collect()
    }
}
