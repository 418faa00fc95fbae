//! Unpacking backups that consist of tar archives: `base.tar`, and one for each tablespace, compressed and encrypted or not.
//!
//! An archive is read once, from its beginning to its end. What it holds is compared with the manifest, and goes straight to
//! where it shall be. Of an incremental backup and those that it builds on, the newest is read first: changed blocks are kept
//! until the file passes by that they are changes of, which is then put together.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use barman_catalog::{ArchiveEntry, ArchiveEntryKind, Encoding, expect_zeros};
use barman_storage::{Dir, Kind, Operation, RelativePath, Throttle};
use tar::Archive;

use super::combination::{Combination, mode_of};
use super::destination::Places;
use super::parcel::{Account, BUFFER_BYTES, Opened, ParcelReader};
use super::staged::Staged;
use super::{CONTROL_FILE_BESIDE, DIRECTORY_MODE, Restore, RestoreError, RestoreEvent, copy_item, manifest_check};
use crate::plan::{PlannedArchive, PlannedCombination, PlannedFile, PlannedPart, PlannedTree, Standing, TreeSource};

/// Where the contents of an archive go.
pub(super) trait Sink {
    /// Makes a directory.
    fn directory(&mut self, path: &RelativePath) -> Result<(), RestoreError>;

    /// Whether a file is there already, as it should be.
    fn has(&mut self, file: &PlannedFile, mode: u32) -> Result<bool, RestoreError>;

    /// Writes a file.
    fn file(&mut self, path: &RelativePath, mode: u32, contents: ParcelReader<'_>) -> Result<(), RestoreError>;
}

/// An archive to be unpacked.
pub(super) struct Unpacking<'a> {
    archive: &'a PlannedArchive,
    /// What it has to hold, by name.
    files: HashMap<&'a RelativePath, Use<'a>>,
    /// Whether its directories are wanted, too.
    has_directories: bool,
    throttle: Option<&'a Throttle>,
}

/// What becomes of a file in an archive.
#[derive(Clone)]
enum Use<'a> {
    /// It goes to this path.
    File(&'a PlannedFile, RelativePath),
    /// It has changed blocks, and is kept.
    Change(&'a PlannedPart),
    /// It is put together with its changes.
    Whole(&'a PlannedCombination),
}

impl<'a> Unpacking<'a> {
    /// The archive that a tree consists of, if it does. With the data directory's comes the control file.
    pub(super) fn of(
        tree: &'a PlannedTree,
        control_file: Option<&'a PlannedFile>,
        throttle: Option<&'a Throttle>,
    ) -> Option<Self> {
        let TreeSource::Archive(archive) = &tree.source else { return None };
        let beside = control_file.map(|file| (file, RelativePath::literal(CONTROL_FILE_BESIDE)));
        let files = tree.files.iter().map(|file| (file, file.to.clone())).chain(beside);
        let files = files.map(|(file, to)| (&file.from, Use::File(file, to)));
        Some(Self { archive, files: files.chain(parts_in(archive, tree)).collect(), has_directories: true, throttle })
    }

    /// The archives of other backups that have parts of a tree's files, in the order in which they have to be read.
    pub(super) fn of_ancestors(
        tree: &'a PlannedTree,
        throttle: Option<&'a Throttle>,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let archives = tree.ancestor_archives.iter();
        archives.map(move |archive| {
            let files = parts_in(archive, tree).collect();
            Self { archive, files, has_directories: false, throttle }
        })
    }

    /// The files that are made of it and have their names at once, with their lengths in bytes, where those are known.
    pub(super) fn files(&self) -> impl Iterator<Item = (&RelativePath, Option<u64>)> {
        self.files.values().filter_map(|file| match file {
            Use::File(file, to) => (*to == file.to).then_some((to, Some(file.size))),
            Use::Change(_) => None,
            Use::Whole(file) => Some((&file.to, file.known_size())),
        })
    }

    /// Leaves only some of those files.
    pub(super) fn only(self, wanted: &HashSet<RelativePath>) -> Self {
        let mut only = Self { has_directories: false, ..self };
        only.files.retain(|_, file| match file {
            Use::File(_, to) => wanted.contains(to),
            Use::Change(_) => false,
            Use::Whole(file) => wanted.contains(&file.to),
        });
        only
    }

    fn path(&self) -> PathBuf {
        self.archive.path()
    }
}

/// The files in an archive of which others consist.
fn parts_in<'a>(
    archive: &PlannedArchive,
    tree: &'a PlannedTree,
) -> impl Iterator<Item = (&'a RelativePath, Use<'a>)> + use<'a> {
    let archive = archive.path();
    tree.combined.iter().flat_map(move |file| {
        let is_here = |part: &&PlannedPart| part.source.archive() == Some(&archive);
        let whole = Some(&file.whole).filter(is_here).map(|whole| (&whole.path, Use::Whole(file)));
        let changes = file.changes.iter().filter(is_here).map(|part| (&part.path, Use::Change(part)));
        changes.chain(whole).collect::<Vec<_>>()
    })
}

impl Restore<'_> {
    /// Unpacks the archives of the backup on this host; as many at a time as there are jobs.
    pub(super) fn unpack_here(&self, places: &Places) -> Result<(), RestoreError> {
        let plan = self.plan;
        if let TreeSource::Archive(archive) = &plan.data.source {
            let items: Vec<_> = archive.beside.iter().map(copy_item).collect();
            self.copy(&archive.dir, &places.data, &items, &|_| None)?;
        }
        let limits: Vec<_> = plan.tablespaces.iter().map(|tablespace| self.throttle_of(&tablespace.name)).collect();
        let tablespaces = plan.tablespaces.iter().zip(&places.tablespaces).zip(&limits);
        let tablespaces = tablespaces.map(|((one, dir), limit)| (&one.tree, None, dir, limit.as_deref()));
        let data = (&plan.data, Some(&plan.control_file), &places.data, self.throttle.as_deref());
        let trees: Vec<_> = std::iter::once(data).chain(tablespaces).collect();
        self.for_each_tree(trees.len(), &|index| {
            let Some((tree, control_file, dir, limit)) = trees.get(index) else { return Ok(()) };
            let unpacking = Unpacking::of(tree, *control_file, *limit);
            unpacking.map_or(Ok(()), |unpacking| self.unpack(&unpacking, &mut Here { restore: self, dir }))
        })?;
        // Only now: the control file in one of those says how long blocks are.
        self.for_each_tree(trees.len(), &|index| {
            let Some((tree, _, dir, limit)) = trees.get(index) else { return Ok(()) };
            let mut archives = Unpacking::of_ancestors(tree, *limit);
            archives.try_for_each(|unpacking| self.unpack(&unpacking, &mut Here { restore: self, dir }))
        })
    }

    fn for_each_tree(
        &self,
        count: usize,
        work: &(dyn Fn(usize) -> Result<(), RestoreError> + Sync),
    ) -> Result<(), RestoreError> {
        let next = AtomicUsize::new(0);
        self.in_parallel(count, &|| {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    index if index < count => work(index)?,
                    _ => return Ok(()),
                }
            }
        })
    }

    /// Unpacks one archive.
    pub(super) fn unpack(&self, unpacking: &Unpacking<'_>, sink: &mut dyn Sink) -> Result<(), RestoreError> {
        let unreadable = |source| RestoreError::Archive { path: unpacking.path(), source };
        let mut stream = self.open_archive(unpacking.archive).map_err(unreadable)?;
        let mut missing = unpacking.files.clone();
        let mut tar = Archive::new(&mut stream);
        // Raw: an extension header stays an entry of its own, to be refused, and changes no later name or size.
        for entry in tar.entries().map_err(unreadable)?.raw(true) {
            self.options.cancel.check()?;
            let mut entry = entry.map_err(unreadable)?;
            let refused = |kind| RestoreError::ArchiveEntry {
                path: unpacking.path(),
                entry: String::from_utf8_lossy(&entry.header().path_bytes()).into_owned(),
                kind,
            };
            let ArchiveEntry { path, kind, mode } =
                ArchiveEntry::from_header(entry.header(), unpacking.archive.name).map_err(refused)?;
            match kind {
                ArchiveEntryKind::Directory if unpacking.has_directories => sink.directory(&path)?,
                ArchiveEntryKind::Directory => {}
                // They are made anew, to where the tablespaces are now.
                ArchiveEntryKind::TablespaceLink { .. } => {}
                // What the plan has not is left out, or in no manifest and so no part of the backup.
                ArchiveEntryKind::File { .. } => {
                    if let Some(file) = missing.remove(&path) {
                        self.unpack_file(unpacking, &file, mode, &mut entry, sink)?;
                    }
                }
            }
        }
        // Also, what compression and encryption have to say of the whole comes at the end.
        expect_zeros(&mut stream, &mut vec![0; BUFFER_BYTES]).map_err(unreadable)?;
        match missing.into_keys().min() {
            Some(file) => Err(RestoreError::LostFile { archive: unpacking.path(), file: file.as_path().to_owned() }),
            None => Ok(()),
        }
    }

    fn unpack_file(
        &self,
        unpacking: &Unpacking<'_>,
        file: &Use<'_>,
        mode: u32,
        entry: &mut tar::Entry<'_, impl Read>,
        sink: &mut dyn Sink,
    ) -> Result<(), RestoreError> {
        let account = Account { cancel: &self.options.cancel, throttle: unpacking.throttle, events: self.events };
        let unheard = |_| {};
        let modified = entry.header().mtime().map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let staged = self.staged.as_ref();
        match (file, staged) {
            (Use::File(file, to), _) => {
                if *to == file.to && sink.has(file, mode)? {
                    (self.events)(RestoreEvent::Kept { bytes: file.size });
                    return Ok(());
                }
                let path = unpacking.path().join(file.from.as_path());
                let opened = Opened { source: Box::new(entry), size: file.size, modified, path: path.clone() };
                let contents = ParcelReader::new(opened, file.checksum.as_ref(), account);
                match staged.filter(|_| to.as_path() == Path::new(CONTROL_FILE_BESIDE)) {
                    Some(staged) => self.unpack_control_file(staged, to, mode, contents, sink),
                    None => sink.file(to, mode, contents),
                }
            }
            (Use::Change(part), Some(staged)) if !staged.has(&part.full_path()) => {
                let path = part.full_path();
                let opened = Opened { source: Box::new(entry), size: part.size, modified, path: path.clone() };
                let account = Account { events: &unheard, ..account };
                staged.keep(path, mode, ParcelReader::new(opened, part.checksum.as_ref(), account))
            }
            (Use::Change(_), _) => Ok(()),
            (Use::Whole(file), staged) => {
                let opened = Opened::combined(file, Combination::of(file, Box::new(entry), staged)?);
                sink.file(&file.to, mode_of(file, staged), ParcelReader::new(opened, None, account))
            }
        }
    }

    /// Looks into the control file on its way: those who put files together have to know how long blocks are.
    fn unpack_control_file(
        &self,
        staged: &Staged,
        to: &RelativePath,
        mode: u32,
        mut contents: ParcelReader<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), RestoreError> {
        let mut bytes = Vec::new();
        contents.read_all(&mut |read| {
            bytes.extend_from_slice(read);
            Ok(())
        })?;
        let (size, modified, path) = (contents.size(), contents.modified(), contents.path().to_owned());
        staged.learn_block_size(&self.plan.recovery.backup, &path, &bytes)?;
        let opened = Opened { source: Box::new(Cursor::new(bytes)), size, modified, path };
        let account = Account { cancel: &self.options.cancel, throttle: None, events: &|_| {} };
        sink.file(to, mode, ParcelReader::new(opened, None, account))
    }

    fn open_archive(&self, archive: &PlannedArchive) -> std::io::Result<Box<dyn Read + Send>> {
        let open = || archive.dir.open_file(&archive.file).map_err(std::io::Error::other);
        let mut head = Vec::new();
        open()?.take(Encoding::HEAD_LEN as u64).read_to_end(&mut head)?;
        self.catalog.wal_storage().reader(Encoding::detect(&head), open()?)
    }
}

/// A directory on this host.
pub(super) struct Here<'a> {
    pub(super) restore: &'a Restore<'a>,
    pub(super) dir: &'a Dir,
}

impl Sink for Here<'_> {
    fn directory(&mut self, path: &RelativePath) -> Result<(), RestoreError> {
        Ok(self.dir.make_subdir(path, DIRECTORY_MODE)?.set_mode(DIRECTORY_MODE)?)
    }

    fn has(&mut self, file: &PlannedFile, mode: u32) -> Result<bool, RestoreError> {
        let stat = self.dir.stat(&file.to)?.filter(|stat| (stat.kind, stat.size) == (Kind::File, file.size));
        let Some((stat, expected)) = stat.zip(file.checksum.as_ref()) else { return Ok(false) };
        let unreadable = |error| barman_storage::Error::new(Operation::Read, file.to.as_path(), error);
        let is_right = manifest_check::is_sum_of(expected, self.dir.open_file(&file.to)?).map_err(unreadable)?;
        if is_right && stat.mode != mode {
            self.dir.edit_file(&file.to)?.set_mode(mode)?;
        }
        Ok(is_right)
    }

    fn file(&mut self, path: &RelativePath, mode: u32, mut contents: ParcelReader<'_>) -> Result<(), RestoreError> {
        if self.restore.plan.standing != Standing::Free && self.dir.stat(path)?.is_some() {
            self.dir.remove_tree(path)?;
        }
        let mut copy = self.dir.create_file(path, mode)?;
        contents.read_all(&mut |bytes| Ok(copy.write_all(bytes)?))?;
        // The umask may have taken what a cluster with group access needs.
        copy.set_mode(mode)?;
        Ok(copy.set_modified(contents.modified())?)
    }
}
