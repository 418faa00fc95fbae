//! Whole trees: syncing them in parallel, and removing them.

use std::io;
use std::num::NonZeroUsize;

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{AtFlags, OFlags};

use crate::{Dir, Entry, Error, Kind, Operation, RelativePath};

impl Dir {
    /// Makes every file and directory below this one durable, and this one itself, with up to `jobs` syncs at a time.
    /// Symbolic links are not followed; their own names are durable with their directory.
    ///
    /// # Errors
    /// The first sync that failed. Nothing written since the last good one is to be believed (invariant 2).
    pub fn sync_tree(&self, jobs: NonZeroUsize) -> Result<(), Error> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(jobs.get())
            .build()
            .map_err(|e| Error::new(Operation::Sync, self.path(), io::Error::other(e)))?;
        pool.install(|| {
            // Level by level, since a hostile tree may be deeper than the stack.
            let mut level = self.sync_directory(None)?;
            while !level.is_empty() {
                let below: Result<Vec<_>, Error> =
                    level.into_par_iter().map(|directory| self.sync_directory(Some(&directory))).collect();
                level = below?.concat();
            }
            Ok(())
        })
    }

    /// Syncs a directory (`None`: this one) and the files in it. Returns the directories in it.
    fn sync_directory(&self, path: Option<&RelativePath>) -> Result<Vec<RelativePath>, Error> {
        let dir = path.map_or_else(|| Ok(self.clone()), |path| self.subdir(path))?;
        let entries = dir.entries()?;
        entries
            .par_iter()
            .filter(|entry| entry.kind == Kind::File)
            .try_for_each(|entry| dir.open_out(&entry.name, OFlags::RDONLY | OFlags::NOFOLLOW)?.sync())?;
        dir.sync()?;
        Ok(directories_in(&entries, path).collect())
    }

    /// Removes a file or symbolic link; an absent one will do.
    ///
    /// Not durable before [`sync`](Self::sync) of the directory that held it: a crash may bring the file back. Sync
    /// where an order matters, as between a record and the data it speaks of (invariant 3).
    ///
    /// # Errors
    /// It is a directory, or the system refuses.
    pub fn remove_file(&self, path: &RelativePath) -> Result<(), Error> {
        if let Some((dir, name)) = self.locate_existing(path)? {
            dir.remove_child(name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Removes a directory with everything in it, or a file; an absent one will do. Symbolic links are removed, not
    /// followed. Not durable, as for [`remove_file`](Self::remove_file).
    ///
    /// # Errors
    /// The system refuses, or somebody puts new files into the tree. What was removed stays removed.
    pub fn remove_tree(&self, path: &RelativePath) -> Result<(), Error> {
        match self.stat(path)? {
            None => Ok(()),
            Some(stat) if stat.kind == Kind::Directory => self.remove_directory(path),
            Some(_) => self.remove_file(path),
        }
    }

    /// Removes a directory if nothing is in it; an absent one will do. Returns whether it is gone. Not durable, as for
    /// [`remove_file`](Self::remove_file).
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove_empty_dir(&self, path: &RelativePath) -> Result<bool, Error> {
        let Some((dir, name)) = self.locate_existing(path)? else { return Ok(true) };
        match dir.remove_child(name, AtFlags::REMOVEDIR) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    fn remove_directory(&self, path: &RelativePath) -> Result<(), Error> {
        let mut directories = vec![path.clone()];
        let mut emptied = 0;
        while let Some(path) = directories.get(emptied).cloned() {
            directories.extend(self.remove_files_in(&path)?);
            emptied += 1;
        }
        // From the leaves up: each directory was listed after the one that holds it.
        directories.iter().rev().try_for_each(|path| {
            let (dir, name) = self.locate(path)?;
            dir.remove_child(name, AtFlags::REMOVEDIR)
        })
    }

    /// Removes everything in a directory but the directories, which it returns.
    fn remove_files_in(&self, path: &RelativePath) -> Result<Vec<RelativePath>, Error> {
        let dir = self.subdir(path)?;
        let entries = dir.entries()?;
        entries
            .iter()
            .filter(|entry| entry.kind != Kind::Directory)
            .try_for_each(|entry| dir.remove_child(&entry.name, AtFlags::empty()))?;
        Ok(directories_in(&entries, Some(path)).collect())
    }

    /// As [`locate`](Self::locate), but `None` where there is no such directory.
    fn locate_existing<'a>(&self, path: &'a RelativePath) -> Result<Option<(Self, &'a std::ffi::OsStr)>, Error> {
        match self.locate(path) {
            Err(error) if error.is_not_found() => Ok(None),
            located => located.map(Some),
        }
    }
}

/// Returns the paths of the directories among the entries of the directory at `path`.
fn directories_in<'a>(entries: &'a [Entry], path: Option<&'a RelativePath>) -> impl Iterator<Item = RelativePath> + 'a {
    entries
        .iter()
        .filter(|entry| entry.kind == Kind::Directory)
        .map(move |entry| path.map_or_else(|| entry.path(), |path| path.join(&entry.path())))
}
