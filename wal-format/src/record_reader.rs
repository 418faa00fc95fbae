//! Reading records from bytes that come in any pieces.

mod begun_record;
mod border;
mod judgement;
mod page_header_bytes;
mod partial;
mod phase;
mod stretch;
#[cfg(test)]
mod tests;
mod unproven;
mod walk;

pub use begun_record::BegunRecord;
pub use border::{BorderState, Pending, Proof};
pub use stretch::{JoinError, Stretch};
pub use unproven::Unproven;
pub use walk::{End, Item, Passed, Source, Visit, Walk};

use core::ops::Range;

use crate::page_sequence::PageSequence;
use crate::record::{Record, RecordHeader};
use crate::{Damage, DamageKind, Lsn, SegmentSize, TimelineId, WalLayout};
use page_header_bytes::PageHeaderBytes;
use partial::Partial;
use phase::{Behind, Found, Phase};

/// Finds the records in WAL: across pages and segments, in pieces of any size, each checked against its checksum and the
/// record before it.
///
/// It follows `access/xlogreader.c` in what it accepts. Bytes go in by [`RecordReader::next`], from the beginning of a
/// segment on and without holes; a record that lies within one page of the input is borrowed from there, any other from a
/// buffer of the reader's own. Who wants all of it asks [`RecordReader::for_each`], which is faster.
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
    walk: Walk,
    /// Where the next byte of input belongs; that of a page's header only moves on once the header is whole.
    at: Lsn,
    phase: Phase,
    /// See [`RecordReader::plain_len`].
    plain_len: usize,
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
                partial.begin(start, true);
                partial.push(&bytes);
                Behind::Partial
            }
            Pending::Begun(record) => {
                partial.go_on(record);
                Behind::Partial
            }
        };
        Self {
            pages,
            source,
            walk: Walk::WHOLE,
            at,
            phase: Phase::PageHeader(behind),
            plain_len: 0,
            page_header: PageHeaderBytes::default(),
            partial,
            previous,
            overwritten: None,
            damaged_since,
            unproven: Unproven::new(at, behind == Behind::Anything && damaged_since.is_none()),
        }
    }

    /// The same reader, which looks at records as `walk` says.
    #[must_use]
    pub const fn with_walk(mut self, walk: Walk) -> Self {
        self.walk = walk;
        self
    }

    /// Takes bytes from the beginning of `input` until there is something to tell; `Ok(None)` means that all were taken and
    /// more are needed.
    ///
    /// # Errors
    /// The source is [`Source::Complete`] and something in it cannot be believed. The next call goes on behind that, and
    /// says with [`Item::Skipped`] how far it had to go before anything could be believed again.
    pub fn next<'r, 'b: 'r>(&'r mut self, input: &mut &'b [u8]) -> Result<Option<Item<'r>>, Damage> {
        match self.read_plain_record(input) {
            Some(found) => Ok(Some(self.item(found))),
            None => self.next_of_any_kind(input),
        }
    }

    /// Takes all of `input`, up to the end of an open source, and shows `visitor` what it comes across: the same as
    /// [`RecordReader::next`] would return, and in half the time where records are small.
    ///
    /// # Errors
    /// As those of [`RecordReader::next`]. What follows the damage is still in `input`.
    // Most records are some fifty bytes long, and would take longer to be returned than to be read.
    #[inline]
    pub fn for_each(&mut self, input: &mut &[u8], visitor: &mut impl Visit) -> Result<(), Damage> {
        loop {
            while let Some(found) = self.read_plain_record(input) {
                visitor.visit(self.item(found));
            }
            let Some(item) = self.next_of_any_kind(input)? else { return Ok(()) };
            let is_end = matches!(item, Item::End(_));
            visitor.visit(item);
            if is_end {
                return Ok(());
            }
        }
    }

    #[inline(never)]
    fn next_of_any_kind<'r, 'b: 'r>(&'r mut self, input: &mut &'b [u8]) -> Result<Option<Item<'r>>, Damage> {
        let found = self.advance(input);
        self.plain_len = self.plain_len();
        Ok(found?.map(|found| self.item(found)))
    }

    #[inline]
    fn item<'r, 'b: 'r>(&'r self, found: Found<'b>) -> Item<'r> {
        match found {
            Found::Record { start, end, header, bytes } => {
                let wanted = (self.walk.wanted)(&header);
                match bytes.or_else(|| self.partial.contents()).filter(|_| wanted) {
                    Some(bytes) => Item::Record(self.record(start..end, header, bytes)),
                    None => Item::Passed(Passed { start, end, header }),
                }
            }
            Found::Skipped(range) => Item::Skipped(range),
            Found::End(end) => Item::End(end),
        }
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
            Behind::Partial => match self.partial.contents() {
                Some(bytes) => Pending::Record { start: self.partial.start, bytes: bytes.to_vec() },
                None => Pending::Begun(self.partial.begun()),
            },
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

    /// What was read, as neighbours judge it: whoever reads segments in any order, or several at once, joins these. `None`
    /// anywhere but at the border of a segment.
    #[must_use]
    pub fn stretch(&self) -> Option<Stretch> {
        Some(Stretch::new(self.unproven.clone(), self.border_state()?.without_contents()))
    }

    fn is_at_border(&self) -> bool {
        matches!(self.phase, Phase::PageHeader(_)) && self.pages.begins_segment(self.at) && self.page_header.is_empty()
    }

    /// Whether a record has begun whose bytes are still coming.
    fn is_within_record(&self) -> bool {
        matches!(self.phase, Phase::Partial | Phase::PageHeader(Behind::Partial))
    }

    /// Of the one that was just read.
    fn end_of_record(&self) -> Lsn {
        match self.phase {
            Phase::AfterSwitch { border } => border,
            _ => aligned(self.at),
        }
    }

    #[inline]
    fn record<'r>(&self, place: Range<Lsn>, header: RecordHeader, bytes: &'r [u8]) -> Record<'r> {
        let Range { start, end } = place;
        Record { start, end, timeline: self.pages.page_timeline, major: self.pages.page_major, header, bytes }
    }

    fn damage(&self, at: Lsn, kind: DamageKind) -> Damage {
        Damage { at, timeline: self.pages.timeline, kind }
    }
}

/// The next position at which a record can begin (`MAXALIGN`).
fn aligned(at: Lsn) -> Lsn {
    Lsn::new(at.as_u64().checked_next_multiple_of(8).unwrap_or(u64::MAX))
}
