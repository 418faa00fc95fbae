//! Segments that came before the one in front of them: they are judged when that is there.

use wal_format::{BorderState, SegmentName, SegmentNumber, SegmentSize, TimelineHistory, TimelineId, WalFileName};

use crate::archive::ledger::Ledger;
use crate::catalog::existing;
use crate::{Catalog, Error, Facts, Verdict, layout};

use super::observe::{Neighbours, judge, observe_archived, previous};

/// Judges the segments that were waiting for a file which is archived by now, and returns those that could be judged. `state`
/// is what stands at its end, if it is a segment and that is known.
///
/// Behind a segment follows the next one of its timeline, and the first one of each timeline that branched off in that. Which
/// segment a timeline's first one follows is told by its history: that is waited for, too.
pub(crate) fn judge_followers(
    catalog: &Catalog,
    ledger: &mut Ledger,
    neighbours: &mut Neighbours,
    (arrived, state): (&Facts, Option<BorderState>),
) -> Result<Vec<Facts>, Error> {
    let mut judged = Vec::new();
    match arrived.name {
        WalFileName::Segment(name) => {
            let size = arrived.raw.and_then(|raw| SegmentSize::new(raw.bytes));
            let Some((size, state)) = size.zip(state) else { return Ok(judged) };
            for next in behind(catalog, name, size) {
                judge_from(catalog, ledger, (next, size), state.clone(), &mut judged)?;
            }
        }
        WalFileName::History(timeline) => {
            neighbours.forget_histories();
            // A record of a backup that cannot be read is no reason to stop archiving.
            let Some(size) = catalog.known_segment_size().ok().flatten() else { return Ok(judged) };
            let first = history_of(catalog, timeline).and_then(|history| first_segment(&history, size));
            let Some(first) = first.filter(|first| open(catalog, ledger, *first).is_some()) else { return Ok(judged) };
            if let Some(state) = neighbours.before(catalog, first, size)? {
                judge_from(catalog, ledger, (first, size), state, &mut judged)?;
            }
        }
        _ => {}
    }
    Ok(judged)
}

/// Judges a segment that goes on from `state`, and where a record fills it whole those behind it.
fn judge_from(
    catalog: &Catalog,
    ledger: &mut Ledger,
    (mut name, size): (SegmentName, SegmentSize),
    mut state: BorderState,
    judged: &mut Vec<Facts>,
) -> Result<(), Error> {
    while let Some(known) = open(catalog, ledger, name) {
        let Some(observed) = observe_archived(catalog, name, size, Some(state))? else { break };
        let facts = Facts { verdict: judge(&observed), records: observed.records, ..known };
        ledger.append(&catalog.xlog_db()?, &facts)?;
        // Only a record that fills a whole segment keeps the one behind it waiting.
        let is_filled = facts.records.is_none();
        judged.push(facts);
        match observed.border.filter(|_| is_filled).zip(name.next(size).ok()) {
            Some((border, next)) => (state, name) = (border, next),
            None => break,
        }
    }
    Ok(())
}

/// What is known of a segment whose border is open. What the ledger cannot tell can be found out again.
fn open(catalog: &Catalog, ledger: &mut Ledger, name: SegmentName) -> Option<Facts> {
    let file = WalFileName::Segment(name);
    // Mostly it has not come yet, and to know that, no journal has to be read.
    existing(&catalog.layout().wals_directory).ok()??.stat(&layout::archived(&file)).ok()??;
    let known = ledger.known(&file).ok()??;
    Some(&known.facts).filter(|facts| facts.verdict == Verdict::BorderOpen).cloned()
}

/// The segments that follow `name`.
fn behind(catalog: &Catalog, name: SegmentName, size: SegmentSize) -> Vec<SegmentName> {
    let mut following: Vec<_> = name.next(size).into_iter().collect();
    // As PostgreSQL looks for the newest timeline (`findNewestTimeLine`): their numbers have no gaps.
    let later = (name.timeline.get().saturating_add(1)..).map_while(TimelineId::new);
    for history in later.map_while(|timeline| history_of(catalog, timeline)) {
        let first = first_segment(&history, size);
        following.extend(first.filter(|first| previous(*first, size, Some(&history)) == Some(name)));
    }
    following
}

fn history_of(catalog: &Catalog, timeline: TimelineId) -> Option<TimelineHistory> {
    catalog.timeline_history(timeline).ok().flatten()
}

/// The segment in which a timeline begins; its WAL up to the switchpoint is a copy of the ancestor's.
fn first_segment(history: &TimelineHistory, size: SegmentSize) -> Option<SegmentName> {
    let switch = history.entries.last()?.switch_lsn;
    Some(SegmentNumber::containing(switch, size).name(history.timeline, size))
}
