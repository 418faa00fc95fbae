//! Unpacking backups that consist of tar archives: `base.tar`, and one for each tablespace, compressed and encrypted or not.
//!
//! An archive is read once, from its beginning to its end. What it holds is compared with the manifest, and goes straight to
//! where it shall be.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use barman_catalog::{ArchiveEntry, ArchiveEntryKind, Encoding, expect_zeros};
use barman_storage::{Dir, Kind, Operation, RelativePath, Throttle};
use tar::Archive;

use super::destination::Places;
use super::parcel::{Account, BUFFER_BYTES, Opened, ParcelReader};
use super::{CONTROL_FILE_BESIDE, DIRECTORY_MODE, Restore, RestoreError, RestoreEvent, copy_item, manifest_check};
use crate::plan::{PlannedArchive, PlannedFile, PlannedTree, Standing, TreeSource};

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
    files: HashMap<&'a RelativePath, (&'a PlannedFile, RelativePath)>,
    pub(super) throttle: Option<&'a Throttle>,
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
        let files = files.map(|(file, to)| (&file.from, (file, to))).collect();
        Some(Self { archive, files, throttle })
    }

    fn path(&self) -> PathBuf {
        self.archive.dir.path().join(self.archive.file.as_path())
    }
}

impl Restore<'_> {
    /// Unpacks the archives of the backup on this host; as many at a time as there are jobs.
    pub(super) fn unpack_here(&self, places: &Places) -> Result<(), RestoreError> {
        let plan = self.plan;
        let limits: Vec<_> = plan.tablespaces.iter().map(|tablespace| self.throttle_of(&tablespace.name)).collect();
        let data = Unpacking::of(&plan.data, Some(&plan.control_file), self.throttle.as_deref());
        let tablespaces = plan.tablespaces.iter().zip(&limits);
        let tablespaces = tablespaces.map(|(one, limit)| Unpacking::of(&one.tree, None, limit.as_deref()));
        let all: Vec<_> = std::iter::once(data).chain(tablespaces).flatten().collect();
        let dirs: Vec<_> = std::iter::once(&places.data).chain(&places.tablespaces).collect();
        if let TreeSource::Archive(archive) = &plan.data.source {
            let items: Vec<_> = archive.beside.iter().map(copy_item).collect();
            self.copy(&archive.dir, &places.data, &items, &|_| None)?;
        }
        let next = AtomicUsize::new(0);
        self.in_parallel(all.len(), &|| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((unpacking, dir)) = all.get(index).zip(dirs.get(index)) else { return Ok(()) };
                self.unpack(unpacking, &mut Here { restore: self, dir })?;
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
                ArchiveEntryKind::Directory => sink.directory(&path)?,
                // They are made anew, to where the tablespaces are now.
                ArchiveEntryKind::TablespaceLink { .. } => {}
                // What the plan has not is left out, or in no manifest and so no part of the backup.
                ArchiveEntryKind::File { .. } => {
                    if let Some((file, to)) = missing.remove(&path) {
                        self.unpack_file(unpacking, file, &to, mode, &mut entry, sink)?;
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
        file: &PlannedFile,
        to: &RelativePath,
        mode: u32,
        entry: &mut tar::Entry<'_, impl Read>,
        sink: &mut dyn Sink,
    ) -> Result<(), RestoreError> {
        if *to == file.to && sink.has(file, mode)? {
            (self.events)(RestoreEvent::Kept { bytes: file.size });
            return Ok(());
        }
        let modified = entry.header().mtime().map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let path = unpacking.path().join(file.from.as_path());
        let opened = Opened { source: Box::new(entry), size: file.size, modified, path };
        let account = Account { cancel: &self.options.cancel, throttle: unpacking.throttle, events: self.events };
        sink.file(to, mode, ParcelReader::new(opened, file.checksum.as_ref(), account))
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
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match contents.next(&mut buffer)? {
                0 => break,
                length => copy.write_all(buffer.get(..length).unwrap_or_default())?,
            }
        }
        // The umask may have taken what a cluster with group access needs.
        copy.set_mode(mode)?;
        Ok(copy.set_modified(contents.modified())?)
    }
}
