//! Comparing files with the backup's manifest while they are copied.

use std::io::{self, Read};

use barman_storage::FileCheck;
use wal_format::{Checksum, Hasher};

use super::parcel::BUFFER_BYTES;
use crate::plan::PlannedFile;

/// For the index of a file, what looks at its bytes.
pub(super) type Checks<'a> = &'a (dyn Fn(usize) -> Option<Box<dyn FileCheck>> + Sync);

/// Returns the checks of these files, by their index. Where the manifest has no checksum, nothing is checked.
pub(super) fn checks(files: &[PlannedFile]) -> impl Fn(usize) -> Option<Box<dyn FileCheck>> + Sync {
    |index| check(files.get(index)?.checksum.as_ref()?)
}

/// Returns the check of a file that has to have this checksum.
pub(super) fn check(expected: &Checksum) -> Option<Box<dyn FileCheck>> {
    let hasher = Hasher::new(expected.algorithm());
    Some(Box::new(ManifestCheck { hasher, expected: expected.clone() }))
}

/// Whether what is read adds up to a checksum.
pub(super) fn is_sum_of(expected: &Checksum, mut contents: impl Read) -> io::Result<bool> {
    let mut hasher = Hasher::new(expected.algorithm());
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match contents.read(&mut buffer)? {
            0 => return Ok(hasher.finish().is_none_or(|found| found == *expected)),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

struct ManifestCheck {
    hasher: Hasher,
    expected: Checksum,
}

impl FileCheck for ManifestCheck {
    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn finish(self: Box<Self>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self.hasher.finish() {
            Some(found) if found != self.expected => Err(Box::new(ChecksumMismatch { expected: self.expected, found })),
            _ => Ok(()),
        }
    }
}

/// A file is not what the server sent when the backup was taken.
#[derive(Debug, thiserror::Error)]
#[error("checksum is {found}, the manifest says {expected}")]
struct ChecksumMismatch {
    expected: Checksum,
    found: Checksum,
}
