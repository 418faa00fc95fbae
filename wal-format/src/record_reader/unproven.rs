//! What the beginning of WAL says about the WAL before it.

use alloc::vec::Vec;

use crate::checksum::crc32c_combine;
use crate::record::RecordHeader;
use crate::{Crc32c, Lsn};

/// What a reader found, but could not judge without the WAL before the place where it began; see
/// [`BorderState::prove`](crate::BorderState::prove).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unproven {
    pub(super) start: Lsn,
    /// Whether more may be added: until the first record or the first damage.
    open: bool,
    pub(super) fragment: Option<Fragment>,
    pub(super) first_link: Option<FirstLink>,
    pub(super) overwritten: Option<Lsn>,
}

/// The beginning of a segment that belongs to a record from before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    /// How long the first page says it is, in bytes.
    pub(super) announced: u32,
    /// Its bytes so far.
    pub(super) len: u64,
    /// The first bytes: if the border divides the record's header, the rest of that is among them.
    pub(super) first: Vec<u8>,
    /// Of the bytes behind the first ones.
    pub(super) behind: Crc32c,
}

/// What the first record says about the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstLink {
    pub(super) record: Lsn,
    pub(super) prev: Lsn,
}

impl Unproven {
    pub(super) const fn new(start: Lsn, open: bool) -> Self {
        Self { start, open, fragment: None, first_link: None, overwritten: None }
    }

    /// Where the reader began.
    #[must_use]
    pub const fn start(&self) -> Lsn {
        self.start
    }

    pub(super) fn begin_fragment(&mut self, announced: u32) {
        if self.open {
            self.fragment = Some(Fragment { announced, len: 0, first: Vec::new(), behind: Crc32c::new() });
        }
    }

    pub(super) fn add_to_fragment(&mut self, bytes: &[u8]) {
        if let Some(fragment) = self.fragment.as_mut().filter(|_| self.open) {
            fragment.push(bytes);
        }
    }

    /// The rest of the record was replaced.
    pub(super) fn drop_fragment(&mut self) {
        if self.open {
            self.fragment = None;
        }
    }

    pub(super) fn note_overwritten(&mut self, lsn: Lsn) {
        if self.open {
            self.overwritten = Some(lsn);
        }
    }

    /// Notes the first record; what follows it, it proves.
    pub(super) fn note(&mut self, link: FirstLink) {
        if self.open {
            self.first_link = Some(link);
            self.open = false;
        }
    }

    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// Whether the next record, or the next fragment, still belongs here.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether all that was found is the rest of a record from before which looks like one that ends its segment: the border
    /// may divide that too, and zeros follow it then.
    pub(super) fn ends_with_switch(&self) -> bool {
        self.open && self.fragment.as_ref().is_some_and(Fragment::is_rest_of_switch)
    }

    /// Adds what another reader left open that began where this one stopped, within the record from before both.
    pub(super) fn append_fragment(&mut self, next: &Self) {
        match (&mut self.fragment, &next.fragment) {
            (Some(fragment), Some(more)) => fragment.append(more),
            // The rest of the record was replaced.
            _ => self.fragment = None,
        }
        self.adopt_first_record(next);
    }

    /// The first record that the next reader found is the first of both.
    pub(super) fn adopt_first_record(&mut self, next: &Self) {
        if self.open {
            (self.first_link, self.overwritten, self.open) = (next.first_link, next.overwritten, next.open);
        }
    }
}

impl Fragment {
    /// As many bytes as a header can have behind the border: it begins at least 8 bytes before it.
    const FIRST: usize = RecordHeader::LEN - 8;

    fn push(&mut self, bytes: &[u8]) {
        let missing = Self::FIRST.saturating_sub(self.first.len()).min(bytes.len());
        let (first, behind) = bytes.split_at(missing);
        self.first.extend_from_slice(first);
        self.behind.update(behind);
        self.len += bytes.len() as u64;
    }

    /// Whether all of it came.
    pub(super) fn is_whole(&self) -> bool {
        self.len >= u64::from(self.announced)
    }

    /// Whether it can be the end of a switch record, which is a header and nothing else.
    fn is_rest_of_switch(&self) -> bool {
        let head = [0; RecordHeader::LEN].get(self.first.len()..).map(|missing| [missing, &self.first].concat());
        let header = head.as_deref().and_then(RecordHeader::parse);
        self.is_whole() && self.behind_len() == 0 && header.is_some_and(|header| header.is_switch())
    }

    /// How many bytes there are behind the first ones.
    pub(super) fn behind_len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX).saturating_sub(self.first.len())
    }

    /// Adds what came of the same record behind the next border.
    fn append(&mut self, next: &Self) {
        self.push(&next.first);
        self.behind = crc32c_combine(self.behind, next.behind, next.behind_len());
        self.len += next.behind_len() as u64;
    }
}
