//! The handle on everything one server has in the repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use barman_storage::{Dir, RelativePath};

use crate::{Error, LocalZone, ServerLayout, WalStorage};

/// Directories are made with this mode less the umask, as Barman makes them.
pub(crate) const DIRECTORY_MODE: u32 = 0o777;

/// Text files are made with this mode less the umask, as Barman makes them.
pub(crate) const FILE_MODE: u32 = 0o666;

/// Everything one server has in the repository: its backups, their records, and the WAL archive.
///
/// It is a cheap handle: nothing is read before it is asked for, nothing is kept, and clones share the configuration.
/// Every change to the repository goes through it, so that the order which keeps the repository sound (invariant 3) is
/// written down in this crate alone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    layout: ServerLayout,
    zone: LocalZone,
    wal_storage: WalStorage,
}

impl Catalog {
    /// Makes a handle; the directories need not exist yet. `zone` is that of the Barman host: backup ids are its local
    /// time, and so are times in very old records.
    #[must_use]
    pub fn open(layout: ServerLayout, zone: LocalZone) -> Self {
        Self(Arc::new(Parts { layout, zone, wal_storage: WalStorage::default() }))
    }

    /// Says how WAL is stored from now on, and what it takes to read what is stored.
    #[must_use]
    pub fn with_wal_storage(self, wal_storage: WalStorage) -> Self {
        let Parts { layout, zone, .. } = &*self.0;
        Self(Arc::new(Parts { layout: layout.clone(), zone: zone.clone(), wal_storage }))
    }

    /// Returns how WAL is stored.
    #[must_use]
    pub fn wal_storage(&self) -> &WalStorage {
        &self.0.wal_storage
    }

    /// Returns where everything lies.
    #[must_use]
    pub fn layout(&self) -> &ServerLayout {
        &self.0.layout
    }

    /// Returns the zone of the Barman host.
    #[must_use]
    pub fn zone(&self) -> &LocalZone {
        &self.0.zone
    }

    /// Makes the directories that are missing.
    ///
    /// # Errors
    /// The first one that can be neither opened nor made.
    pub fn create_directories(&self) -> Result<(), Error> {
        for directory in self.layout().directories() {
            Dir::create(&directory, DIRECTORY_MODE)?;
        }
        Ok(())
    }

    /// Makes the directories that are missing, and returns every one that can be neither opened nor made, with the reason.
    #[must_use]
    pub fn check_directories(&self) -> Vec<(PathBuf, barman_storage::Error)> {
        // Those that are there are left alone: whoever puts the first file into one makes its name durable before.
        let open_or_make = |path: &Path| match Dir::open(path) {
            Err(error) if error.is_not_found() => Dir::create(path, DIRECTORY_MODE),
            opened => opened,
        };
        let directories = self.layout().directories().into_iter();
        directories.filter_map(|path| open_or_make(&path).err().map(|error| (path, error))).collect()
    }

    /// Opens `streaming/`, for the WAL receiver; makes it if it is missing.
    ///
    /// # Errors
    /// The directory can be neither opened nor made.
    pub fn streaming_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().streaming_wals_directory, DIRECTORY_MODE)?)
    }

    pub(crate) fn errors_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().errors_directory, DIRECTORY_MODE)?)
    }

    pub(crate) fn wals_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().wals_directory, DIRECTORY_MODE)?)
    }

    pub(crate) fn backups_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().basebackups_directory, DIRECTORY_MODE)?)
    }

    pub(crate) fn meta_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().meta_directory(), DIRECTORY_MODE)?)
    }

    pub(crate) fn backup_dir(&self) -> Result<Dir, Error> {
        Ok(Dir::create(&self.layout().backup_directory, DIRECTORY_MODE)?)
    }
}

/// Opens a directory for reading; `None` if it is not there. Looking at a repository leaves it as it is.
pub(crate) fn existing(path: &Path) -> Result<Option<Dir>, Error> {
    match Dir::open(path) {
        Err(error) if error.is_not_found() => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// Reads a small text file, if it is there.
pub(crate) fn read_text(dir: &Dir, path: &RelativePath) -> Result<Option<String>, Error> {
    /// Far more than any such file has: a `backup_label` and the names of all tablespaces fit thousands of times.
    const LIMIT: u64 = 16 << 20;
    let Some(bytes) = dir.read(path, LIMIT)? else { return Ok(None) };
    let not_text = |_| Error::NotText { path: crate::layout::shown(dir, path) };
    Ok(Some(String::from_utf8(bytes).map_err(not_text)?))
}
