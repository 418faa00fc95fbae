//! What WAL there is: which segments follow each other, what is missing, and what of it can be believed.

use std::collections::BTreeMap;

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, Timestamp, WalFileName};

use crate::{Catalog, Error, Facts, LedgerReader, Verdict};

/// The archived segments of all timelines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalCoverage {
    /// How long segments are.
    pub segment_size: SegmentSize,
    /// Segments that follow each other, by timeline and position.
    pub runs: Vec<WalRun>,
    /// What is missing between two runs of a timeline.
    pub missing: Vec<MissingWal>,
    /// WAL that cannot be believed, by timeline and position.
    pub damage: Vec<DamagedWal>,
}

/// Archived segments of one timeline that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRun {
    /// The first.
    pub first: SegmentName,
    /// The last.
    pub last: SegmentName,
    /// How many there are.
    pub segments: u64,
    /// The greatest time at which a transaction in them ended, if that is known of any.
    pub last_end: Option<Timestamp>,
    /// When the last of them was written.
    pub modified: Timestamp,
    /// How many of them could not be judged, or were never read.
    pub unverified: u64,
}

/// Segments that are missing between two that are archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingWal {
    /// The first.
    pub first: SegmentName,
    /// The last.
    pub last: SegmentName,
    /// How many there are.
    pub segments: u64,
    /// When the segment before them was written: nothing later is there up to the next one.
    pub since: Timestamp,
}

/// A segment with damage in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedWal {
    /// The segment.
    pub name: SegmentName,
    /// Where recovery ends.
    pub at: Lsn,
    /// What is wrong there.
    pub what: String,
}

impl Catalog {
    /// Returns what the index and the ledger say of the archived segments. Nothing of the archive itself is read.
    ///
    /// # Errors
    /// The index or the ledger cannot be read.
    pub fn wal_coverage(&self) -> Result<WalCoverage, Error> {
        let size = self.segment_size()?.or(self.archived_segment_size()?).unwrap_or(SegmentSize::DEFAULT);
        let mut timelines: BTreeMap<TimelineId, Vec<(SegmentNumber, Timestamp)>> = BTreeMap::new();
        self.xlog_db()?.scan(|line| {
            if let (true, Ok(name)) = (line.is_segment(), line.name.parse::<SegmentName>())
                && let Ok(number) = name.number(size)
            {
                timelines.entry(name.timeline).or_default().push((number, moment(line.modified())));
            }
            Ok::<_, Error>(())
        })?;
        let mut reader = Reader { ledger: self.ledger_reader()?, coverage: WalCoverage::new(size) };
        for (timeline, mut segments) in timelines {
            segments.sort_unstable();
            segments.dedup_by_key(|(number, _)| *number);
            reader.timeline(timeline, &segments)?;
        }
        Ok(reader.coverage)
    }

    /// How long the newest archived segment is, where no backup says how long segments are.
    fn archived_segment_size(&self) -> Result<Option<SegmentSize>, Error> {
        let Some(newest) = self.newest_archived_segments()?.first().copied() else { return Ok(None) };
        let facts = self.facts(&WalFileName::Segment(newest)).ok().flatten();
        Ok(facts.and_then(|facts| SegmentSize::new(facts.raw?.bytes)))
    }
}

/// The time of an index's line, in seconds since 1970-01-01 UTC.
#[allow(clippy::cast_possible_truncation, reason = "a cast of a number that is too great gives the greatest")]
fn moment(seconds: Option<f64>) -> Timestamp {
    Timestamp::from_unix_micros((seconds.unwrap_or(0.0) * 1e6) as i64)
}

impl WalCoverage {
    const fn new(segment_size: SegmentSize) -> Self {
        Self { segment_size, runs: Vec::new(), missing: Vec::new(), damage: Vec::new() }
    }
}

/// Goes through the segments, with what the ledger says of each.
struct Reader {
    ledger: LedgerReader,
    coverage: WalCoverage,
}

impl Reader {
    fn timeline(&mut self, timeline: TimelineId, segments: &[(SegmentNumber, Timestamp)]) -> Result<(), Error> {
        let mut run: Option<WalRun> = None;
        let mut previous = SegmentNumber::new(0);
        for &(number, modified) in segments {
            let name = number.name(timeline, self.coverage.segment_size);
            let facts = self.ledger.facts(&WalFileName::Segment(name))?.cloned();
            let extended = run.filter(|_| previous.next() == number);
            if let Some(ended) = run.filter(|_| extended.is_none()) {
                self.missing(ended, previous.next(), number);
            }
            run = Some(self.with(extended, name, modified, facts.as_ref()));
            previous = number;
        }
        self.coverage.runs.extend(run);
        Ok(())
    }

    /// A run with one more segment, or the first one of a new run.
    fn with(&mut self, run: Option<WalRun>, name: SegmentName, modified: Timestamp, facts: Option<&Facts>) -> WalRun {
        let ends = facts.and_then(|facts| facts.records.as_ref()).and_then(|records| records.ends);
        let judged = facts.is_some_and(|facts| !matches!(facts.verdict, Verdict::Unverified(_)));
        if let Some(Facts { verdict: Verdict::Damaged { at, what }, .. }) = facts {
            self.coverage.damage.push(DamagedWal { name, at: *at, what: what.clone() });
        }
        let run =
            run.unwrap_or(WalRun { first: name, last: name, segments: 0, last_end: None, modified, unverified: 0 });
        WalRun {
            last: name,
            segments: run.segments + 1,
            last_end: run.last_end.max(ends.map(|ends| ends.greatest)),
            modified,
            unverified: run.unverified + u64::from(!judged),
            ..run
        }
    }

    fn missing(&mut self, ended: WalRun, first: SegmentNumber, next: SegmentNumber) {
        let (size, timeline) = (self.coverage.segment_size, ended.last.timeline);
        let last = SegmentNumber::new(next.get().saturating_sub(1)).name(timeline, size);
        let segments = next.get().saturating_sub(first.get());
        self.coverage.runs.push(ended);
        self.coverage.missing.push(MissingWal {
            first: first.name(timeline, size),
            last,
            segments,
            since: ended.modified,
        });
    }
}
