//! What crosses the border between two segments.

use alloc::vec::Vec;

use super::judgement::check_length;
use super::{BegunRecord, Unproven};
use crate::{Damage, DamageKind, Lsn, SegmentSize, TimelineId, WalLayout};

/// What a reader knows where one segment ends and the next begins; made by
/// [`RecordReader::border_state`](crate::RecordReader::border_state).
///
/// It is all that the WAL before the border can say about the WAL behind it: another reader goes on from it, or it proves
/// what a reader found that began there without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BorderState {
    /// The border.
    pub at: Lsn,
    /// How long segments are.
    pub segment_size: SegmentSize,
    /// What all pages have in common; `None` if no segment's first page was believed.
    pub layout: Option<WalLayout>,
    /// The timeline of the last page: those that follow are of the same or a later one.
    pub page_timeline: TimelineId,
    /// Where the last whole record begins; `None` if that is not known.
    pub previous: Option<Lsn>,
    /// What crosses the border.
    pub pending: Pending,
    /// Where damage began that no believable record has followed.
    pub damaged_since: Option<Lsn>,
}

/// What crosses a border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// That is not known: nothing was read before it, or only damage.
    Unknown,
    /// Nothing: the last record ends before it.
    Nothing,
    /// A record.
    Record {
        /// Where it begins.
        start: Lsn,
        /// Its bytes before the border, without page headers.
        bytes: Vec<u8>,
    },
    /// A record whose contents nobody wants.
    Begun(BegunRecord),
    /// A record that began before anything was read.
    Rest {
        /// How many bytes of it are still to come.
        remaining: u32,
    },
}

/// How much the WAL before a border proves of that behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// All of it: the record that crosses the border is whole, and the first one behind it follows the last one before it.
    Complete,
    /// Not all: what crosses the border began even earlier, ends even later, or was lost to damage, or the reader began
    /// elsewhere. Reading on from the state tells more.
    Partial,
}

impl BorderState {
    /// Before anything was read.
    pub(super) const fn unknown(at: Lsn, segment_size: SegmentSize) -> Self {
        Self {
            at,
            segment_size,
            layout: None,
            page_timeline: TimelineId::FIRST,
            previous: None,
            pending: Pending::Unknown,
            damaged_since: None,
        }
    }

    /// The same state without the contents of a record that crosses the border: it has a few bytes, and proves as much.
    #[must_use]
    pub fn without_contents(self) -> Self {
        let pending = match self.pending {
            Pending::Record { start, bytes } => Pending::Begun(BegunRecord::new(start, &bytes)),
            pending => pending,
        };
        Self { pending, ..self }
    }

    /// Judges what a reader that began at this border, knowing nothing, left open: whichever of two neighbours was read
    /// first, both are proven in the end. [`Stretch::join`](crate::Stretch::join) does so for any number of neighbours.
    ///
    /// # Errors
    /// The record that crosses the border is damaged, or the WAL behind it does not follow the WAL before it.
    pub fn prove(&self, unproven: &Unproven) -> Result<Proof, Damage> {
        if unproven.start != self.at {
            return Ok(Proof::Partial);
        }
        match &self.pending {
            Pending::Unknown | Pending::Rest { .. } => Ok(Proof::Partial),
            Pending::Nothing => {
                self.prove_absence(unproven)?;
                self.prove_link(self.previous, unproven)
            }
            Pending::Record { start, bytes } => self.prove_record(&BegunRecord::new(*start, bytes), unproven),
            Pending::Begun(record) => self.prove_record(record, unproven),
        }
    }

    fn prove_absence(&self, unproven: &Unproven) -> Result<(), Damage> {
        match &unproven.fragment {
            None => Ok(()),
            Some(fragment) => Err(self.damage(self.at, DamageKind::UnexpectedContrecord { found: fragment.announced })),
        }
    }

    fn prove_record(&self, record: &BegunRecord, unproven: &Unproven) -> Result<Proof, Damage> {
        if unproven.overwritten == Some(record.start) {
            return self.prove_link(self.previous, unproven);
        }
        match self.prove_fragment(record, unproven)? {
            Proof::Complete => self.prove_link(Some(record.start), unproven),
            Proof::Partial => Ok(Proof::Partial),
        }
    }

    fn prove_fragment(&self, record: &BegunRecord, unproven: &Unproven) -> Result<Proof, Damage> {
        let Some(total_len) = record.total_len() else { return Ok(Proof::Partial) };
        check_length(total_len).map_err(|kind| self.damage(record.start, kind))?;
        // A record's bytes before the border are fewer than its length.
        let expected = total_len.saturating_sub(record.len);
        let found = unproven.fragment.as_ref().map_or(0, |fragment| fragment.announced);
        let fragment = match &unproven.fragment {
            Some(fragment) if found == expected => fragment,
            _ => return Err(self.damage(self.at, DamageKind::Contrecord { expected, found })),
        };
        if !fragment.is_whole() {
            return Ok(Proof::Partial);
        }
        let whole = record.joined(fragment);
        let Some(header) = whole.header() else { return Ok(Proof::Partial) };
        if let Some(computed) = whole.checksum().filter(|computed| *computed != header.checksum) {
            let kind = DamageKind::RecordChecksum { found: header.checksum, computed };
            return Err(self.damage(record.start, kind));
        }
        self.check_prev(record.start, header.prev, self.previous)?;
        Ok(Proof::Complete)
    }

    fn prove_link(&self, last: Option<Lsn>, unproven: &Unproven) -> Result<Proof, Damage> {
        let (Some(link), Some(_)) = (unproven.first_link, last) else { return Ok(Proof::Partial) };
        self.check_prev(link.record, link.prev, last)?;
        Ok(Proof::Complete)
    }

    fn check_prev(&self, record: Lsn, found: Lsn, last: Option<Lsn>) -> Result<(), Damage> {
        // A log that begins anew there was recognised when the record was read.
        let begins_anew = found.as_u64() == 0 && record > self.at;
        match last {
            Some(expected) if found != expected && !begins_anew => {
                Err(self.damage(record, DamageKind::PrevLink { expected, found }))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn damage(&self, at: Lsn, kind: DamageKind) -> Damage {
        Damage { at, timeline: self.page_timeline, kind }
    }
}
