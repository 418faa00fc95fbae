//! What happens to the relations that have, or had, a name.

use std::collections::{BTreeMap, BTreeSet};

use barman_catalog::BackupId;
use wal_format::{Lsn, RelFileLocator, TimelineId};

use super::FindError;
use super::followed::{Followed, Happening, What};
use crate::names::{CatalogChange, Catalogs, NamedRelation, RelationChange};
use crate::relation_name::{RelationName, RelationPattern};
use crate::stop::TransactionPoint;

/// The relations that have, or had, the name.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    tracked: BTreeSet<(u32, u32)>,
    /// What each was called when it matched first.
    names: BTreeMap<(u32, u32), RelationName>,
    files: BTreeSet<RelFileLocator>,
    happenings: BTreeMap<(TimelineId, Lsn, u32, u32), Happening>,
}

impl Tracker {
    pub(super) fn begin(&mut self, catalogs: &Catalogs, pattern: &RelationPattern) {
        self.tracked.clear();
        for (id, relation) in catalogs.relations().filter(|(_, relation)| pattern.matches(&relation.name)) {
            self.track(id, &relation);
        }
    }

    fn track(&mut self, id: (u32, u32), relation: &NamedRelation) {
        self.tracked.insert(id);
        self.names.entry(id).or_insert_with(|| relation.name.clone());
        self.files.extend(relation.file);
    }

    pub(super) fn change(&mut self, pattern: &RelationPattern, timeline: TimelineId, change: CatalogChange) {
        match change {
            CatalogChange::DatabaseDropped { lsn, end, relations } => {
                for (id, before) in
                    relations.into_iter().filter(|(id, _)| self.tracked.contains(id)).collect::<Vec<_>>()
                {
                    self.tracked.remove(&id);
                    self.happened(timeline, lsn, end, id, before, What::DatabaseDropped);
                }
            }
            CatalogChange::Relations { end, changes } => {
                self.tracked
                    .retain(|id| !changes.iter().any(|one| one.id == *id && is_replaced(pattern, one, &changes)));
                for change in &changes {
                    self.relation(pattern, timeline, &end, change);
                }
            }
        }
    }

    fn relation(
        &mut self,
        pattern: &RelationPattern,
        timeline: TimelineId,
        end: &TransactionPoint,
        change: &RelationChange,
    ) {
        let id = change.id;
        if self.tracked.contains(&id)
            && let Some(before) = change.before.clone()
        {
            let what = match &change.after {
                None => Some(What::Dropped),
                Some(after) if after.file != before.file => {
                    self.files.extend(after.file);
                    let by_way_of_another = change.by_way_of_another;
                    Some(What::NewFile { after: after.clone(), by_way_of_another })
                }
                Some(_) => None,
            };
            if let Some(what) = what {
                self.happened(timeline, end.lsn, *end, id, before, what);
            }
        }
        match change.after.as_ref().filter(|after| pattern.matches(&after.name)) {
            Some(after) => self.track(id, after),
            None => self.tracked.retain(|tracked| *tracked != id || change.after.is_some()),
        }
    }

    fn happened(
        &mut self,
        timeline: TimelineId,
        lsn: Lsn,
        end: TransactionPoint,
        (database, oid): (u32, u32),
        before: NamedRelation,
        what: What,
    ) {
        let happening = Happening { timeline, lsn, end, database, oid, before, what };
        self.happenings.insert((timeline, lsn, database, oid), happening);
    }

    pub(super) fn finish(
        self,
        pattern: &RelationPattern,
        backup: BackupId,
        unread: u64,
    ) -> Result<Followed, FindError> {
        let names: BTreeSet<_> = self.names.into_values().collect();
        if names.is_empty() {
            return Err(FindError::UnknownRelation { pattern: pattern.clone(), backup });
        }
        if names.len() > 1 {
            let candidates = names.into_iter().collect();
            return Err(FindError::AmbiguousRelation { pattern: pattern.clone(), candidates });
        }
        let mut happenings: Vec<_> = self.happenings.into_values().collect();
        happenings.sort_by_key(|happening| (happening.lsn, happening.timeline));
        Ok(Followed { backup, happenings, files: self.files, unread })
    }
}

/// Whether another index takes an index's place: REINDEX CONCURRENTLY makes a new one, swaps the names, and drops the old one;
/// ALTER TABLE … TYPE drops it and makes it again. The index of that name is the new one.
fn is_replaced(pattern: &RelationPattern, change: &RelationChange, all: &[RelationChange]) -> bool {
    let is_index = |relation: &NamedRelation| matches!(relation.kind, b'i' | b'I');
    let matches = |relation: &NamedRelation| is_index(relation) && pattern.matches(&relation.name);
    let leaves = change.before.as_ref().is_some_and(matches) && !change.after.as_ref().is_some_and(matches);
    let arrives = |other: &RelationChange| {
        other.id != change.id
            && other.after.as_ref().is_some_and(matches)
            && !other.before.as_ref().is_some_and(matches)
    };
    leaves && all.iter().any(arrives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal_format::Timestamp;

    fn relation(name: &str, kind: u8, file: u32) -> Option<NamedRelation> {
        let name = RelationName { database: "db".into(), schema: "public".into(), relation: name.into() };
        let file = Some(RelFileLocator { tablespace: 1663, database: 5, number: file }).filter(|file| file.number != 0);
        Some(NamedRelation { name, file, kind })
    }

    fn change(oid: u32, before: Option<NamedRelation>, after: Option<NamedRelation>) -> RelationChange {
        RelationChange { id: (5, oid), before, after, by_way_of_another: false }
    }

    /// What happened to relations called `t`, by these transactions.
    fn happened(transactions: Vec<Vec<RelationChange>>) -> Vec<(u32, What)> {
        let (pattern, mut tracker) = ("t".parse().unwrap(), Tracker::default());
        for (lsn, changes) in (1..).zip(transactions) {
            let (lsn, at) = (Lsn::new(lsn), Timestamp::from_unix_micros(0));
            let end = TransactionPoint { lsn, xid: 700, full_xid: None, at, committed: true };
            tracker.change(&pattern, TimelineId::FIRST, CatalogChange::Relations { end, changes });
        }
        let id = "20260101T000000".parse().unwrap();
        let followed = tracker.finish(&pattern, id, 0).unwrap();
        followed.happenings.into_iter().map(|one| (one.oid, one.what)).collect()
    }

    #[test]
    fn a_table_is_followed_when_it_is_renamed_and_so_is_the_next_of_its_name() {
        let found = happened(vec![
            vec![change(1, None, relation("t", b'r', 1))],
            vec![change(1, relation("t", b'r', 1), relation("old", b'r', 1)), change(2, None, relation("t", b'r', 2))],
            vec![change(1, relation("old", b'r', 1), None)],
            vec![change(3, None, relation("u", b'r', 3))],
            vec![change(3, relation("u", b'r', 3), None), change(2, relation("t", b'r', 2), None)],
        ]);
        assert_eq!(found, [(1, What::Dropped), (2, What::Dropped)]);
    }

    #[test]
    fn an_index_that_another_one_replaces_is_not_dropped() {
        let found = happened(vec![
            vec![change(1, None, relation("t", b'i', 1)), change(2, None, relation("t_ccnew", b'i', 2))],
            vec![
                change(1, relation("t", b'i', 1), relation("t_ccold", b'i', 1)),
                change(2, relation("t_ccnew", b'i', 2), relation("t", b'i', 2)),
            ],
            vec![change(1, relation("t_ccold", b'i', 1), None)],
        ]);
        assert_eq!(found, []);
        let found = happened(vec![
            vec![change(1, None, relation("t", b'i', 1))],
            vec![change(1, relation("t", b'i', 1), None), change(2, None, relation("t", b'i', 2))],
            vec![change(2, relation("t", b'i', 2), None)],
        ]);
        assert_eq!(found, [(2, What::Dropped)], "made again by the same transaction, then dropped");
        let found = happened(vec![
            vec![change(1, None, relation("t", b'r', 1))],
            vec![change(1, relation("t", b'r', 1), None), change(2, None, relation("t", b'r', 2))],
        ]);
        assert_eq!(found, [(1, What::Dropped)], "the rows of a table are gone");
    }

    #[test]
    fn a_partitioned_table_without_files_is_dropped_too() {
        let found = happened(vec![
            vec![change(1, None, relation("t", b'p', 0))],
            vec![change(1, relation("t", b'p', 0), None)],
        ]);
        assert_eq!(found, [(1, What::Dropped)]);
    }
}
