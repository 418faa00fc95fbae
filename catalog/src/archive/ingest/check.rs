//! Second stage: whether a file is what its name says, and of this cluster.

use barman_storage::Stat;
use wal_format::{
    PageHeaderError, SegmentHeader, SegmentHeaderError, SegmentMismatch, SegmentName, SystemId, Timestamp, WalFileName,
};

use crate::Encoding;

use super::detect::Detected;

/// Why a file is not archived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The archive has other contents under its name. A compressed or encrypted copy always counts as different.
    #[error("{name} is archived already, with different contents{}", how(*stored))]
    Duplicate {
        /// Its name.
        name: WalFileName,
        /// How the archive stores the other contents.
        stored: Encoding,
    },
    /// It is of another cluster, or of another place in the log than its name says.
    #[error("{name} is not what it is called")]
    Mismatch {
        /// Its name.
        name: SegmentName,
        /// What is wrong.
        #[source]
        source: SegmentMismatch,
    },
    /// It begins with a page that no segment begins with.
    #[error("{name} does not begin like a segment")]
    Header {
        /// Its name.
        name: SegmentName,
        /// What is wrong.
        #[source]
        source: SegmentHeaderError,
    },
    /// It is shorter or longer than a segment: cut off on its way, or not what it says.
    #[error("{name} has {found} bytes, expected {expected}")]
    Length {
        /// Its name.
        name: SegmentName,
        /// The segment size its header gives, in bytes.
        expected: u64,
        /// Its length, in bytes.
        found: u64,
    },
}

fn how(stored: Encoding) -> &'static str {
    match stored {
        Encoding::Plain => "",
        Encoding::Compressed(_) => " or compressed",
        Encoding::Encrypted => " or encrypted",
    }
}

/// Why a segment could not be checked. It is archived all the same: it may be the only copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// It is compressed or encrypted.
    #[error("it arrived {}", arrived(*.0))]
    Encoded(Encoding),
    /// It is of a version that is not known, or damaged at its very beginning.
    #[error("its header cannot be read")]
    Header(#[source] SegmentHeaderError),
}

fn arrived(encoding: Encoding) -> &'static str {
    encoding.compression().map_or("encrypted", |_| "compressed")
}

/// What the check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing wrong; of this cluster, as far as such a file says.
    Sound(Option<SystemId>),
    Unverified(Unverified),
    Refused(Refusal),
    /// It is still being written.
    Unfinished,
}

/// Checks the header of a segment (invariant 5). Other files have nothing that says where they belong.
pub(super) fn check(file: &Detected, system: Option<SystemId>, now: Timestamp) -> Finding {
    let (name, whole) = match file.entry.name {
        WalFileName::Segment(name) => (name, true),
        WalFileName::Partial(name) => (name, false),
        WalFileName::BackupLabel { .. } | WalFileName::History(_) => return Finding::Sound(None),
    };
    if file.encoding != Encoding::Plain {
        return Finding::Unverified(Unverified::Encoded(file.encoding));
    }
    match SegmentHeader::parse(&file.head) {
        Ok(header) if whole => check_whole(name, &header, &file.stat, system, now),
        Ok(header) => check_header(name, &header, system),
        // The receiver makes the file first and writes to it then.
        Err(_) if !whole && file.head.iter().all(|byte| *byte == 0) => Finding::Sound(None),
        Err(_) if whole && is_growing(&file.stat, SegmentHeader::LEN as u64, now) => Finding::Unfinished,
        Err(error) => unreadable(name, error),
    }
}

fn check_whole(
    name: SegmentName,
    header: &SegmentHeader,
    stat: &Stat,
    system: Option<SystemId>,
    now: Timestamp,
) -> Finding {
    let expected = header.segment_size.bytes();
    match check_header(name, header, system) {
        Finding::Sound(_) if is_growing(stat, expected, now) => Finding::Unfinished,
        Finding::Sound(_) if stat.size != expected => {
            Finding::Refused(Refusal::Length { name, expected, found: stat.size })
        }
        finding => finding,
    }
}

fn check_header(name: SegmentName, header: &SegmentHeader, system: Option<SystemId>) -> Finding {
    match header.check(&name, system, header.segment_size) {
        Ok(()) => Finding::Sound(Some(header.system_id)),
        Err(source) => Finding::Refused(Refusal::Mismatch { name, source }),
    }
}

/// A page of WAL that no segment begins with is another place in the log than the name says; anything else may be WAL of a
/// version to come.
fn unreadable(name: SegmentName, error: SegmentHeaderError) -> Finding {
    match error {
        SegmentHeaderError::NotFirstPage { .. } | SegmentHeaderError::NotAtBorder { .. } => {
            Finding::Refused(Refusal::Header { name, source: error })
        }
        SegmentHeaderError::Page(PageHeaderError::TooShort { needed, found }) => {
            let length = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
            Finding::Refused(Refusal::Length { name, expected: length(needed), found: length(found) })
        }
        error => Finding::Unverified(Unverified::Header(error)),
    }
}

/// Tells whether a file is short because a plain `cp` is still writing it: written to within the last minute. Moving it
/// away now would tear what is going to be the only copy.
fn is_growing(stat: &Stat, expected: u64, now: Timestamp) -> bool {
    const SETTLED_SECONDS: i64 = 60;
    let written = stat.modified_seconds;
    stat.size < expected && now.unix_micros() / 1_000_000 - written < SETTLED_SECONDS
}
