//! The plan: a verdict, with the rule that gave it, for every backup and every range of WAL.

use std::collections::{BTreeMap, BTreeSet};

use wal_format::{SegmentSize, TimelineId, TimelineTree, Timestamp, WalFileName};

use crate::calendar::{Zones, months_before};
use crate::candidate::{Backup, Stage, State, Target};
use crate::coverage::{Coverage, DamagedWal};
use crate::policy::{Policy, Window};
use crate::removal::{Freed, Occasion, Remaining, Removal};
use crate::rules::{KeepRule, Rules};
use crate::verdict::{Reason, Status, UnknownZone, Verdict, verdicts_by};
use crate::wal::{ArchivedWal, Place};
use crate::window::{RecoveryWindow, recovery_window};

/// Everything a plan depends on.
#[derive(Clone, Copy)]
pub struct Request<'a, Id> {
    /// What is to be kept.
    pub rules: &'a Rules,
    /// How many full backups stay in any case.
    pub minimum_redundancy: u32,
    /// The present, or the time for which one asks.
    pub now: Timestamp,
    /// Every backup of the server, in any order.
    pub backups: &'a [Backup<Id>],
    /// Every archived file, in any order; planning is fastest when neighbours follow each other.
    pub wal: &'a [ArchivedWal],
    /// What of it cannot be believed.
    pub damage: &'a [DamagedWal],
    /// How the timelines branch.
    pub timelines: &'a TimelineTree,
    /// The size of the cluster's segments.
    pub segment_size: SegmentSize,
    /// What clocks show in the zones that the rules name.
    pub zones: &'a dyn Zones,
}

/// What is to become of everything a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<Id> {
    /// Every backup, the newest first; those of [`Stage::Empty`] are left out.
    pub verdicts: Vec<Verdict<Id>>,
    /// The backups to delete, in this order.
    pub deletions: Vec<Id>,
    /// The backups that stay, but without the WAL behind them: they can be recovered to their end only.
    pub standalone: Vec<Id>,
    /// Every archived file, by ranges of names.
    pub wal: Vec<WalRange<Id>>,
    /// What can be recovered now.
    pub before: RecoveryWindow<Id>,
    /// What can be recovered once the plan is carried out.
    pub after: RecoveryWindow<Id>,
    /// Bytes of backups and WAL that stay.
    pub kept_bytes: u64,
    /// Bytes of backups and WAL that go.
    pub freed_bytes: u64,
    /// By how many bytes what stays exceeds the limit.
    pub bytes_over_limit: Option<u64>,
    /// Why the plan must not be carried out, if so.
    pub stop: Option<Stop>,
}

/// Archived files whose names follow each other and that have the same fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRange<Id> {
    /// The first name.
    pub first: WalFileName,
    /// The last name.
    pub last: WalFileName,
    /// How many files.
    pub files: u64,
    /// Their length as stored, in bytes.
    pub bytes: u64,
    /// Their fate.
    pub rule: WalRule<Id>,
}

/// Why archived files stay or go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalRule<Id> {
    /// They go with this backup: no other needs them.
    FreedWith(Id),
    /// They go because they are older than WAL is kept, and no backup needs them to be restored.
    BeforeWalWindow {
        /// Since when WAL is kept.
        window_start: Timestamp,
    },
    /// They stay: the backup cannot be restored without them.
    NeededBy(Id),
    /// They stay: recovery from this backup, or an older one, to a later point passes through them.
    Since(Id),
    /// They stay: no backup precedes them on their timeline, and no rule removes them.
    NoBackup,
    /// They stay: history files are small, and without them recovery does not find its way.
    History,
}

impl<Id> Plan<Id> {
    /// Tells whether carrying the plan out changes anything.
    #[must_use]
    pub fn removes(&self) -> bool {
        !self.deletions.is_empty() || self.wal.iter().any(|range| range.rule.is_removal())
    }
}

impl<Id> WalRule<Id> {
    /// Tells whether the files go.
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        matches!(self, Self::FreedWith(_) | Self::BeforeWalWindow { .. })
    }
}

/// Why a plan must not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// The clock is behind: by it, backups were taken in the future.
    #[error("the clock is behind the end of the newest backup")]
    ClockBehind {
        /// What the clock says.
        now: Timestamp,
        /// When the newest backup ended.
        newest_backup: Timestamp,
    },
    /// Nothing has happened for longer than the window, and than [`LONGEST_SILENCE_SECONDS`]: if that is not the clock's
    /// doing, deleting gains nothing either.
    #[error("the clock is far ahead of the newest backup and the newest WAL")]
    ClockAhead {
        /// What the clock says.
        now: Timestamp,
        /// When the newest backup or WAL file was written.
        newest: Timestamp,
    },
    /// `REDUNDANCY 0` without minimum redundancy: not even the newest backup would stay.
    #[error("a redundancy of 0 keeps no backup at all")]
    KeepsNothing,
}

/// By so much clocks of the PostgreSQL and the Barman host may differ: end times are often those of the former.
pub const CLOCK_SKEW_SECONDS: i64 = 300;

/// 31 days. For so long at least a server may be silent before its windows stop moving.
pub const LONGEST_SILENCE_SECONDS: i64 = 31 * 86_400;

/// Says what is to become of every backup and every archived file, and why.
///
/// # Errors
/// The rules name a zone that is unknown.
pub fn plan<Id: Ord + Clone>(request: &Request<'_, Id>) -> Result<Plan<Id>, UnknownZone> {
    let verdicts = judge(request)?;
    let mut remaining = Remaining::new(request.backups, request.now);
    let mut freed = Freed::default();
    let mut deletions = Vec::new();
    // Oldest first, as Barman's cron.
    for verdict in verdicts.iter().rev().filter(|verdict| verdict.status == Status::Obsolete) {
        if let Some(removal) = remaining.delete(&verdict.id, verdict.occasion()) {
            freed.add(&WalRule::FreedWith(verdict.id.clone()), removal);
        }
        deletions.push(verdict.id.clone());
    }
    let kept: Vec<_> = remaining.backups().collect();
    let mut standalone = Vec::new();
    if let Some(cut) = request.rules.wal.and_then(|window| cut_wal(&kept, request.wal, window, request.now)) {
        let window_start = cut.window_start;
        freed.add(&WalRule::BeforeWalWindow { window_start }, cut.removal);
        standalone = cut.standalone;
    }

    let sorted = Sorter::new(&kept, &freed).sort(request);
    let (freed_bytes, kept_bytes) = bytes(request.backups, &deletions, &sorted.ranges);
    Ok(Plan {
        stop: stop(request, !deletions.is_empty() || !freed.is_empty()),
        before: recovery_window(request.backups, sorted.before, request.timelines),
        after: recovery_window(kept, sorted.after, request.timelines),
        bytes_over_limit: request.rules.limit.and_then(|limit| kept_bytes.checked_sub(limit)).filter(|over| *over > 0),
        wal: sorted.ranges,
        verdicts,
        deletions,
        standalone,
        kept_bytes,
        freed_bytes,
    })
}

/// The verdicts of the rules, and those on what is left of interrupted deletions.
///
/// A backup that somebody began to delete counts for no rule: of what it should hold, parts may be gone.
fn judge<Id: Ord + Clone>(request: &Request<'_, Id>) -> Result<Vec<Verdict<Id>>, UnknownZone> {
    let Request { rules, minimum_redundancy, now, backups, zones, .. } = *request;
    let considered = backups.iter().filter(|backup| backup.stage != Stage::Empty);
    let (marked, whole): (Vec<_>, Vec<_>) = considered.partition(|backup| backup.is_to_be_finished(now));
    let candidates: Vec<_> = whole.iter().map(|backup| backup.candidate.clone()).collect();
    let mut verdicts = verdicts_by(rules, &candidates, minimum_redundancy, now, zones)?;
    if marked.is_empty() {
        return Ok(verdicts);
    }
    let full: BTreeSet<_> = whole.iter().filter(|b| b.is_complete_full()).map(|b| &b.candidate.id).collect();
    let left = verdicts.iter().filter(|v| v.status != Status::Obsolete && full.contains(&v.id)).count();
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    let (status, reason) = if left >= minimum_redundancy {
        (Status::Obsolete, Reason::DeletionBegun)
    } else {
        let reason = Reason::HeldByMinimumRedundancy { position: left + 1, minimum_redundancy };
        (Status::PotentiallyObsolete, reason)
    };
    let roots: BTreeSet<_> = marked.iter().map(|backup| &backup.candidate.id).collect();
    for verdict in &mut verdicts {
        if let Reason::Orphan { root } = &verdict.reason
            && roots.contains(root)
        {
            (verdict.status, verdict.reason) = (status, reason.clone());
        }
    }
    let of_marked = |backup: &&Backup<Id>| Verdict { id: backup.candidate.id.clone(), status, reason: reason.clone() };
    verdicts.extend(marked.iter().map(of_marked));
    verdicts.sort_by(|a, b| b.id.cmp(&a.id));
    Ok(verdicts)
}

impl<Id> Verdict<Id> {
    /// Returns for what reason an obsolete backup is deleted. What the policy would have kept was deleted by a user.
    #[must_use]
    pub fn occasion(&self) -> Occasion {
        match self.reason {
            Reason::DeletionBegun => Occasion::Command,
            _ => Occasion::Policy,
        }
    }
}

impl<Id> Backup<Id> {
    /// Whether somebody began to delete it, and nobody keeps it.
    fn is_to_be_finished(&self, now: Timestamp) -> bool {
        self.marked && self.candidate.kept(now).is_none()
    }

    fn is_complete_full(&self) -> bool {
        self.stage == Stage::Done && self.candidate.root.is_none()
    }
}

/// Says which WAL the rules remove because of its age alone. Backups that the rules do not need any more count as long as
/// they are there.
#[must_use]
pub fn old_wal<Id: Ord + Clone>(request: &Request<'_, Id>) -> Freed<Timestamp> {
    let mut freed = Freed::default();
    let mut backups: Vec<_> = request.backups.iter().collect();
    backups.sort_by(|a, b| a.candidate.id.cmp(&b.candidate.id));
    if let Some(cut) = request.rules.wal.and_then(|window| cut_wal(&backups, request.wal, window, request.now)) {
        freed.add(&cut.window_start, cut.removal);
    }
    freed
}

/// WAL that is older than WAL is kept.
struct Cut<Id> {
    window_start: Timestamp,
    removal: Removal,
    standalone: Vec<Id>,
}

/// Cuts the WAL behind what reaches the beginning of its window: the newest backup that ended before that, or, where there
/// is no backup at all, the window itself. Older backups keep what they need to be restored.
fn cut_wal<Id: Ord + Clone>(
    kept: &[&Backup<Id>],
    wal: &[ArchivedWal],
    window: Window,
    now: Timestamp,
) -> Option<Cut<Id>> {
    let window_start = window.start(now);
    let alive: Vec<_> = kept.iter().copied().filter(|backup| backup.stage.is_alive()).collect();
    if alive.is_empty() {
        return Some(Cut {
            window_start,
            removal: Removal::below(ends_of_old(wal, window_start)),
            standalone: Vec::new(),
        });
    }
    let ended_before =
        |backup: &&&Backup<Id>| matches!(backup.candidate.state, State::Done { end_time } if end_time < window_start);
    let reaching = &alive.iter().rfind(ended_before)?.candidate.id;
    let holds_more = |backup: &&Backup<Id>| &backup.candidate.id >= reaching || backup.holds_later_wal(now);
    let limit = alive.iter().copied().find(holds_more)?;
    let (older, newer) = alive.split_at(alive.partition_point(|backup| backup.candidate.id < limit.candidate.id));
    let own = |backup: &&Backup<Id>| Some(Place::of_segment(backup.begin_wal?)..Place::after(backup.end_wal?));
    let ranges = older.iter().map(own).collect::<Option<Vec<_>>>()?;
    let protected: BTreeSet<TimelineId> = newer.iter().filter_map(|backup| backup.timeline).collect();
    let protected = protected.into_iter().filter(|timeline| Some(*timeline) != limit.timeline);
    Some(Cut {
        window_start,
        removal: Removal::before(limit.begin_wal?, protected, &ranges),
        standalone: older.iter().map(|backup| backup.candidate.id.clone()).collect(),
    })
}

impl<Id> Backup<Id> {
    /// Whether a user, or the backup's state, asks for all WAL from it on.
    fn holds_later_wal(&self, now: Timestamp) -> bool {
        let is_kept = match self.candidate.kept(now) {
            Some(target) => target == Target::Full,
            None => self.stage != Stage::Done,
        };
        is_kept || self.in_use
    }
}

/// For each timeline the place of the first file that is not older than `start`; behind the last, if all are older.
fn ends_of_old(wal: &[ArchivedWal], start: Timestamp) -> Vec<Place> {
    let mut limits: BTreeMap<Place, Place> = BTreeMap::new();
    let placed = || wal.iter().filter_map(|wal| Some((wal, Place::of(&wal.name)?)));
    for (_, place) in placed().filter(|(wal, _)| wal.modified < start) {
        let end = place.successor();
        limits.entry(place.timeline_start()).and_modify(|limit| *limit = end.max(*limit)).or_insert(end);
    }
    for (_, place) in placed().filter(|(wal, _)| wal.modified >= start) {
        limits.entry(place.timeline_start()).and_modify(|limit| *limit = place.min(*limit));
    }
    limits.into_values().collect()
}

/// Sorts archived files into ranges of the same fate.
struct Sorter<Id> {
    /// The beginnings of the ranges, ascending; the first is [`Place::FIRST`].
    borders: Vec<Place>,
    /// What becomes of each range.
    rules: Vec<WalRule<Id>>,
}

struct Sorted<Id> {
    ranges: Vec<WalRange<Id>>,
    before: Coverage,
    after: Coverage,
}

impl<Id: Ord + Clone> Sorter<Id> {
    fn new(kept: &[&Backup<Id>], freed: &Freed<WalRule<Id>>) -> Self {
        let mut owners = BTreeMap::new();
        for backup in kept.iter().filter(|backup| backup.stage.is_alive()) {
            if let Some(begin) = backup.begin_wal {
                let end = Place::after(backup.end_wal.unwrap_or(begin));
                owners.insert(Place::of_segment(begin), (end, &backup.candidate.id));
            }
        }
        let of_owner = |(begin, (end, _)): (&Place, &(Place, &Id))| [*begin, *end, begin.timeline_end()];
        let borders: BTreeSet<_> =
            freed.borders().chain(owners.iter().flat_map(of_owner)).chain([Place::FIRST]).collect();
        let rule = |place: &Place| match (freed.why_at(*place), owners.range(..=*place).next_back()) {
            (Some(why), _) => why.clone(),
            (None, Some((begin, _))) if begin.timeline_start() != place.timeline_start() => WalRule::NoBackup,
            (None, Some((_, (end, id)))) if place < end => WalRule::NeededBy((*id).clone()),
            (None, Some((_, (_, id)))) => WalRule::Since((*id).clone()),
            (None, None) => WalRule::NoBackup,
        };
        Self { rules: borders.iter().map(rule).collect(), borders: borders.into_iter().collect() }
    }

    fn sort(self, request: &Request<'_, Id>) -> Sorted<Id> {
        let mut piles: Vec<Option<Pile>> = vec![None; self.rules.len()];
        let mut history: Option<Pile> = None;
        let mut before = Coverage::new(request.segment_size);
        request.damage.iter().cloned().for_each(|damage| before.add_damage(damage));
        let mut after = before.clone();
        // Neighbours have neighbouring names, so the range of one file is mostly that of the next.
        let (mut index, mut range) = (0, Place::FIRST..Place::FIRST);
        for wal in request.wal {
            let Some(place) = Place::of(&wal.name) else {
                Pile::add(&mut history, wal, Place::of_history(&wal.name));
                continue;
            };
            if !range.contains(&place) {
                index = self.borders.partition_point(|border| *border <= place).saturating_sub(1);
                let border = |index: usize| self.borders.get(index).copied();
                range = border(index).unwrap_or(Place::FIRST)..border(index + 1).unwrap_or(Place::END);
            }
            before.add(wal);
            if self.rules.get(index).is_none_or(|rule| !rule.is_removal()) {
                after.add(wal);
            }
            if let Some(pile) = piles.get_mut(index) {
                Pile::add(pile, wal, place);
            }
        }
        let mut ranges = Vec::new();
        let piles = piles.into_iter().zip(self.rules).chain([(history, WalRule::History)]);
        piles.filter_map(|(pile, rule)| Some((pile?, rule))).for_each(|(pile, rule)| pile.append_to(&mut ranges, rule));
        Sorted { ranges, before, after }
    }
}

/// Files of one range.
#[derive(Clone)]
struct Pile {
    first: (Place, WalFileName),
    last: (Place, WalFileName),
    files: u64,
    bytes: u64,
}

impl Pile {
    fn add(pile: &mut Option<Self>, wal: &ArchivedWal, place: Place) {
        let of_file = (place, wal.name);
        let Some(pile) = pile else {
            *pile = Some(Self { first: of_file, last: of_file, files: 1, bytes: wal.size });
            return;
        };
        if place < pile.first.0 {
            pile.first = of_file;
        }
        if place >= pile.last.0 {
            pile.last = of_file;
        }
        pile.files += 1;
        pile.bytes = pile.bytes.saturating_add(wal.size);
    }

    fn append_to<Id: PartialEq>(self, ranges: &mut Vec<WalRange<Id>>, rule: WalRule<Id>) {
        match ranges.last_mut().filter(|last| last.rule == rule) {
            Some(last) => {
                last.last = self.last.1;
                last.files += self.files;
                last.bytes = last.bytes.saturating_add(self.bytes);
            }
            None => ranges.push(WalRange {
                first: self.first.1,
                last: self.last.1,
                files: self.files,
                bytes: self.bytes,
                rule,
            }),
        }
    }
}

/// Bytes that go, and bytes that stay.
fn bytes<Id: Ord>(backups: &[Backup<Id>], deletions: &[Id], ranges: &[WalRange<Id>]) -> (u64, u64) {
    let of_backups = backups.iter().map(|b| (deletions.binary_search(&b.candidate.id).is_ok(), b.size));
    let of_wal = ranges.iter().map(|range| (range.rule.is_removal(), range.bytes));
    of_backups.chain(of_wal).fold((0u64, 0u64), |(freed, kept), (goes, bytes)| {
        if goes { (freed.saturating_add(bytes), kept) } else { (freed, kept.saturating_add(bytes)) }
    })
}

fn stop<Id>(request: &Request<'_, Id>, removes: bool) -> Option<Stop> {
    let Request { rules, minimum_redundancy, now, backups, wal, .. } = *request;
    if minimum_redundancy == 0 && rules.keep.iter().all(|rule| *rule == KeepRule::Barman(Policy::Redundancy(0))) {
        return Some(Stop::KeepsNothing);
    }
    let ends = backups.iter().filter_map(|backup| match backup.candidate.state {
        State::Done { end_time } => Some(end_time),
        State::Other => None,
    });
    let newest_backup = ends.max();
    if let Some(newest_backup) = newest_backup.filter(|end| seconds_after(*end, CLOCK_SKEW_SECONDS, now) > 0) {
        return Some(Stop::ClockBehind { now, newest_backup });
    }
    if !removes {
        return None;
    }
    let newest = wal.iter().map(|wal| wal.modified).chain(newest_backup).max()?;
    let window_start = window_starts(request).min()?;
    let is_silent = newest < window_start && seconds_after(now, LONGEST_SILENCE_SECONDS, newest) > 0;
    is_silent.then_some(Stop::ClockAhead { now, newest })
}

/// Where the windows begin that move with the clock.
fn window_starts<Id>(request: &Request<'_, Id>) -> impl Iterator<Item = Timestamp> {
    let Request { rules, now, zones, .. } = *request;
    let backups = rules.keep.iter().filter_map(move |rule| match rule {
        KeepRule::Barman(Policy::RecoveryWindow(window)) => Some(window.start(now)),
        KeepRule::CalendarMonths { count, zone } => months_before(now, *count, zone, zones),
        KeepRule::Barman(Policy::Redundancy(_)) | KeepRule::Periods { .. } => None,
    });
    backups.chain(rules.wal.map(|window| window.start(now)))
}

/// By how many microseconds `one` is more than so many seconds after `other`.
fn seconds_after(one: Timestamp, seconds: i64, other: Timestamp) -> i64 {
    one.pg_micros().saturating_sub(other.pg_micros()).saturating_sub(seconds * 1_000_000)
}

#[cfg(test)]
mod tests;
