//! Which blocks of a file are in which of the backups that an incremental one builds on.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use barman_catalog::{ArchiveName, BackupData, BackupId, BackupInfo, Catalog};
use barman_storage::{Dir, Error, Kind, Operation, RelativePath};
use wal_format::{Checksum, IncrementalHeader};

use super::files::{Expected, archive, check_readable, tablespace_link};
use super::{PlannedArchive, PlannedFile, PlannedTree, RecoveryPlan, TreeSource, backup};
use crate::plan_error::PlanError;

/// What the name of a file begins with that has only the blocks that changed (`INCREMENTAL_PREFIX`).
const PREFIX: &str = "INCREMENTAL.";

/// A file whose blocks are in several backups.
#[derive(Debug)]
pub struct PlannedCombination {
    /// Where it goes, relative to the new directory.
    pub to: RelativePath,
    /// Its length in bytes. Where the newest of its parts is in an archive, what it will be about.
    pub size: u64,
    /// Its permission bits. Where the newest of its parts is in an archive, they are there.
    pub mode: u32,
    /// How long a block is, in bytes; `None` if that is known when the archive with the control file was read.
    pub block_size: Option<u32>,
    /// What has only blocks that changed, the newest first.
    pub changes: Vec<PlannedPart>,
    /// What they are changes of.
    pub whole: PlannedPart,
}

impl PlannedCombination {
    /// Returns its length, where that can be known before the restore.
    pub(crate) fn known_size(&self) -> Option<u64> {
        self.block_size.map(|_| self.size)
    }

    fn parts(&self) -> impl Iterator<Item = &PlannedPart> {
        self.changes.iter().chain([&self.whole])
    }

    /// How many bytes of changes have to be kept until the whole file passes by.
    pub(super) fn scratch_bytes(&self) -> u64 {
        self.changes.iter().filter(|part| part.source.archive().is_some()).map(|part| part.size).sum()
    }
}

/// A file of one of several backups.
#[derive(Debug)]
pub struct PlannedPart {
    /// What it is in.
    pub source: PartSource,
    /// Its path there.
    pub path: RelativePath,
    /// Its length in bytes.
    pub size: u64,
    /// What its contents have to add up to; `None` if the manifest has no checksums.
    pub checksum: Option<Checksum>,
}

impl PlannedPart {
    /// Returns its path, for messages, and as that by which it is known.
    pub(crate) fn full_path(&self) -> PathBuf {
        match &self.source {
            PartSource::Directory(dir) => dir.path().join(self.path.as_path()),
            PartSource::Archive(archive) => archive.join(self.path.as_path()),
        }
    }
}

/// What a part of a file is in.
#[derive(Clone, Debug)]
pub enum PartSource {
    /// A directory of a backup.
    Directory(Dir),
    /// A tar archive, by its path.
    Archive(PathBuf),
}

impl PartSource {
    pub(crate) fn archive(&self) -> Option<&Path> {
        match self {
            Self::Archive(path) => Some(path),
            Self::Directory(_) => None,
        }
    }
}

/// The backups that an incremental one builds on.
pub(super) struct Ancestors {
    id: BackupId,
    /// `None` if the control file of the incremental one is in an archive.
    block_size: Option<u32>,
    /// The nearest first.
    members: Vec<Member>,
}

struct Member {
    id: BackupId,
    is_packed: bool,
    backup: BackupData,
    expected: Expected,
}

/// The data directory of a backup, or one of its tablespaces.
struct Layer<'a> {
    id: BackupId,
    tablespace: Option<u32>,
    source: PartSource,
    /// If it is an archive.
    archive: Option<PlannedArchive>,
    expected: &'a Expected,
}

impl Ancestors {
    pub(super) fn open(catalog: &Catalog, recovery: &RecoveryPlan) -> Result<Self, PlanError> {
        let info = &recovery.backup;
        let members = recovery.ancestors.iter().rev().map(|info| Member::open(catalog, info));
        let members = members.collect::<Result<_, PlanError>>()?;
        let block_size = if info.compression.is_some() { None } else { Some(block_size(catalog, info)?) };
        Ok(Self { id: info.backup_id, block_size, members })
    }

    /// Takes from a tree of the incremental backup what has only blocks that changed, and finds all other blocks.
    pub(super) fn complete(&self, tree: &mut PlannedTree, tablespace: Option<u32>) -> Result<(), PlanError> {
        let source = match &tree.source {
            TreeSource::Files(dir) => PartSource::Directory(dir.clone()),
            TreeSource::Archive(archive) => PartSource::Archive(archive.path()),
        };
        let layers = self.members.iter().map(|member| Ok((member, member.layer(tablespace)?)));
        let layers = layers.collect::<Result<Vec<_>, PlanError>>()?;
        for file in std::mem::take(&mut tree.files) {
            match whole_path(&file.from) {
                Some(to) => tree.combined.push(self.combination(&source, &layers, file, to, tablespace)?),
                None => tree.files.push(file),
            }
        }
        let is_needed = |archive: &PlannedArchive| {
            let path = archive.path();
            tree.combined.iter().any(|file| file.parts().any(|part| part.source.archive() == Some(&path)))
        };
        tree.ancestor_archives = layers.into_iter().filter_map(|(_, layer)| layer?.archive).filter(is_needed).collect();
        Ok(())
    }

    fn combination(
        &self,
        source: &PartSource,
        layers: &[(&Member, Option<Layer<'_>>)],
        newest: PlannedFile,
        to: RelativePath,
        tablespace: Option<u32>,
    ) -> Result<PlannedCombination, PlanError> {
        let known = match (source, self.block_size) {
            (PartSource::Directory(dir), Some(block_size)) => {
                Some(self.whole_size(dir, &newest, block_size, tablespace)?)
            }
            _ => None,
        };
        let PlannedFile { from, mode, size, checksum, .. } = newest;
        let mut changes = vec![PlannedPart { source: source.clone(), path: from.clone(), size, checksum }];
        for (member, layer) in layers {
            let lacks = || member.lacks(&to, tablespace);
            let layer = layer.as_ref().ok_or_else(lacks)?;
            // As `pg_combinebackup` looks: what is there as a whole was made anew, whatever else there is.
            if let Some(whole) = layer.find(&to)? {
                let block_size = known.and(self.block_size);
                // A file does not get longer but by blocks that changed.
                let grown = || changes.iter().map(|part| part.size).fold(whole.size, u64::saturating_add);
                let size = known.unwrap_or_else(grown);
                return Ok(PlannedCombination { to, size, mode, block_size, changes, whole });
            }
            changes.push(layer.find(&from)?.ok_or_else(lacks)?);
        }
        let path = in_manifest(&to, tablespace);
        Err(PlanError::LostFile { id: self.members.last().map_or(self.id, |root| root.id), path })
    }

    fn whole_size(
        &self,
        dir: &Dir,
        file: &PlannedFile,
        block_size: u32,
        tablespace: Option<u32>,
    ) -> Result<u64, PlanError> {
        let (id, path) = (self.id, in_manifest(&file.from, tablespace));
        let (opened, unreadable) = (dir.open_file(&file.from)?, |error| Error::new(Operation::Read, &path, error));
        let header = read_header(file.size, |buffer, at| opened.read_exact_at(buffer, at)).map_err(unreadable)?;
        let header = match IncrementalHeader::parse(&header) {
            Ok(header) => header,
            Err(source) => return Err(PlanError::IncrementalFile { id, path, source }),
        };
        let (expected, found) = (header.file_len(block_size), file.size);
        if expected != found {
            return Err(PlanError::WrongSize { id, path, expected, found });
        }
        Ok(header.whole_blocks() * u64::from(block_size))
    }
}

fn block_size(catalog: &Catalog, info: &BackupInfo) -> Result<u32, PlanError> {
    let control = backup::control_file(&catalog.backup_data(info)?.data, info)?;
    let lost = || PlanError::LostFile { id: info.backup_id, path: PathBuf::from("global/pg_control") };
    control.and_then(|control| backup::block_size(&control)).ok_or_else(lost)
}

impl Member {
    fn open(catalog: &Catalog, info: &BackupInfo) -> Result<Self, PlanError> {
        let backup = catalog.backup_data(info)?;
        let expected = Expected::read(info, &backup)?;
        let is_packed = info.compression.is_some();
        if is_packed {
            check_readable(catalog, info, &expected)?;
        }
        Ok(Self { id: info.backup_id, is_packed, backup, expected })
    }

    /// What there is of the data directory or a tablespace; `None` if there was no such tablespace yet.
    fn layer(&self, tablespace: Option<u32>) -> Result<Option<Layer<'_>>, PlanError> {
        let (id, expected, backup) = (self.id, &self.expected, &self.backup);
        let dir = tablespace.map_or(Some(&backup.data), |oid| backup.tablespaces.get(&oid));
        let Some(dir) = dir else { return Ok(None) };
        if !self.is_packed {
            let source = PartSource::Directory(dir.clone());
            return Ok(Some(Layer { id, tablespace, source, archive: None, expected }));
        }
        let name = tablespace.map_or(ArchiveName::Main, ArchiveName::Tablespace);
        let archive = archive(id, &backup.data, name, Vec::new())?;
        let source = PartSource::Archive(archive.path());
        Ok(Some(Layer { id, tablespace, source, archive: Some(archive), expected }))
    }

    fn lacks(&self, path: &RelativePath, tablespace: Option<u32>) -> PlanError {
        PlanError::LostFile { id: self.id, path: in_manifest(path, tablespace) }
    }
}

impl Layer<'_> {
    /// Finds a file, which has to be as long as the manifest says. What is in an archive is what the manifest says.
    fn find(&self, path: &RelativePath) -> Result<Option<PlannedPart>, PlanError> {
        let named = in_manifest(path, self.tablespace);
        let expected = self.expected.of(&named);
        let size = match &self.source {
            PartSource::Archive(_) => expected.map(|(size, _)| *size),
            PartSource::Directory(dir) => dir.stat(path)?.filter(|stat| stat.kind == Kind::File).map(|stat| stat.size),
        };
        let Some(size) = size else { return Ok(None) };
        let checksum = match expected {
            Some((expected, _)) if *expected != size => {
                return Err(PlanError::WrongSize { id: self.id, path: named, expected: *expected, found: size });
            }
            Some((_, checksum)) => checksum.clone(),
            None => None,
        };
        Ok(Some(PlannedPart { source: self.source.clone(), path: path.clone(), size, checksum }))
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

/// Reads the header of a file that has only blocks that changed: as much as its first bytes say, and no more than the
/// `size` bytes that there are.
pub(crate) fn read_header(size: u64, read_at: impl Fn(&mut [u8], u64) -> io::Result<()>) -> io::Result<Vec<u8>> {
    /// The header without the numbers of the blocks.
    const FIXED_BYTES: u64 = 12;
    let up_to = |bytes: u64| vec![0; usize::try_from(bytes.min(size)).unwrap_or(usize::MAX)];
    let mut header = up_to(FIXED_BYTES);
    read_at(&mut header, 0)?;
    if let Some(needed) = IncrementalHeader::needed(&header) {
        header = up_to(needed);
        read_at(&mut header, 0)?;
    }
    Ok(header)
}
