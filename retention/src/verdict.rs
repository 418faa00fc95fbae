//! The decision: what a policy says of every backup, and why.

use std::collections::BTreeMap;
use std::fmt;

use wal_format::Timestamp;

use crate::candidate::{Candidate, Keep, State};
use crate::policy::Policy;

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
    /// A newer backup reaches the whole window, but without this one too few would be left.
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

/// Judges every candidate, whatever their order; returns the newest first.
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
    let mut newest_first: Vec<_> = candidates.iter().collect();
    newest_first.sort_by(|a, b| b.id.cmp(&a.id));

    let mut judge = Judge::new(policy, minimum_redundancy, now);
    let rulings: BTreeMap<_, _> = newest_first
        .iter()
        .filter(|candidate| candidate.root.is_none())
        .map(|root| (&root.id, judge.rule(root)))
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

/// Walks from the newest backup to the oldest and remembers what it has seen.
enum Judge {
    Redundancy { redundancy: u32, counted: u32 },
    Window { start: Timestamp, minimum_redundancy: u32, counted: u32, reached: bool },
}

impl Judge {
    fn new(policy: &Policy, minimum_redundancy: u32, now: Timestamp) -> Self {
        match policy {
            Policy::Redundancy(count) => Self::Redundancy { redundancy: (*count).max(minimum_redundancy), counted: 0 },
            Policy::RecoveryWindow(window) => {
                Self::Window { start: window.start(now), minimum_redundancy, counted: 0, reached: false }
            }
        }
    }

    fn rule<Id>(&mut self, root: &Candidate<Id>) -> Ruling<Id> {
        let State::Done { end_time } = root.state else {
            return Ruling { status: Status::None, reason: Reason::NotDone, descendants: Status::None };
        };
        let (status, reason) = self.weigh(end_time);
        match root.keep {
            None => Ruling { status, reason, descendants: status },
            Some(keep) => self.kept(keep),
        }
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
            Self::Window { start, minimum_redundancy, counted, reached } => {
                let (window_start, minimum_redundancy) = (*start, *minimum_redundancy);
                if *reached && *counted >= minimum_redundancy {
                    return (Status::Obsolete, Reason::BeforeWindow { window_start });
                }
                *counted = counted.saturating_add(1);
                if *reached {
                    let reason = Reason::HeldByMinimumRedundancy { position: *counted, minimum_redundancy };
                    return (Status::PotentiallyObsolete, reason);
                }
                *reached = end_time < window_start;
                let reason = if *reached {
                    Reason::ReachesWindow { window_start }
                } else {
                    Reason::InsideWindow { window_start }
                };
                (Status::Valid, reason)
            }
        }
    }

    /// The ruling on a backup that has just been weighed and is kept by hand. The WAL that incremental backups on top of
    /// a standalone one need is protected only as far as the policy itself reaches.
    fn kept<Id>(&self, keep: Keep) -> Ruling<Id> {
        let beyond = match self {
            Self::Redundancy { redundancy, counted } => counted > redundancy,
            Self::Window { reached, .. } => *reached,
        };
        let (status, descendants) = match keep {
            Keep::Full => (Status::KeepFull, Status::Valid),
            Keep::Standalone if beyond => (Status::KeepStandalone, Status::Obsolete),
            Keep::Standalone => (Status::KeepStandalone, Status::Valid),
        };
        Ruling { status, reason: Reason::Kept(keep), descendants }
    }
}

#[cfg(test)]
mod tests;
