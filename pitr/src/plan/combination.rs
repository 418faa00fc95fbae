//! Which blocks of a file are in which of the backups that an incremental one builds on.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use barman_catalog::{BackupData, BackupId, Catalog};
use barman_storage::{Dir, Error, Kind, Operation, RelativePath};
use wal_format::{Checksum, IncrementalHeader};

use super::files::{Expected, tablespace_link};
use super::{PlannedFile, PlannedTree, RecoveryPlan, backup};
use crate::plan_error::PlanError;

/// What the name of a file begins with that has only the blocks that changed (`INCREMENTAL_PREFIX`).
const PREFIX: &str = "INCREMENTAL.";

/// PostgreSQL can be built with no longer ones.
const LONGEST_BLOCK_BYTES: u32 = 32 << 10;

/// A file whose blocks are in several backups.
#[derive(Debug)]
pub struct PlannedCombination {
    /// Where it goes, relative to the new directory.
    pub to: RelativePath,
    /// Its length in bytes.
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
    /// How long a block is, in bytes.
    pub block_size: u32,
    /// What has only blocks that changed, the newest first.
    pub changes: Vec<PlannedPart>,
    /// What they are changes of.
    pub whole: PlannedPart,
}

/// A file of one of several backups.
#[derive(Debug)]
pub struct PlannedPart {
    /// The directory in that backup.
    pub dir: Dir,
    /// The file in it.
    pub path: RelativePath,
    /// What its contents have to add up to; `None` if the manifest has no checksums.
    pub checksum: Option<Checksum>,
}

/// The backups that an incremental one builds on.
pub(super) struct Ancestors {
    id: BackupId,
    block_size: u32,
    /// The nearest first.
    members: Vec<Member>,
}

struct Member {
    id: BackupId,
    backup: BackupData,
    expected: Expected,
}

impl Ancestors {
    pub(super) fn open(catalog: &Catalog, recovery: &RecoveryPlan) -> Result<Self, PlanError> {
        let info = &recovery.backup;
        let id = info.backup_id;
        let control = backup::control_file(&catalog.backup_data(info)?.data, info)?;
        let block_size = control.map(|control| control.block_size);
        let block_size = block_size.filter(|size| size.is_power_of_two() && *size <= LONGEST_BLOCK_BYTES);
        let lost = || PlanError::LostFile { id, path: PathBuf::from("global/pg_control") };
        let members = recovery.ancestors.iter().rev().map(|info| {
            let backup = catalog.backup_data(info)?;
            Ok(Member { id: info.backup_id, expected: Expected::read(info, &backup)?, backup })
        });
        Ok(Self { id, block_size: block_size.ok_or_else(lost)?, members: members.collect::<Result<_, PlanError>>()? })
    }

    /// Takes from a tree of the incremental backup what has only blocks that changed, and finds all other blocks.
    pub(super) fn complete(&self, tree: &mut PlannedTree, tablespace: Option<u32>) -> Result<(), PlanError> {
        let Some(dir) = tree.source.directory().cloned() else { return Ok(()) };
        for file in std::mem::take(&mut tree.files) {
            match whole_path(&file.from) {
                Some(to) => tree.combined.push(self.combination(&dir, file, to, tablespace)?),
                None => tree.files.push(file),
            }
        }
        Ok(())
    }

    fn combination(
        &self,
        dir: &Dir,
        newest: PlannedFile,
        to: RelativePath,
        tablespace: Option<u32>,
    ) -> Result<PlannedCombination, PlanError> {
        let size = self.whole_size(dir, &newest, tablespace)?;
        let PlannedFile { from, mode, checksum, .. } = newest;
        let mut changes = vec![PlannedPart { dir: dir.clone(), path: from.clone(), checksum }];
        for member in &self.members {
            // As `pg_combinebackup` looks: what is there as a whole was made anew, whatever else there is.
            if let Some(whole) = member.find(&to, tablespace)? {
                return Ok(PlannedCombination { to, size, mode, block_size: self.block_size, changes, whole });
            }
            changes.push(member.find(&from, tablespace)?.ok_or_else(|| member.lacks(&to, tablespace))?);
        }
        let path = in_manifest(&to, tablespace);
        Err(PlanError::LostFile { id: self.members.last().map_or(self.id, |root| root.id), path })
    }

    fn whole_size(&self, dir: &Dir, file: &PlannedFile, tablespace: Option<u32>) -> Result<u64, PlanError> {
        let (id, path) = (self.id, in_manifest(&file.from, tablespace));
        let header = read_header(dir, &file.from)?;
        let header = match IncrementalHeader::parse(&header) {
            Ok(header) => header,
            Err(source) => return Err(PlanError::IncrementalFile { id, path, source }),
        };
        let (expected, found) = (header.file_len(self.block_size), file.size);
        if expected != found {
            return Err(PlanError::WrongSize { id, path, expected, found });
        }
        Ok(header.whole_blocks() * u64::from(self.block_size))
    }
}

impl Member {
    /// Finds a file of this backup, which has to be as long as the manifest says.
    fn find(&self, path: &RelativePath, tablespace: Option<u32>) -> Result<Option<PlannedPart>, PlanError> {
        let dir = match tablespace {
            Some(oid) => self.backup.tablespaces.get(&oid).ok_or_else(|| self.lacks(path, tablespace))?,
            None => &self.backup.data,
        };
        let Some(stat) = dir.stat(path)?.filter(|stat| stat.kind == Kind::File) else { return Ok(None) };
        let named = in_manifest(path, tablespace);
        let checksum = match self.expected.of(&named) {
            Some((expected, _)) if *expected != stat.size => {
                return Err(PlanError::WrongSize { id: self.id, path: named, expected: *expected, found: stat.size });
            }
            Some((_, checksum)) => checksum.clone(),
            None => None,
        };
        Ok(Some(PlannedPart { dir: dir.clone(), path: path.clone(), checksum }))
    }

    fn lacks(&self, path: &RelativePath, tablespace: Option<u32>) -> PlanError {
        PlanError::LostFile { id: self.id, path: in_manifest(path, tablespace) }
    }
}

fn in_manifest(path: &RelativePath, tablespace: Option<u32>) -> PathBuf {
    tablespace.map_or_else(PathBuf::new, tablespace_link).join(path.as_path())
}

/// The path of the whole file of which this one has only blocks that changed; `None` if it is whole itself.
fn whole_path(path: &RelativePath) -> Option<RelativePath> {
    let name = path.as_path().file_name()?.to_str()?.strip_prefix(PREFIX)?;
    RelativePath::new(path.as_path().parent().unwrap_or(Path::new("")).join(name)).ok()
}

/// Reads the header of a file that has only blocks that changed: as much as its first bytes say, and no more than there is.
pub(crate) fn read_header(dir: &Dir, path: &RelativePath) -> Result<Vec<u8>, Error> {
    /// The header without the numbers of the blocks.
    const FIXED_BYTES: u64 = 12;
    let unreadable = |error| Error::new(Operation::Read, dir.path().join(path.as_path()), error);
    let mut file = dir.open_file(path)?;
    let mut header = Vec::new();
    file.by_ref().take(FIXED_BYTES).read_to_end(&mut header).map_err(unreadable)?;
    let needed = IncrementalHeader::needed(&header).unwrap_or_default();
    file.take(needed.saturating_sub(FIXED_BYTES)).read_to_end(&mut header).map_err(unreadable)?;
    Ok(header)
}
