//! What makes a record believable.

use super::partial;
use super::phase::{Found, Phase, Progress, Rejected, Step};
use super::unproven::FirstLink;
use super::{RecordReader, aligned};
use crate::record::RecordHeader;
use crate::{DamageKind, Lsn, PageHeader, SegmentSize};

impl RecordReader {
    #[inline]
    pub(super) fn header_fault(&self, start: Lsn, header: &RecordHeader) -> Option<DamageKind> {
        if let Err(kind) = check_length(header.total_len) {
            return Some(kind);
        }
        let major = self.pages.page_major;
        if !header.manager.exists_in(major) {
            return Some(DamageKind::ResourceManager { major, found: header.manager.get() });
        }
        let found = header.prev;
        match self.previous {
            Some(expected) if expected == found => None,
            _ if begins_log(start, header, self.pages.segment_size()) => None,
            Some(expected) => Some(DamageKind::PrevLink { expected, found }),
            None if found < start && found.as_u64() != 0 => None,
            None => Some(DamageKind::PrevLinkAhead { found }),
        }
    }

    /// Judges a whole record; takes it from the input if it is believed, or if only its checksum is wrong.
    pub(super) fn judge<'b>(
        &mut self,
        input: &mut &'b [u8],
        start: Lsn,
        header: RecordHeader,
        bytes: Option<&'b [u8]>,
    ) -> Progress<'b> {
        if let Some(kind) = self.checksum_fault(&header, bytes) {
            self.leave(input, bytes);
            // If the length is right, the next record begins behind it and names this one.
            return Err(Rejected { at: start, kind, phase: Phase::Padding, previous: Some(start) });
        }
        self.check_overwrite(start, header, bytes)?;
        if let Some(since) = self.damaged_since.take() {
            self.previous = Some(header.prev);
            return Ok(Step::Found(Found::Skipped(since..start)));
        }
        self.unproven.note(FirstLink { record: start, prev: header.prev });
        self.leave(input, bytes);
        self.previous = Some(start);
        if header.is_switch() {
            self.phase = self.after_switch();
        } else {
            self.phase = Phase::Padding;
            // What there is of it: the next record can be a plain one then.
            self.pass_padding(input)?;
        }
        Ok(Step::Found(Found::Record { start, end: self.end_of_record(), header, bytes }))
    }

    /// Whether the checksum of a record that begins here is computed: after damage always, as nothing else proves a record
    /// whose predecessor is not known.
    pub(super) fn checks(&self) -> bool {
        self.walk.checksums || self.damaged_since.is_some()
    }

    /// Whether the record's contents are kept, for the caller or for [`RecordReader::check_overwrite`].
    pub(super) fn wants(&self, header: &RecordHeader) -> bool {
        header.is_overwrite_contrecord() || (self.walk.wanted)(header)
    }

    fn checksum_fault(&self, header: &RecordHeader, bytes: Option<&[u8]>) -> Option<DamageKind> {
        let computed = match bytes {
            Some(bytes) => self.checks().then(|| partial::checksum(bytes))?,
            None => self.partial.checksum()?,
        };
        let found = header.checksum;
        (computed != found).then_some(DamageKind::RecordChecksum { found, computed })
    }

    /// Goes past a record.
    fn leave(&mut self, input: &mut &[u8], bytes: Option<&[u8]>) {
        let len = bytes.map_or(0, <[u8]>::len);
        *input = input.get(len..).unwrap_or_default();
        self.move_on(len);
    }

    pub(super) fn after_switch(&self) -> Phase {
        let end = aligned(self.at);
        Phase::AfterSwitch { border: if self.pages.begins_segment(end) { end } else { self.pages.border_after(end) } }
    }

    /// A page that replaces the rest of a record begins with a record that names it.
    fn check_overwrite(&mut self, start: Lsn, header: RecordHeader, bytes: Option<&[u8]>) -> Result<(), Rejected> {
        let bytes = bytes.or_else(|| self.partial.contents()).unwrap_or_default();
        let named = self.record(start..self.end_of_record(), header, bytes).overwritten_lsn();
        if let Some(named) = named {
            self.unproven.note_overwritten(named);
        }
        match self.overwritten.take() {
            Some(overwritten) if named != Some(overwritten) => {
                Err(self.rejected(start, DamageKind::Overwrite { overwritten }, Phase::SkipPage))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn not_a_record(&self, start: Lsn, kind: DamageKind) -> Rejected {
        self.rejected(start, kind, Phase::SkipPage)
    }

    pub(super) fn rejected(&self, at: Lsn, kind: DamageKind, phase: Phase) -> Rejected {
        Rejected { at, kind, phase, previous: None }
    }
}

pub(super) fn check_length(found: u32) -> Result<(), DamageKind> {
    /// What PostgreSQL can allocate for a record: `MaxAllocSize` of `utils/memutils.h`; 16 and later write less.
    const LONGEST: u32 = 0x3FFF_FFFF;
    const SHORTEST: u32 = 24;
    if (SHORTEST..=LONGEST).contains(&found) { Ok(()) } else { Err(DamageKind::RecordLength { found }) }
}

/// Whether the record is one that `initdb` and `pg_resetwal` begin a log with: nothing lies before it.
fn begins_log(start: Lsn, header: &RecordHeader, size: SegmentSize) -> bool {
    let first_place = start.as_u64() % size.bytes() == PageHeader::LONG_LEN as u64;
    header.prev.as_u64() == 0 && first_place && header.is_shutdown_checkpoint()
}
