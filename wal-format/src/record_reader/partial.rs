//! A record whose bytes are still coming.

use alloc::vec::Vec;

use crate::record::RecordHeader;
use crate::{Crc32c, Lsn};

/// The bytes of a record that cannot be borrowed from the input, because pages or chunks divide them. The buffer is used
/// again for the next one, and grows with the bytes that came, never with what a length field claims.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    /// Where the record begins.
    pub(super) start: Lsn,
    bytes: Vec<u8>,
    /// Of the bytes after the header, so that no byte is fetched from memory twice.
    body: Crc32c,
}

/// What a record's bytes so far allow to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// Its length (`xl_tot_len`), in bytes.
    Length(u32),
    /// Its header.
    Header(RecordHeader),
}

impl Partial {
    pub(super) const fn new() -> Self {
        Self { start: Lsn::new(0), bytes: Vec::new(), body: Crc32c::new() }
    }

    /// Begins another record.
    pub(super) fn begin(&mut self, start: Lsn) {
        self.start = start;
        self.bytes.clear();
        self.body = Crc32c::new();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let missing_header = RecordHeader::LEN.saturating_sub(self.bytes.len());
        self.body.update(bytes.get(missing_header..).unwrap_or_default());
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn known(&self) -> Known {
        match (RecordHeader::parse(&self.bytes), self.bytes.first_chunk()) {
            (Some(header), _) => Known::Header(header),
            (None, Some(length)) => Known::Length(u32::from_ne_bytes(*length)),
            (None, None) => Known::Nothing,
        }
    }

    /// How many bytes it takes to know more, or to have the whole record.
    pub(super) fn missing(&self) -> u64 {
        let goal = match self.known() {
            Known::Nothing => 4,
            Known::Length(_) => RecordHeader::LEN as u64,
            Known::Header(header) => header.total_len.into(),
        };
        goal.saturating_sub(self.bytes.len() as u64)
    }

    /// How many bytes of the record are missing; `None` before its length is known.
    pub(super) fn remaining(&self) -> Option<u32> {
        let total_len = match self.known() {
            Known::Nothing => return None,
            Known::Length(total_len) | Known::Header(RecordHeader { total_len, .. }) => total_len,
        };
        // What was pushed never exceeds the length, which has 32 bits.
        total_len.checked_sub(u32::try_from(self.bytes.len()).ok()?)
    }

    pub(super) fn checksum(&self) -> u32 {
        finish(self.body, &self.bytes)
    }
}

/// The checksum of a record that is whole.
#[inline]
pub(super) fn checksum(record: &[u8]) -> u32 {
    let body = record.get(RecordHeader::LEN..).unwrap_or_default();
    let mut crc = Crc32c::new();
    crc.update(body);
    finish(crc, record)
}

/// The header comes last, without the checksum itself (`ValidXLogRecord`).
fn finish(mut body: Crc32c, record: &[u8]) -> u32 {
    body.update(record.get(..RecordHeader::CHECKED_LEN).unwrap_or_default());
    body.finish()
}
