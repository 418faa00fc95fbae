//! Reading the catalogs of a backup from its files.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::Path;

use barman_catalog::{BackupData, BackupInfo, Catalog};
use barman_storage::{Dir, Kind, Operation, RelativePath};
use wal_format::{
    ClassRow, DataPageHeader, DatabaseDirectory, HeapPage, NamespaceRow, PgMajor, RelFileLocator, RelationMap,
    StatusPlace, TransactionStatus,
};

use super::{Catalogs, DEFAULT_TABLESPACE, GLOBAL_TABLESPACE, Table};
use crate::plan::check_restorable;
use crate::plan_error::PlanError;

const MAP: &str = "pg_filenode.map";

/// A map has 524 bytes.
const LONGEST_MAP_BYTES: u64 = 4096;

/// A file of `pg_xact` has 32 pages.
const LONGEST_STATUS_BYTES: u64 = 32 * 32_768;

impl Catalogs {
    /// Reads the catalogs of a backup. `None` if they cannot be looked into: the backup lies in archives, or has only what
    /// changed since another one.
    pub(crate) fn of_backup(catalog: &Catalog, info: &BackupInfo) -> Result<Option<Self>, PlanError> {
        let is_whole = info.compression.is_none() && info.parent_backup_id.is_none();
        if !is_whole || check_restorable(info, &catalog.layout().server).is_err() {
            return Ok(None);
        }
        let Some(major) = info.version.and_then(|version| PgMajor::from_version_num(version).ok()) else {
            return Ok(None);
        };
        let backup = catalog.backup_data(info)?;
        let mut catalogs = Self {
            major,
            tables: HashMap::new(),
            data: HashMap::new(),
            pending: HashMap::new(),
            ended: HashMap::new(),
            marked: HashMap::new(),
            dropped: HashMap::new(),
            ended_before: TransactionStatuses { data: backup.data.clone(), block_size: 8192, files: HashMap::new() },
            relations: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            databases: BTreeMap::new(),
        };
        catalogs.read_shared(&backup)?;
        for (directory, dir) in database_directories(&backup)? {
            catalogs.read_database(directory, &dir)?;
        }
        Ok(Some(catalogs))
    }

    fn read_shared(&mut self, backup: &BackupData) -> Result<(), PlanError> {
        let global = backup.data.subdir(&RelativePath::literal("global"))?;
        let directory = DatabaseDirectory { database: 0, tablespace: GLOBAL_TABLESPACE };
        self.read_map(directory, &global)?;
        self.read_tables(&global, |table| table == Table::Database)
    }

    fn read_database(&mut self, directory: DatabaseDirectory, dir: &Dir) -> Result<(), PlanError> {
        self.read_map(directory, dir)?;
        let database = directory.database;
        self.read_tables(dir, |table| table == Table::Class(database))?;
        if !self.tables.values().any(|table| *table == Table::Namespace(database)) {
            let number = self.relation((database, NamespaceRow::CATALOG)).map_or(NamespaceRow::CATALOG, |row| row.file);
            let DatabaseDirectory { database, tablespace } = directory;
            self.tables.insert(RelFileLocator { tablespace, database, number }, Table::Namespace(database));
        }
        self.read_tables(dir, |table| table == Table::Namespace(database))
    }

    fn read_map(&mut self, directory: DatabaseDirectory, dir: &Dir) -> Result<(), PlanError> {
        let bytes = dir.read(&RelativePath::literal(MAP), LONGEST_MAP_BYTES)?;
        // One that was copied while it was written comes whole in the WAL.
        let map = bytes.and_then(|bytes| RelationMap::parse(&bytes, self.major).ok());
        let standard = |catalog| RelationMap { files: vec![(catalog, catalog)] };
        let map = map.unwrap_or_else(|| standard(ClassRow::CATALOG));
        self.map(directory, &map);
        Ok(())
    }

    fn read_tables(&mut self, dir: &Dir, is_wanted: impl Fn(Table) -> bool) -> Result<(), PlanError> {
        let wanted: Vec<_> =
            self.tables.iter().filter(|(_, table)| is_wanted(**table)).map(|(file, _)| *file).collect();
        for file in wanted {
            self.read_table(dir, file)?;
        }
        Ok(())
    }

    /// Reads a table, which has a file for each GiB.
    fn read_table(&mut self, dir: &Dir, table: RelFileLocator) -> Result<(), PlanError> {
        let mut block = 0;
        for part in 0u32.. {
            let name = if part == 0 { table.number.to_string() } else { format!("{}.{part}", table.number) };
            let Some(path) = RelativePath::new(&name).ok() else { break };
            let mut file = match dir.open_file(&path) {
                Err(error) if error.is_not_found() => break,
                opened => opened?,
            };
            let unreadable = |error| barman_storage::Error::new(Operation::Read, dir.path().join(&name), error);
            while let Some(page) = next_page(&mut file).map_err(unreadable)? {
                self.ended_before.block_size = u16::try_from(page.len()).unwrap_or(8192);
                // One that is torn was changed since the backup began, and comes whole in the WAL.
                if let Some(heap) = HeapPage::parse(&page).filter(|_| is_whole(&page, block)) {
                    self.page(table, block, &heap);
                }
                block += 1;
            }
        }
        Ok(())
    }
}

/// Whether a page is as it was written; without checksums nothing says that it is not.
fn is_whole(page: &[u8], block: u32) -> bool {
    let checksum = DataPageHeader::parse(page).map_or(0, |header| header.checksum);
    checksum == 0 || HeapPage::parse_checked(page, block).is_some()
}

/// Reads the next page, which says itself how long it is; one that says nothing has the usual length.
fn next_page(file: &mut std::fs::File) -> std::io::Result<Option<Vec<u8>>> {
    let mut page = Vec::new();
    let head = file.by_ref().take(DataPageHeader::LEN as u64).read_to_end(&mut page)?;
    if head == 0 {
        return Ok(None);
    }
    let said = DataPageHeader::parse(&page).map_or(0, |header| usize::from(header.page_len));
    let length = if said.is_power_of_two() && said >= 1024 { said } else { 8192 };
    file.take((length - head) as u64).read_to_end(&mut page)?;
    Ok(Some(page))
}

/// The directories of databases: each has a map in its own tablespace, and none elsewhere.
fn database_directories(backup: &BackupData) -> Result<Vec<(DatabaseDirectory, Dir)>, PlanError> {
    let mut found = Vec::new();
    let base = backup.data.subdir(&RelativePath::literal("base"))?;
    databases_in(&base, DEFAULT_TABLESPACE, &mut found)?;
    for (oid, dir) in &backup.tablespaces {
        // A directory for each version that uses the tablespace.
        for version in dir.entries()?.into_iter().filter(|entry| entry.kind == Kind::Directory) {
            databases_in(&dir.subdir(&version.path())?, *oid, &mut found)?;
        }
    }
    Ok(found)
}

fn databases_in(parent: &Dir, tablespace: u32, found: &mut Vec<(DatabaseDirectory, Dir)>) -> Result<(), PlanError> {
    for entry in parent.entries()?.into_iter().filter(|entry| entry.kind == Kind::Directory) {
        let Some(database) = entry.name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let dir = parent.subdir(&entry.path())?;
        if dir.stat(&RelativePath::literal(MAP))?.is_some() {
            found.push((DatabaseDirectory { database, tablespace }, dir));
        }
    }
    Ok(())
}

/// `pg_xact` of a backup.
#[derive(Clone, Debug)]
pub(super) struct TransactionStatuses {
    data: Dir,
    block_size: u16,
    /// Those files that were asked for.
    files: HashMap<u32, Vec<u8>>,
}

impl TransactionStatuses {
    /// Whether a transaction had committed; `None` if it had not ended, or that cannot be read.
    pub(super) fn outcome(&mut self, xid: u32) -> Option<bool> {
        let place = StatusPlace::of(xid, self.block_size);
        let data = &self.data;
        let segment = self.files.entry(place.segment).or_insert_with(|| {
            let path = RelativePath::new(Path::new("pg_xact").join(format!("{:04X}", place.segment))).ok();
            path.and_then(|path| data.read(&path, LONGEST_STATUS_BYTES).ok().flatten()).unwrap_or_default()
        });
        match place.status(segment) {
            TransactionStatus::Committed => Some(true),
            TransactionStatus::RolledBack => Some(false),
            TransactionStatus::InProgress | TransactionStatus::SubCommitted => None,
        }
    }
}
