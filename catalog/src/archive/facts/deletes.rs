//! Rows that transactions delete, counted while a segment is read.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use wal_format::{Lsn, RelFileLocator};

/// The fewest rows, of one table and by one transaction, that make a delete a large one.
pub const LARGE_DELETE_ROWS: u64 = 1000;

/// The fewest in one segment that are worth keeping whatever else is in it: the others of a large delete may be in the segments
/// beside it.
const PART_ROWS: u64 = LARGE_DELETE_ROWS / 10;

/// The fewest that are worth keeping if the transaction goes on: what else is written meanwhile may have a large delete spread
/// over many segments. At the end of a segment no more transactions are under way than the server has connections, but for
/// subtransactions.
const SMALL_PART_ROWS: u64 = LARGE_DELETE_ROWS / 100;

/// How many parts of so few rows are kept of transactions that end in the segment, the largest ones: each takes some 20 bytes of
/// the ledger, and there are servers whose every segment has hundreds of small deletes. A large delete has one of these at most.
const SMALL_LAST_PARTS: usize = 16;

/// Tables that the deletes of transactions under way are counted for, at most; what is done to others is not found.
const OPEN: usize = 4096;

/// Rows of one table that one transaction, or a part of it with a number of its own, deleted in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeletedRows {
    pub(super) xid: u32,
    pub(super) relation: RelFileLocator,
    pub(super) rows: u64,
    /// Where the record begins that deleted the last of them.
    pub(super) last: Lsn,
}

/// Those of one segment.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    /// Of transactions that go on, as far as is known.
    open: BTreeMap<(u32, RelFileLocator), (u64, Lsn)>,
    /// Of those that have ended, as far as they may be kept.
    ended: Vec<DeletedRows>,
    ended_small: Vec<DeletedRows>,
}

impl Deletes {
    /// Adds what one record deletes.
    pub(super) fn add(&mut self, deleted: DeletedRows) {
        let DeletedRows { xid, relation, rows, last } = deleted;
        if self.open.len() < OPEN || self.open.contains_key(&(xid, relation)) {
            let (all, place) = self.open.entry((xid, relation)).or_insert((0, last));
            (*all, *place) = (*all + rows, last);
        }
    }

    /// Notes that a transaction has ended, with these subtransactions: what they deleted is one delete.
    pub(super) fn end(&mut self, xid: u32, subxids: impl Iterator<Item = u32>) {
        // Most transactions delete nothing, and all end here.
        if self.open.is_empty() {
            return;
        }
        let mut deleted: BTreeMap<RelFileLocator, (u64, Lsn)> = BTreeMap::new();
        for part in std::iter::once(xid).chain(subxids) {
            while let Some((relation, (rows, last))) = self.pop(part) {
                let (all, place) = deleted.entry(relation).or_insert((0, last));
                (*all, *place) = (*all + rows, last.max(*place));
            }
        }
        for (relation, (rows, last)) in deleted {
            let deleted = DeletedRows { xid, relation, rows, last };
            match rows {
                PART_ROWS.. => self.ended.push(deleted),
                SMALL_PART_ROWS.. => self.ended_small.push(deleted),
                _ => {}
            }
        }
        if self.ended_small.len() > 2 * SMALL_LAST_PARTS {
            self.keep_largest();
        }
    }

    /// Returns the parts that are worth keeping, and forgets all.
    pub(super) fn take(&mut self) -> Vec<DeletedRows> {
        self.keep_largest();
        let open = std::mem::take(&mut self.open).into_iter().filter(|(_, (rows, _))| *rows >= SMALL_PART_ROWS);
        let open = open.map(|((xid, relation), (rows, last))| DeletedRows { xid, relation, rows, last });
        let ended = std::mem::take(&mut self.ended).into_iter().chain(std::mem::take(&mut self.ended_small));
        ended.chain(open).collect()
    }

    fn pop(&mut self, xid: u32) -> Option<(RelFileLocator, (u64, Lsn))> {
        const FIRST: RelFileLocator = RelFileLocator { tablespace: 0, database: 0, number: 0 };
        let (&key, _) = self.open.range((xid, FIRST)..).next().filter(|((open, _), _)| *open == xid)?;
        self.open.remove(&key).map(|deleted| (key.1, deleted))
    }

    fn keep_largest(&mut self) {
        self.ended_small.sort_by_key(|deleted| Reverse(deleted.rows));
        self.ended_small.truncate(SMALL_LAST_PARTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(xid: u32, number: u32, rows: u64) -> DeletedRows {
        let relation = RelFileLocator { tablespace: 1663, database: 5, number };
        DeletedRows { xid, relation, rows, last: Lsn::new(rows) }
    }

    fn rows(deletes: &mut Deletes) -> Vec<(u32, u64)> {
        deletes.take().into_iter().map(|deleted| (deleted.xid, deleted.rows)).collect()
    }

    fn end(deletes: &mut Deletes, xid: u32) {
        deletes.end(xid, std::iter::empty());
    }

    #[test]
    fn what_goes_on_is_kept_beside_any_number_of_others() {
        let mut deletes = Deletes::default();
        deletes.add(deleted(3, 1, 4));
        for xid in 100..1100 {
            deletes.add(deleted(xid, 1, 50));
            end(&mut deletes, xid);
        }
        (2000..2100).for_each(|xid| deletes.add(deleted(xid, 1, 50)));
        deletes.add(deleted(3, 1, 6));
        deletes.add(deleted(3, 2, 9));
        let kept = rows(&mut deletes);
        assert_eq!(kept.iter().filter(|(xid, _)| (100..1100).contains(xid)).count(), SMALL_LAST_PARTS);
        assert_eq!(kept.iter().filter(|(xid, _)| *xid >= 2000).count(), 100);
        assert_eq!(kept.iter().filter(|(xid, _)| *xid == 3).collect::<Vec<_>>(), [&(3, 10)]);
    }

    #[test]
    fn of_what_ends_the_largest_are_kept_and_those_that_may_be_large_by_themselves() {
        let mut deletes = Deletes::default();
        for xid in 10..99 {
            (1..=2).for_each(|number| deletes.add(deleted(xid, number, xid.into())));
            end(&mut deletes, xid);
        }
        for xid in 200..300 {
            deletes.add(deleted(xid, 1, PART_ROWS));
            end(&mut deletes, xid);
        }
        let kept = rows(&mut deletes);
        assert_eq!(kept.iter().filter(|(_, rows)| *rows == PART_ROWS).count(), 100);
        let small: Vec<u64> = kept.iter().map(|(_, rows)| *rows).filter(|rows| *rows < PART_ROWS).collect();
        assert_eq!(small, [98, 98, 97, 97, 96, 96, 95, 95, 94, 94, 93, 93, 92, 92, 91, 91]);
        assert_eq!(rows(&mut deletes), []);
    }

    #[test]
    fn what_subtransactions_delete_is_one_delete() {
        let mut deletes = Deletes::default();
        (10..30).for_each(|xid| deletes.add(deleted(xid, 1, 6)));
        deletes.end(10, 11..30);
        assert_eq!(deletes.take(), [DeletedRows { rows: 120, ..deleted(10, 1, 6) }]);
    }

    /// Else a segment with many small transactions would hide what comes behind them.
    #[test]
    fn what_has_ended_takes_no_room() {
        let mut deletes = Deletes::default();
        for xid in 3..100_000 {
            deletes.add(deleted(xid, 1, 1));
            end(&mut deletes, xid);
        }
        deletes.add(deleted(100_000, 1, 5000));
        assert_eq!(rows(&mut deletes), [(100_000, 5000)]);
        for number in 0..100_000 {
            deletes.add(deleted(3, number, 1));
        }
        assert_eq!(deletes.open.len(), OPEN);
    }
}
