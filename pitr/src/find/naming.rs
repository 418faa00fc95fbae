//! Names for relations that are known by their files.

use std::collections::{BTreeMap, BTreeSet};

use barman_catalog::{BackupInfo, Catalog};
use wal_format::{Lsn, RelFileLocator, TimelineHistory, TimelineId};

use super::live::{AskLive, LiveQuestion, Present};
use super::{Hit, HitKind, HitName, NameOrigin};
use crate::names::Catalogs;
use crate::plan_error::PlanError;
use crate::relation_name::RelationName;

/// Names, by file.
type Names = BTreeMap<RelFileLocator, RelationName>;

/// Gives hits the names that relations had in the last backup before, or in the first one after, or have now.
pub(super) struct Namer<'a> {
    catalog: &'a Catalog,
    histories: &'a BTreeMap<TimelineId, TimelineHistory>,
    /// By age.
    backups: Vec<BackupInfo>,
    /// The names in those that were looked into; `None` where that cannot be.
    read: BTreeMap<usize, Option<Names>>,
}

impl<'a> Namer<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        histories: &'a BTreeMap<TimelineId, TimelineHistory>,
    ) -> Result<Self, PlanError> {
        let mut backups = catalog.backups()?;
        backups.retain(|info| info.status.is_copied());
        Ok(Self { catalog, histories, backups, read: BTreeMap::new() })
    }

    pub(super) fn name(&mut self, hits: &mut [Hit], live: &mut AskLive<'_>) -> Result<(), PlanError> {
        for hit in hits.iter_mut() {
            if let Some(file) = file_of(hit) {
                hit.name = self.in_backups(hit, file)?;
            }
        }
        self.ask(hits, live)
    }

    /// A file gets its number when the relation is made or written anew, which may have been after the backup before.
    fn in_backups(&mut self, hit: &Hit, file: RelFileLocator) -> Result<Option<HitName>, PlanError> {
        let indexes = 0..self.backups.len();
        let before: Vec<_> = indexes.clone().rev().filter(|index| self.is_before(*index, hit)).collect();
        let after: Vec<_> = indexes.filter(|index| self.is_after(*index, hit)).collect();
        for side in [before, after] {
            let found = self.in_first_readable(&side, file)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn is_before(&self, index: usize, hit: &Hit) -> bool {
        let ended = self.backups.get(index).and_then(|info| info.end_xlog.zip(info.timeline));
        ended.is_some_and(|(end, timeline)| end <= hit.lsn && self.timeline_at(hit.timeline, end) == timeline)
    }

    fn is_after(&self, index: usize, hit: &Hit) -> bool {
        let began = self.backups.get(index).and_then(|info| info.begin_xlog.zip(info.timeline));
        began.is_some_and(|(begin, timeline)| begin > hit.lsn && self.timeline_at(timeline, hit.lsn) == hit.timeline)
    }

    /// The timeline on which a server was at a position that is on a timeline by now. On other branches the number of a file
    /// may be another relation's.
    fn timeline_at(&self, timeline: TimelineId, lsn: Lsn) -> TimelineId {
        self.histories.get(&timeline).map_or(timeline, |history| history.timeline_at(lsn))
    }

    fn in_first_readable(&mut self, indexes: &[usize], file: RelFileLocator) -> Result<Option<HitName>, PlanError> {
        for index in indexes {
            let Some(info) = self.backups.get(*index) else { continue };
            if let std::collections::btree_map::Entry::Vacant(entry) = self.read.entry(*index) {
                entry.insert(Catalogs::of_backup(self.catalog, info)?.as_ref().map(names_in));
            }
            if let Some(Some(names)) = self.read.get(index) {
                let origin = NameOrigin::Backup(info.backup_id);
                return Ok(names.get(&file).cloned().map(|name| HitName { name, origin }));
            }
        }
        Ok(None)
    }

    /// Asks the server, all at once.
    fn ask(&self, hits: &mut [Hit], live: &mut AskLive<'_>) -> Result<(), PlanError> {
        // A file that was removed is not there any more.
        let asked =
            |hit: &Hit| file_of(hit).filter(|_| hit.name.is_none() && !matches!(hit.what, HitKind::Removed { .. }));
        let files: BTreeSet<_> = hits.iter().filter_map(asked).collect();
        if files.is_empty() {
            return Ok(());
        }
        let Some(present) = Present::ask(self.catalog, live, LiveQuestion::Files(&files))? else { return Ok(()) };
        for hit in hits.iter_mut().filter(|hit| present.has_passed(hit)) {
            let found = asked(hit).and_then(|file| present.relations.iter().find(|relation| relation.file == file));
            if let Some(relation) = found {
                hit.name = Some(HitName { name: relation.name.clone(), origin: NameOrigin::Server });
            }
        }
        Ok(())
    }
}

/// The relation that is known by its file only.
fn file_of(hit: &Hit) -> Option<RelFileLocator> {
    match hit.what {
        HitKind::Removed { relation, .. } | HitKind::Cut { relation, .. } | HitKind::LargeDelete { relation, .. } => {
            Some(relation)
        }
        _ => None,
    }
}

fn names_in(catalogs: &Catalogs) -> Names {
    catalogs.relations().filter_map(|(_, relation)| Some((relation.file?, relation.name))).collect()
}
