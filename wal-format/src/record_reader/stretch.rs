//! Neighbours that were read one by one.

use super::unproven::FirstLink;
use super::{BegunRecord, BorderState, Pending, Unproven};
use crate::{Damage, DamageKind, Lsn};

/// Segments that were read, as their neighbours see them: what their two ends leave open. It has a few bytes, whatever
/// crosses its borders.
///
/// Joining is associative, so that segments may be read in any order, by several threads, or on different days; what comes
/// of it is what one reader of all of them would have found.
///
/// ```
/// use wal_format::{Damage, RecordReader, SegmentHeader, Source, Stretch, TimelineId, Walk};
///
/// /// Reads one segment, knowing nothing of the others.
/// fn read(header: &SegmentHeader, mut segment: &[u8]) -> Result<Option<Stretch>, Damage> {
///     let (start, size) = (header.page_address, header.segment_size);
///     let mut reader = RecordReader::new(start, TimelineId::FIRST, size, Source::Complete).with_walk(Walk::CHECKED);
///     while let Some(_) = reader.next(&mut segment)? {}
///     reader.finish()?;
///     Ok(reader.stretch())
/// }
/// # let mut segment = include_bytes!("../../testdata/15/segment").to_vec();
/// # let header = SegmentHeader::parse(&segment)?;
/// # segment.resize(header.segment_size.bytes() as usize, 0);
///
/// let stretch = read(&header, &segment)?.expect("a whole segment ends at a border");
/// // Is the next one really the next?
/// # let other = stretch.clone();
/// assert!(stretch.join(other).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    unproven: Unproven,
    end: BorderState,
}

/// Why two stretches do not make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The second does not begin where the first ends.
    #[error("WAL read up to {end} cannot be judged together with WAL from {start} on")]
    Apart {
        /// Where the first ends.
        end: Lsn,
        /// Where the second begins.
        start: Lsn,
    },
    /// The record that crosses the border is damaged, or what is behind the border does not follow what is before it.
    #[error(transparent)]
    Damage(#[from] Damage),
}

impl Stretch {
    pub(super) const fn new(unproven: Unproven, end: BorderState) -> Self {
        Self { unproven, end }
    }

    /// Where it begins.
    #[must_use]
    pub const fn start(&self) -> Lsn {
        self.unproven.start()
    }

    /// What is known where it ends.
    #[must_use]
    pub const fn end(&self) -> &BorderState {
        &self.end
    }

    /// This stretch and the one behind it as one.
    ///
    /// # Errors
    /// `next` does not begin where this one ends, or the border between them shows that one of them is damaged.
    pub fn join(mut self, next: Self) -> Result<Self, JoinError> {
        if self.end.at != next.start() {
            return Err(JoinError::Apart { end: self.end.at, start: next.start() });
        }
        let carried = match &self.end.pending {
            Pending::Rest { remaining } if self.unproven.is_open() => {
                self.check_rest(*remaining, &next.unproven)?;
                self.unproven.append_fragment(&next.unproven);
                None
            }
            Pending::Begun(record) => {
                self.end.prove(&next.unproven)?;
                next.unproven.fragment.as_ref().map(|fragment| record.joined(fragment))
            }
            _ => {
                self.end.prove(&next.unproven)?;
                None
            }
        };
        let whole = carried.as_ref().filter(|record| record.is_whole());
        let link = whole.and_then(|record| Some(FirstLink { record: record.start, prev: record.header()?.prev }));
        if let Some(link) = link {
            self.unproven.note(link);
        } else if carried.is_none() {
            self.unproven.adopt_first_record(&next.unproven);
        }
        let last = link.map_or(self.end.previous, |link| Some(link.record));
        Ok(Self { unproven: self.unproven, end: next.end_behind(last, carried.filter(|record| !record.is_whole())) })
    }

    /// What is known where this stretch ends, if `last` is the last whole record before it and `carried` crosses its start.
    fn end_behind(self, last: Option<Lsn>, carried: Option<BegunRecord>) -> BorderState {
        let mut end = self.end;
        if self.unproven.is_open() {
            end.previous = end.previous.or(last);
            if let (Pending::Rest { .. }, Some(record)) = (&end.pending, carried) {
                end.pending = Pending::Begun(record);
            }
        }
        end
    }

    /// A record from before both stretches goes on behind the border between them, or was replaced there.
    fn check_rest(&self, expected: u32, next: &Unproven) -> Result<(), Damage> {
        let found = next.fragment.as_ref().map_or(0, |fragment| fragment.announced);
        if found == expected || (found == 0 && next.overwritten.is_some()) {
            return Ok(());
        }
        Err(self.end.damage(self.end.at, DamageKind::Contrecord { expected, found }))
    }
}
