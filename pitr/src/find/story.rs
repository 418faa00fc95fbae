//! What a transaction did: whether the files that its end removes belonged to something that is gone, or that got new ones.
//!
//! A commit removes the files of dropped relations, and the old files of those that were truncated or written anew (VACUUM
//! FULL, CLUSTER, REINDEX, REFRESH, most forms of ALTER TABLE … TYPE). The latter create files; a DROP creates none. Where a
//! transaction did both, rows deleted from `pg_class` tell whether anything was dropped that was there before: a transient
//! table, by way of which a relation is written anew, was inserted by the same transaction.

use std::collections::BTreeSet;
use std::io::Read as _;

use barman_catalog::Catalog;
use wal_format::{
    Item, Lsn, Payload, Record, RecordReader, RelFileLocator, RowPlace, RowVersions, SegmentSize, Source,
    TransactionEnd,
};

use super::archived::contents;
use crate::plan_error::PlanError;
use crate::stop::TransactionPoint;
use crate::stop::wal_row::RowSegment;

/// What became of a relation whose files were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is gone.
    Dropped,
    /// It is empty.
    Truncated,
    /// It has its rows in another file.
    Rewritten,
    /// It was made by the transaction that was rolled back.
    NeverThere,
    /// The transaction did several things, and which of them this was is not in the WAL.
    CannotTell,
}

/// What a transaction did, as far as it tells what became of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Files that it removed.
    pub removed: usize,
    /// Files that it created and kept.
    pub created: usize,
    /// Those of them that nothing was written to.
    pub created_empty: usize,
    /// Rows of `pg_class` that it deleted, and that were there before it.
    pub relations_dropped: u32,
    /// Rows of `pg_class` that it deleted, and that it had inserted itself.
    pub transient_relations: u32,
    /// Tables that it truncated, as logical decoding is told.
    pub truncated_tables: usize,
}

/// What a transaction did.
#[derive(Clone, Debug)]
pub(super) struct Story {
    end: TransactionPoint,
    removed: BTreeSet<RelFileLocator>,
    created: BTreeSet<RelFileLocator>,
    filled: BTreeSet<RelFileLocator>,
    /// The rows of `pg_class` that it inserted, where they lie by now.
    born: BTreeSet<RowPlace>,
    evidence: Evidence,
    /// Whether something that another transaction did was seen before it, or the WAL begins there.
    began: bool,
}

/// The OID of `pg_class`, and the number of its file unless it was itself written anew.
const PG_CLASS: u32 = 1259;

impl Story {
    /// Reads what the transaction did in these segments that ended at `lsn`, in the last of them.
    pub(super) fn read(
        catalog: &Catalog,
        size: SegmentSize,
        segments: &[RowSegment],
        lsn: Lsn,
    ) -> Result<Option<Self>, PlanError> {
        let Some((end, xids, removed)) = transaction(catalog, size, segments, lsn)? else { return Ok(None) };
        let mut story = Self {
            end,
            removed,
            created: BTreeSet::new(),
            filled: BTreeSet::new(),
            born: BTreeSet::new(),
            evidence: Evidence::default(),
            began: false,
        };
        let mut first = true;
        for_each_record(catalog, size, segments, &mut |record| {
            let is_own = xids.contains(&record.header.xid);
            // A segment that begins with it may be preceded by more.
            story.began |= first && !is_own;
            first = false;
            if is_own && record.start <= lsn {
                story.add(record);
            }
        })?;
        Ok(Some(story))
    }

    pub(super) const fn end(&self) -> TransactionPoint {
        self.end
    }

    /// Whether its beginning was seen, probably: it is not what the first segment begins with.
    pub(super) const fn began(&self) -> bool {
        self.began
    }

    fn add(&mut self, record: &Record<'_>) {
        if let Ok(contents) = record.contents() {
            self.filled.extend(contents.blocks().map(|block| block.relation));
        }
        match record.decode() {
            Ok(Payload::StorageCreate { relation, .. }) => {
                self.created.insert(relation);
            }
            Ok(Payload::HeapTruncate(cut)) => self.evidence.truncated_tables += cut.relations.len(),
            _ => {}
        }
        if let Ok(Some(row)) = record.row_versions()
            && row.relation.number == PG_CLASS
        {
            self.class(row);
        }
    }

    fn class(&mut self, row: RowVersions) {
        let was_born_here = row.old.is_some_and(|old| self.born.remove(&old));
        match (row.old, row.new) {
            (Some(_), None) if was_born_here => self.evidence.transient_relations += 1,
            (Some(_), None) => self.evidence.relations_dropped += 1,
            (None, Some(new)) => drop(self.born.insert(new)),
            (_, Some(new)) if was_born_here => drop(self.born.insert(new)),
            _ => {}
        }
    }

    /// Whether it wrote something to a file.
    pub(super) fn has_filled(&self, file: RelFileLocator) -> bool {
        self.filled.contains(&file)
    }

    /// Tells what became of a relation that it removed the files of.
    pub(super) fn fate(&self, relation: RelFileLocator) -> (Fate, Evidence) {
        let kept: Vec<_> = self.created.difference(&self.removed).collect();
        let empty = kept.iter().filter(|file| !self.filled.contains(**file)).count();
        let evidence =
            Evidence { removed: self.removed.len(), created: kept.len(), created_empty: empty, ..self.evidence };
        let fate = if !self.end.committed || self.created.contains(&relation) {
            Fate::NeverThere
        } else if kept.is_empty() {
            Fate::Dropped
        } else {
            evidence.fate_beside_new_files()
        };
        (fate, evidence)
    }
}

impl Evidence {
    fn fate_beside_new_files(&self) -> Fate {
        match (self.relations_dropped, self.transient_relations, self.created_empty) {
            (0, 0, 0) => Fate::Rewritten,
            // The values that were stored apart have an empty file as well.
            (0, 1.., _) => Fate::Rewritten,
            (0, 0, _) => Fate::Truncated,
            _ => Fate::CannotTell,
        }
    }
}

type Ended = (TransactionPoint, BTreeSet<u32>, BTreeSet<RelFileLocator>);

/// The end of the transaction, its numbers, and the files that it removes.
fn transaction(
    catalog: &Catalog,
    size: SegmentSize,
    segments: &[RowSegment],
    lsn: Lsn,
) -> Result<Option<Ended>, PlanError> {
    let mut found = None;
    for_each_record(catalog, size, segments, &mut |record| {
        if record.start != lsn {
            return;
        }
        let ended = |end: &TransactionEnd<'_>, committed| {
            let point = TransactionPoint { lsn, xid: end.xid, full_xid: None, at: end.at, committed };
            (point, end.subxids.iter().chain([end.xid]).collect(), end.dropped.iter().collect())
        };
        found = match record.decode() {
            Ok(Payload::Commit(end)) => Some(ended(&end, true)),
            Ok(Payload::Abort(end)) => Some(ended(&end, false)),
            _ => None,
        };
    })?;
    Ok(found)
}

fn for_each_record(
    catalog: &Catalog,
    size: SegmentSize,
    segments: &[RowSegment],
    visit: &mut dyn FnMut(&Record<'_>),
) -> Result<(), PlanError> {
    let Some(first) = segments.first() else { return Ok(()) };
    let mut reader = RecordReader::new(first.number.start(size), first.name.timeline, size, Source::Complete);
    for segment in segments {
        let Some(mut contents) = contents(catalog, segment)? else { return Ok(()) };
        let mut bytes = Vec::new();
        // What is not whole is read as far as it goes.
        let _ = contents.by_ref().take(size.bytes()).read_to_end(&mut bytes);
        let mut rest = bytes.as_slice();
        while let Ok(Some(item)) = reader.next(&mut rest) {
            if let Item::Record(record) = item {
                visit(&record);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(created_empty: usize, transient_relations: u32, relations_dropped: u32) -> Fate {
        let evidence =
            Evidence { created: 2, created_empty, transient_relations, relations_dropped, ..Evidence::default() };
        evidence.fate_beside_new_files()
    }

    #[test]
    fn beside_new_files_only_rows_of_pg_class_that_were_there_before_speak_for_a_drop() {
        assert_eq!(fate(1, 0, 0), Fate::Truncated);
        assert_eq!(fate(0, 0, 0), Fate::Rewritten, "REINDEX");
        assert_eq!(fate(1, 3, 0), Fate::Rewritten, "VACUUM FULL");
        assert_eq!(fate(1, 0, 1), Fate::CannotTell, "one table truncated, another dropped");
        assert_eq!(fate(1, 1, 1), Fate::CannotTell, "one table written anew, another dropped");
    }
}
