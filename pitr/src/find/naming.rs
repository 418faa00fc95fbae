//! Names for relations that are known by their files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use barman_catalog::{BackupInfo, Catalog};
use wal_format::RelFileLocator;

use super::{Hit, HitKind, HitName};
use crate::names::Catalogs;
use crate::plan_error::PlanError;
use crate::relation_name::RelationName;

/// Gives hits the names that relations had in the last backup before whose catalogs can be read.
pub(super) struct Namer<'a> {
    catalog: &'a Catalog,
    /// By age.
    backups: Vec<BackupInfo>,
    /// The names in those that were looked into, by file; `None` if there is nothing to be read.
    read: BTreeMap<usize, Option<Names>>,
}

type Names = BTreeMap<RelFileLocator, RelationName>;

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

    /// A file gets its number when the relation is made or written anew, which may have been after the backup. Where catalogs
    /// cannot be read, because the backup is incremental for example, those of the one before are what is known.
    fn name_of(&mut self, hit: &Hit, file: RelFileLocator) -> Result<Option<HitName>, PlanError> {
        let before = |info: &BackupInfo| info.end_xlog.is_some_and(|end| end <= hit.lsn) && info.status.is_copied();
        let candidates = self.backups.iter().enumerate().filter(|(_, info)| before(info)).rev();
        for (index, info) in candidates {
            if let Entry::Vacant(entry) = self.read.entry(index) {
                entry.insert(Catalogs::of_backup(self.catalog, info)?.map(|catalogs| names(&catalogs)));
            }
            if let Some(Some(names)) = self.read.get(&index) {
                let name = names.get(&file).cloned();
                return Ok(name.map(|name| HitName { name, backup: info.backup_id, is_followed: false }));
            }
        }
        Ok(None)
    }
}

fn names(catalogs: &Catalogs) -> Names {
    catalogs.relations().filter_map(|(_, relation)| Some((relation.file?, relation.name))).collect()
}
