//! What WAL there is, as the index and the ledger say: nothing of the archive itself is read.

use barman_retention::{Coverage, DamagedWal, RunContents, WalRun};
use wal_format::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};

use crate::archive::ledger::{DirectorySummary, Summaries};
use crate::{BackupInfo, Catalog, Error, Facts, LedgerReader, Verdict, XlogLine, layout};

impl Catalog {
    /// Returns which segments are archived, what they say, and what of them cannot be believed.
    ///
    /// # Errors
    /// The index or the ledger cannot be read.
    pub fn wal_coverage(&self) -> Result<Coverage, Error> {
        let mut coverage = Coverage::new(self.wal_segment_size()?);
        let add = |covering: &mut Covering, line: XlogLine<'_>| {
            line.segment().into_iter().for_each(|name| covering.add(name, &line));
        };
        let parts = self.xlog_db()?.fold(|| Covering::new(coverage.clone()), add)?;
        parts.into_iter().for_each(|part| coverage.join(part.finish()));
        self.describe_coverage(&mut coverage)?;
        Ok(coverage)
    }

    /// Adds what the ledger says of the segments.
    pub(crate) fn describe_coverage(&self, coverage: &mut Coverage) -> Result<(), Error> {
        let size = coverage.segment_size();
        let mut reader = Reader { summaries: self.ledger_summaries()?, ledger: self.ledger_reader()?, size };
        coverage.describe(|run| reader.run(run))
    }

    /// Returns how long segments are: as the backups say, or else the archive; 16 MB if neither does.
    ///
    /// # Errors
    /// The records or the index cannot be read.
    pub fn wal_segment_size(&self) -> Result<SegmentSize, Error> {
        self.covered_segment_size(&self.backups()?)
    }

    /// The same, where the backups are known.
    pub(crate) fn covered_segment_size(&self, backups: &[BackupInfo]) -> Result<SegmentSize, Error> {
        let newest = backups.iter().rev().find(|info| info.status.is_copied()).map(|info| info.xlog_segment_size);
        Ok(newest.map_or_else(|| self.archived_segment_size(), |size| Ok(Some(size)))?.unwrap_or(SegmentSize::DEFAULT))
    }

    /// The same; `None` if neither says so.
    pub(crate) fn known_segment_size(&self) -> Result<Option<SegmentSize>, Error> {
        self.segment_size()?.map_or_else(|| self.archived_segment_size(), |size| Ok(Some(size)))
    }

    /// How long the newest archived segment is, where no backup says how long segments are.
    fn archived_segment_size(&self) -> Result<Option<SegmentSize>, Error> {
        let Some(newest) = self.newest_archived_segments()?.first().copied() else { return Ok(None) };
        let facts = self.facts(&WalFileName::Segment(newest)).ok().flatten();
        Ok(facts.and_then(|facts| SegmentSize::new(facts.raw?.bytes)))
    }
}

/// What the lines of an index cover. A million of them may follow each other, and of these only the last one's time is looked
/// at.
#[derive(Debug, Clone)]
pub(crate) struct Covering {
    coverage: Coverage,
    /// Segments that follow each other: the first and the last.
    run: Option<(TimelineId, SegmentNumber, SegmentNumber)>,
    /// The line of the last of them.
    line: Vec<u8>,
}

impl Covering {
    pub(crate) const fn new(coverage: Coverage) -> Self {
        Self { coverage, run: None, line: Vec::new() }
    }

    /// Adds what the line of a segment says.
    #[inline]
    pub(crate) fn add(&mut self, name: SegmentName, line: &XlogLine<'_>) {
        let Ok(number) = name.number(self.coverage.segment_size()) else { return };
        if let Some((timeline, _, last)) = &mut self.run
            && (*timeline, last.next()) == (name.timeline, number)
        {
            *last = number;
        } else {
            self.settle();
            self.run = Some((name.timeline, number, number));
        }
        self.line.clear();
        self.line.extend_from_slice(line.raw);
    }

    pub(crate) fn finish(mut self) -> Coverage {
        self.settle();
        self.coverage
    }

    fn settle(&mut self) {
        if let Some((timeline, first, last)) = self.run.take()
            && let Some(line) = XlogLine::of(&self.line)
        {
            self.coverage.add_segments(timeline, first..=last, line.modified_at());
        }
    }
}

/// Asks the ledger for what runs say.
struct Reader {
    summaries: Summaries,
    ledger: LedgerReader,
    size: SegmentSize,
}

/// Segments of one directory of the archive, all of which are there.
#[derive(Clone, Copy)]
struct Part {
    timeline: TimelineId,
    first: SegmentNumber,
    last: SegmentNumber,
}

impl Reader {
    fn run(&mut self, run: WalRun) -> Result<(RunContents, Vec<DamagedWal>), Error> {
        let (mut contents, mut damage) = (RunContents::default(), Vec::new());
        let per_directory = self.size.segments_per_log();
        for log in run.first.get() / per_directory..=run.last.get() / per_directory {
            let first = run.first.max(SegmentNumber::new(log * per_directory));
            let last = run.last.min(SegmentNumber::new((log + 1) * per_directory - 1));
            let found = self.part(Part { timeline: run.timeline, first, last }, &mut damage)?;
            contents.unverified += found.unverified;
            contents.last_end = contents.last_end.max(found.last_end);
        }
        Ok((contents, damage))
    }

    fn part(&mut self, part: Part, damage: &mut Vec<DamagedWal>) -> Result<RunContents, Error> {
        let (first, last) = (part.first.name(part.timeline, self.size), part.last.name(part.timeline, self.size));
        if let Some(summary) = self.summaries.get(&layout::ledger_of(&WalFileName::Segment(first)))
            && (summary.first, summary.last) == (first.segment, last.segment)
        {
            let DirectorySummary { last_end, unverified, .. } = *summary;
            return Ok(RunContents { last_end, unverified });
        }
        let mut contents = RunContents::default();
        for number in part.first.get()..=part.last.get() {
            let name = SegmentNumber::new(number).name(part.timeline, self.size);
            let facts = self.ledger.facts(&WalFileName::Segment(name))?;
            contents.unverified += u64::from(facts.is_none_or(|facts| !facts.is_judged()));
            contents.last_end = contents.last_end.max(facts.and_then(Facts::last_end));
            if let Some(Facts { verdict: Verdict::Damaged { at, what }, .. }) = facts {
                damage.push(DamagedWal { name, at: *at, what: what.clone() });
            }
        }
        Ok(contents)
    }
}
