//! The decision: what a policy says of every backup, and why.

use std::collections::BTreeMap;
use std::fmt;

use wal_format::Timestamp;

use crate::calendar::{Period, Zones, day, months_before};
use crate::candidate::{Candidate, Keep, State, Target};
use crate::policy::Policy;
use crate::rules::{KeepRule, Rules};

/// What is to become of one backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<Id> {
    /// The backup.
    pub id: Id,
    /// What Barman shows for it.
    pub status: Status,
    /// The rule that gave the status.
    pub reason: Reason<Id>,
}

/// A retention status; displays as in Barman's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// `VALID`: needed.
    Valid,
    /// `OBSOLETE`: enforcing the policy deletes it.
    Obsolete,
    /// `OBSOLETE*`: the window does not need it, minimum redundancy does.
    PotentiallyObsolete,
    /// `KEEP:FULL`.
    KeepFull,
    /// `KEEP:STANDALONE`.
    KeepStandalone,
    /// `-`: the policy does not consider it.
    None,
}

/// The rule behind a [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason<Id> {
    /// Only backups of status `DONE` are judged.
    NotDone,
    /// A user keeps it.
    Kept(Keep),
    /// It is one of the newest backups.
    AmongNewest {
        /// Its place, the newest being 1.
        position: u32,
        /// How many are kept.
        redundancy: u32,
    },
    /// Enough newer backups exist.
    BeyondRedundancy {
        /// Its place, the newest being 1.
        position: u32,
        /// How many are kept.
        redundancy: u32,
    },
    /// It did not end before the recovery window began.
    InsideWindow {
        /// When the window began.
        window_start: Timestamp,
    },
    /// It is the newest backup that ended before the window: the window's first moments are recovered from it.
    ReachesWindow {
        /// When the window began.
        window_start: Timestamp,
    },
    /// A newer backup reaches the whole window.
    BeforeWindow {
        /// When the window began.
        window_start: Timestamp,
    },
    /// It is the newest backup of a day, week, month or year.
    NewestOfPeriod {
        /// Of which.
        period: Period,
        /// The place of that among those which have a backup, the newest being 1.
        position: u32,
        /// Of how many a backup is kept.
        count: u32,
    },
    /// It is the newest backup of no day, week, month or year of which one is kept.
    NoPeriod,
    /// Somebody began to delete it and was interrupted: parts of it may be gone.
    DeletionBegun,
    /// No rule needs it, but without this one too few would be left.
    HeldByMinimumRedundancy {
        /// Its place, the newest being 1.
        position: u32,
        /// How many must be left.
        minimum_redundancy: u32,
    },
    /// An incremental backup goes the way of the full backup at the root of its chain.
    FollowsRoot {
        /// That backup.
        root: Id,
        /// What became of that backup.
        status: Status,
    },
    /// An incremental backup whose root is not among the candidates.
    Orphan {
        /// The missing backup.
        root: Id,
    },
}

impl Status {
    /// What Barman calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Obsolete => "OBSOLETE",
            Self::PotentiallyObsolete => "OBSOLETE*",
            Self::KeepFull => "KEEP:FULL",
            Self::KeepStandalone => "KEEP:STANDALONE",
            Self::None => "-",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A zone that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {name}")]
pub struct UnknownZone {
    /// Its name.
    pub name: String,
}

/// Judges every candidate by one of Barman's policies, whatever their order; returns the newest first.
///
/// `minimum_redundancy` is the option of that name: it raises `REDUNDANCY n`, and holds back backups that a window does
/// not need. Identifiers must differ.
#[must_use]
pub fn verdicts<Id: Ord + Clone>(
    policy: &Policy,
    candidates: &[Candidate<Id>],
    minimum_redundancy: u32,
    now: Timestamp,
) -> Vec<Verdict<Id>> {
    judge(vec![Judge::new(policy, minimum_redundancy, now)], candidates, now)
}

/// Judges every candidate by `rules`, whatever their order; returns the newest first. A backup that several rules keep is
/// kept for the first reason. For the rest see [`verdicts`].
///
/// # Errors
/// A rule names a zone that `zones` does not know.
pub fn verdicts_by<Id: Ord + Clone>(
    rules: &Rules,
    candidates: &[Candidate<Id>],
    minimum_redundancy: u32,
    now: Timestamp,
    zones: &dyn Zones,
) -> Result<Vec<Verdict<Id>>, UnknownZone> {
    let judges = rules.keep.iter().map(|rule| Judge::of_rule(rule, minimum_redundancy, now, candidates, zones));
    Ok(judge(judges.collect::<Result<_, _>>()?, candidates, now))
}

fn judge<Id: Ord + Clone>(mut judges: Vec<Judge>, candidates: &[Candidate<Id>], now: Timestamp) -> Vec<Verdict<Id>> {
    let mut newest_first: Vec<_> = candidates.iter().collect();
    newest_first.sort_by(|a, b| b.id.cmp(&a.id));

    let rulings: BTreeMap<_, _> = newest_first
        .iter()
        .filter(|candidate| candidate.root.is_none())
        .map(|root| (&root.id, rule(&mut judges, root, now)))
        .collect();
    newest_first.iter().map(|candidate| verdict(candidate, &rulings)).collect()
}

/// What was decided on a backup that is not incremental, and for the incremental ones below it.
struct Ruling<Id> {
    status: Status,
    reason: Reason<Id>,
    descendants: Status,
}

fn verdict<Id: Ord + Clone>(candidate: &Candidate<Id>, rulings: &BTreeMap<&Id, Ruling<Id>>) -> Verdict<Id> {
    let (status, reason) = match &candidate.root {
        None => match rulings.get(&candidate.id) {
            Some(ruling) => (ruling.status, ruling.reason.clone()),
            None => (Status::None, Reason::NotDone),
        },
        Some(root) => match rulings.get(root) {
            Some(ruling) => (ruling.descendants, Reason::FollowsRoot { root: root.clone(), status: ruling.status }),
            None => (Status::None, Reason::Orphan { root: root.clone() }),
        },
    };
    Verdict { id: candidate.id.clone(), status, reason }
}

/// The ruling on the next older full backup. All judges weigh it, whoever keeps it.
fn rule<Id>(judges: &mut [Judge], root: &Candidate<Id>, now: Timestamp) -> Ruling<Id> {
    let State::Done { end_time } = root.state else {
        return Ruling { status: Status::None, reason: Reason::NotDone, descendants: Status::None };
    };
    let weighed: Vec<_> = judges.iter_mut().map(|judge| judge.weigh(end_time)).collect();
    match root.keep.filter(|keep| keep.holds(now)) {
        None => strongest(weighed),
        Some(keep) => kept(keep, judges.iter().all(Judge::is_beyond)),
    }
}

/// Of what several rules say, that which keeps the backup longest; the first of equals.
fn strongest<Id>(weighed: Vec<(Status, Reason<Id>)>) -> Ruling<Id> {
    let strength = |status| match status {
        Status::Valid => 0,
        Status::PotentiallyObsolete => 1,
        _ => 2,
    };
    let strongest = weighed.into_iter().min_by_key(|(status, _)| strength(*status));
    let (status, reason) = strongest.unwrap_or((Status::None, Reason::NotDone));
    Ruling { status, reason, descendants: status }
}

/// The ruling on a backup that is kept by hand. The WAL that incremental backups on top of a standalone one need is
/// protected only as far as the policy itself reaches.
fn kept<Id>(keep: Keep, is_beyond: bool) -> Ruling<Id> {
    let (status, descendants) = match keep.target {
        Target::Full => (Status::KeepFull, Status::Valid),
        Target::Standalone if is_beyond => (Status::KeepStandalone, Status::Obsolete),
        Target::Standalone => (Status::KeepStandalone, Status::Valid),
    };
    Ruling { status, reason: Reason::Kept(keep), descendants }
}

/// One rule, walking from the newest backup to the oldest and remembering what it has seen.
enum Judge {
    Redundancy {
        redundancy: u32,
        counted: u32,
    },
    Window {
        start: Timestamp,
        minimum_redundancy: u32,
        counted: u32,
        /// Whether the backup that has just been weighed, or a newer one, reaches the beginning.
        reached: bool,
        /// Whether a newer one does.
        reached_before: bool,
    },
    Periods {
        counts: Vec<PeriodCount>,
        numbers: BTreeMap<Timestamp, PeriodNumbers>,
        minimum_redundancy: u32,
        counted: u32,
        selected: bool,
    },
}

/// How many periods of one kind have had a backup.
struct PeriodCount {
    period: Period,
    count: u32,
    seen: u32,
    /// The number of the last one seen.
    last: Option<i32>,
}

/// The number of the period in which a moment lies, for each of [`Period::ALL`].
type PeriodNumbers = [i32; 4];

impl Judge {
    fn new(policy: &Policy, minimum_redundancy: u32, now: Timestamp) -> Self {
        match policy {
            Policy::Redundancy(count) => Self::Redundancy { redundancy: (*count).max(minimum_redundancy), counted: 0 },
            Policy::RecoveryWindow(window) => Self::window(window.start(now), minimum_redundancy),
        }
    }

    fn window(start: Timestamp, minimum_redundancy: u32) -> Self {
        Self::Window { start, minimum_redundancy, counted: 0, reached: false, reached_before: false }
    }

    fn of_rule<Id>(
        rule: &KeepRule,
        minimum_redundancy: u32,
        now: Timestamp,
        candidates: &[Candidate<Id>],
        zones: &dyn Zones,
    ) -> Result<Self, UnknownZone> {
        let unknown = |zone: &str| UnknownZone { name: zone.to_owned() };
        Ok(match rule {
            KeepRule::Barman(policy) => Self::new(policy, minimum_redundancy, now),
            KeepRule::CalendarMonths { count, zone } => {
                let start = months_before(now, *count, zone, zones).ok_or_else(|| unknown(zone))?;
                Self::window(start, minimum_redundancy)
            }
            KeepRule::Periods { counts, zone } => {
                let of_one = |(period, count): &(Period, u32)| PeriodCount {
                    period: *period,
                    count: *count,
                    seen: 0,
                    last: None,
                };
                Self::Periods {
                    counts: counts.iter().map(of_one).collect(),
                    numbers: period_numbers(candidates, zone, zones).ok_or_else(|| unknown(zone))?,
                    minimum_redundancy,
                    counted: 0,
                    selected: false,
                }
            }
        })
    }

    /// The status of the next older backup if nobody keeps it by hand. Kept ones are weighed, and so counted, too.
    fn weigh<Id>(&mut self, end_time: Timestamp) -> (Status, Reason<Id>) {
        match self {
            Self::Redundancy { redundancy, counted } => {
                let redundancy = *redundancy;
                *counted = counted.saturating_add(1);
                let position = *counted;
                if position <= redundancy {
                    (Status::Valid, Reason::AmongNewest { position, redundancy })
                } else {
                    (Status::Obsolete, Reason::BeyondRedundancy { position, redundancy })
                }
            }
            Self::Window { start, minimum_redundancy, counted, reached, reached_before } => {
                let window_start = *start;
                *reached_before = *reached;
                if *reached {
                    return held(counted, *minimum_redundancy, Reason::BeforeWindow { window_start });
                }
                *counted = counted.saturating_add(1);
                *reached = end_time < window_start;
                let reason = if *reached {
                    Reason::ReachesWindow { window_start }
                } else {
                    Reason::InsideWindow { window_start }
                };
                (Status::Valid, reason)
            }
            Self::Periods { counts, numbers, minimum_redundancy, counted, selected } => {
                let numbers = numbers.get(&end_time).copied().unwrap_or_default();
                let reasons: Vec<_> = counts.iter_mut().filter_map(|count| count.select(&numbers)).collect();
                let first = reasons.into_iter().next();
                *selected = first.is_some();
                match first {
                    Some((period, position, count)) => {
                        *counted = counted.saturating_add(1);
                        (Status::Valid, Reason::NewestOfPeriod { period, position, count })
                    }
                    None => held(counted, *minimum_redundancy, Reason::NoPeriod),
                }
            }
        }
    }

    /// Whether the rule does not need the backup that has just been weighed. The one that reaches the beginning of a window
    /// is needed, and so are its incremental backups: for Barman they are not, if it is kept as a standalone one, and the
    /// window loses what only they reach.
    fn is_beyond(&self) -> bool {
        match self {
            Self::Redundancy { redundancy, counted } => counted > redundancy,
            Self::Window { reached_before, .. } => *reached_before,
            Self::Periods { selected, .. } => !*selected,
        }
    }
}

impl PeriodCount {
    /// Whether the next older backup is the newest of one more period: of which, its place, and how many are kept.
    fn select(&mut self, numbers: &PeriodNumbers) -> Option<(Period, u32, u32)> {
        let (_, number) = Period::ALL.iter().zip(numbers).find(|(period, _)| **period == self.period)?;
        if self.last == Some(*number) || self.seen >= self.count {
            return None;
        }
        self.last = Some(*number);
        self.seen += 1;
        Some((self.period, self.seen, self.count))
    }
}

/// A backup that a rule does not need stays while fewer than so many do.
fn held<Id>(counted: &mut u32, minimum_redundancy: u32, otherwise: Reason<Id>) -> (Status, Reason<Id>) {
    if *counted >= minimum_redundancy {
        return (Status::Obsolete, otherwise);
    }
    *counted = counted.saturating_add(1);
    (Status::PotentiallyObsolete, Reason::HeldByMinimumRedundancy { position: *counted, minimum_redundancy })
}

/// The periods in which the candidates ended; `None` if there is no such zone.
fn period_numbers<Id>(
    candidates: &[Candidate<Id>],
    zone: &str,
    zones: &dyn Zones,
) -> Option<BTreeMap<Timestamp, PeriodNumbers>> {
    let full = candidates.iter().filter(|candidate| candidate.root.is_none());
    let ends = full.filter_map(|candidate| match candidate.state {
        State::Done { end_time } => Some(end_time),
        State::Other => None,
    });
    // Asked even where there is no backup, so that a wrong name is found when the policy is written.
    zones.offset_seconds(zone, Timestamp::from_unix_micros(0))?;
    ends.map(|end| day(end, zone, zones).map(|day| (end, Period::ALL.map(|period| period.number(day))))).collect()
}

#[cfg(test)]
mod tests;
