//! Deletes whose rows lie in several segments.

use std::collections::BTreeMap;

use barman_catalog::LARGE_DELETE_ROWS;

use super::{Hit, HitKind};

/// Makes one hit of those that one transaction left in several segments, where its last row was deleted, and leaves out what
/// is no large delete even so. What a transaction did that did not end in the archive stays as it is.
pub(super) fn join(hits: &mut Vec<Hit>) {
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
        let transaction = end.map(|end| TransactionPoint { xid: 700, lsn: Lsn::new(end), at: AT, committed: true });
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
