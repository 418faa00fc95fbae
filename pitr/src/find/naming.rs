//! Names for relations that are known by their files.

use std::collections::BTreeMap;

use barman_catalog::{BackupInfo, Catalog};
use wal_format::RelFileLocator;

use super::{Hit, HitKind, HitName};
use crate::names::Catalogs;
use crate::plan_error::PlanError;
use crate::relation_name::RelationName;

/// Gives hits the names that relations had in the last backup before.
pub(super) struct Namer<'a> {
    catalog: &'a Catalog,
    /// By age.
    backups: Vec<BackupInfo>,
    /// The names in those that were read, by file.
    read: BTreeMap<usize, BTreeMap<RelFileLocator, RelationName>>,
}

impl<'a> Namer<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Result<Self, PlanError> {
        Ok(Self { catalog, backups: catalog.backups()?, read: BTreeMap::new() })
    }

    pub(super) fn name(&mut self, hits: &mut [Hit]) -> Result<(), PlanError> {
        for hit in hits {
            if let HitKind::Removed { relation, .. }
            | HitKind::Cut { relation, .. }
            | HitKind::LargeDelete { relation, .. } = hit.what
            {
                hit.name = self.name_of(hit, relation)?;
            }
        }
        Ok(())
    }

    /// A file gets its number when the relation is made or written anew, which may have been after the backup.
    fn name_of(&mut self, hit: &Hit, file: RelFileLocator) -> Result<Option<HitName>, PlanError> {
        let before = |info: &BackupInfo| info.end_xlog.is_some_and(|end| end <= hit.lsn) && info.status.is_copied();
        let Some(index) = self.backups.iter().rposition(before) else { return Ok(None) };
        let Some(info) = self.backups.get(index) else { return Ok(None) };
        if let std::collections::btree_map::Entry::Vacant(entry) = self.read.entry(index) {
            let catalogs = Catalogs::of_backup(self.catalog, info)?;
            let named = catalogs.iter().flat_map(Catalogs::relations);
            entry.insert(named.filter_map(|(_, relation)| Some((relation.file?, relation.name))).collect());
        }
        let name = self.read.get(&index).and_then(|names| names.get(&file)).cloned();
        Ok(name.map(|name| HitName { name, backup: info.backup_id, is_followed: false }))
    }
}
