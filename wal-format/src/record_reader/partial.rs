//! A record whose bytes are still coming.

use alloc::vec::Vec;

use super::BegunRecord;
use crate::record::RecordHeader;
use crate::{Crc32c, Lsn};

/// What came of a record that cannot be borrowed from the input, because pages or chunks divide it. The buffer is used
/// again for the next one, and grows with the bytes that came, never with what a length field claims.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    /// Where the record begins.
    pub(super) start: Lsn,
    /// All that came, or no more than the header if nobody wants the contents.
    bytes: Vec<u8>,
    keeps_contents: bool,
    /// How many bytes came.
    len: usize,
    /// Of the bytes after the header, so that no byte is fetched from memory twice; `None` if nobody wants to know.
    body: Option<Crc32c>,
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
        Self { start: Lsn::new(0), bytes: Vec::new(), keeps_contents: true, len: 0, body: None }
    }

    /// Begins another record.
    pub(super) fn begin(&mut self, start: Lsn, checks: bool) {
        self.bytes.clear();
        (self.start, self.keeps_contents, self.len) = (start, true, 0);
        self.body = checks.then(Crc32c::new);
    }

    /// Goes on with a record whose contents are gone.
    pub(super) fn go_on(&mut self, record: BegunRecord) {
        self.keeps_contents = false;
        self.len = usize::try_from(record.len).unwrap_or(usize::MAX);
        (self.start, self.bytes, self.body) = (record.start, record.head, record.body);
    }

    /// Says, as soon as the header is known, whether the bytes behind it are to be kept.
    pub(super) fn keep_contents(&mut self, keeps: bool) {
        self.keeps_contents = keeps;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (head, body) = bytes.split_at(RecordHeader::LEN.saturating_sub(self.len).min(bytes.len()));
        if let Some(crc) = &mut self.body {
            crc.update(body);
        }
        self.bytes.extend_from_slice(if self.keeps_contents { bytes } else { head });
        self.len += bytes.len();
    }

    /// All bytes so far; `None` if they were not kept.
    pub(super) fn contents(&self) -> Option<&[u8]> {
        self.keeps_contents.then_some(&self.bytes)
    }

    /// What is left when the contents are given up.
    pub(super) fn begun(&self) -> BegunRecord {
        let head = self.bytes.get(..RecordHeader::LEN).unwrap_or(&self.bytes).to_vec();
        // No more was pushed than the length says, which has 32 bits.
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        BegunRecord { start: self.start, head, len, body: self.body }
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
        goal.saturating_sub(self.len as u64)
    }

    /// How many bytes of the record are missing; `None` before its length is known.
    pub(super) fn remaining(&self) -> Option<u32> {
        let total_len = match self.known() {
            Known::Nothing => return None,
            Known::Length(total_len) | Known::Header(RecordHeader { total_len, .. }) => total_len,
        };
        total_len.checked_sub(u32::try_from(self.len).ok()?)
    }

    /// The checksum of the record, which is whole; `None` if nobody wants to know.
    pub(super) fn checksum(&self) -> Option<u32> {
        Some(finish(self.body?, &self.bytes))
    }
}

/// The checksum of a record that is whole.
#[inline]
pub(super) fn checksum(record: &[u8]) -> u32 {
    let mut body = Crc32c::new();
    body.update(record.get(RecordHeader::LEN..).unwrap_or_default());
    finish(body, record)
}

/// The header comes last, without the checksum itself (`ValidXLogRecord`).
#[inline]
pub(super) fn finish(mut body: Crc32c, record: &[u8]) -> u32 {
    if let Some(checked) = record.first_chunk::<{ RecordHeader::CHECKED_LEN }>() {
        body.update_few(checked);
    }
    body.finish()
}
