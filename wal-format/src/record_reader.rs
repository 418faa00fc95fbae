//! Reading records from bytes that come in any pieces.

mod border;
mod partial;
#[cfg(test)]
mod tests;

use core::ops::Range;

pub use border::{BorderState, Pending, Proof, Unproven};

use crate::page_sequence::PageSequence;
use crate::record::{Record, RecordHeader};
use crate::{Damage, DamageKind, Lsn, PageHeader, SegmentSize, TimelineId, WalLayout};
use border::FirstLink;
use partial::{Known, Partial};

/// Whether more may be written to the bytes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Whole segments, as PostgreSQL archives them: WAL reaches the end of each, or a record ends it early and only zeros
    /// follow. Anything else is damage.
    Complete,
    /// A live segment, a `.partial` one, or the last of a timeline. It ends where the first record cannot be believed, as
    /// recovery would end there: behind it lie zeros, or what an older segment left in a recycled file.
    Open,
}

/// What a reader comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// After damage: these bytes were given up, and a record that can be believed begins at their end.
    Skipped(Range<Lsn>),
    /// The end of an open source. The reader stays here, whatever else it is given.
    End(End),
}

/// Where an open source ends, and why there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Where the next record would begin; the start of its page's header where that cannot be believed.
    pub at: Lsn,
    /// What stands there instead: seldom of interest, but foreign WAL shows here.
    pub reason: DamageKind,
}

/// Finds the records in WAL: across pages and segments, in pieces of any size, each checked against its checksum and the
/// record before it.
///
/// It follows `access/xlogreader.c` in what it accepts. Bytes go in by [`RecordReader::next`], from the beginning of a
/// segment on and without holes; a record that lies within one page of the input is borrowed from there, any other from a
/// buffer of the reader's own.
///
/// ```
/// use wal_format::{Item, Lsn, RecordReader, SegmentSize, Source, TimelineId};
/// # let segment = include_bytes!("../testdata/15/first_pages");
///
/// let mut reader = RecordReader::new(Lsn::new(0x100_0000), TimelineId::FIRST, SegmentSize::DEFAULT, Source::Open);
/// for mut chunk in segment.chunks(1000) {
///     while let Some(item) = reader.next(&mut chunk)? {
///         if let Item::Record(record) = item {
///             println!("{} {} {} bytes", record.start, record.header.manager, record.header.total_len);
///         }
///     }
/// }
/// # assert_eq!(reader.position(), Lsn::new(0x100_2018));
/// # Ok::<(), wal_format::Damage>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecordReader {
    pages: PageSequence,
    source: Source,
    /// Where the next byte of input belongs; that of a page's header only moves on once the header is whole.
    at: Lsn,
    phase: Phase,
    page_header: PageHeaderBytes,
    partial: Partial,
    /// Where the last record begins; not known at the start and after damage.
    previous: Option<Lsn>,
    /// The record that the current page says was cut short: the next one has to say so too.
    overwritten: Option<Lsn>,
    /// Where damage began, until a record after it can be believed.
    damaged_since: Option<Lsn>,
    unproven: Unproven,
}

/// What the next byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
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
enum Behind {
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
enum Step<'b> {
    Onward,
    NeedsMore,
    Found(Found<'b>),
}

/// An [`Item`] that does not borrow from the reader yet.
enum Found<'b> {
    Record {
        start: Lsn,
        header: RecordHeader,
        /// `None` for the record in `partial`.
        bytes: Option<&'b [u8]>,
    },
    Skipped(Range<Lsn>),
    End(End),
}

/// Why something is not believed, and where reading goes on if the source is to be read to its end regardless.
struct Rejected {
    at: Lsn,
    kind: DamageKind,
    phase: Phase,
    /// The record before the next one, where that is still known.
    previous: Option<Lsn>,
}

type Progress<'b> = Result<Step<'b>, Rejected>;

impl RecordReader {
    /// A reader of segments of `timeline`, the first of which begins at `start`, when nothing is known of the WAL before it.
    /// What depends on that is kept in [`RecordReader::unproven`].
    #[must_use]
    pub fn new(start: Lsn, timeline: TimelineId, segment_size: SegmentSize, source: Source) -> Self {
        let state = BorderState::unknown(start, segment_size);
        Self::resume(state, timeline, source)
    }

    /// A reader that goes on where another one stood at a segment's border. `timeline` is that of the segment which begins
    /// there: it may be a later one than that before it.
    #[must_use]
    pub fn resume(state: BorderState, timeline: TimelineId, source: Source) -> Self {
        let BorderState { at, segment_size, layout, page_timeline, previous, pending, damaged_since } = state;
        let mut pages = PageSequence::new(timeline, segment_size, layout);
        pages.page_timeline = page_timeline;
        let mut partial = Partial::new();
        let behind = match pending {
            Pending::Unknown => Behind::Anything,
            Pending::Nothing => Behind::Record,
            Pending::Rest { remaining } => Behind::Rest { remaining },
            Pending::Record { start, bytes } => {
                partial.begin(start);
                partial.push(&bytes);
                Behind::Partial
            }
        };
        Self {
            pages,
            source,
            at,
            phase: Phase::PageHeader(behind),
            page_header: PageHeaderBytes::default(),
            partial,
            previous,
            overwritten: None,
            damaged_since,
            unproven: Unproven::new(at, behind == Behind::Anything && damaged_since.is_none()),
        }
    }

    /// Takes bytes from the beginning of `input` until there is something to tell; `Ok(None)` means that all were taken and
    /// more are needed.
    ///
    /// # Errors
    /// The source is [`Source::Complete`] and something in it cannot be believed. The next call goes on behind that, and
    /// says with [`Item::Skipped`] how far it had to go before anything could be believed again.
    pub fn next<'r, 'b: 'r>(&'r mut self, input: &mut &'b [u8]) -> Result<Option<Item<'r>>, Damage> {
        let Some(found) = self.advance(input)? else { return Ok(None) };
        Ok(Some(match found {
            Found::Record { start, header, bytes } => {
                let bytes = bytes.unwrap_or_else(|| self.partial.bytes());
                Item::Record(self.record(start, header, bytes))
            }
            Found::Skipped(range) => Item::Skipped(range),
            Found::End(end) => Item::End(end),
        }))
    }

    /// Says that no more input comes.
    ///
    /// # Errors
    /// The source is [`Source::Complete`] and does not end where a segment does.
    pub fn finish(&self) -> Result<(), Damage> {
        if self.source == Source::Open || self.is_at_border() {
            return Ok(());
        }
        let at = if self.is_within_record() { self.partial.start } else { self.at };
        Err(self.damage(at, DamageKind::Truncated { border: self.pages.border_after(self.at) }))
    }

    /// Says that the bytes from here on come from a segment of `timeline`, and whether it may still grow.
    pub fn begin_segment(&mut self, timeline: TimelineId, source: Source) {
        self.pages.timeline = timeline;
        self.source = source;
    }

    /// Where the next byte of input belongs, or, at the beginning of a page, its header.
    #[must_use]
    pub const fn position(&self) -> Lsn {
        self.at
    }

    /// What all pages have in common; `None` before the first page of a segment was read.
    #[must_use]
    pub const fn layout(&self) -> Option<WalLayout> {
        self.pages.layout()
    }

    /// Where damage began that no believable record has followed yet.
    #[must_use]
    pub const fn damaged_since(&self) -> Option<Lsn> {
        self.damaged_since
    }

    /// What of the WAL read so far can only be judged together with the WAL before it.
    #[must_use]
    pub const fn unproven(&self) -> &Unproven {
        &self.unproven
    }

    /// What another reader has to know to go on from here; `None` anywhere but at the border of a segment.
    #[must_use]
    pub fn border_state(&self) -> Option<BorderState> {
        let Phase::PageHeader(behind) = self.phase else { return None };
        let pending = match behind {
            Behind::Anything => Pending::Unknown,
            Behind::Record => Pending::Nothing,
            Behind::Partial => Pending::Record { start: self.partial.start, bytes: self.partial.bytes().to_vec() },
            Behind::Rest { remaining } => Pending::Rest { remaining },
        };
        self.is_at_border().then(|| BorderState {
            at: self.at,
            segment_size: self.pages.segment_size(),
            layout: self.pages.layout(),
            page_timeline: self.pages.page_timeline,
            previous: self.previous,
            pending,
            damaged_since: self.damaged_since,
        })
    }

    fn is_at_border(&self) -> bool {
        matches!(self.phase, Phase::PageHeader(_)) && self.pages.begins_segment(self.at) && self.page_header.is_empty()
    }

    /// Whether a record has begun whose bytes are still coming.
    fn is_within_record(&self) -> bool {
        matches!(self.phase, Phase::Partial | Phase::PageHeader(Behind::Partial))
    }

    fn record<'r>(&self, start: Lsn, header: RecordHeader, bytes: &'r [u8]) -> Record<'r> {
        let end = match self.phase {
            Phase::AfterSwitch { border } => border,
            _ => aligned(self.at),
        };
        Record { start, end, timeline: self.pages.page_timeline, major: self.pages.page_major, header, bytes }
    }

    fn damage(&self, at: Lsn, kind: DamageKind) -> Damage {
        Damage { at, timeline: self.pages.timeline, kind }
    }
}

/// One step for each phase.
impl RecordReader {
    fn advance<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Found<'b>>, Damage> {
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
        self.partial.begin(self.at);
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
            Known::Header(header) => self.header_fault(self.partial.start, &header),
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

    fn pass_padding<'b>(&mut self, input: &mut &'b [u8]) -> Progress<'b> {
        let padding = aligned(self.at).bytes_since(self.at).unwrap_or(0);
        if padding == 0 {
            self.phase = Phase::Record;
            return Ok(Step::Onward);
        }
        self.take(input, padding).map_or(Ok(Step::NeedsMore), |_| Ok(Step::Onward))
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

/// What makes a record believable.
impl RecordReader {
    #[inline]
    fn header_fault(&self, start: Lsn, header: &RecordHeader) -> Option<DamageKind> {
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
    fn judge<'b>(
        &mut self,
        input: &mut &'b [u8],
        start: Lsn,
        header: RecordHeader,
        bytes: Option<&'b [u8]>,
    ) -> Progress<'b> {
        let computed = bytes.map_or_else(|| self.partial.checksum(), partial::checksum);
        if computed != header.checksum {
            self.leave(input, bytes);
            let kind = DamageKind::RecordChecksum { found: header.checksum, computed };
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
        self.phase = if header.is_switch() { self.after_switch() } else { Phase::Padding };
        Ok(Step::Found(Found::Record { start, header, bytes }))
    }

    /// Goes past a record.
    fn leave(&mut self, input: &mut &[u8], bytes: Option<&[u8]>) {
        let len = bytes.map_or(0, <[u8]>::len);
        *input = input.get(len..).unwrap_or_default();
        self.move_on(len);
    }

    fn after_switch(&self) -> Phase {
        let end = aligned(self.at);
        Phase::AfterSwitch { border: if self.pages.begins_segment(end) { end } else { self.pages.border_after(end) } }
    }

    /// A page that replaces the rest of a record begins with a record that names it.
    fn check_overwrite(&mut self, start: Lsn, header: RecordHeader, bytes: Option<&[u8]>) -> Result<(), Rejected> {
        let bytes = bytes.unwrap_or_else(|| self.partial.bytes());
        let named = self.record(start, header, bytes).overwritten_lsn();
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

    fn not_a_record(&self, start: Lsn, kind: DamageKind) -> Rejected {
        self.rejected(start, kind, Phase::SkipPage)
    }

    fn rejected(&self, at: Lsn, kind: DamageKind, phase: Phase) -> Rejected {
        Rejected { at, kind, phase, previous: None }
    }
}

/// Moving over the input.
impl RecordReader {
    /// The position is never near the end of the address space in WAL that a server wrote; elsewhere it stays there.
    fn move_on(&mut self, bytes: usize) {
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

/// The bytes of a page header that chunks may divide.
#[derive(Debug, Clone)]
struct PageHeaderBytes {
    bytes: [u8; PageHeader::LONG_LEN],
    len: usize,
}

impl Default for PageHeaderBytes {
    fn default() -> Self {
        Self { bytes: [0; PageHeader::LONG_LEN], len: 0 }
    }
}

impl PageHeaderBytes {
    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes from `input` until there are `len` bytes, then returns them and is empty again.
    fn fill(&mut self, len: usize, input: &mut &[u8]) -> Option<[u8; PageHeader::LONG_LEN]> {
        let missing = self.bytes.get_mut(self.len..len)?;
        let taken = missing.len().min(input.len());
        let (head, rest) = input.split_at(taken);
        missing.get_mut(..taken)?.copy_from_slice(head);
        *input = rest;
        self.len += taken;
        if self.len < len {
            return None;
        }
        self.len = 0;
        Some(self.bytes)
    }
}

fn check_length(found: u32) -> Result<(), DamageKind> {
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

fn rest_or_record(remaining: u32) -> Phase {
    if remaining == 0 { Phase::Record } else { Phase::Rest { remaining } }
}

/// The next position at which a record can begin (`MAXALIGN`).
#[inline]
fn aligned(at: Lsn) -> Lsn {
    Lsn::new(at.as_u64().checked_next_multiple_of(8).unwrap_or(u64::MAX))
}
