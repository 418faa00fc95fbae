//! Compressing and encrypting, which takes longer than all else: on all cores, and before a file's turn has come. There too
//! the disk is waited for.
//!
//! What is prepared lies in the archive without a name. Nothing follows from it: a file whose turn comes and that has
//! changed since is wrapped once more, and one that is refused leaves nothing behind.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use barman_storage::{Cancel, Dir, NewNames, Stat, Unpublished};

use crate::archive::source::Candidate;
use crate::catalog::DIRECTORY_MODE;
use crate::{Content, Encoding, Error, WalCompression, WalSource, WalStorage, layout};

use super::detect::Detected;

/// A file as it is to be stored, without its name.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The file that it was made of.
    of: Stat,
    file: Unpublished,
    content: Content,
}

impl Prepared {
    /// Writes what is to be stored of `file`, and syncs that.
    pub(super) fn of(file: &mut Detected, wals: &Dir, storage: &WalStorage, cancel: &Cancel) -> Result<Self, Error> {
        if let Some(directory) = layout::hash_directory(&file.entry.name) {
            wals.create_subdir(&directory, DIRECTORY_MODE)?;
        }
        let (stat, path) = (file.stat, layout::archived(&file.entry.name));
        let (unpublished, content) = wals.prepare_new(&path, stat.mode, |copy| {
            let content = file.store(copy, storage, cancel)?;
            copy.sync()?;
            Ok::<_, Error>(content)
        })?;
        Ok(Self { of: stat, file: unpublished, content })
    }

    /// Whether it was made of this very file, and nobody has written to that since.
    pub(super) fn is_of(&self, file: &Detected) -> bool {
        self.of == file.stat
    }

    /// Gives it its name, which is durable with the others of `names`; returns what is stored.
    pub(super) fn publish(self, names: &mut NewNames) -> Result<Content, Error> {
        names.publish(self.file)?;
        Ok(self.content)
    }
}

/// Where files come from and go to.
#[derive(Debug, Clone)]
pub(super) struct Workshop<'a> {
    pub(super) wals: Dir,
    pub(super) dir: Dir,
    pub(super) source: WalSource,
    pub(super) storage: &'a WalStorage,
}

/// What workers have prepared, in the order of the files.
pub(super) struct Ahead {
    /// One worker takes every so many files.
    workers: Vec<Receiver<Option<Prepared>>>,
    next: usize,
}

impl Ahead {
    /// What was prepared of the next file, if it could be: without it, or if that failed, whoever archives the file does it.
    pub(super) fn next(&mut self) -> Option<Prepared> {
        let worker = self.workers.get(self.next.checked_rem(self.workers.len())?)?;
        self.next += 1;
        worker.recv().ok().flatten()
    }
}

impl Workshop<'_> {
    /// Runs `work` beside the workers that it is handed the results of. They stay ahead of it by two files each, and end
    /// with it.
    pub(super) fn ahead_of<T>(&self, files: &[Candidate], cancel: &Cancel, work: impl FnOnce(&mut Ahead) -> T) -> T {
        let count = self.workers(files);
        thread::scope(|scope| {
            let workers = (0..count).map(|first| {
                let (prepared, results) = sync_channel(1);
                scope.spawn(move || self.prepare_each(files.iter().skip(first).step_by(count), &prepared, cancel));
                results
            });
            work(&mut Ahead { workers: workers.collect(), next: 0 })
        })
    }

    fn prepare_each<'f>(
        &self,
        files: impl Iterator<Item = &'f Candidate>,
        prepared: &SyncSender<Option<Prepared>>,
        cancel: &Cancel,
    ) {
        for candidate in files {
            // What goes wrong here goes wrong again at the file's turn, and is told then.
            if prepared.send(self.prepare(candidate, cancel).ok().flatten()).is_err() {
                return;
            }
        }
    }

    fn prepare(&self, candidate: &Candidate, cancel: &Cancel) -> Result<Option<Prepared>, Error> {
        if self.wals.stat(&layout::archived(&candidate.name))?.is_some() {
            return Ok(None);
        }
        match Detected::open(self.source, &self.dir, candidate, self.storage)? {
            Some(mut file) if self.storage.wraps(file.encoding) => {
                Prepared::of(&mut file, &self.wals, self.storage, cancel).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many files are wrapped at a time: as many as there are cores, as far as memory goes.
    fn workers(&self, files: &[Candidate]) -> usize {
        const MEMORY: u64 = 120 << 20;
        if files.len() < 2 || !self.storage.wraps(Encoding::Plain) {
            return 0;
        }
        let longest =
            files.iter().filter_map(|file| self.dir.stat(&file.path).ok().flatten()).map(|stat| stat.size).max();
        let each = match self.storage.compression {
            Some(WalCompression::BuiltIn(compression)) => compression.memory(longest.unwrap_or(0)),
            _ => 1 << 20,
        };
        let affordable = usize::try_from(MEMORY / each.max(1)).unwrap_or(usize::MAX).max(1);
        thread::available_parallelism().map_or(1, NonZeroUsize::get).min(affordable).min(files.len())
    }
}
