//! Deletes whose rows lie in several segments.

use std::collections::BTreeMap;

use barman_catalog::{LARGE_DELETE_ROWS, RecordFacts, WalEvent, WalEventKind};
use wal_format::{Lsn, RelFileLocator, TimelineId};

use super::archived::{Archived, Place, REACH};
use super::{Hit, HitKind, IsWanted};
use crate::plan_error::PlanError;

/// What transactions deleted, put together as the segments come. Only what is large enough is looked up in WAL.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    /// Those that may go on.
    open: BTreeMap<(TimelineId, u32, RelFileLocator), Delete>,
    /// The others, if they count.
    over: Vec<(RelFileLocator, Delete)>,
    /// How many segments have come.
    segments: usize,
}

/// Rows of one table that one transaction, or a part of it with a number of its own, deleted.
#[derive(Debug, Default)]
struct Delete {
    /// By the place of the last of them in each segment: a segment in which a timeline begins repeats what the one before it had.
    parts: BTreeMap<Lsn, (Place, WalEvent, u64)>,
    /// The number of the last segment that has some.
    last: usize,
}

impl Delete {
    /// Whether it can be a large one, or with others of its transaction a part of one.
    fn counts(&self) -> bool {
        const PART: u64 = LARGE_DELETE_ROWS / 10;
        let rows = self.parts.values().map(|(_, _, rows)| rows);
        rows.clone().sum::<u64>() >= LARGE_DELETE_ROWS || rows.max().is_some_and(|rows| *rows >= PART)
    }
}

impl Deletes {
    /// Adds those of the next segment.
    pub(super) fn segment(
        &mut self,
        archived: &Archived<'_>,
        place: Place,
        records: &RecordFacts,
        is_wanted: IsWanted<'_>,
    ) {
        self.segments += 1;
        for event in &records.events {
            if let (WalEventKind::LargeDelete { relation, rows }, Some(xid)) = (&event.kind, event.xid)
                && is_wanted(*relation)
            {
                let key = (archived.timeline_at(place, event.lsn), xid, *relation);
                let delete = self.open.entry(key).or_default();
                delete.parts.entry(event.lsn).or_insert_with(|| (place, event.clone(), *rows));
                delete.last = self.segments;
            }
        }
        if self.segments.is_multiple_of(REACH) {
            self.settle(self.segments.saturating_sub(REACH));
        }
    }

    /// Forgets what has no part behind this segment and does not count.
    fn settle(&mut self, until: usize) {
        let (over, open): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.open).into_iter().partition(|(_, delete)| delete.last <= until);
        self.open = open;
        let over = over.into_iter().filter(|(_, delete)| delete.counts());
        self.over.extend(over.map(|((.., relation), delete)| (relation, delete)));
    }

    /// The large ones, in the order of the log.
    pub(super) fn hits(mut self, archived: &Archived<'_>) -> Result<Vec<Hit>, PlanError> {
        self.settle(self.segments);
        let mut hits = Vec::new();
        for (relation, delete) in self.over {
            let Some((place, event, _)) = delete.parts.values().next_back() else { continue };
            let transaction = archived.end_of(*place, event)?;
            let transaction = transaction.map(|end| Ok::<_, PlanError>(end.counted(archived.next_xid_near(*place)?)));
            let transaction = transaction.transpose()?;
            hits.extend(delete.parts.into_iter().map(|(lsn, (place, _, rows))| Hit {
                timeline: archived.timeline_at(place, lsn),
                lsn,
                at: transaction.map(|end| end.at),
                transaction,
                what: HitKind::LargeDelete { relation, rows },
                name: None,
            }));
        }
        hits.sort_by_key(|hit| (hit.lsn, hit.timeline));
        join(&mut hits);
        Ok(hits)
    }
}

/// Makes one hit of those that one transaction left in several segments, where its last row was deleted, and leaves out what
/// is no large delete even so. What a transaction did that did not end in the archive stays as it is.
fn join(hits: &mut Vec<Hit>) {
    let mut rows_by_delete = BTreeMap::new();
    let mut joined: Vec<Hit> = Vec::new();
    for mut hit in hits.drain(..).rev() {
        let HitKind::LargeDelete { relation, rows } = &mut hit.what else { continue };
        let place = joined.len();
        match hit.transaction.map(|end| (end.lsn, *relation)) {
            Some(delete) => match rows_by_delete.get(&delete).and_then(|first: &usize| joined.get_mut(*first)) {
                Some(Hit { what: HitKind::LargeDelete { rows: all, .. }, .. }) => *all += *rows,
                _ => {
                    rows_by_delete.insert(delete, place);
                    joined.push(hit);
                }
            },
            None => joined.push(hit),
        }
    }
    joined.retain(|hit| matches!(hit.what, HitKind::LargeDelete { rows, .. } if rows >= LARGE_DELETE_ROWS));
    hits.extend(joined.into_iter().rev());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::TransactionPoint;
    use wal_format::{Lsn, RelFileLocator, TimelineId, Timestamp};

    const AT: Timestamp = Timestamp::from_pg_micros(0);

    fn hit(lsn: u64, end: Option<u64>, number: u32, rows: u64) -> Hit {
        let transaction =
            end.map(|end| TransactionPoint { xid: 700, full_xid: None, lsn: Lsn::new(end), at: AT, committed: true });
        let relation = RelFileLocator { tablespace: 1663, database: 5, number };
        let what = HitKind::LargeDelete { relation, rows };
        Hit { timeline: TimelineId::FIRST, lsn: Lsn::new(lsn), at: None, transaction, what, name: None }
    }

    #[track_caller]
    fn check(mut hits: Vec<Hit>, expected: &[Hit]) {
        join(&mut hits);
        assert_eq!(hits, expected);
    }

    #[test]
    fn rows_of_one_transaction_and_table_are_one_delete() {
        check(
            vec![
                hit(10, Some(99), 1, 600),
                hit(11, Some(99), 2, 5000),
                hit(20, Some(99), 1, 100_000),
                hit(30, Some(99), 1, 300),
            ],
            &[hit(11, Some(99), 2, 5000), hit(30, Some(99), 1, 100_900)],
        );
        check(vec![hit(10, Some(98), 1, 999), hit(20, Some(99), 1, 999)], &[]);
    }

    #[test]
    fn it_is_large_from_a_thousand_rows_on() {
        check(vec![hit(10, Some(99), 1, 400), hit(20, Some(99), 1, 599)], &[]);
        check(vec![hit(10, Some(99), 1, 400), hit(20, Some(99), 1, 600)], &[hit(20, Some(99), 1, 1000)]);
    }

    #[test]
    fn what_did_not_end_is_not_taken_for_one() {
        check(vec![hit(10, None, 1, 1000), hit(20, None, 1, 999)], &[hit(10, None, 1, 1000)]);
    }
}
