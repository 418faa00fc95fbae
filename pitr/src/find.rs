//! Finding the moment to recover to: before the table was dropped, before the rows were deleted, around a time.
//!
//! The ledger knows of everything worth asking about in which segment it lies; only those segments are read. What was never
//! read into the ledger is not searched: [`Findings::unread`] says how much that is.

mod archived;
mod histogram;
mod large_delete;
mod story;

use barman_catalog::{Catalog, Facts, RecordFacts, Verdict, WalEvent, WalEventKind};
use barman_storage::Cancel;
use wal_format::{Lsn, RelFileLocator, TimelineId, Timestamp};

pub use histogram::{ActivityBucket, ActivityRequest, activity};
pub use story::{Evidence, Fate};

use crate::plan_error::PlanError;
use crate::stop::TransactionPoint;
use crate::target::{RestorePointName, TargetXid};
use archived::{Archived, Place};

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quarry {
    /// Restore points of this name.
    RestorePoint(RestorePointName),
    /// The end of this transaction.
    Xid(TargetXid),
    /// The ends of transactions next to a time.
    Around(Timestamp),
    /// Transactions that removed the files of a relation because it was dropped, or in a way that cannot be told.
    DropOf(RelationFile),
    /// Transactions that emptied a relation, or in a way that cannot be told.
    TruncateOf(RelationFile),
    /// Transactions that deleted very many rows, of one relation or of any.
    LargeDelete(Option<RelationFile>),
}

/// The file of a relation: its number, and the OID of its database if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationFile {
    /// The database; `None` for any.
    pub database: Option<u32>,
    /// The number.
    pub number: u32,
}

impl RelationFile {
    fn is(self, relation: RelFileLocator) -> bool {
        self.number == relation.number && self.database.is_none_or(|database| database == relation.database)
    }
}

impl std::str::FromStr for RelationFile {
    type Err = ParseRelationFileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseRelationFileError { text: text.to_owned() };
        let number = |text: &str| text.parse().map_err(|_| refused());
        match text.split_once('/') {
            Some((database, file)) => Ok(Self { database: Some(number(database)?), number: number(file)? }),
            None => Ok(Self { database: None, number: number(text)? }),
        }
    }
}

/// The text names no file of a relation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not the file of a relation: expected its number, or DATABASE_OID/NUMBER")]
pub struct ParseRelationFileError {
    /// What was given.
    pub text: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// By timeline and position.
    pub hits: Vec<Hit>,
    /// How many segments were not searched: the ledger does not know them, or they cannot be read.
    pub unread: u64,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where the record begins that says so.
    pub lsn: Lsn,
    /// When, if that is known.
    pub at: Option<Timestamp>,
    /// The top-level transaction that did it, if one did and it ended in the archive.
    pub transaction: Option<TransactionPoint>,
    /// What happened.
    pub what: HitKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HitKind {
    /// A restore point was made.
    RestorePoint {
        /// Its name.
        name: String,
    },
    /// A transaction ended.
    TransactionEnd,
    /// The files of a relation were removed.
    Removed {
        /// The relation.
        relation: RelFileLocator,
        /// What became of it.
        fate: Fate,
        /// Why that is believed.
        evidence: Evidence,
    },
    /// The file of a relation was cut.
    Cut {
        /// The relation.
        relation: RelFileLocator,
        /// Blocks that are left.
        blocks: u32,
    },
    /// Many rows were deleted.
    LargeDelete {
        /// The relation.
        relation: RelFileLocator,
        /// How many, in all segments in which the transaction deleted a hundred or more.
        rows: u64,
    },
}

/// Searches the archive, on all its timelines.
///
/// # Errors
/// The catalog cannot be read, or the caller asked to stop.
pub fn find(catalog: &Catalog, quarry: &Quarry, cancel: &Cancel) -> Result<Findings, FindError> {
    let archived = Archived::list(catalog)?;
    let mut ledger = catalog.ledger_reader().map_err(PlanError::from)?;
    let mut findings = Findings::default();
    for place in archived.places() {
        cancel.check()?;
        let facts = ledger.facts(&archived.file(place)).map_err(PlanError::from)?;
        match facts.and_then(|facts| facts.records.as_ref()) {
            Some(records) => hits_in(&archived, place, records, quarry, &mut findings)?,
            None => findings.unread += u64::from(!is_filled(facts)),
        }
    }
    findings.hits.sort_by_key(|hit| (hit.lsn, hit.timeline));
    // A segment in which a timeline begins repeats what the one before it had.
    findings.hits.dedup_by(|later, earlier| later.lsn == earlier.lsn && later.what == earlier.what);
    match quarry {
        Quarry::Around(time) => nearest(&mut findings.hits, *time),
        Quarry::LargeDelete(_) => large_delete::join(&mut findings.hits),
        _ => {}
    }
    Ok(findings)
}

/// Why a search ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The catalog or its WAL cannot be read.
    #[error(transparent)]
    Catalog(#[from] PlanError),
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] barman_storage::Cancelled),
}

fn is_filled(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.verdict == Verdict::Verified)
}

fn hits_in(
    archived: &Archived<'_>,
    place: Place,
    records: &RecordFacts,
    quarry: &Quarry,
    findings: &mut Findings,
) -> Result<(), PlanError> {
    match quarry {
        Quarry::Xid(target) => {
            if records.xids.is_some_and(|range| range.contains(target.low_half())) {
                let ends = archived.transaction_ends(place)?;
                let wanted = ends.into_iter().filter(|end| end.xid == target.low_half());
                findings.hits.extend(wanted.map(|end| ended(archived.timeline_at(place, end.lsn), end)));
            }
        }
        Quarry::Around(time) => {
            const HOUR_MICROS: i64 = 3_600_000_000;
            let near = |at: Timestamp| (at.unix_micros() - time.unix_micros()).abs() <= HOUR_MICROS;
            let is_near = |ends: barman_catalog::TimeRange| {
                near(ends.least) || near(ends.greatest) || (ends.least..=ends.greatest).contains(time)
            };
            if records.ends.is_some_and(is_near) {
                let ends = archived.transaction_ends(place)?;
                findings.hits.extend(ends.into_iter().map(|end| ended(archived.timeline_at(place, end.lsn), end)));
            }
        }
        _ => {
            for event in &records.events {
                event_hits(archived, place, event, quarry, &mut findings.hits)?;
            }
        }
    }
    Ok(())
}

fn ended(timeline: TimelineId, end: TransactionPoint) -> Hit {
    Hit { timeline, lsn: end.lsn, at: Some(end.at), transaction: Some(end), what: HitKind::TransactionEnd }
}

/// The last ends before a time and the first ones after it, in the order of the log.
fn nearest(hits: &mut Vec<Hit>, time: Timestamp) {
    const EACH_SIDE: usize = 5;
    let split = hits.iter().position(|hit| hit.at > Some(time)).unwrap_or(hits.len());
    hits.truncate(split + EACH_SIDE);
    hits.drain(..split.saturating_sub(EACH_SIDE));
}

fn event_hits(
    archived: &Archived<'_>,
    place: Place,
    event: &WalEvent,
    quarry: &Quarry,
    hits: &mut Vec<Hit>,
) -> Result<(), PlanError> {
    let timeline = archived.timeline_at(place, event.lsn);
    let hit = |transaction, what| Hit { timeline, lsn: event.lsn, at: event.at, transaction, what };
    match (quarry, &event.kind) {
        (Quarry::RestorePoint(wanted), WalEventKind::RestorePoint { name }) if name == wanted.as_str().as_bytes() => {
            hits.push(hit(None, HitKind::RestorePoint { name: wanted.as_str().to_owned() }));
        }
        (Quarry::DropOf(wanted) | Quarry::TruncateOf(wanted), WalEventKind::FilesRemoved { relations, .. }) => {
            for relation in relations.iter().filter(|relation| wanted.is(**relation)) {
                let Some(story) = archived.story(place, event.lsn)? else { continue };
                let (fate, evidence) = story.fate(*relation);
                let is_wanted = match quarry {
                    Quarry::DropOf(_) => matches!(fate, Fate::Dropped | Fate::CannotTell),
                    _ => matches!(fate, Fate::Truncated | Fate::CannotTell),
                };
                if is_wanted {
                    let what = HitKind::Removed { relation: *relation, fate, evidence };
                    hits.push(hit(Some(story.end()), what));
                }
            }
        }
        (Quarry::TruncateOf(wanted), WalEventKind::FileCut { relation, blocks }) if wanted.is(*relation) => {
            let transaction = archived.end_of(place, event)?;
            hits.push(hit(transaction, HitKind::Cut { relation: *relation, blocks: *blocks }));
        }
        (Quarry::LargeDelete(wanted), WalEventKind::LargeDelete { relation, rows })
            if wanted.is_none_or(|wanted| wanted.is(*relation)) =>
        {
            let transaction = archived.end_of(place, event)?;
            let what = HitKind::LargeDelete { relation: *relation, rows: *rows };
            hits.push(Hit { at: transaction.map(|end| end.at), ..hit(transaction, what) });
        }
        _ => {}
    }
    Ok(())
}
