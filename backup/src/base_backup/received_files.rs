//! What was written, file by file, in 32 bytes each.

use std::hash::{BuildHasher, RandomState};

/// Records added at a time. Growing in steps instead of doubling keeps the promise of 32 bytes per file: large
/// allocations are moved by the kernel, not copied, so the steps cost little.
const GROWTH: usize = 64 * 1024;

/// The size and checksum of every file written so far.
///
/// A base backup may have millions of files, whose names would take hundreds of megabytes. Names are therefore kept as
/// 128-bit hashes, keyed at random for each backup, so that two names never collide by accident or by design.
#[derive(Debug)]
pub(super) struct ReceivedFiles {
    hasher: PathHasher,
    records: Vec<Record>,
}

/// The same files, sorted, to be compared with the manifest in whatever order that names them.
#[derive(Debug)]
pub(super) struct FileIndex {
    hasher: PathHasher,
    records: Vec<Record>,
}

/// What the comparison of one manifest entry with the files written found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Size and checksum are the server's.
    Equal,
    /// The file was never sent.
    Missing,
    /// The manifest named this file before.
    Repeated,
    /// As many bytes as this were written.
    Size(u64),
    /// The bytes written have this checksum.
    Checksum(u32),
}

#[derive(Debug, Clone, Copy)]
struct Record {
    path: [u64; 2],
    size: u64,
    crc: u32,
    matched: bool,
}

#[derive(Debug)]
struct PathHasher([RandomState; 2]);

impl ReceivedFiles {
    pub(super) fn new() -> Self {
        Self { hasher: PathHasher([RandomState::new(), RandomState::new()]), records: Vec::new() }
    }

    /// Notes one file, named as the manifest will name it.
    pub(super) fn add(&mut self, manifest_path: &[u8], size: u64, crc: u32) {
        if self.records.len() == self.records.capacity() {
            self.records.reserve_exact(GROWTH);
        }
        let path = self.hasher.hash(manifest_path);
        self.records.push(Record { path, size, crc, matched: false });
    }

    pub(super) fn into_index(self) -> FileIndex {
        let Self { hasher, mut records } = self;
        records.sort_unstable_by_key(|record| record.path);
        FileIndex { hasher, records }
    }
}

impl FileIndex {
    /// Compares one entry of the manifest with what was written, and marks the file as named.
    pub(super) fn compare(&mut self, manifest_path: &[u8], size: u64, crc: u32) -> Comparison {
        let Some(record) = self.find(manifest_path).and_then(|at| self.records.get_mut(at)) else {
            return Comparison::Missing;
        };
        if record.matched {
            return Comparison::Repeated;
        }
        record.matched = true;
        if record.size != size {
            Comparison::Size(record.size)
        } else if record.crc != crc {
            Comparison::Checksum(record.crc)
        } else {
            Comparison::Equal
        }
    }

    /// Returns whether every file written was named by the manifest.
    pub(super) fn is_exhausted(&self) -> bool {
        self.records.iter().all(|record| record.matched)
    }

    /// Returns whether this file was written and the manifest did not name it.
    pub(super) fn is_unnamed(&self, manifest_path: &[u8]) -> bool {
        self.find(manifest_path).and_then(|at| self.records.get(at)).is_some_and(|record| !record.matched)
    }

    fn find(&self, manifest_path: &[u8]) -> Option<usize> {
        let path = self.hasher.hash(manifest_path);
        self.records.binary_search_by_key(&path, |record| record.path).ok()
    }
}

impl PathHasher {
    fn hash(&self, path: &[u8]) -> [u64; 2] {
        self.0.each_ref().map(|key| key.hash_one(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(files: &[(&str, u64, u32)]) -> FileIndex {
        let mut received = ReceivedFiles::new();
        for (path, size, crc) in files {
            received.add(path.as_bytes(), *size, *crc);
        }
        received.into_index()
    }

    #[test]
    fn a_file_costs_32_bytes() {
        assert_eq!(size_of::<Record>(), 32);
        let mut received = ReceivedFiles::new();
        for file in 0..GROWTH as u64 * 3 + 1 {
            received.add(&file.to_le_bytes(), file, 0);
        }
        assert_eq!(received.records.capacity(), GROWTH * 4);
    }

    #[test]
    fn every_kind_of_difference_is_told_apart() {
        let mut index = index(&[("a", 1, 10), ("b", 2, 20), ("c", 3, 30)]);
        assert_eq!(index.compare(b"a", 1, 10), Comparison::Equal);
        assert_eq!(index.compare(b"a", 1, 10), Comparison::Repeated);
        assert_eq!(index.compare(b"b", 1, 20), Comparison::Size(2));
        assert_eq!(index.compare(b"c", 3, 31), Comparison::Checksum(30));
        assert_eq!(index.compare(b"d", 0, 0), Comparison::Missing);
    }

    #[test]
    fn a_file_the_manifest_does_not_name_is_found_again() {
        let mut index = index(&[("a", 1, 10), ("b", 2, 20)]);
        index.compare(b"a", 1, 10);
        assert!(!index.is_exhausted());
        assert!(index.is_unnamed(b"b"));
        assert!(!index.is_unnamed(b"a"));
        assert!(!index.is_unnamed(b"never written"));
        index.compare(b"b", 2, 20);
        assert!(index.is_exhausted());
    }
}
