//! Putting files together whose blocks are in several backups, by the rule of `pg_combinebackup`
//! (`reconstruct_from_incremental_file`).
//!
//! The whole file is read once, from its beginning to its end, and compared with its manifest on the way. Changed blocks take
//! the places of its own. What has changed blocks is mostly short, and is compared before any of it is used.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use barman_storage::{CopyError, Dir, Error, FileCheck, Kind, Operation, Throttle};
use wal_format::IncrementalHeader;

use super::archive::{Here, Sink as _};
use super::manifest_check::{check, is_sum_of};
use super::parcel::{Account, BUFFER_BYTES, Contents, Parcel, failure, modified};
use super::{Restore, RestoreError, RestoreEvent};
use crate::plan::{PlannedCombination, PlannedPart, PlannedTree, Standing, read_header};

impl Restore<'_> {
    /// Puts the files of a tree together, on this host, that consist of parts.
    pub(super) fn combine_here(
        &self,
        tree: &PlannedTree,
        to: &Dir,
        throttle: Option<&Throttle>,
    ) -> Result<(), RestoreError> {
        let mut order: Vec<_> = tree.combined.iter().map(Parcel::combined).collect();
        order.sort_by_key(|parcel| Reverse(parcel.size));
        let next = AtomicUsize::new(0);
        self.in_parallel(order.len(), &|| {
            while let Some(parcel) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.is_there(parcel, to)? {
                    (self.events)(RestoreEvent::Kept { bytes: parcel.size });
                    continue;
                }
                let account = Account { cancel: &self.options.cancel, throttle, events: self.events };
                Here { restore: self, dir: to }.file(&parcel.to, parcel.mode, parcel.open(self, account)?)?;
            }
            Ok(())
        })
    }

    /// Whether an earlier attempt, or an older directory, has the file as it will be.
    fn is_there(&self, parcel: &Parcel<'_>, dir: &Dir) -> Result<bool, RestoreError> {
        if self.plan.standing == Standing::Free {
            return Ok(false);
        }
        let found = (Kind::File, parcel.size, parcel.mode);
        if dir.stat(&parcel.to)?.is_none_or(|stat| (stat.kind, stat.size, stat.mode) != found) {
            return Ok(false);
        }
        let unreadable = |error| Error::new(Operation::Read, dir.path().join(parcel.to.as_path()), error);
        let Some(sum) = parcel.sha256(self)? else { return Ok(false) };
        Ok(is_sum_of(&sum, dir.open_file(&parcel.to)?).map_err(unreadable)?)
    }
}

impl<'a> Parcel<'a> {
    /// A file that is put together on its way.
    pub(super) fn combined(file: &'a PlannedCombination) -> Self {
        let contents = Contents::Combined(file);
        Self { to: file.to.clone(), mode: file.mode, size: file.size, checksum: None, contents }
    }
}

/// Reads a file that is put together while it is read.
pub(super) struct Combination {
    whole: CheckedFile,
    changes: Vec<File>,
    /// Where a block is that has changed: in which of the changes, and at which byte.
    changed: BTreeMap<u64, (usize, u64)>,
    /// Length of a block in bytes.
    block_size: u64,
    /// From here on, in bytes, nothing of the whole file counts: it was cut off there.
    cut: u64,
    size: u64,
    position: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was given away.
    given: usize,
}

impl Combination {
    /// How many blocks are put together at a time.
    const BLOCKS: u64 = 32;

    /// Opens all parts.
    pub(super) fn open(planned: &PlannedCombination) -> Result<Self, RestoreError> {
        let block_size = u64::from(planned.block_size);
        let (mut changes, mut changed, mut kept) = (Vec::new(), BTreeMap::new(), None);
        for (index, part) in planned.changes.iter().enumerate() {
            let mut change = CheckedFile::open(part)?;
            change.finish().map_err(|error| failure(error, &change.path))?;
            changes.push(change.file);
            let bytes = read_header(&part.dir, &part.path)?;
            let header = IncrementalHeader::parse(&bytes).map_err(|error| damaged(part, error))?;
            // What the newest one lacks behind its cut was cut off meanwhile, and is as it was made since: zeros.
            let kept = *kept.get_or_insert(header.truncation_block_length);
            let places = (header.len(planned.block_size)..).step_by(planned.block_size as usize);
            for (block, place) in header.blocks.iter().zip(places) {
                if index == 0 || block < kept {
                    changed.entry(u64::from(block)).or_insert((index, place));
                }
            }
        }
        let whole = CheckedFile::open(&planned.whole)?;
        // What is behind its last whole block is no block.
        let blocks = u64::from(kept.unwrap_or_default()).min(whole.length / block_size.max(1));
        let (cut, size) = (blocks * block_size, planned.size);
        Ok(Self { whole, changes, changed, block_size, cut, size, position: 0, buffer: Vec::new(), given: 0 })
    }

    /// When the newest of the parts was last changed.
    pub(super) fn modified(&self) -> SystemTime {
        self.changes.first().map_or(SystemTime::UNIX_EPOCH, modified)
    }

    /// Puts the next blocks together; none at the end.
    fn fill(&mut self) -> io::Result<()> {
        let length = (self.size - self.position).min(Self::BLOCKS * self.block_size);
        self.given = 0;
        self.buffer.clear();
        self.buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
        self.whole.read_into(&mut self.buffer)?;
        let usable = usize::try_from(self.cut.saturating_sub(self.position)).unwrap_or(usize::MAX);
        self.buffer.get_mut(usable..).unwrap_or_default().fill(0);
        let first = self.position / self.block_size;
        for (block, (change, start)) in self.changed.range(first..first + Self::BLOCKS) {
            let place = (block - first) * self.block_size;
            let place = usize::try_from(place).ok().and_then(|place| self.buffer.get_mut(place..));
            let place = place.and_then(|rest| rest.get_mut(..usize::try_from(self.block_size).ok()?));
            if let (Some(place), Some(file)) = (place, self.changes.get(*change)) {
                file.read_exact_at(place, *start)?;
            }
        }
        self.position += length;
        // Now, and not when somebody asks for more: an archive is told the length, and never does.
        if self.position == self.size { self.whole.finish() } else { Ok(()) }
    }
}

impl Read for Combination {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.buffer.len() {
            self.fill()?;
        }
        let read = self.buffer.get(self.given..).unwrap_or_default().read(buffer)?;
        self.given += read;
        Ok(read)
    }
}

/// A part, which is compared with its backup's manifest while it is read.
struct CheckedFile {
    file: File,
    path: PathBuf,
    /// In bytes.
    length: u64,
    check: Option<Box<dyn FileCheck>>,
}

impl CheckedFile {
    fn open(part: &PlannedPart) -> Result<Self, RestoreError> {
        let path = part.dir.path().join(part.path.as_path());
        let file = part.dir.open_file(&part.path)?;
        let length = file.metadata().map_err(|error| Error::new(Operation::LookUp, &path, error))?.len();
        Ok(Self { file, path, length, check: part.checksum.as_ref().and_then(check) })
    }

    /// Reads as much as there is. Returns how much that was.
    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let length = self.file.read(rest)?;
            if length == 0 {
                break;
            }
            if let Some(check) = &mut self.check {
                check.update(rest.get(..length).unwrap_or_default());
            }
            read += length;
        }
        Ok(read)
    }

    /// Reads the rest, and says whether all of it was what the manifest names.
    fn finish(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.read_into(&mut buffer)? > 0 {}
        let Some(check) = self.check.take() else { return Ok(()) };
        let path = self.path.clone();
        check.finish().map_err(|source| io::Error::other(CopyError::Damaged { path, source }))
    }
}

fn damaged(part: &PlannedPart, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RestoreError {
    let path = part.dir.path().join(part.path.as_path());
    RestoreError::Copy(CopyError::Damaged { path, source: why.into() })
}

#[cfg(test)]
mod tests {
    use barman_storage::RelativePath;
    use tempfile::TempDir;
    use wal_format::{ChecksumAlgorithm, Hasher};

    use super::*;

    const BLOCK_SIZE: u32 = 512;

    fn block(letter: u8) -> Vec<u8> {
        vec![letter; BLOCK_SIZE as usize]
    }

    fn increment(truncation: u32, blocks: &[(u32, u8)]) -> Vec<u8> {
        let numbers = blocks.iter().map(|(number, _)| *number);
        let head = [0xD3AE_1F0D, u32::try_from(blocks.len()).unwrap(), truncation];
        let mut file: Vec<u8> = head.into_iter().chain(numbers).flat_map(u32::to_ne_bytes).collect();
        if !blocks.is_empty() {
            file.resize(BLOCK_SIZE as usize, 0);
        }
        blocks.iter().for_each(|(_, letter)| file.extend(block(*letter)));
        file
    }

    fn part(place: &TempDir, name: &str, contents: &[u8]) -> PlannedPart {
        let (dir, path) = (Dir::open(place.path()).unwrap(), RelativePath::new(name).unwrap());
        dir.replace(&path, 0o600, contents).unwrap();
        let mut hasher = Hasher::new(ChecksumAlgorithm::Crc32c);
        hasher.update(contents);
        PlannedPart { dir, path, checksum: hasher.finish() }
    }

    /// A file of five blocks of `a`, and what became of it: cut to four and made longer, then cut to three and made longer.
    fn planned(place: &TempDir) -> PlannedCombination {
        let newest = part(place, "newest", &increment(3, &[(5, b'c'), (1, b'c')]));
        let older = part(place, "older", &increment(4, &[(2, b'b'), (1, b'b'), (4, b'b')]));
        PlannedCombination {
            to: RelativePath::literal("16384"),
            size: 6 * u64::from(BLOCK_SIZE),
            mode: 0o600,
            block_size: BLOCK_SIZE,
            changes: vec![newest, older],
            whole: part(place, "whole", &[b'a'; 5 * BLOCK_SIZE as usize + 7]),
        }
    }

    fn combined(planned: &PlannedCombination) -> Result<Vec<u8>, RestoreError> {
        let mut combined = Vec::new();
        let read = Combination::open(planned)?.read_to_end(&mut combined);
        read.map_err(|error| failure(error, planned.to.as_path()))?;
        Ok(combined)
    }

    #[test]
    fn each_block_is_the_newest_one_and_none_that_was_cut_off() {
        let place = tempfile::tempdir().unwrap();
        let planned = planned(&place);
        let expected = [b'a', b'c', b'b', 0, 0, b'c'].map(block).concat();
        assert_eq!(combined(&planned).unwrap(), expected);
        let unchanged = PlannedCombination {
            size: 5 * u64::from(BLOCK_SIZE),
            changes: vec![part(&place, "unchanged", &increment(5, &[]))],
            ..planned
        };
        assert_eq!(combined(&unchanged).unwrap(), [b'a'; 5].map(block).concat());
        let grown = PlannedCombination { size: 100 * u64::from(BLOCK_SIZE), ..unchanged };
        let grown =
            PlannedCombination { changes: vec![part(&place, "grown", &increment(100, &[(99, b'c')]))], ..grown };
        let mut expected = [b'a'; 5].map(block).concat();
        expected.resize(99 * BLOCK_SIZE as usize, 0);
        expected.extend(block(b'c'));
        assert_eq!(combined(&grown).unwrap(), expected);
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        for (name, at) in [("newest", 600), ("older", 0), ("whole", 0), ("whole", 5 * BLOCK_SIZE as usize + 6)] {
            let place = tempfile::tempdir().unwrap();
            let planned = planned(&place);
            let mut bytes = std::fs::read(place.path().join(name)).unwrap();
            bytes[at] ^= 1;
            planned.whole.dir.replace(&RelativePath::new(name).unwrap(), 0o600, &bytes).unwrap();
            let error = combined(&planned).unwrap_err();
            let is_named = |path: &std::path::Path| path == place.path().join(name);
            assert!(
                matches!(&error, RestoreError::Copy(CopyError::Damaged { path, .. }) if is_named(path)),
                "{error:?}"
            );
        }
    }
}
