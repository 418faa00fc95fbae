//! A record that crosses a border, without its contents.

use alloc::vec::Vec;

use super::partial::finish;
use super::unproven::Fragment;
use crate::checksum::crc32c_combine;
use crate::record::RecordHeader;
use crate::{Crc32c, Lsn};

/// The beginning of a record: all that it takes to judge the record when the rest of it comes. It has a few bytes, however
/// long the record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunRecord {
    /// Where it begins.
    pub start: Lsn,
    /// The bytes of its header, as many of them as came.
    pub head: Vec<u8>,
    /// How many of its bytes came, the header's included.
    pub len: u32,
    /// The checksum so far, of the bytes behind the header; `None` if the walk has no checksums.
    pub body: Option<Crc32c>,
}

impl BegunRecord {
    pub(super) fn new(start: Lsn, bytes: &[u8]) -> Self {
        let (head, contents) = bytes.split_at(RecordHeader::LEN.min(bytes.len()));
        let mut body = Crc32c::new();
        body.update(contents);
        // A record has no more bytes than 32 bits can count.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { start, head: head.to_vec(), len, body: Some(body) }
    }

    /// How long the record is; `None` if not even that came.
    pub(super) fn total_len(&self) -> Option<u32> {
        self.head.first_chunk().map(|length| u32::from_ne_bytes(*length))
    }

    pub(super) fn header(&self) -> Option<RecordHeader> {
        RecordHeader::parse(&self.head)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.total_len().is_some_and(|total_len| self.len >= total_len)
    }

    /// The checksum of the record, which is whole; `None` if the walk has no checksums.
    pub(super) fn checksum(&self) -> Option<u32> {
        Some(finish(self.body?, &self.head))
    }

    /// The same record with what came behind a border. The bytes are gone by now: checksums of parts make up that of the
    /// whole.
    pub(super) fn joined(&self, fragment: &Fragment) -> Self {
        let known = [self.head.as_slice(), &fragment.first].concat();
        let (head, contents) = known.split_at(RecordHeader::LEN.min(known.len()));
        let body = self.body.map(|mut body| {
            body.update(contents);
            crc32c_combine(body, fragment.behind, fragment.behind_len())
        });
        let len = self.len.saturating_add(u32::try_from(fragment.len).unwrap_or(u32::MAX));
        Self { start: self.start, head: head.to_vec(), len, body }
    }
}
