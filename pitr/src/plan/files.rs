//! Which files of the backup are copied, and what they have to be.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use barman_catalog::{ArchiveName, BackupData, BackupFile, BackupId, BackupInfo, Catalog, Encoding};
use barman_storage::{Dir, Entry, Kind, RelativePath};
use wal_format::{Checksum, Manifest};

use super::combination::Ancestors;
use super::places::{Places, TablespacePlace};
use super::{PlannedArchive, PlannedFile, PlannedTablespace, PlannedTree, RecoveryPlan, TreeSource};
use crate::marker;
use crate::plan_error::PlanError;

const CONTROL_FILE: &str = "global/pg_control";
const MANIFEST: &str = "backup_manifest";

/// The permissions of a file in an archive as far as a plan needs them.
const ARCHIVED_MODE: u32 = 0o600;

/// A manifest of ten million files has some 1.5 GB.
const LONGEST_MANIFEST_BYTES: u64 = 4 << 30;

/// Directories that are restored empty: logs that are not the new server's, and WAL that may lack what came later.
const EMPTIED: [&str; 4] = ["pg_log", "log", "pg_xlog", "pg_wal"];

/// Files of the old server's run, and those by which a server is told to recover: only this restore decides that. A backup
/// that was taken from a standby has its `standby.signal`, which would override a `recovery.signal`.
const LEFT_OUT: [&str; 6] =
    ["postmaster.pid", "recovery.conf", "recovery.signal", "standby.signal", "tablespace_map", marker::NAME];

/// What is copied of a backup.
pub(super) struct Files {
    pub(super) data: PlannedTree,
    pub(super) control_file: PlannedFile,
    pub(super) tablespaces: Vec<PlannedTablespace>,
}

pub(super) fn plan(catalog: &Catalog, recovery: &RecoveryPlan, places: &Places) -> Result<Files, PlanError> {
    let info = &recovery.backup;
    let id = info.backup_id;
    let backup = catalog.backup_data(info)?;
    let mut expected = Expected::read(info, &backup)?;
    let selection = Selection { id, staging: places.staging_in_data.as_ref() };
    // Barman writes `none` for archives without compression, and nothing for plain files.
    let (mut data, mut tablespaces) = if info.compression.is_some() {
        check_readable(catalog, info, &expected)?;
        archived(id, places, &backup.data, expected, &selection)?
    } else {
        let trees = plain(places, &backup, &mut expected, &selection)?;
        expected.check_complete(&selection)?;
        trees
    };
    if !recovery.ancestors.is_empty() {
        let ancestors = Ancestors::open(catalog, recovery)?;
        ancestors.complete(&mut data, None)?;
        tablespaces.iter_mut().try_for_each(|one| ancestors.complete(&mut one.tree, Some(one.oid)))?;
        // It describes what the backup consists of, and not what comes of it.
        data.leave_out(Path::new(MANIFEST));
    }
    let control_file = take_control_file(id, &mut data)?;
    Ok(Files { data, control_file, tablespaces })
}

/// The trees of a backup: the data directory's, and those of tablespaces.
type Trees = (PlannedTree, Vec<PlannedTablespace>);

fn plain(
    places: &Places,
    backup: &BackupData,
    expected: &mut Expected,
    selection: &Selection<'_>,
) -> Result<Trees, PlanError> {
    places.check_staging(backup.data.entries()?.into_iter().map(|entry| entry.name))?;
    let data = selection.data(backup, expected)?;
    let mut tablespaces = Vec::new();
    for TablespacePlace { tablespace, location, is_taken } in &places.tablespaces {
        let tree = selection.tablespace(backup, tablespace.oid, expected)?;
        let (oid, name, location) = (tablespace.oid, tablespace.name.clone(), location.clone());
        tablespaces.push(PlannedTablespace { oid, name, location, is_taken: *is_taken, tree });
    }
    Ok((data, tablespaces))
}

fn take_control_file(id: BackupId, data: &mut PlannedTree) -> Result<PlannedFile, PlanError> {
    let is_control_file = |file: &PlannedFile| file.to.as_path() == Path::new(CONTROL_FILE);
    match data.files.iter().position(is_control_file) {
        Some(index) => Ok(data.files.remove(index)),
        None => Err(PlanError::LostFile { id, path: PathBuf::from(CONTROL_FILE) }),
    }
}

/// Whether the archives of a backup can be read, and what has to be in them is known.
pub(super) fn check_readable(catalog: &Catalog, info: &BackupInfo, expected: &Expected) -> Result<(), PlanError> {
    let id = info.backup_id;
    if info.encryption.is_some() && !catalog.wal_storage().can_read(Encoding::Encrypted) {
        return Err(PlanError::NoPassphrase { id });
    }
    if expected.files.is_empty() {
        return Err(PlanError::LostFile { id, path: PathBuf::from(MANIFEST) });
    }
    Ok(())
}

/// What is in archives is what the manifest says: they are read when they are restored, and only once.
fn archived(
    id: BackupId,
    places: &Places,
    dir: &Dir,
    expected: Expected,
    selection: &Selection<'_>,
) -> Result<Trees, PlanError> {
    let tree = |name, beside| archive(id, dir, name, beside).map(TreeSource::Archive).map(PlannedTree::empty);
    let mut data = tree(ArchiveName::Main, beside(selection, dir)?)?;
    let mut tablespaces = Vec::new();
    for TablespacePlace { tablespace, location, is_taken } in &places.tablespaces {
        let tree = tree(ArchiveName::Tablespace(tablespace.oid), Vec::new())?;
        let (oid, name, location) = (tablespace.oid, tablespace.name.clone(), location.clone());
        tablespaces.push(PlannedTablespace { oid, name, location, is_taken: *is_taken, tree });
    }
    for (path, (size, checksum)) in expected.files {
        if selection.leaves_out(&path) {
            continue;
        }
        let of_tablespace = |one: &&mut PlannedTablespace| path.starts_with(tablespace_link(one.oid));
        let (tree, path) = match tablespaces.iter_mut().find(of_tablespace) {
            Some(one) => (&mut one.tree, path.strip_prefix(tablespace_link(one.oid)).unwrap_or(&path)),
            None => (&mut data, path.as_path()),
        };
        let path = RelativePath::new(path).map_err(|_| PlanError::LostFile { id, path: path.to_owned() })?;
        // Its permissions are in the archive.
        let mode = ARCHIVED_MODE;
        tree.files.push(PlannedFile { from: path.clone(), to: path, size, mode, checksum });
    }
    std::iter::once(&mut data).chain(tablespaces.iter_mut().map(|one| &mut one.tree)).for_each(add_directories);
    places.check_staging(data.top_names())?;
    Ok((data, tablespaces))
}

/// The manifest, which is not in an archive.
fn beside(selection: &Selection<'_>, dir: &Dir) -> Result<Vec<PlannedFile>, PlanError> {
    let from = RelativePath::literal(MANIFEST);
    let planned = dir.stat(&from)?.map(|stat| PlannedFile {
        to: selection.new_name(&from),
        size: stat.size,
        mode: stat.mode,
        checksum: None,
        from,
    });
    Ok(planned.into_iter().collect())
}

/// Finds an archive of a backup, whatever it is compressed and encrypted with.
pub(super) fn archive(
    id: BackupId,
    dir: &Dir,
    name: ArchiveName,
    beside: Vec<PlannedFile>,
) -> Result<PlannedArchive, PlanError> {
    let plain = name.to_string();
    let is_it = |entry: &&Entry| {
        let rest = entry.name.to_str().and_then(|found| found.strip_prefix(&plain));
        entry.kind == Kind::File && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let entries = dir.entries()?;
    let Some(entry) = entries.iter().find(is_it) else {
        return Err(PlanError::LostFile { id, path: PathBuf::from(plain) });
    };
    Ok(PlannedArchive { dir: dir.clone(), file: entry.path(), name, beside })
}

/// The directories that files lie in; empty ones are only known to the archive.
fn add_directories(tree: &mut PlannedTree) {
    let mut directories = BTreeSet::new();
    for file in &tree.files {
        let mut above = file.to.parent();
        while let Some(directory) = above.filter(|directory| directories.insert(directory.clone())) {
            above = directory.parent();
        }
    }
    // In this order each comes behind the one that it lies in.
    tree.directories = directories.into_iter().collect();
}

/// What is taken of the data directory.
struct Selection<'a> {
    id: BackupId,
    /// Where this restore puts WAL. What an earlier restore of the backed-up server left there is not wanted.
    staging: Option<&'a RelativePath>,
}

impl Selection<'_> {
    fn data(&self, backup: &BackupData, expected: &mut Expected) -> Result<PlannedTree, PlanError> {
        let mut tree = PlannedTree::empty(TreeSource::Files(backup.data.clone()));
        for file in backup.data_files()? {
            if !self.leaves_out(file.path.as_path()) && !is_tablespace_link(&file) {
                let in_manifest = file.path.as_path().to_owned();
                self.add(&mut tree, file, &in_manifest, expected)?;
            }
        }
        Ok(tree)
    }

    fn tablespace(&self, backup: &BackupData, oid: u32, expected: &mut Expected) -> Result<PlannedTree, PlanError> {
        let lost = || PlanError::LostFile { id: self.id, path: tablespace_link(oid) };
        let source = backup.tablespaces.get(&oid).ok_or_else(lost)?.clone();
        let mut tree = PlannedTree::empty(TreeSource::Files(source));
        for file in backup.tablespace_files(oid)? {
            let in_manifest = tablespace_link(oid).join(file.path.as_path());
            self.add(&mut tree, file, &in_manifest, expected)?;
        }
        Ok(tree)
    }

    fn add(
        &self,
        tree: &mut PlannedTree,
        file: BackupFile,
        in_manifest: &Path,
        expected: &mut Expected,
    ) -> Result<(), PlanError> {
        match file.kind {
            Kind::Directory => tree.directories.push(file.path),
            Kind::File => {
                let checksum = expected.take(in_manifest, file.size)?;
                let to = self.new_name(&file.path);
                tree.files.push(PlannedFile { from: file.path, to, size: file.size, mode: file.mode, checksum });
            }
            // Sockets and pipes are of no use without the process that made them.
            Kind::Other => {}
            kind => return Err(PlanError::UnexpectedKind { id: self.id, path: in_manifest.to_owned(), kind }),
        }
        Ok(())
    }

    /// The manifest describes the backup, not the server that will change these files, and so it gets the backup's name.
    fn new_name(&self, path: &RelativePath) -> RelativePath {
        let named = format!("{MANIFEST}.{}", self.id);
        let is_manifest = path.as_path() == Path::new(MANIFEST);
        let renamed = is_manifest.then(|| RelativePath::new(named).ok()).flatten();
        renamed.unwrap_or_else(|| path.clone())
    }

    fn leaves_out(&self, path: &Path) -> bool {
        let emptied = EMPTIED.iter().any(|directory| path != Path::new(directory) && path.starts_with(directory));
        let staged = self.staging.is_some_and(|staging| path.starts_with(staging.as_path()));
        emptied || staged || LEFT_OUT.iter().any(|file| path == Path::new(file))
    }
}

pub(super) fn tablespace_link(oid: u32) -> PathBuf {
    Path::new("pg_tblspc").join(oid.to_string())
}

/// In the backup these point to the backup's own copies; the restore makes new ones.
fn is_tablespace_link(file: &BackupFile) -> bool {
    file.kind == Kind::Symlink && file.path.as_path().parent() == Some(Path::new("pg_tblspc"))
}

/// What the backup's manifest says about its files.
pub(super) struct Expected {
    id: BackupId,
    /// By path; those that were found are taken out.
    files: HashMap<PathBuf, (u64, Option<Checksum>)>,
}

impl Expected {
    /// Reads the manifest; without one, nothing is expected.
    pub(super) fn read(info: &BackupInfo, backup: &BackupData) -> Result<Self, PlanError> {
        let id = info.backup_id;
        let mut files = HashMap::new();
        if let Some(text) = backup.data.read(&RelativePath::literal(MANIFEST), LONGEST_MANIFEST_BYTES)? {
            let manifest = Manifest::parse(&text).map_err(|source| PlanError::Manifest { id, source })?;
            if let Some((expected, found)) = info.systemid.zip(manifest.system_id).filter(|(one, other)| one != other) {
                return Err(PlanError::ManifestOfOtherCluster { id, expected, found });
            }
            files.extend(manifest.files.into_iter().map(|file| (file.path, (file.size, file.checksum))));
        }
        Ok(Self { id, files })
    }

    /// Returns the length and the checksum that a file has to have, if the manifest names it.
    pub(super) fn of(&self, path: &Path) -> Option<&(u64, Option<Checksum>)> {
        self.files.get(path)
    }

    /// Returns the checksum that a file has to have.
    fn take(&mut self, path: &Path, found: u64) -> Result<Option<Checksum>, PlanError> {
        match self.files.remove(path) {
            Some((expected, _)) if expected != found => {
                Err(PlanError::WrongSize { id: self.id, path: path.to_owned(), expected, found })
            }
            Some((_, checksum)) => Ok(checksum),
            None => Ok(None),
        }
    }

    fn check_complete(self, selection: &Selection<'_>) -> Result<(), PlanError> {
        let lost = self.files.into_keys().filter(|path| !selection.leaves_out(path)).min();
        lost.map_or(Ok(()), |path| Err(PlanError::LostFile { id: self.id, path }))
    }
}
