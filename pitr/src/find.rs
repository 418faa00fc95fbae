//! Finding the moment to recover to: before the table was dropped, before the rows were deleted, around a time.
//!
//! The ledger knows of everything worth asking about in which segment it lies; only those segments are read, and those that the
//! ledger does not know. A relation that is named is followed through the WAL from a backup on, which takes reading all of it.

mod archived;
mod followed;
mod histogram;
mod large_delete;
mod live;
mod naming;
mod records;
mod story;
mod tracker;

use std::collections::BTreeSet;
use std::str::FromStr;

use barman_catalog::{BackupId, Catalog, Facts, RecordFacts, Verdict, WalEvent, WalEventKind};
use barman_storage::Cancel;
use wal_format::{Lsn, RelFileLocator, TimelineId, Timestamp};

pub use histogram::{ActivityBucket, ActivityRequest, activity};
pub use live::{AskLive, LiveAnswer, LiveQuestion, LiveRelation};
pub use story::{Evidence, Fate};

use crate::plan_error::PlanError;
use crate::relation_name::{ParseRelationNameError, RelationName, RelationPattern};
use crate::stop::TransactionPoint;
use crate::target::{RestorePointName, TargetXid};
use archived::{Archived, Place};
use followed::{Followed, Happening, What};
use large_delete::Deletes;
use live::Present;
use naming::Namer;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quarry {
    /// Restore points of this name.
    RestorePoint(RestorePointName),
    /// The end of this transaction.
    Xid(TargetXid),
    /// The ends of transactions next to a time.
    Around(Timestamp),
    /// Transactions that dropped a relation; of one that is known by its file only, also those that removed the file in a way
    /// that cannot be told.
    DropOf(RelationChoice),
    /// Transactions that emptied a relation, in the same way.
    TruncateOf(RelationChoice),
    /// Transactions that deleted very many rows, of one relation or of any.
    LargeDelete(Option<RelationChoice>),
}

/// How a relation is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationChoice {
    /// By a file that it had.
    File(RelationFile),
    /// By its name. All that was ever called so is meant, from the first backup on whose catalogs can be read.
    Name(RelationPattern),
}

impl FromStr for RelationChoice {
    type Err = ParseRelationNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(file) => Ok(Self::File(file)),
            Err(ParseRelationFileError { .. }) => text.parse().map(Self::Name),
        }
    }
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

impl FromStr for RelationFile {
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
    /// By position and timeline.
    pub hits: Vec<Hit>,
    /// How many segments were not searched: they cannot be read here.
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
    /// What the relation was called, if something happened to one and its name is known.
    pub name: Option<HitName>,
}

/// The name of a relation, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HitName {
    /// The name.
    pub name: RelationName,
    /// Where it is from.
    pub origin: NameOrigin,
}

/// Where the name of a relation is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrigin {
    /// It is that of the moment itself, carried on to there from the catalogs of this backup.
    Followed(BackupId),
    /// It is that of the time of this backup.
    Backup(BackupId),
    /// It is what the server calls the relation now.
    Server,
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
    /// A relation of the name was dropped, emptied or written anew, as its row in `pg_class` says.
    RelationChanged {
        /// The OID of its database.
        database: u32,
        /// Its OID.
        oid: u32,
        /// What became of it.
        fate: Fate,
        /// Its file before, if it had one: a partitioned table and a view have none.
        file: Option<RelFileLocator>,
        /// Its file since then.
        new_file: Option<RelFileLocator>,
    },
    /// The database that the relation was in was dropped. Its files go, and nobody can connect to it, before the transaction
    /// ends: recovery has to stop in front of the hit's own position.
    DatabaseDropped {
        /// The OID of the database.
        database: u32,
        /// The relation's OID.
        oid: u32,
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

/// Searches the archive, on all its timelines. `live` is asked for names that no backup has.
///
/// # Errors
/// The catalog cannot be read, a name stands for nothing or for several relations, or the caller asked to stop.
pub fn find(
    catalog: &Catalog,
    quarry: &Quarry,
    live: &mut AskLive<'_>,
    cancel: &Cancel,
) -> Result<Findings, FindError> {
    let archived = Archived::list(catalog)?;
    let mut findings = match quarry {
        Quarry::DropOf(RelationChoice::Name(name)) | Quarry::TruncateOf(RelationChoice::Name(name)) => {
            return match followed::follow(catalog, name, cancel) {
                Ok(followed) => happenings(&archived, quarry, followed),
                Err(FindError::NoNames { .. }) => {
                    Err(FindError::NoNames { nameless: search(&archived, quarry, &|_| true, cancel)?.hits })
                }
                Err(error) => Err(error),
            };
        }
        Quarry::LargeDelete(Some(RelationChoice::Name(name))) => {
            large_deletes_of(name, catalog, &archived, live, cancel)?
        }
        Quarry::DropOf(RelationChoice::File(file))
        | Quarry::TruncateOf(RelationChoice::File(file))
        | Quarry::LargeDelete(Some(RelationChoice::File(file))) => {
            search(&archived, quarry, &|other| file.is(other), cancel)?
        }
        _ => search(&archived, quarry, &|_| true, cancel)?,
    };
    Namer::new(catalog, archived.histories())?.name(&mut findings.hits, live)?;
    Ok(findings)
}

/// Searches by the files that relations of a name had; where no backup has heard of it, by those that they have now.
fn large_deletes_of(
    name: &RelationPattern,
    catalog: &Catalog,
    archived: &Archived<'_>,
    live: &mut AskLive<'_>,
    cancel: &Cancel,
) -> Result<Findings, FindError> {
    let any = Quarry::LargeDelete(None);
    let unheard_of = match followed::follow(catalog, name, cancel) {
        Ok(followed) => return search(archived, &any, &|file| followed.files.contains(&file), cancel),
        Err(error @ (FindError::NoNames { .. } | FindError::UnknownRelation { .. })) => error,
        Err(error) => return Err(error),
    };
    let present = Present::ask(catalog, live, LiveQuestion::Name(name))?;
    let Some(present) = present.filter(|present| !present.relations.is_empty()) else { return Err(unheard_of) };
    let names: BTreeSet<_> = present.relations.iter().map(|relation| &relation.name).collect();
    if names.len() > 1 {
        let candidates = names.into_iter().cloned().collect();
        return Err(FindError::AmbiguousRelation { pattern: name.clone(), candidates });
    }
    let is_its = |file| present.relations.iter().any(|relation| relation.file == file);
    let mut findings = search(archived, &any, &is_its, cancel)?;
    findings.hits.retain(|hit| present.has_passed(hit));
    Ok(findings)
}

/// Whether something happened to a relation that is wanted.
type IsWanted<'a> = &'a dyn Fn(RelFileLocator) -> bool;

/// Goes through what is known of each segment.
fn search(
    archived: &Archived<'_>,
    quarry: &Quarry,
    is_wanted: IsWanted<'_>,
    cancel: &Cancel,
) -> Result<Findings, FindError> {
    let (mut findings, mut deletes) = (Findings::default(), Deletes::default());
    archived.for_each_facts(cancel, &mut |place, facts| match facts.and_then(|facts| facts.records.as_ref()) {
        Some(records) if matches!(quarry, Quarry::LargeDelete(_)) => {
            deletes.segment(archived, place, records, is_wanted);
            Ok(())
        }
        Some(records) => hits_in(archived, place, records, (quarry, is_wanted), &mut findings),
        None => {
            findings.unread += u64::from(!is_filled(facts));
            Ok(())
        }
    })?;
    findings.hits.sort_by_key(|hit| (hit.lsn, hit.timeline));
    // A segment in which a timeline begins repeats what the one before it had.
    findings.hits.dedup_by(|later, earlier| later.lsn == earlier.lsn && later.what == earlier.what);
    match quarry {
        // PostgreSQL compares the lower halves only, and so did this; the epoch is what was asked for, too.
        Quarry::Xid(target) => findings.hits.retain(|hit| {
            let full = hit.transaction.and_then(|end| end.full_xid);
            target.with_epoch().is_none_or(|wanted| full.is_none_or(|found| found.get() == wanted))
        }),
        Quarry::Around(time) => nearest(&mut findings.hits, *time),
        Quarry::LargeDelete(_) => findings.hits = deletes.hits(archived)?,
        _ => {}
    }
    Ok(findings)
}

/// What is wanted of all that happened to the relations of a name.
fn happenings(archived: &Archived<'_>, quarry: &Quarry, followed: Followed) -> Result<Findings, FindError> {
    let wanted = if matches!(quarry, Quarry::DropOf(_)) { Fate::Dropped } else { Fate::Truncated };
    let Followed { backup, happenings, unread, .. } = followed;
    let mut hits = Vec::new();
    for happening in happenings {
        let Happening { timeline, lsn, end, database, oid, .. } = happening;
        let end = end.counted(archived.next_xid_at(timeline, lsn)?);
        let (fate, new_file) = match &happening.what {
            What::Dropped | What::DatabaseDropped => (Fate::Dropped, None),
            What::NewFile { after, .. } => (archived.fate_of_new_file(&happening, after)?, after.file),
        };
        if fate != wanted && fate != Fate::CannotTell {
            continue;
        }
        let what = match happening.what {
            What::DatabaseDropped => HitKind::DatabaseDropped { database, oid },
            _ => HitKind::RelationChanged { database, oid, fate, file: happening.before.file, new_file },
        };
        let name = Some(HitName { name: happening.before.name, origin: NameOrigin::Followed(backup) });
        hits.push(Hit { timeline, lsn, at: Some(end.at), transaction: Some(end), what, name });
    }
    Ok(Findings { hits, unread })
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
    /// Names cannot be looked up.
    #[error("no backup has catalogs that can be read: names of relations are not known")]
    NoNames {
        /// What happened to relations of whatever name, if it was asked what was dropped or emptied.
        nameless: Vec<Hit>,
    },
    /// Nothing had the name.
    #[error("nothing was called {pattern} since backup {backup}")]
    UnknownRelation {
        /// The name.
        pattern: RelationPattern,
        /// The backup at which the search began.
        backup: BackupId,
    },
    /// Several relations had the name.
    #[error("{pattern} is the name of several relations")]
    AmbiguousRelation {
        /// The name.
        pattern: RelationPattern,
        /// Their whole names.
        candidates: Vec<RelationName>,
    },
}

fn is_filled(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.verdict == Verdict::Verified)
}

fn hits_in(
    archived: &Archived<'_>,
    place: Place,
    records: &RecordFacts,
    (quarry, is_wanted): (&Quarry, IsWanted<'_>),
    findings: &mut Findings,
) -> Result<(), PlanError> {
    let found_before = findings.hits.len();
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
                event_hits(archived, place, event, (quarry, is_wanted), &mut findings.hits)?;
            }
        }
    }
    if findings.hits.len() > found_before {
        let next_xid = archived.next_xid_near(place)?;
        let found = findings.hits.iter_mut().skip(found_before);
        found.for_each(|hit| hit.transaction = hit.transaction.map(|end| end.counted(next_xid)));
    }
    Ok(())
}

fn ended(timeline: TimelineId, end: TransactionPoint) -> Hit {
    Hit { timeline, lsn: end.lsn, at: Some(end.at), transaction: Some(end), what: HitKind::TransactionEnd, name: None }
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
    (quarry, is_wanted): (&Quarry, IsWanted<'_>),
    hits: &mut Vec<Hit>,
) -> Result<(), PlanError> {
    let timeline = archived.timeline_at(place, event.lsn);
    let hit = |transaction, what| Hit { timeline, lsn: event.lsn, at: event.at, transaction, what, name: None };
    match (quarry, &event.kind) {
        (Quarry::RestorePoint(wanted), WalEventKind::RestorePoint { name }) if name == wanted.as_str().as_bytes() => {
            hits.push(hit(None, HitKind::RestorePoint { name: wanted.as_str().to_owned() }));
        }
        (Quarry::DropOf(_) | Quarry::TruncateOf(_), WalEventKind::FilesRemoved { relations, .. }) => {
            for relation in relations.iter().filter(|relation| is_wanted(**relation)) {
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
        (Quarry::TruncateOf(_), WalEventKind::FileCut { relation, blocks }) if is_wanted(*relation) => {
            let transaction = archived.end_of(place, event)?;
            hits.push(hit(transaction, HitKind::Cut { relation: *relation, blocks: *blocks }));
        }
        _ => {}
    }
    Ok(())
}
