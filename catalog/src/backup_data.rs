//! The files of one backup.

use std::collections::BTreeMap;
use std::fs::File;

use barman_storage::{Dir, Kind, RelativePath, Stat};

use crate::catalog::DIRECTORY_MODE;
use crate::{BackupId, BackupInfo, Catalog, Error, layout};

/// PostgreSQL refuses a data directory that others may read more of than this.
const DATA_MODE: u32 = 0o700;

/// The directories of one backup in the plain format.
#[derive(Debug, Clone)]
pub struct BackupData {
    /// The data directory.
    pub data: Dir,
    /// The tablespaces outside it, by object identifier.
    pub tablespaces: BTreeMap<u32, Dir>,
}

/// A file of a backup.
#[derive(Debug, Clone)]
pub struct BackupFile {
    /// Where it is in its data directory or tablespace.
    pub path: RelativePath,
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Number of names that the file has, in this backup and in others.
    links: u64,
    dir: Dir,
}

impl BackupFile {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// It is gone, not a regular file, or cannot be read.
    pub fn open(&self) -> Result<File, Error> {
        Ok(self.dir.open_file(&self.path)?)
    }

    /// What the file system says of it now; `None` if it is gone.
    pub(crate) fn stat(&self) -> Result<Option<Stat>, Error> {
        Ok(self.dir.stat(&self.path)?)
    }
}

impl Catalog {
    /// Makes the directories for a new backup. On return their names are durable.
    ///
    /// What an interrupted or failed attempt of the same backup left there is removed first.
    ///
    /// # Errors
    /// A directory cannot be emptied or made.
    pub fn create_backup_data(&self, id: &BackupId, tablespaces: &[u32]) -> Result<BackupData, Error> {
        let backup = self.backups_dir()?.create_subdir(&layout::backup(id), DIRECTORY_MODE)?;
        let fresh = |path: &RelativePath| {
            if backup.stat(path)?.is_some() {
                backup.remove_tree(path)?;
            }
            Ok::<_, Error>(backup.make_subdir(path, DATA_MODE)?)
        };
        let tablespace = |oid: &u32| Ok::<_, Error>((*oid, fresh(&layout::tablespace(*oid))?));
        let data = BackupData {
            data: fresh(&layout::data())?,
            tablespaces: tablespaces.iter().map(tablespace).collect::<Result<_, _>>()?,
        };
        backup.sync()?;
        Ok(data)
    }

    /// Opens the directories of a backup in the plain format.
    ///
    /// # Errors
    /// One of them cannot be opened. Which ones there are is what the record says.
    pub fn backup_data(&self, info: &BackupInfo) -> Result<BackupData, Error> {
        let backup = Dir::open(&self.layout().basebackups_directory)?.subdir(&layout::backup(&info.backup_id))?;
        let old = backup.stat(&layout::old_data())?.is_some();
        let data = if old { layout::old_data() } else { layout::data() };
        let place = if old { layout::old_tablespace } else { layout::tablespace };
        let listed = info.tablespaces.iter().flatten();
        let tablespaces = listed.map(|tablespace| Ok((tablespace.oid, backup.subdir(&place(tablespace.oid))?)));
        Ok(BackupData { data: backup.subdir(&data)?, tablespaces: tablespaces.collect::<Result<_, Error>>()? })
    }
}

impl BackupData {
    /// Returns everything in the data directory: each directory before what is in it, names in byte order.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn data_files(&self) -> Result<Vec<BackupFile>, Error> {
        walk(&self.data)
    }

    /// Returns everything in a tablespace, in the same order; nothing if the backup does not have it.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn tablespace_files(&self, oid: u32) -> Result<Vec<BackupFile>, Error> {
        self.tablespaces.get(&oid).map_or_else(|| Ok(Vec::new()), walk)
    }

    /// Returns the sum of all file sizes in bytes, which Barman records as the size of the backup.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn size(&self) -> Result<u64, Error> {
        self.sizes().map(|(size, _)| size)
    }

    /// Returns the same, and the sum of the sizes of files that no other backup shares.
    pub(crate) fn sizes(&self) -> Result<(u64, u64), Error> {
        let (mut size, mut own) = (0u64, 0u64);
        for dir in std::iter::once(&self.data).chain(self.tablespaces.values()) {
            for file in walk(dir)?.iter().filter(|file| file.kind == Kind::File) {
                size = size.saturating_add(file.size);
                own = own.saturating_add(if file.links == 1 { file.size } else { 0 });
            }
        }
        Ok((size, own))
    }
}

fn walk(top: &Dir) -> Result<Vec<BackupFile>, Error> {
    let mut files = Vec::new();
    // The next one last. A list and not recursion, since a hostile tree may be deeper than the stack.
    let mut pending = list(top, None)?;
    while let Some(file) = pending.pop() {
        if file.kind == Kind::Directory {
            pending.extend(list(top, Some(&file.path))?);
        }
        files.push(file);
    }
    Ok(files)
}

/// Returns what is in the directory at `path` in `top` (`None`: in `top` itself), last names first.
fn list(top: &Dir, path: Option<&RelativePath>) -> Result<Vec<BackupFile>, Error> {
    let dir = path.map_or_else(|| Ok(top.clone()), |path| top.subdir(path))?;
    let mut files = Vec::new();
    for entry in dir.entries()?.into_iter().rev() {
        let name = entry.path();
        let Some(stat) = dir.stat(&name)? else { continue };
        let path = path.map_or_else(|| name.clone(), |path| path.join(&name));
        files.push(BackupFile {
            path,
            kind: stat.kind,
            size: stat.size,
            mode: stat.mode,
            links: stat.links,
            dir: top.clone(),
        });
    }
    Ok(files)
}
