//! Walking through the archive.

use std::collections::HashSet;

use barman_storage::{Dir, Kind, RelativePath};
use wal_format::WalFileName;

use crate::catalog::existing;
use crate::{Catalog, Error, layout};

/// Which files are there, asked for in the order of their names: each directory of the archive is listed once. Looking for a
/// file takes several system calls in each place where it may be, and an archive has a million of them.
#[derive(Debug)]
pub struct WalListing {
    archive: Option<Dir>,
    /// In `incoming/` and `streaming/`.
    waiting: HashSet<WalFileName>,
    /// The directory of the archive that was asked about last: its path there, and its files.
    directory: Option<(Option<RelativePath>, HashSet<WalFileName>)>,
}

impl Catalog {
    /// Lists what waits to be archived, for questions about many files.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn wal_listing(&self) -> Result<WalListing, Error> {
        let mut waiting = HashSet::new();
        for directory in [&self.layout().incoming_wals_directory, &self.layout().streaming_wals_directory] {
            waiting.extend(existing(directory)?.map(|dir| names_in(&dir)).transpose()?.unwrap_or_default());
        }
        Ok(WalListing { archive: existing(&self.layout().wals_directory)?, waiting, directory: None })
    }
}

impl WalListing {
    /// Tells whether a file is in the archive, or waits to be. It may go or come at any time.
    ///
    /// # Errors
    /// Its directory cannot be read.
    pub fn has(&mut self, name: &WalFileName) -> Result<bool, Error> {
        let path = layout::hash_directory(name);
        if self.directory.as_ref().is_none_or(|(listed, _)| *listed != path) {
            let names = self.names_at(path.as_ref())?;
            self.directory = Some((path, names));
        }
        let is_archived = self.directory.as_ref().is_some_and(|(_, names)| names.contains(name));
        Ok(is_archived || self.waiting.contains(name))
    }

    fn names_at(&self, path: Option<&RelativePath>) -> Result<HashSet<WalFileName>, Error> {
        let Some(archive) = &self.archive else { return Ok(HashSet::new()) };
        let Some(path) = path else { return names_in(archive) };
        match archive.subdir(path) {
            Err(error) if error.is_not_found() => Ok(HashSet::new()),
            opened => names_in(&opened?),
        }
    }
}

fn names_in(dir: &Dir) -> Result<HashSet<WalFileName>, Error> {
    let entries = dir.entries()?;
    Ok(entries.iter().filter_map(|entry| entry.name.to_str()?.parse().ok()).collect())
}

/// An archived file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed<'a> {
    pub(crate) name: WalFileName,
    /// The directory that holds it, and its name there.
    pub(crate) dir: &'a Dir,
    pub(crate) path: &'a RelativePath,
}

/// Shows every archived file to `visit`: directories and files by name, history files where they sort among the
/// directories, as in an index that Barman rebuilt. Whatever is not named like WAL, such as the index, is passed over.
pub(crate) fn for_each_archived<E: From<Error>>(
    wals: &Dir,
    mut visit: impl FnMut(Listed<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let entries = wals.entries().map_err(Error::from)?;
    for entry in entries {
        if entry.kind == Kind::Directory {
            let dir = wals.subdir(&entry.path()).map_err(Error::from)?;
            for file in dir.entries().map_err(Error::from)? {
                show(&dir, &file.path(), &mut visit)?;
            }
        } else {
            show(wals, &entry.path(), &mut visit)?;
        }
    }
    Ok(())
}

fn show<E>(dir: &Dir, path: &RelativePath, visit: &mut impl FnMut(Listed<'_>) -> Result<(), E>) -> Result<(), E> {
    match path.file_name().to_str().and_then(|name| name.parse().ok()) {
        Some(name) => visit(Listed { name, dir, path }),
        None => Ok(()),
    }
}
