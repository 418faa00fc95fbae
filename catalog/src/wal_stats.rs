//! How much WAL belongs to each backup.

use std::collections::BTreeMap;

use barman_retention::Coverage;
use wal_format::{SegmentName, TimelineId};

use crate::archive::Covering;
use crate::{BackupId, BackupInfo, Catalog, Error, XlogLine};

/// What `show-backup` and `list-backups` say of the WAL of one backup. Whole segments on its timeline count, as stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WalStats {
    /// Segments from its begin to its end.
    pub wal_num: u64,
    /// Their size as stored, in bytes.
    pub wal_size: u64,
    /// Segments after its end, up to the end of the next backup; all of them for the newest.
    pub wal_until_next_num: u64,
    /// Their size as stored, in bytes.
    pub wal_until_next_size: u64,
    /// When the first segment it needs was written; seconds since 1970-01-01 UTC.
    pub first_modified: Option<f64>,
    /// The last segment counted.
    pub last: Option<SegmentName>,
    /// When that was written; seconds since 1970-01-01 UTC.
    pub last_modified: Option<f64>,
}

impl WalStats {
    /// Returns how many segments were written in a second, between the first and the last; `None` if that took no time.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "far fewer segments than 2^53")]
    pub fn wals_per_second(&self) -> Option<f64> {
        let seconds = self.last_modified? - self.first_modified?;
        (seconds > 0.0).then(|| (self.wal_num + self.wal_until_next_num) as f64 / seconds)
    }

    /// Returns the part of their size that compression saves in the segments of the backup itself, 0.0 to 1.0.
    #[must_use]
    pub fn compression_ratio(&self, segment_size: wal_format::SegmentSize) -> f64 {
        ratio(self.wal_size, self.wal_num, segment_size)
    }

    /// Returns the part of their size that compression saves in the segments after the backup, 0.0 to 1.0.
    #[must_use]
    pub fn until_next_compression_ratio(&self, segment_size: wal_format::SegmentSize) -> f64 {
        ratio(self.wal_until_next_size, self.wal_until_next_num, segment_size)
    }
}

#[allow(clippy::cast_precision_loss, reason = "as Barman computes it")]
fn ratio(stored: u64, number: u64, segment_size: wal_format::SegmentSize) -> f64 {
    if number == 0 { 0.0 } else { 1.0 - stored as f64 / (number as f64 * segment_size.bytes() as f64) }
}

impl Catalog {
    /// Returns the statistics of every backup that says which WAL it needs. `backups` ascend by id, as
    /// [`Catalog::backups`] returns them. The index is read once, whatever the number of backups.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn wal_stats(&self, backups: &[BackupInfo]) -> Result<BTreeMap<BackupId, WalStats>, Error> {
        let mut counters = Counters::new(backups);
        if !counters.timelines.is_empty() {
            let count = |counters: &mut Counters, line: XlogLine<'_>| {
                line.segment().into_iter().for_each(|name| counters.count(name, &line));
            };
            let parts = self.xlog_db()?.fold(|| counters.clone(), count)?;
            parts.into_iter().for_each(|part| counters.add(part));
        }
        Ok(counters.finish())
    }

    /// Returns the same, and what [`Catalog::wal_coverage`] returns: the index is read once for both.
    ///
    /// # Errors
    /// The index or the ledger cannot be read.
    pub fn wal_survey(&self, backups: &[BackupInfo]) -> Result<(BTreeMap<BackupId, WalStats>, Coverage), Error> {
        let mut counters = Counters::new(backups);
        let mut coverage = Coverage::new(self.covered_segment_size(backups)?);
        let parts = self.xlog_db()?.fold(
            || (counters.clone(), Covering::new(coverage.clone())),
            |(counters, covering), line| {
                if let Some(name) = line.segment() {
                    counters.count(name, &line);
                    covering.add(name, &line);
                }
            },
        )?;
        for (counted, covered) in parts {
            counters.add(counted);
            coverage.join(covered.finish());
        }
        self.describe_coverage(&mut coverage)?;
        Ok((counters.finish(), coverage))
    }
}

/// The WAL of one backup: names on one timeline.
#[derive(Debug, Clone)]
struct Range {
    id: BackupId,
    begin: SegmentName,
    end: SegmentName,
    /// End of the next backup; `None` without a limit.
    limit: Option<SegmentName>,
    /// The furthest limit of this range and all that begin before it.
    furthest: Option<SegmentName>,
    stats: WalStats,
    /// The last line counted, as it was read.
    last: Vec<u8>,
}

impl Range {
    fn of(info: &BackupInfo, next: Option<&BackupInfo>) -> Option<Self> {
        Some(Self {
            id: info.backup_id,
            begin: info.begin_wal?,
            end: info.end_wal?,
            limit: next.and_then(|next| next.end_wal),
            furthest: None,
            stats: WalStats::default(),
            last: Vec::new(),
        })
    }

    /// Counts a batch, of which `line` is the last.
    fn count(&mut self, batch: &Batch, line: &[u8]) {
        let (name, stats) = (batch.last, &mut self.stats);
        if !is_within(name, self.limit) {
            return;
        }
        if name == self.begin {
            stats.first_modified = XlogLine::of(line).and_then(|line| line.modified());
        }
        if name <= self.end {
            stats.wal_num += batch.number;
            stats.wal_size = stats.wal_size.saturating_add(batch.size);
        } else {
            stats.wal_until_next_num += batch.number;
            stats.wal_until_next_size = stats.wal_until_next_size.saturating_add(batch.size);
        }
        self.last.clear();
        self.last.extend_from_slice(line);
    }

    /// Adds what was counted in a later part of the index.
    fn add(&mut self, later: Self) {
        let (stats, more) = (&mut self.stats, later.stats);
        stats.wal_num += more.wal_num;
        stats.wal_size = stats.wal_size.saturating_add(more.wal_size);
        stats.wal_until_next_num += more.wal_until_next_num;
        stats.wal_until_next_size = stats.wal_until_next_size.saturating_add(more.wal_until_next_size);
        stats.first_modified = more.first_modified.or(stats.first_modified);
        self.last = if later.last.is_empty() { std::mem::take(&mut self.last) } else { later.last };
    }

    fn finish(self) -> (BackupId, WalStats) {
        let last = XlogLine::of(&self.last);
        let (name, modified) = (last.and_then(|line| line.segment()), last.and_then(|line| line.modified()));
        (self.id, WalStats { last: name, last_modified: modified, ..self.stats })
    }
}

/// The ranges of all backups, so arranged that most segments cost no look at any of them: a million lines are counted, and only
/// the last of those that count alike is looked at closely.
#[derive(Debug, Clone)]
struct Counters {
    timelines: BTreeMap<TimelineId, Timeline>,
    /// Lines that no range has counted yet.
    batch: Option<Batch>,
    /// The last of them, as it was read.
    line: Vec<u8>,
}

/// The ranges on one timeline.
#[derive(Debug, Clone, Default)]
struct Timeline {
    /// Ascending by begin.
    ranges: Vec<Range>,
    /// Where ranges begin, end and have their limits: the segments between two of these count alike. Ascending.
    borders: Vec<Border>,
}

/// A place right before or right behind a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Border {
    name: SegmentName,
    is_behind: bool,
}

/// Lines that follow each other in the index, whose segments lie between the same two borders.
#[derive(Debug, Clone, Copy)]
struct Batch {
    /// The borders; `None` where there is none on that side.
    between: (Option<Border>, Option<Border>),
    number: u64,
    size: u64,
    /// The segment of the last line.
    last: SegmentName,
}
impl Counters {
    fn new(backups: &[BackupInfo]) -> Self {
        let mut timelines: BTreeMap<TimelineId, Timeline> = BTreeMap::new();
        let mut next = None;
        for info in backups.iter().rev() {
            if let Some(range) = Range::of(info, next) {
                timelines.entry(range.begin.timeline).or_default().ranges.push(range);
            }
            next = if info.status.is_copied() { Some(info) } else { next };
        }
        timelines.values_mut().for_each(Timeline::arrange);
        Self { timelines, batch: None, line: Vec::new() }
    }

    #[inline]
    fn count(&mut self, name: SegmentName, line: &XlogLine<'_>) {
        if self.batch.is_none_or(|batch| !batch.has_place_for(name)) {
            self.settle();
            self.batch = self.timelines.get(&name.timeline).map(|timeline| timeline.batch(name));
        }
        let Some(batch) = &mut self.batch else { return };
        batch.number += 1;
        batch.size = batch.size.saturating_add(line.size);
        batch.last = name;
        self.line.clear();
        self.line.extend_from_slice(line.raw);
    }

    /// Has the ranges count the batch.
    fn settle(&mut self) {
        if let Some(batch) = self.batch.take()
            && let Some(timeline) = self.timelines.get_mut(&batch.last.timeline)
        {
            timeline.count(&batch, &self.line);
        }
    }

    /// Adds what the same ranges counted in a later part of the index.
    fn add(&mut self, mut later: Self) {
        later.settle();
        let ranges = self.timelines.values_mut().flat_map(|timeline| &mut timeline.ranges);
        let later = later.timelines.into_values().flat_map(|timeline| timeline.ranges);
        ranges.zip(later).for_each(|(range, later)| range.add(later));
    }

    fn finish(self) -> BTreeMap<BackupId, WalStats> {
        self.timelines.into_values().flat_map(|timeline| timeline.ranges).map(Range::finish).collect()
    }
}

impl Timeline {
    fn arrange(&mut self) {
        self.ranges.sort_by_key(|range| range.begin);
        let mut furthest = self.ranges.first().map(|first| first.begin);
        for range in &mut self.ranges {
            furthest = furthest.zip(range.limit).map(|(one, other)| one.max(other));
            range.furthest = furthest;
            let behind = |name| Border { name, is_behind: true };
            // A begin lies between two: the time of that segment is asked for.
            let begin = [Border { name: range.begin, is_behind: false }, behind(range.begin)];
            self.borders.extend(begin.into_iter().chain([behind(range.end)]).chain(range.limit.map(behind)));
        }
        self.borders.sort_unstable();
        self.borders.dedup();
    }

    /// An empty batch for a segment.
    fn batch(&self, name: SegmentName) -> Batch {
        let behind = self.borders.partition_point(|border| border.is_before(name));
        let before = behind.checked_sub(1).and_then(|before| self.borders.get(before));
        Batch { between: (before.copied(), self.borders.get(behind).copied()), number: 0, size: 0, last: name }
    }

    fn count(&mut self, batch: &Batch, line: &[u8]) {
        let name = batch.last;
        let begun = self.ranges.partition_point(|range| range.begin <= name);
        // A backup's range ends with the next one's, so ranges overlap by little: going back from the last that has begun,
        // the search soon comes to one that ends before the segment, as do all before it.
        let begun = self.ranges.iter_mut().take(begun).rev();
        begun.take_while(|range| is_within(name, range.furthest)).for_each(|range| range.count(batch, line));
    }
}

impl Border {
    fn is_before(self, name: SegmentName) -> bool {
        self.name < name || self.name == name && !self.is_behind
    }
}

impl Batch {
    fn has_place_for(&self, name: SegmentName) -> bool {
        let (before, behind) = self.between;
        name.timeline == self.last.timeline
            && before.is_none_or(|border| border.is_before(name))
            && behind.is_none_or(|border| !border.is_before(name))
    }
}

fn is_within(name: SegmentName, limit: Option<SegmentName>) -> bool {
    limit.is_none_or(|limit| name <= limit)
}
