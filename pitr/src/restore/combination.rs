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
use super::staged::{Staged, StagedFile};
use super::{Restore, RestoreError, RestoreEvent};
use crate::plan::{PartSource, PlannedCombination, PlannedPart, PlannedTree, Standing, read_header};

impl Restore<'_> {
    /// Puts the files of a tree together, on this host, that consist of parts; but those whose whole file is in an archive have
    /// been put together when that passed.
    pub(super) fn combine_here(
        &self,
        tree: &PlannedTree,
        to: &Dir,
        throttle: Option<&Throttle>,
    ) -> Result<(), RestoreError> {
        let mut order: Vec<_> = self.combined_parcels(tree).collect();
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

    /// The files of a tree that consist of parts, and whose whole file is in a directory.
    pub(super) fn combined_parcels<'p>(&'p self, tree: &'p PlannedTree) -> impl Iterator<Item = Parcel<'p>> {
        tree.combined.iter().filter_map(|file| {
            let PartSource::Directory(dir) = &file.whole.source else { return None };
            let mode = mode_of(file, self.staged.as_ref());
            let contents = Contents::Combined(file, dir);
            Some(Parcel { to: file.to.clone(), mode, size: file.size, checksum: None, contents })
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

/// The permissions of a file that is put together: those of the newest of its parts.
pub(super) fn mode_of(planned: &PlannedCombination, staged: Option<&Staged>) -> u32 {
    let newest = planned.changes.first().and_then(|newest| staged?.find(newest));
    newest.map_or(planned.mode, |newest| newest.mode())
}

/// Reads a file that is put together while it is read.
pub(super) struct Combination<'a> {
    whole: Checked<Box<dyn Read + 'a>>,
    changes: Vec<Change<'a>>,
    /// Where a block is that has changed: in which of the changes, and at which byte.
    changed: BTreeMap<u64, (usize, u64)>,
    /// Length of a block in bytes.
    block_size: u64,
    /// From here on, in bytes, nothing of the whole file counts: it was cut off there.
    cut: u64,
    /// Length of the file in bytes.
    size: u64,
    position: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was given away.
    given: usize,
}

impl<'a> Combination<'a> {
    /// How many blocks are put together at a time.
    const BLOCKS: u64 = 32;

    /// Opens all parts but the whole file, which is given.
    pub(super) fn of(
        planned: &'a PlannedCombination,
        whole: Box<dyn Read + 'a>,
        staged: Option<&'a Staged>,
    ) -> Result<Self, RestoreError> {
        let unknown = || damaged(&planned.whole, "no control file said how long a block is");
        let block_size = planned.block_size.or_else(|| staged?.block_size()).ok_or_else(unknown)?;
        let (mut changes, mut changed) = (Vec::new(), BTreeMap::new());
        let (mut kept, mut size) = (None, 0);
        for (index, part) in planned.changes.iter().enumerate() {
            let change = Change::open(part, staged)?;
            let bytes = read_header(part.size, |buffer, at| change.read_exact_at(buffer, at));
            let bytes = bytes.map_err(|error| failure(error, &part.full_path()))?;
            let header = IncrementalHeader::parse(&bytes).map_err(|error| damaged(part, error))?;
            let (expected, found) = (header.file_len(block_size), part.size);
            if expected != found {
                return Err(CopyError::WrongSize { path: part.full_path(), expected, found }.into());
            }
            if index == 0 {
                size = header.whole_blocks() * u64::from(block_size);
            }
            // What the newest one lacks behind its cut was cut off meanwhile, and is as it was made since: zeros.
            let kept = *kept.get_or_insert(header.truncation_block_length);
            let places = (header.len(block_size)..).step_by(block_size as usize);
            for (block, place) in header.blocks.iter().zip(places) {
                if index == 0 || block < kept {
                    changed.entry(u64::from(block)).or_insert((index, place));
                }
            }
            changes.push(change);
        }
        let block_size = u64::from(block_size);
        // What is behind its last whole block is no block.
        let blocks = u64::from(kept.unwrap_or_default()).min(planned.whole.size / block_size);
        let (cut, whole) = (blocks * block_size, Checked::new(whole, &planned.whole));
        Ok(Self { whole, changes, changed, block_size, cut, size, position: 0, buffer: Vec::new(), given: 0 })
    }

    /// Its length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// When the newest of the parts was last changed.
    pub(super) fn modified(&self) -> SystemTime {
        match self.changes.first() {
            Some(Change::File(file)) => modified(file),
            Some(Change::Staged(staged)) => staged.modified(),
            None => SystemTime::UNIX_EPOCH,
        }
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
            if let (Some(place), Some(change)) = (place, self.changes.get(*change)) {
                change.read_exact_at(place, *start)?;
            }
        }
        self.position += length;
        // Now, and not when somebody asks for more: an archive is told the length, and never does.
        if self.position == self.size { self.whole.finish() } else { Ok(()) }
    }
}

impl Read for Combination<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.buffer.len() {
            self.fill()?;
        }
        let read = self.buffer.get(self.given..).unwrap_or_default().read(buffer)?;
        self.given += read;
        Ok(read)
    }
}

/// A part that has only blocks that changed, compared with its manifest.
enum Change<'a> {
    File(File),
    Staged(StagedFile<'a>),
}

impl<'a> Change<'a> {
    fn open(part: &PlannedPart, staged: Option<&'a Staged>) -> Result<Self, RestoreError> {
        let unread = || damaged(part, "it is not where its archive was unpacked to");
        match &part.source {
            PartSource::Archive(_) => staged.and_then(|staged| staged.find(part)).map(Self::Staged).ok_or_else(unread),
            PartSource::Directory(dir) => {
                let mut file = Checked::new(dir.open_file(&part.path)?, part);
                file.finish().map_err(|error| failure(error, &part.full_path()))?;
                Ok(Self::File(file.source))
            }
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Staged(file) => file.read_exact_at(buffer, offset),
        }
    }
}

/// A part that is compared with its backup's manifest while it is read.
struct Checked<R> {
    source: R,
    path: PathBuf,
    /// Its length in bytes.
    size: u64,
    /// How many of them were read.
    read: u64,
    check: Option<Box<dyn FileCheck>>,
}

impl<R: Read> Checked<R> {
    fn new(source: R, part: &PlannedPart) -> Self {
        let check = part.checksum.as_ref().and_then(check);
        Self { source, path: part.full_path(), size: part.size, read: 0, check }
    }

    /// Reads as much as there is. Returns how much that was.
    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let length = self.source.read(rest)?;
            if length == 0 {
                break;
            }
            if let Some(check) = &mut self.check {
                check.update(rest.get(..length).unwrap_or_default());
            }
            read += length;
        }
        self.read += read as u64;
        Ok(read)
    }

    /// Reads the rest, and says whether all of it was what the manifest names.
    fn finish(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.read_into(&mut buffer)? > 0 {}
        let (path, expected, found) = (self.path.clone(), self.size, self.read);
        if expected != found {
            return Err(io::Error::other(CopyError::WrongSize { path, expected, found }));
        }
        let checked = self.check.take().map_or(Ok(()), FileCheck::finish);
        checked.map_err(|source| io::Error::other(CopyError::Damaged { path, source }))
    }
}

fn damaged(part: &PlannedPart, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RestoreError {
    RestoreError::Copy(CopyError::Damaged { path: part.full_path(), source: why.into() })
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
        let (source, size) = (PartSource::Directory(dir), contents.len() as u64);
        PlannedPart { source, path, size, checksum: hasher.finish() }
    }

    /// A file of five blocks of `a`, and what became of it: cut to four and made longer, then cut to three and made longer.
    fn planned(place: &TempDir) -> PlannedCombination {
        let newest = part(place, "newest", &increment(3, &[(5, b'c'), (1, b'c')]));
        let older = part(place, "older", &increment(4, &[(2, b'b'), (1, b'b'), (4, b'b')]));
        PlannedCombination {
            to: RelativePath::literal("16384"),
            size: 6 * u64::from(BLOCK_SIZE),
            mode: 0o600,
            block_size: Some(BLOCK_SIZE),
            changes: vec![newest, older],
            whole: part(place, "whole", &[b'a'; 5 * BLOCK_SIZE as usize + 7]),
        }
    }

    fn combined(planned: &PlannedCombination) -> Result<Vec<u8>, RestoreError> {
        let mut combined = Vec::new();
        let PartSource::Directory(dir) = &planned.whole.source else { panic!("{planned:?}") };
        let whole = Box::new(dir.open_file(&planned.whole.path)?);
        let read = Combination::of(planned, whole, None)?.read_to_end(&mut combined);
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
            Dir::open(place.path()).unwrap().replace(&RelativePath::new(name).unwrap(), 0o600, &bytes).unwrap();
            let error = combined(&planned).unwrap_err();
            let is_named = |path: &std::path::Path| path == place.path().join(name);
            assert!(
                matches!(&error, RestoreError::Copy(CopyError::Damaged { path, .. }) if is_named(path)),
                "{error:?}"
            );
        }
    }
}
