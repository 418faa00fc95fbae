//! What the beginning of WAL says about the WAL before it.

use alloc::vec::Vec;

use crate::checksum::crc32c_combine;
use crate::record::RecordHeader;
use crate::{Crc32c, Lsn};

/// What a reader found, but could not judge without the WAL before the place where it began; see
/// [`BorderState::prove`].
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
    first: Vec<u8>,
    /// Of the bytes behind the first ones.
    behind: Crc32c,
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

    /// The header and the checksum of the record that begins with `bytes` and ends with this fragment. The fragment's bytes
    /// are gone by now: checksums of parts make up that of the whole.
    pub(super) fn complete(&self, bytes: &[u8]) -> Option<(RecordHeader, u32)> {
        let mut known = bytes.to_vec();
        known.extend_from_slice(&self.first);
        let header = RecordHeader::parse(&known)?;
        let mut body = Crc32c::new();
        body.update(known.get(RecordHeader::LEN..)?);
        let behind = self.len.saturating_sub(self.first.len() as u64);
        let mut whole = crc32c_combine(body, self.behind, usize::try_from(behind).ok()?);
        whole.update(known.get(..RecordHeader::CHECKED_LEN)?);
        Some((header, whole.finish()))
    }
}
