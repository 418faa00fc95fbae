//! WAL records.

use crate::{Lsn, Payload, PgMajor, ResourceManager, TimelineId};

/// Records that concern the log itself (`catalog/pg_control.h`).
pub(crate) mod xlog {
    pub(crate) const CHECKPOINT_SHUTDOWN: u8 = 0x00;
    pub(crate) const CHECKPOINT_ONLINE: u8 = 0x10;
    pub(crate) const SWITCH: u8 = 0x40;
    pub(crate) const BACKUP_END: u8 = 0x50;
    pub(crate) const PARAMETER_CHANGE: u8 = 0x60;
    pub(crate) const RESTORE_POINT: u8 = 0x70;
    pub(crate) const FPW_CHANGE: u8 = 0x80;
    pub(crate) const END_OF_RECOVERY: u8 = 0x90;
    pub(crate) const OVERWRITE_CONTRECORD: u8 = 0xD0;
    pub(crate) const CHECKPOINT_REDO: u8 = 0xE0;
}

/// What every record begins with (`XLogRecord`, `access/xlogrecord.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Length of the record in bytes, this header included, page headers and padding not.
    pub total_len: u32,
    /// The transaction that wrote it; 0 if none did.
    pub xid: u32,
    /// Where the record before it begins; 0 for the first one of a cluster, and after `pg_resetwal`.
    pub prev: Lsn,
    /// What it is, in the words of its resource manager, and in the low four bits flags that all of them share.
    pub info: u8,
    /// What replays it.
    pub manager: ResourceManager,
    /// The CRC-32C of everything else in the record.
    pub checksum: u32,
}

impl RecordHeader {
    /// Length of the header, in bytes (`SizeOfXLogRecord`).
    pub const LEN: usize = 24;
    /// How many of these bytes the checksum is computed over: after all that follow the header.
    pub(crate) const CHECKED_LEN: usize = 20;
    /// The bits of `info` that say what the record is (`XLR_RMGR_INFO_MASK`).
    pub(crate) const KIND_MASK: u8 = 0xF0;

    /// Reads the header at the beginning of `record`, or returns `None` if that has fewer bytes. Nothing is checked.
    #[must_use]
    #[inline]
    pub fn parse(record: &[u8]) -> Option<Self> {
        // One look at the length, and none for each field: this is where a walk spends its time.
        let header: &[u8; Self::LEN] = record.first_chunk()?;
        let (total_len, rest) = header.split_first_chunk()?;
        let (xid, rest) = rest.split_first_chunk()?;
        let (prev, rest) = rest.split_first_chunk()?;
        let ([info, manager, _, _], rest) = rest.split_first_chunk()?;
        Some(Self {
            total_len: u32::from_ne_bytes(*total_len),
            xid: u32::from_ne_bytes(*xid),
            prev: Lsn::new(u64::from_ne_bytes(*prev)),
            info: *info,
            manager: ResourceManager::new(*manager),
            checksum: u32::from_ne_bytes(*rest.first_chunk()?),
        })
    }

    /// What the record is, in the words of its resource manager: `info` without the shared flags.
    #[must_use]
    #[inline]
    pub const fn kind(&self) -> u8 {
        self.info & Self::KIND_MASK
    }

    /// Whether it ends its segment (`XLOG_SWITCH`).
    #[inline]
    pub(crate) fn is_switch(&self) -> bool {
        self.is_xlog(xlog::SWITCH)
    }

    /// Whether it is the checkpoint of a clean shutdown, which `initdb` and `pg_resetwal` begin a log with.
    pub(crate) fn is_shutdown_checkpoint(&self) -> bool {
        self.is_xlog(xlog::CHECKPOINT_SHUTDOWN)
    }

    /// Whether it replaces one that a crash cut short (`XLOG_OVERWRITE_CONTRECORD`).
    #[inline]
    pub(crate) fn is_overwrite_contrecord(&self) -> bool {
        self.is_xlog(xlog::OVERWRITE_CONTRECORD)
    }

    #[inline]
    fn is_xlog(&self, kind: u8) -> bool {
        self.manager == ResourceManager::XLOG && self.kind() == kind
    }
}

/// A whole record, whose length, place and checksum were found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins (`ReadRecPtr`).
    pub start: Lsn,
    /// Where the next one may begin, or the header of a page before it (`EndRecPtr`): past padding, and past the rest of
    /// the segment if this record ends it.
    pub end: Lsn,
    /// The timeline of the page it ends on.
    pub timeline: TimelineId,
    /// The version of the server that wrote it.
    pub major: PgMajor,
    /// What it begins with.
    pub header: RecordHeader,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record without page headers and padding, its own header included.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The record that this one says was cut short.
    pub(crate) fn overwritten_lsn(&self) -> Option<Lsn> {
        match self.header.is_overwrite_contrecord().then(|| self.decode()) {
            Some(Ok(Payload::OverwriteContrecord(record))) => Some(record.overwritten),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_field_is_read_from_its_place() {
        let mut bytes = Vec::new();
        bytes.extend(99u32.to_ne_bytes());
        bytes.extend(742u32.to_ne_bytes());
        bytes.extend(0x0100_0028u64.to_ne_bytes());
        bytes.extend([0x43, 0, 0, 0]);
        bytes.extend(0xDEAD_BEEFu32.to_ne_bytes());
        let expected = RecordHeader {
            total_len: 99,
            xid: 742,
            prev: Lsn::new(0x0100_0028),
            info: 0x43,
            manager: ResourceManager::XLOG,
            checksum: 0xDEAD_BEEF,
        };
        assert_eq!(RecordHeader::parse(&bytes), Some(expected));
        assert_eq!((expected.kind(), expected.is_switch()), (0x40, true));
        assert_eq!(RecordHeader::parse(&bytes[..23]), None);
    }
}
