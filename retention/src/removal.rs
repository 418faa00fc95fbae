//! Which WAL becomes superfluous when a backup goes.

use std::collections::BTreeMap;
use std::ops::Range;

use wal_format::{SegmentName, TimelineId, Timestamp, WalFileName};

use crate::candidate::{Backup, Target};
use crate::wal::{Place, Places};

/// Why a backup is deleted. It decides about WAL behind backups that are kept for themselves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The retention policy: WAL between standalone backups goes.
    Policy,
    /// A user's command: where a standalone backup is the only older one, all WAL stays.
    Command,
}

/// The backups of a server while some of them are deleted, one after the other.
///
/// The rules are Barman's (`delete` and `cron`): WAL goes with the oldest backup that needs it, as far as the next backup;
/// not if it is on the timeline of any other backup, nor between begin and end of an older standalone one. History files
/// always stay. So an obsolete backup between two that are kept frees no WAL: recovery from the older one passes through
/// it.
#[derive(Debug)]
pub struct Remaining<'a, Id> {
    /// Ascending by id.
    backups: Vec<&'a Backup<Id>>,
    /// Whether each of them is still there.
    present: Vec<bool>,
    /// How many backups whose WAL may be needed are on each timeline.
    timelines: BTreeMap<TimelineId, usize>,
    /// Everything before this index is gone.
    gone_before: usize,
    /// When they are deleted.
    now: Timestamp,
}

/// What becomes of WAL when one backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal(Places);

impl Removal {
    /// Everything before `limit` but some timelines and some ranges.
    pub(crate) fn before(
        limit: SegmentName,
        timelines: impl IntoIterator<Item = TimelineId>,
        ranges: &[Range<Place>],
    ) -> Self {
        let mut places = Places::range(Place::FIRST..Place::of_segment(limit));
        timelines.into_iter().for_each(|timeline| places.remove(&Place::timeline(timeline)));
        ranges.iter().for_each(|range| places.remove(range));
        Self(places)
    }

    /// What each of some timelines has before a place on it.
    pub(crate) fn below(limits: impl IntoIterator<Item = Place>) -> Self {
        let mut places = Places::default();
        limits.into_iter().for_each(|limit| places.add(&Places::range(limit.timeline_start()..limit)));
        Self(places)
    }
}

impl<'a, Id: Ord> Remaining<'a, Id> {
    /// All backups of a server, whatever their order and state, at a moment: it decides which keeps still hold.
    #[must_use]
    pub fn new(backups: &'a [Backup<Id>], now: Timestamp) -> Self {
        let mut backups: Vec<_> = backups.iter().collect();
        backups.sort_by(|a, b| a.candidate.id.cmp(&b.candidate.id));
        let mut timelines = BTreeMap::new();
        for timeline in backups.iter().filter_map(|backup| backup.needed_timeline()) {
            *timelines.entry(timeline).or_default() += 1;
        }
        Self { present: vec![true; backups.len()], backups, timelines, gone_before: 0, now }
    }

    /// Deletes a backup; returns what WAL goes with it, or `None` if an older backup needs all there is, or the backup is
    /// not there.
    pub fn delete(&mut self, id: &Id, occasion: Occasion) -> Option<Removal> {
        let index = self.backups.binary_search_by(|backup| backup.candidate.id.cmp(id)).ok()?;
        if !self.is_present(index) {
            return None;
        }
        let removal = self.removal(index, occasion);
        self.forget(index);
        removal
    }

    /// Returns the backups that are still there, ascending by id.
    pub fn backups(&self) -> impl Iterator<Item = &'a Backup<Id>> {
        self.from(self.gone_before).map(|(_, backup)| backup)
    }

    /// `None` where no WAL goes at all.
    fn removal(&self, index: usize, occasion: Occasion) -> Option<Removal> {
        let deleted = *self.backups.get(index)?;
        let standalone = self.standalone_before(index, occasion)?;
        let next = self.from(index + 1).map(|(_, backup)| backup).find(|backup| backup.stage.is_copied());
        let limit = next.unwrap_or(deleted);
        let own = |timeline: TimelineId| usize::from(deleted.needed_timeline() == Some(timeline));
        let others = self.timelines.iter().filter(|(timeline, count)| **count > own(**timeline));
        let protected = others.map(|(timeline, _)| *timeline).filter(|timeline| Some(*timeline) != limit.timeline);
        Some(Removal::before(limit.begin_wal?, protected, &standalone))
    }

    /// What the older backups with all their data need, if all of them are standalone; `None` if one of them needs more than that, or does
    /// not say what it needs.
    fn standalone_before(&self, index: usize, occasion: Occasion) -> Option<Vec<Range<Place>>> {
        let older = self.backups.get(self.gone_before..index)?.iter().zip(self.present.get(self.gone_before..index)?);
        let mut ranges = Vec::new();
        for (backup, _) in older.rev().filter(|(backup, present)| **present && backup.stage.is_copied()) {
            let is_alone = backup.candidate.kept(self.now) == Some(Target::Standalone) && !backup.in_use;
            if occasion == Occasion::Command || !is_alone {
                return None;
            }
            ranges.push(Place::of_segment(backup.begin_wal?)..Place::after(backup.end_wal?));
        }
        Some(ranges)
    }

    fn forget(&mut self, index: usize) {
        if let Some(present) = self.present.get_mut(index) {
            *present = false;
        }
        let timeline = self.backups.get(index).and_then(|backup| backup.needed_timeline());
        if let Some(count) = timeline.and_then(|timeline| self.timelines.get_mut(&timeline)) {
            *count -= 1;
        }
        while self.gone_before < self.backups.len() && !self.is_present(self.gone_before) {
            self.gone_before += 1;
        }
    }

    fn is_present(&self, index: usize) -> bool {
        self.present.get(index).copied().unwrap_or(false)
    }

    /// The backups that are still there, from an index on.
    fn from(&self, index: usize) -> impl Iterator<Item = (usize, &'a Backup<Id>)> {
        let all = self.backups.iter().zip(&self.present).enumerate().skip(index);
        all.filter(|(_, (_, present))| **present).map(|(index, (backup, _))| (index, *backup))
    }
}

impl<Id> Backup<Id> {
    /// Its timeline, if it is or may become a backup whose WAL is needed.
    fn needed_timeline(&self) -> Option<TimelineId> {
        self.timeline.filter(|_| self.stage.is_alive())
    }
}

/// WAL that goes, and why each file does.
#[derive(Debug, Clone)]
pub struct Freed<Why> {
    all: Places,
    /// The same by the beginning of each range.
    pieces: BTreeMap<Place, (Place, Why)>,
}

impl<Why> Default for Freed<Why> {
    fn default() -> Self {
        Self { all: Places::default(), pieces: BTreeMap::new() }
    }
}

impl<Why: Clone> Freed<Why> {
    /// Adds what one more removal frees.
    pub fn add(&mut self, why: &Why, removal: Removal) {
        let Removal(mut places) = removal;
        self.all.ranges().for_each(|range| places.remove(range));
        self.all.add(&places);
        self.pieces.extend(places.ranges().map(|range| (range.start, (range.end, why.clone()))));
    }

    /// Returns why a file goes, or `None` if it stays. If several removals free it, the first counts.
    #[must_use]
    pub fn why(&self, name: &WalFileName) -> Option<&Why> {
        self.why_at(Place::of(name)?)
    }

    /// Returns what goes, as ranges of numbers that sort like the names of files. They are made to be stored: what they
    /// mean stays as it is.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u128>> {
        self.all.ranges().map(|range| range.start.as_number()..range.end.as_number())
    }

    /// What [`ranges`](Self::ranges) has once returned, all for the same reason.
    #[must_use]
    pub fn of_ranges(why: &Why, ranges: impl IntoIterator<Item = Range<u128>>) -> Self {
        let mut freed = Self::default();
        for range in ranges {
            let places = Places::range(Place::from_number(range.start)..Place::from_number(range.end));
            freed.add(why, Removal(places));
        }
        freed
    }

    /// Tells whether nothing goes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn why_at(&self, place: Place) -> Option<&Why> {
        let (_, (end, why)) = self.pieces.range(..=place).next_back()?;
        (place < *end).then_some(why)
    }

    /// Where the answer changes.
    pub(crate) fn borders(&self) -> impl Iterator<Item = Place> {
        self.pieces.iter().flat_map(|(start, (end, _))| [*start, *end])
    }
}

#[cfg(test)]
mod tests;
