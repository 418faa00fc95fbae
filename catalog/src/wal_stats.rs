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
    /// The last line counted, as it was read: a million lines are counted, and only the last of them is looked at closely.
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

    fn count(&mut self, name: SegmentName, line: &XlogLine<'_>) {
        if !is_within(name, self.limit) {
            return;
        }
        if name == self.begin {
            self.stats.first_modified = line.modified();
        }
        if name <= self.end {
            self.stats.wal_num += 1;
            self.stats.wal_size = self.stats.wal_size.saturating_add(line.size);
        } else {
            self.stats.wal_until_next_num += 1;
            self.stats.wal_until_next_size = self.stats.wal_until_next_size.saturating_add(line.size);
        }
        self.last.clear();
        self.last.extend_from_slice(line.raw);
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

/// The ranges of all backups, so arranged that a segment finds its own without a look at all the others.
#[derive(Debug, Clone)]
struct Counters {
    /// Ascending by begin.
    timelines: BTreeMap<TimelineId, Vec<Range>>,
    /// The part of a timeline in which the last segment lay: the next one is most likely there too.
    stretch: Option<Stretch>,
}

/// Names from one backup's begin to the next one's.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    timeline: TimelineId,
    /// How many ranges have begun.
    begun: usize,
    /// `None` before the first begin.
    start: Option<SegmentName>,
    /// Itself excluded; `None` without a limit.
    end: Option<SegmentName>,
}

impl Stretch {
    fn contains(&self, name: SegmentName) -> bool {
        name.timeline == self.timeline
            && self.start.is_none_or(|start| start <= name)
            && self.end.is_none_or(|end| name < end)
    }
}

impl Counters {
    fn new(backups: &[BackupInfo]) -> Self {
        let mut timelines: BTreeMap<TimelineId, Vec<Range>> = BTreeMap::new();
        let mut next = None;
        for info in backups.iter().rev() {
            if let Some(range) = Range::of(info, next) {
                timelines.entry(range.begin.timeline).or_default().push(range);
            }
            next = if info.status.is_copied() { Some(info) } else { next };
        }
        for ranges in timelines.values_mut() {
            ranges.sort_by_key(|range| range.begin);
            let mut furthest = ranges.first().map(|first| first.begin);
            for range in ranges {
                furthest = furthest.zip(range.limit).map(|(one, other)| one.max(other));
                range.furthest = furthest;
            }
        }
        Self { timelines, stretch: None }
    }

    fn count(&mut self, name: SegmentName, line: &XlogLine<'_>) {
        if self.stretch.is_none_or(|stretch| !stretch.contains(name)) {
            self.stretch = self.find(name);
        }
        let Some(stretch) = self.stretch else { return };
        let Some(ranges) = self.timelines.get_mut(&stretch.timeline) else { return };
        // A backup's range ends with the next one's, so ranges overlap by little: going back from the last that has begun,
        // the search soon comes to one that ends before the segment, as do all before it.
        let begun = ranges.iter_mut().take(stretch.begun).rev();
        begun.take_while(|range| is_within(name, range.furthest)).for_each(|range| range.count(name, line));
    }

    /// Adds what the same ranges counted in a later part of the index.
    fn add(&mut self, later: Self) {
        let ranges = self.timelines.values_mut().flatten();
        ranges.zip(later.timelines.into_values().flatten()).for_each(|(range, later)| range.add(later));
    }

    fn find(&self, name: SegmentName) -> Option<Stretch> {
        let ranges = self.timelines.get(&name.timeline)?;
        let begun = ranges.partition_point(|range| range.begin <= name);
        let start = begun.checked_sub(1).and_then(|last| ranges.get(last)).map(|range| range.begin);
        let end = ranges.get(begun).map(|range| range.begin);
        Some(Stretch { timeline: name.timeline, begun, start, end })
    }

    fn finish(self) -> BTreeMap<BackupId, WalStats> {
        self.timelines.into_values().flatten().map(Range::finish).collect()
    }
}

fn is_within(name: SegmentName, limit: Option<SegmentName>) -> bool {
    limit.is_none_or(|limit| name <= limit)
}
