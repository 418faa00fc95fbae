//! How busy a server was.

use barman_catalog::Catalog;
use barman_storage::Cancel;
use wal_format::Timestamp;

use super::FindError;
use super::archived::Archived;

/// Which time is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityRequest {
    /// The beginning.
    pub from: Timestamp,
    /// The end, excluded.
    pub to: Timestamp,
    /// How long each part is, in microseconds; at least one second.
    pub every_micros: i64,
}

/// A part of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityBucket {
    /// When it begins.
    pub start: Timestamp,
    /// Transactions that committed.
    pub commits: u64,
    /// Transactions that were rolled back.
    pub rollbacks: u64,
}

/// The most parts there can be.
const BUCKETS: i64 = 100_000;

/// Counts the transactions that ended in each part of some time, on all timelines.
///
/// # Errors
/// The catalog cannot be read, or the caller asked to stop.
pub fn activity(
    catalog: &Catalog,
    request: &ActivityRequest,
    cancel: &Cancel,
) -> Result<Vec<ActivityBucket>, FindError> {
    let ActivityRequest { from, to, .. } = *request;
    let mut buckets = empty(request);
    let archived = Archived::list(catalog)?;
    let mut last = None;
    archived.for_each_facts(cancel, &mut |place, facts| {
        let ends = facts.and_then(|facts| facts.records.as_ref()).and_then(|records| records.ends);
        if !ends.is_some_and(|ends| ends.greatest >= from && ends.least < to) {
            return Ok(());
        }
        for end in archived.transaction_ends(place)? {
            // A segment in which a timeline begins repeats the end of the one before.
            let is_new = last < Some(end.lsn);
            last = last.max(Some(end.lsn));
            if let Some(bucket) = index(request, end.at).filter(|_| is_new).and_then(|index| buckets.get_mut(index)) {
                bucket.commits += u64::from(end.committed);
                bucket.rollbacks += u64::from(!end.committed);
            }
        }
        Ok(())
    })?;
    Ok(buckets)
}

fn every(request: &ActivityRequest) -> i64 {
    let span = request.to.unix_micros().saturating_sub(request.from.unix_micros());
    request.every_micros.max(1_000_000).max(span / BUCKETS)
}

fn empty(request: &ActivityRequest) -> Vec<ActivityBucket> {
    let (from, to) = (request.from.unix_micros(), request.to.unix_micros());
    let step = usize::try_from(every(request)).unwrap_or(usize::MAX);
    let starts = (from..to).step_by(step).map(Timestamp::from_unix_micros);
    starts.map(|start| ActivityBucket { start, commits: 0, rollbacks: 0 }).collect()
}

fn index(request: &ActivityRequest, at: Timestamp) -> Option<usize> {
    let behind = at.unix_micros().checked_sub(request.from.unix_micros()).filter(|behind| *behind >= 0)?;
    usize::try_from(behind / every(request)).ok()
}
