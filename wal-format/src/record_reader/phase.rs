//! From byte to byte: what the next one is part of, and what is done with it.

use core::ops::Range;

use super::judgement::check_length;
use super::partial::{Known, checksum};
use super::{End, RecordReader, Source, aligned};
use crate::record::RecordHeader;
use crate::{Damage, DamageKind, Lsn, PageHeader};

/// What the next byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The header of a page, behind which comes what is named.
    PageHeader(Behind),
    /// A record, or the end of a page.
    Record,
    /// The record in `partial`.
    Partial,
    /// The last bytes of a record whose beginning was not seen.
    Rest {
        remaining: u32,
    },
    /// Bytes that align the next record.
    Padding,
    /// Zeros that fill a segment which ended early.
    AfterSwitch {
        border: Lsn,
    },
    /// After damage: nothing that matters, up to the next page, or the next segment.
    SkipPage,
    SkipSegment,
    Ended(End),
}

/// What a page is expected to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Whatever it says.
    Anything,
    Record,
    /// More of the record in `partial`.
    Partial,
    /// More of a record whose beginning was not seen.
    Rest {
        remaining: u32,
    },
}

/// What one step came to.
pub(super) enum Step<'b> {
    Onward,
    NeedsMore,
    Found(Found<'b>),
}

/// An [`Item`] that does not borrow from the reader yet.
pub(super) enum Found<'b> {
    Record {
        start: Lsn,
        end: Lsn,
        header: RecordHeader,
        /// `None` for the record in `partial`.
        bytes: Option<&'b [u8]>,
    },
    Skipped(Range<Lsn>),
    End(End),
}

/// Why something is not believed, and where reading goes on if the source is to be read to its end regardless.
pub(super) struct Rejected {
    pub(super) at: Lsn,
    pub(super) kind: DamageKind,
    pub(super) phase: Phase,
    /// The record before the next one, where that is still known.
    pub(super) previous: Option<Lsn>,
}

pub(super) type Progress<'b> = Result<Step<'b>, Rejected>;

impl RecordReader {
    /// What almost every record is: whole on its page and in the input, right behind another one, and nothing special. All
    /// else is left to [`RecordReader::advance`], which finds out what it is.
    #[inline(always)]
    pub(super) fn read_plain_record<'b>(&mut self, input: &mut &'b [u8]) -> Option<Found<'b>> {
        let on_page = input.get(..self.plain_len).unwrap_or(input);
        let header = RecordHeader::parse(on_page)?;
        if self.header_fault(self.at, &header).is_some() || header.is_switch() || header.is_overwrite_contrecord() {
            return None;
        }
        let len = header.total_len as usize;
        let (padded, _) = on_page.split_at_checked(len.next_multiple_of(8))?;
        let bytes = padded.get(..len)?;
        if self.walk.checksums && checksum(bytes) != header.checksum {
            return None;
        }
        *input = input.get(padded.len()..)?;
        let start = self.at;
        self.move_on(padded.len());
        self.plain_len -= padded.len();
        self.previous = Some(start);
        Some(Found::Record { start, end: self.at, header, bytes: Some(bytes) })
    }

    /// How many bytes from here on can be plain records: the rest of the page, or none where something else comes first.
    pub(super) fn plain_len(&self) -> usize {
        let undisturbed = self.damaged_since.is_none() && self.overwritten.is_none() && !self.unproven.is_open();
        let is_plain = self.phase == Phase::Record && undisturbed && !self.pages.begins_page(self.at);
        if is_plain { self.pages.left_on_page(self.at) } else { 0 }
    }
}

/// One step for each phase.
impl RecordReader {
    pub(super) fn advance<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Found<'b>>, Damage> {
        loop {
            let progress = match self.phase {
                Phase::PageHeader(behind) => self.read_page_header(input, behind),
                Phase::Record => self.read_record(input),
                Phase::Partial => self.read_partial(input),
                Phase::Rest { remaining } => self.pass_rest(input, remaining),
                Phase::Padding => self.pass_padding(input),
                Phase::AfterSwitch { border } => self.read_after_switch(input, border),
                Phase::SkipPage => self.skip_page(input),
                Phase::SkipSegment => self.skip_segment(input),
                Phase::Ended(end) => Ok(Step::Found(Found::End(end))),
            };
            match progress {
                Ok(Step::Onward) => {}
                Ok(Step::NeedsMore) => return Ok(None),
                Ok(Step::Found(found)) => return Ok(Some(found)),
                Err(rejected) => self.reject(rejected)?,
            }
        }
    }

    /// Ends an open source; in a complete one, gives up what cannot be believed. Only the first of several findings in a row
    /// is reported: the others are consequences.
    fn reject(&mut self, rejected: Rejected) -> Result<(), Damage> {
        let Rejected { at, kind, phase, previous } = rejected;
        if kind == (DamageKind::RecordLength { found: 0 }) && self.unproven.ends_with_switch() {
            self.phase = self.after_switch();
            return Ok(());
        }
        if self.source == Source::Open {
            self.phase = Phase::Ended(End { at, reason: kind });
            return Ok(());
        }
        let since = if self.is_within_record() { self.partial.start } else { at };
        let known = self.damaged_since.replace(self.damaged_since.unwrap_or(since));
        self.unproven.close();
        (self.phase, self.previous, self.overwritten) = (phase, previous, None);
        if known.is_none() { Err(self.damage(at, kind)) } else { Ok(()) }
    }

    fn read_page_header<'b>(&mut self, input: &mut &'b [u8], behind: Behind) -> Progress<'b> {
        let page = self.at;
        let len = self.pages.header_len(page);
        let Some(bytes) = self.page_header.fill(len, input) else { return Ok(Step::NeedsMore) };
        let accepted = self.pages.accept(page, bytes.get(..len).unwrap_or_default());
        self.move_on(len);
        match accepted {
            Ok(header) => self.enter_page(page, &header, behind),
            Err(kind) => Err(self.rejected(page, kind, Phase::SkipPage)),
        }
    }

    fn enter_page<'b>(&mut self, page: Lsn, header: &PageHeader, behind: Behind) -> Progress<'b> {
        let found = if header.flags.first_is_contrecord() { header.remaining } else { 0 };
        let (expected, phase) = match behind {
            Behind::Anything => {
                if header.flags.first_is_contrecord() {
                    self.unproven.begin_fragment(found);
                }
                (found, rest_or_record(found))
            }
            Behind::Record => (0, Phase::Record),
            Behind::Partial if header.flags.first_is_overwrite_contrecord() => {
                self.overwritten = Some(self.partial.start);
                (0, Phase::Record)
            }
            Behind::Partial => (self.partial.remaining().unwrap_or(0), Phase::Partial),
            Behind::Rest { .. } if header.flags.first_is_overwrite_contrecord() => {
                self.unproven.drop_fragment();
                (0, Phase::Record)
            }
            Behind::Rest { remaining } => (remaining, Phase::Rest { remaining }),
        };
        if found == expected {
            self.phase = phase;
            return Ok(Step::Onward);
        }
        let kind = match expected {
            0 => DamageKind::UnexpectedContrecord { found },
            _ => DamageKind::Contrecord { expected, found },
        };
        // The page is sound, only not what should follow: what begins on it may well be.
        Err(self.rejected(page, kind, rest_or_record(found)))
    }

    fn read_record<'b>(&mut self, input: &mut &'b [u8]) -> Progress<'b> {
        if self.pages.begins_page(self.at) {
            let behind = if self.damaged_since.is_some() { Behind::Anything } else { Behind::Record };
            self.phase = Phase::PageHeader(behind);
            return Ok(Step::Onward);
        }
        if input.is_empty() {
            return Ok(Step::NeedsMore);
        }
        let on_page = self.within_page(input);
        if let Some(header) = RecordHeader::parse(on_page) {
            if let Some(kind) = self.header_fault(self.at, &header) {
                return Err(self.not_a_record(self.at, kind));
            }
            if let Some(bytes) = on_page.get(..header.total_len as usize) {
                return self.judge(input, self.at, header, Some(bytes));
            }
        }
        self.partial.begin(self.at, self.checks());
        self.phase = Phase::Partial;
        Ok(Step::Onward)
    }

    fn read_partial<'b>(&mut self, input: &mut &'b [u8]) -> Progress<'b> {
        let missing = self.partial.missing();
        if missing == 0 {
            return match self.partial.known() {
                Known::Header(header) => self.judge(input, self.partial.start, header, None),
                // Not reached: less than a header is always missing something.
                Known::Nothing | Known::Length(_) => Ok(Step::NeedsMore),
            };
        }
        if self.pages.begins_page(self.at) {
            self.phase = Phase::PageHeader(Behind::Partial);
            return Ok(Step::Onward);
        }
        let Some(taken) = self.take_on_page(input, missing) else { return Ok(Step::NeedsMore) };
        let before = self.partial.known();
        self.partial.push(taken);
        let known = self.partial.known();
        if known == before {
            return Ok(Step::Onward);
        }
        let fault = match known {
            Known::Nothing => None,
            Known::Length(length) => check_length(length).err(),
            Known::Header(header) => {
                self.partial.keep_contents(self.wants(&header));
                self.header_fault(self.partial.start, &header)
            }
        };
        fault.map_or(Ok(Step::Onward), |kind| Err(self.not_a_record(self.partial.start, kind)))
    }

    fn pass_rest<'b>(&mut self, input: &mut &'b [u8], remaining: u32) -> Progress<'b> {
        if remaining == 0 {
            self.phase = Phase::Padding;
            return Ok(Step::Onward);
        }
        if self.pages.begins_page(self.at) {
            self.phase = Phase::PageHeader(Behind::Rest { remaining });
            return Ok(Step::Onward);
        }
        let Some(taken) = self.take_on_page(input, remaining.into()) else { return Ok(Step::NeedsMore) };
        self.unproven.add_to_fragment(taken);
        // No more was taken than remains, which has 32 bits.
        let taken = u32::try_from(taken.len()).unwrap_or(remaining);
        self.phase = Phase::Rest { remaining: remaining.saturating_sub(taken) };
        Ok(Step::Onward)
    }

    pub(super) fn pass_padding<'b>(&mut self, input: &mut &'b [u8]) -> Progress<'b> {
        let padding = aligned(self.at).bytes_since(self.at).unwrap_or(0);
        if padding > 0 && self.take(input, padding).is_none() {
            return Ok(Step::NeedsMore);
        }
        if aligned(self.at) == self.at {
            self.phase = Phase::Record;
        }
        Ok(Step::Onward)
    }

    fn read_after_switch<'b>(&mut self, input: &mut &'b [u8], border: Lsn) -> Progress<'b> {
        let left = border.bytes_since(self.at).unwrap_or(0);
        if left == 0 {
            self.phase = Phase::PageHeader(Behind::Record);
            return Ok(Step::Onward);
        }
        let start = self.at;
        let Some(taken) = self.take(input, left) else { return Ok(Step::NeedsMore) };
        match taken.iter().position(|&byte| byte != 0) {
            Some(offset) if self.source == Source::Complete => {
                let at = start.checked_add(offset as u64).unwrap_or(start);
                // What follows the segment is not in doubt.
                let (kind, phase, previous) = (DamageKind::AfterSwitch, Phase::SkipSegment, self.previous);
                Err(Rejected { at, kind, phase, previous })
            }
            _ => Ok(Step::Onward),
        }
    }

    fn skip_page<'b>(&mut self, input: &mut &'b [u8]) -> Progress<'b> {
        if self.pages.begins_page(self.at) {
            self.phase = Phase::PageHeader(Behind::Anything);
            return Ok(Step::Onward);
        }
        self.take_on_page(input, u64::MAX).map_or(Ok(Step::NeedsMore), |_| Ok(Step::Onward))
    }

    fn skip_segment<'b>(&mut self, input: &mut &'b [u8]) -> Progress<'b> {
        if self.pages.begins_segment(self.at) {
            self.phase = Phase::PageHeader(Behind::Anything);
            return Ok(Step::Onward);
        }
        let left = self.pages.border_after(self.at).bytes_since(self.at).unwrap_or(0);
        self.take(input, left).map_or(Ok(Step::NeedsMore), |_| Ok(Step::Onward))
    }
}

/// Moving over the input.
impl RecordReader {
    /// The position is never near the end of the address space in WAL that a server wrote; elsewhere it stays there.
    #[inline]
    pub(super) fn move_on(&mut self, bytes: usize) {
        self.at = self.at.checked_add(bytes as u64).unwrap_or(Lsn::MAX);
    }

    /// The part of `input` that lies on the current page.
    #[inline]
    fn within_page<'b>(&self, input: &'b [u8]) -> &'b [u8] {
        input.get(..self.pages.left_on_page(self.at)).unwrap_or(input)
    }

    /// Takes at most `len` bytes, and none behind the current page; `None` if there are none.
    fn take_on_page<'b>(&mut self, input: &mut &'b [u8], len: u64) -> Option<&'b [u8]> {
        let left = self.pages.left_on_page(self.at) as u64;
        self.take(input, len.min(left))
    }

    /// Takes at most `len` bytes; `None` if there are none.
    fn take<'b>(&mut self, input: &mut &'b [u8], len: u64) -> Option<&'b [u8]> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(input.len());
        let (taken, rest) = input.split_at(len);
        *input = rest;
        self.move_on(len);
        (!taken.is_empty()).then_some(taken)
    }
}

fn rest_or_record(remaining: u32) -> Phase {
    if remaining == 0 { Phase::Record } else { Phase::Rest { remaining } }
}
