//! The ledger in short: an answer about a million segments must not take reading a million entries.
//!
//! `ledger/summary` has an entry for each directory whose journal says nothing out of the ordinary: which segments are in it,
//! how many were never judged, the greatest time at which a transaction ended, and how long the journal was then. Whether
//! that still holds is told by the length, since journals are only appended to; where it does not, or where an archive has
//! other segments by now, the journal itself is read. So the summary may be missing, be of the past or be lost at any time.

use std::collections::HashMap;

use barman_storage::{Kind, RelativePath};
use wal_format::{Timestamp, WalFileName};

use super::{DirectoryFacts, Ledger};
use crate::journal::{FieldReader, FieldWriter, Format, Journal};
use crate::side_by_side::on_all_cores;
use crate::{Catalog, Error, Facts, Verdict, layout};

const SUMMARY: Format = Format { name: *b"WALD", version: 1 };

/// What the journal of one directory says. Its segments follow each other, and none of them is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectorySummary {
    /// Length of the journal, in bytes.
    journal: u64,
    /// The last eight digits of the first segment's name.
    pub(crate) first: u32,
    /// Those of the last one.
    pub(crate) last: u32,
    /// How many of the segments could not be judged.
    pub(crate) unverified: u64,
    /// The greatest time at which a transaction in them ended.
    pub(crate) last_end: Option<Timestamp>,
}

impl DirectorySummary {
    /// The summary of a journal of some length; `None` if it cannot be told in short.
    fn of(known: &DirectoryFacts, journal: u64) -> Option<Self> {
        let segments = known.iter().filter_map(|(name, known)| match name {
            WalFileName::Segment(name) => Some((name.segment, &known.facts)),
            _ => None,
        });
        let mut summary: Option<Self> = None;
        for (segment, facts) in segments {
            let follows = summary.is_none_or(|summary| segment.checked_sub(summary.last) == Some(1));
            if !follows || facts.is_damaged() {
                return None;
            }
            let before =
                summary.unwrap_or(Self { journal, first: segment, last: segment, unverified: 0, last_end: None });
            summary = Some(Self {
                last: segment,
                unverified: before.unverified + u64::from(!facts.is_judged()),
                last_end: before.last_end.max(facts.last_end()),
                ..before
            });
        }
        summary
    }

    fn to_entry(self, path: &RelativePath) -> Vec<u8> {
        let Self { journal, first, last, unverified, last_end } = self;
        let mut fields = FieldWriter::default();
        fields.bytes(path.as_path().as_os_str().as_encoded_bytes());
        fields.number(journal).number(first.into()).number(last.into()).number(unverified);
        fields.number(u64::from(last_end.is_some()));
        if let Some(at) = last_end {
            fields.signed(at.pg_micros());
        }
        fields.finish()
    }

    fn of_entry(entry: &[u8]) -> Option<(RelativePath, Self)> {
        let mut fields = FieldReader::new(entry);
        let path = RelativePath::new(std::str::from_utf8(fields.bytes()?).ok()?).ok()?;
        let (journal, first, last, unverified) = (fields.number()?, fields.small()?, fields.small()?, fields.number()?);
        let last_end = if fields.number()? == 0 { None } else { Some(Timestamp::from_pg_micros(fields.signed()?)) };
        Some((path, Self { journal, first, last, unverified, last_end }))
    }
}

impl Facts {
    /// Whether somebody could look at the records.
    pub(crate) const fn is_judged(&self) -> bool {
        !matches!(self.verdict, Verdict::Unverified(_))
    }

    /// The greatest time at which a transaction ended, if that is known of any.
    pub(crate) fn last_end(&self) -> Option<Timestamp> {
        Some(self.records.as_ref()?.ends?.greatest)
    }
}

/// What the summary says of each journal, as far as it holds.
pub(crate) type Summaries = HashMap<RelativePath, DirectorySummary>;

impl Catalog {
    /// Reads the summary, and leaves out what does not hold; without a ledger there is none of anything.
    pub(crate) fn ledger_summaries(&self) -> Result<Summaries, Error> {
        let Some(ledger) = self.existing_ledger()? else { return Ok(Summaries::default()) };
        let summaries: Vec<_> = ledger.summaries()?.into_iter().collect();
        let holding = on_all_cores(&summaries, |(journal, summary)| {
            Ok(ledger.dir.stat(journal)?.is_some_and(|stat| stat.size == summary.journal))
        })?;
        Ok(summaries.into_iter().zip(holding).filter_map(|(summary, holds)| holds.then_some(summary)).collect())
    }
}

#[cfg(feature = "testing")]
impl Catalog {
    /// Writes a ledger of files that need not be there, ascending by name, and its summary: for measuring.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn fill_ledger(&self, facts: impl Iterator<Item = Facts>) -> Result<(), Error> {
        let ledger = self.ledger()?;
        let mut facts = facts.peekable();
        while let Some(first) = facts.next() {
            let path = layout::ledger_of(&first.name);
            let mut entries = vec![first.to_entry()];
            while let Some(next) = facts.next_if(|next| layout::ledger_of(&next.name) == path) {
                entries.push(next.to_entry());
            }
            let journal = Journal::new(&ledger.dir, path, super::FORMAT);
            journal.append(&mut journal.read(|_| Ok(()))?, &entries)?;
        }
        ledger.summarize()
    }
}

impl Ledger {
    fn summary(&self) -> Journal {
        Journal::new(&self.dir, layout::ledger_summary(), SUMMARY)
    }

    fn summaries(&self) -> Result<Summaries, Error> {
        let mut summaries = Summaries::new();
        let read = self.summary().read(|entry| {
            summaries.extend(DirectorySummary::of_entry(entry));
            Ok(())
        });
        match read {
            // Another version's is none.
            Err(Error::Journal { .. }) => Ok(Summaries::new()),
            read => read.map(|_| summaries),
        }
    }

    /// Brings the summary up to date. Journals as long as they were are not read.
    pub(crate) fn summarize(&self) -> Result<(), Error> {
        let known = self.summaries()?;
        let mut entries = Vec::new();
        for entry in self.dir.entries()?.into_iter().filter(|entry| entry.kind == Kind::File) {
            let path = entry.path();
            if layout::is_ledger_of_directory(&path) {
                let length = self.dir.stat(&path)?.map_or(0, |stat| stat.size);
                let summary = match known.get(&path).filter(|summary| summary.journal == length) {
                    Some(summary) => Some(*summary),
                    None => DirectorySummary::of(&self.directory(&path)?, length),
                };
                entries.extend(summary.map(|summary| summary.to_entry(&path)));
            }
        }
        self.summary().rewrite(&entries)?;
        Ok(())
    }

    /// Forgets the summary: journals were written anew.
    pub(crate) fn forget_summary(&self) -> Result<(), Error> {
        match self.dir.remove_file(&layout::ledger_summary()) {
            Err(error) if error.is_not_found() => Ok(()),
            removed => Ok(removed?),
        }
    }
}
