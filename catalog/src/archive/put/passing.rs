//! Judging a segment while it comes, so that it need not be read again.

use wal_format::{SegmentHeader, SegmentName, Source, SystemId, WalFileName};

use crate::Verdict;
use crate::archive::facts::Observer;
use crate::archive::ingest::judge;

/// A file that passes by. Whatever is not plainly a sound segment is left to whoever can look at all of the file.
#[derive(Debug)]
pub(super) enum Passing {
    /// Nothing of it has come.
    Expected {
        name: SegmentName,
        length: u64,
        system: Option<SystemId>,
    },
    /// Its header is sound, and its records are read.
    Observed(Box<Observer>),
    Other,
}

impl Passing {
    /// A file that is to be called `name` and has so many bytes, in a stream of this cluster.
    pub(super) fn new(name: &str, length: u64, system: Option<SystemId>) -> Self {
        match name.parse() {
            Ok(WalFileName::Segment(name)) => Self::Expected { name, length, system },
            _ => Self::Other,
        }
    }

    /// Takes the next bytes; the first time, at least a header's.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if let Self::Expected { name, length, system } = *self {
            *self = observer(name, length, system, bytes).map_or(Self::Other, |new| Self::Observed(Box::new(new)));
        }
        if let Self::Observed(observer) = self {
            observer.take(bytes);
        }
    }

    /// Says that all bytes have come. Tells whether nothing can be wrong with them, as far as they themselves tell.
    pub(super) fn finish(self) -> bool {
        match self {
            Self::Observed(observer) => !matches!(judge(&observer.finish()), Verdict::Damaged { .. }),
            Self::Expected { .. } | Self::Other => false,
        }
    }
}

/// What reads the records of a segment that begins like this, if it is one of this cluster and what its name says.
fn observer(name: SegmentName, length: u64, system: Option<SystemId>, head: &[u8]) -> Option<Observer> {
    let header = SegmentHeader::parse(head).ok()?;
    let size = header.segment_size;
    header.check(&name, system, size).ok()?;
    let start = name.start(size).ok().filter(|_| size.bytes() == length)?;
    Some(Observer::new(name, (start, size), Source::Complete, None))
}
