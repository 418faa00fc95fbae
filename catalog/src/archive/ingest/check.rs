//! Second stage: whether a file is what its name says, and of this cluster.

use barman_storage::Stat;
use wal_format::{
    PageHeaderError, PgMajor, SegmentHeader, SegmentHeaderError, SegmentMismatch, SegmentName, SegmentSize,
    SyntaxError, SystemId, TimelineHistory, TimelineId, Timestamp, UnknownMagic, WalFileName,
};

use crate::{Catalog, Encoding, Error};

use super::detect::Detected;

/// Why a file is not archived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The archive has other contents under its name, or contents of which nothing tells whether they are the same.
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
    /// It is of no known version, and what every version writes after the magic is not there.
    #[error(
        "{name} begins with magic 0x{magic:04X}, which no known PostgreSQL writes, and not as WAL of another one would"
    )]
    NoWal {
        /// Its name.
        name: SegmentName,
        /// What it begins with, as a number of this machine's byte order.
        magic: u16,
        /// What is wrong besides.
        #[source]
        source: SegmentHeaderError,
    },
    /// It is compressed, and what it holds cannot be had: it was cut short on its way, or damaged.
    #[error("{name} cannot be decompressed: {reason}")]
    Broken {
        /// Its name.
        name: WalFileName,
        /// What is wrong.
        reason: String,
    },
    /// It is called a timeline history, and does not read as one.
    #[error("{name} is no timeline history")]
    History {
        /// Its name.
        name: WalFileName,
        /// What is wrong.
        #[source]
        source: SyntaxError,
    },
    /// It is called a timeline history, and is empty or longer than any.
    #[error("{name} has {found} bytes, expected 1 to {LONGEST_HISTORY} of a timeline history")]
    HistoryLength {
        /// Its name.
        name: WalFileName,
        /// Its length, in bytes.
        found: u64,
    },
}

impl Refusal {
    /// The refusal and its causes in one line.
    #[must_use]
    pub fn explain(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// The cluster that the WAL here is of, if this is of another one.
    #[must_use]
    pub fn expected_system(&self) -> Option<SystemId> {
        match self {
            Self::Mismatch { source: SegmentMismatch::System { expected, .. }, .. } => Some(*expected),
            _ => None,
        }
    }
}

/// More than any timeline history has: room for ten thousand ancestors. What is read into memory ends here.
const LONGEST_HISTORY: u64 = 1 << 20;

fn how(stored: Encoding) -> &'static str {
    match stored {
        Encoding::Plain => "",
        Encoding::Compressed(_) | Encoding::Custom => " or compressed",
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
    /// It is of a version or byte order that is not known here, or damaged at its very beginning.
    #[error("its header cannot be read")]
    Header(#[source] SegmentHeaderError),
}

fn arrived(encoding: Encoding) -> &'static str {
    encoding.compression().map_or("encrypted", |_| "compressed")
}

/// What the check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing wrong, as far as its beginning tells; with that of a segment.
    Sound(Option<SegmentHeader>),
    Unverified(Unverified),
    Refused(Refusal),
    /// It is still being written.
    Unfinished,
}

/// Checks the header of a segment (invariant 5), and whether a history reads as one. A label has nothing that says where it
/// belongs.
pub(super) fn check(
    catalog: &Catalog,
    file: &mut Detected,
    system: Option<SystemId>,
    now: Timestamp,
) -> Result<Finding, Error> {
    let readable = file.is_readable();
    let (name, whole) = match file.entry.name {
        WalFileName::Segment(name) => (name, true),
        WalFileName::Partial(name) => (name, false),
        WalFileName::History(timeline) if readable => return check_history(file, timeline, now),
        WalFileName::BackupLabel { .. } | WalFileName::History(_) => return Ok(Finding::Sound(None)),
    };
    if !readable {
        return Ok(Finding::Unverified(Unverified::Encoded(file.encoding)));
    }
    if file.encoding != Encoding::Plain && file.head.len() < SegmentHeader::LEN {
        // Says why.
        file.read(|_| Ok(()))?;
    }
    let check = |header: &SegmentHeader, size: SegmentSize| match whole {
        // How long it is that is compressed shows when it is read.
        true if file.encoding == Encoding::Plain => check_whole(name, header, size, &file.stat, system, now),
        true => check_header(name, header, size, system),
        false => check_header(name, header, size, system),
    };
    Ok(match SegmentHeader::parse(&file.head) {
        Ok(header) => check(&header, header.segment_size),
        // The receiver makes the file first and writes to it then.
        Err(_) if !whole && file.head.iter().all(|byte| *byte == 0) => Finding::Sound(None),
        Err(_) if whole && is_growing(&file.stat, SegmentHeader::LEN as u64, now) => Finding::Unfinished,
        Err(error @ SegmentHeaderError::Page(PageHeaderError::Magic(UnknownMagic { magic }))) => {
            match SegmentHeader::parse(&with_known_magic(&file.head)) {
                Ok(header) => {
                    let size = catalog.segment_size()?.unwrap_or(header.segment_size);
                    unverified_if_sound(check(&header, size), error)
                }
                Err(source) => Finding::Refused(Refusal::NoWal { name, magic, source }),
            }
        }
        Err(error) => unreadable(name, error),
    })
}

/// The same header as if a known version had written it: all that follows the magic and the flags has its place since
/// long before the oldest of them, so that a version to come can be expected to keep it. It may have more flags.
fn with_known_magic(head: &[u8]) -> Vec<u8> {
    /// `XLP_LONG_HEADER`: the page is the first of its segment.
    const LONG_HEADER: u16 = 0x0002;
    let mut head = head.to_vec();
    if let [magic_0, magic_1, flags_0, flags_1, ..] = head.as_mut_slice() {
        let flags = u16::from_ne_bytes([*flags_0, *flags_1]) & LONG_HEADER;
        [*magic_0, *magic_1] = PgMajor::V19.wal_magic().to_ne_bytes();
        [*flags_0, *flags_1] = flags.to_ne_bytes();
    }
    head
}

fn unverified_if_sound(finding: Finding, error: SegmentHeaderError) -> Finding {
    match finding {
        Finding::Sound(_) => Finding::Unverified(Unverified::Header(error)),
        finding => finding,
    }
}

/// A history that cannot be read would keep the true one out of the archive, as its duplicate.
fn check_history(file: &mut Detected, timeline: TimelineId, now: Timestamp) -> Result<Finding, Error> {
    let name = file.entry.name;
    let (mut text, mut found) = (Vec::new(), 0);
    file.read(|bytes| {
        found += bytes.len() as u64;
        if found <= LONGEST_HISTORY {
            text.extend_from_slice(bytes);
        }
        Ok(())
    })?;
    if !(1..=LONGEST_HISTORY).contains(&found) {
        let refused = Finding::Refused(Refusal::HistoryLength { name, found });
        return Ok(if is_growing(&file.stat, 1, now) { Finding::Unfinished } else { refused });
    }
    let nobody = || SyntaxError { offset: text.len(), expected: "an ancestor", found: "the end".to_owned() };
    let parsed = TimelineHistory::parse(timeline, &text);
    Ok(match parsed.and_then(|history| history.entries.first().cloned().ok_or_else(nobody)) {
        Ok(_) => Finding::Sound(None),
        // Shorter than the longest: any that was written to just now.
        Err(_) if is_growing(&file.stat, LONGEST_HISTORY, now) => Finding::Unfinished,
        Err(source) => Finding::Refused(Refusal::History { name, source }),
    })
}

fn check_whole(
    name: SegmentName,
    header: &SegmentHeader,
    size: SegmentSize,
    stat: &Stat,
    system: Option<SystemId>,
    now: Timestamp,
) -> Finding {
    let expected = header.segment_size.bytes();
    match check_header(name, header, size, system) {
        Finding::Sound(_) if is_growing(stat, expected, now) => Finding::Unfinished,
        Finding::Sound(_) if stat.size != expected => {
            Finding::Refused(Refusal::Length { name, expected, found: stat.size })
        }
        finding => finding,
    }
}

fn check_header(name: SegmentName, header: &SegmentHeader, size: SegmentSize, system: Option<SystemId>) -> Finding {
    match header.check(&name, system, size) {
        Ok(()) => Finding::Sound(Some(*header)),
        Err(source) => Finding::Refused(Refusal::Mismatch { name, source }),
    }
}

/// A page of WAL that no segment begins with is another place in the log than the name says; anything else is damaged, or of
/// a machine of the other byte order.
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

/// What to do with a file that cannot be decompressed: a plain `cp` may still be at it.
pub(super) fn broken(file: &Detected, reason: &std::io::Error, now: Timestamp) -> Finding {
    if is_growing(&file.stat, u64::MAX, now) {
        return Finding::Unfinished;
    }
    let causes = std::iter::successors(Some(reason as &dyn std::error::Error), |error| error.source());
    let reason = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    Finding::Refused(Refusal::Broken { name: file.entry.name, reason })
}

/// What is wrong with a segment that turned out to be this long when it was decompressed.
pub(super) fn wrong_length(name: WalFileName, header: &SegmentHeader, found: u64) -> Option<Refusal> {
    let expected = header.segment_size.bytes();
    match name {
        WalFileName::Segment(name) if found != expected => Some(Refusal::Length { name, expected, found }),
        _ => None,
    }
}

/// Tells whether a file is short because a plain `cp` is still writing it: written to within the last minute. Moving it
/// away now would tear what is going to be the only copy.
fn is_growing(stat: &Stat, expected: u64, now: Timestamp) -> bool {
    const SETTLED_SECONDS: i64 = 60;
    let written = stat.modified_seconds;
    stat.size < expected && now.unix_micros() / 1_000_000 - written < SETTLED_SECONDS
}
