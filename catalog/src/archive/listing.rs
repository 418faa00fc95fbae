//! Walking through the archive.

use barman_storage::{Dir, Kind, RelativePath};
use wal_format::WalFileName;

use crate::Error;

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
