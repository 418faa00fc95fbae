//! Compressing and encrypting, which takes longer than all else: on all cores, and before a file's turn has come. There too
//! the disk is waited for, also for what is stored as it was delivered.
//!
//! What is wrapped lies in the archive without a name. Nothing follows from it: a file whose turn comes and that has
//! changed since is wrapped once more, and one that is refused leaves nothing behind.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use barman_storage::codec::Room;
use barman_storage::{Cancel, Dir, NamedFile, NewNames, Stat, Unpublished};

use crate::archive::source::Candidate;
use crate::catalog::DIRECTORY_MODE;
use crate::{Content, Encoding, Error, WalCompression, WalSource, WalStorage, layout};

use super::detect::Detected;

/// What was done for a file before its turn.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The file as it was then.
    of: Stat,
    as_stored: AsStored,
}

/// How a file is to be stored, without its name in the archive, and synced.
#[derive(Debug)]
pub(super) enum AsStored {
    /// Wrapped.
    Wrapped(Wrapped),
    /// As it was delivered.
    Delivered(NamedFile),
}

/// What a file is wrapped into.
#[derive(Debug)]
pub(super) struct Wrapped {
    file: Unpublished,
    content: Content,
}

impl Prepared {
    /// What was done for this file.
    pub(super) const fn new(file: &Detected, as_stored: AsStored) -> Self {
        Self { of: file.stat, as_stored }
    }

    /// Whether it was prepared of this very file, and nobody has written to that since.
    pub(super) fn is_of(&self, file: &Detected) -> bool {
        self.of == file.stat
    }

    /// What was prepared, if it was of this file.
    pub(super) fn of(self, file: &Detected) -> Option<AsStored> {
        self.is_of(file).then_some(self.as_stored)
    }

    /// What is going to be stored of a file that was wrapped.
    pub(super) fn content(&self) -> Option<Content> {
        match &self.as_stored {
            AsStored::Wrapped(wrapped) => Some(wrapped.content),
            AsStored::Delivered(_) => None,
        }
    }
}

impl Wrapped {
    /// Writes what is to be stored of `file`, and syncs that. `room` may have memory from the file before.
    pub(super) fn of(
        file: &mut Detected,
        wals: &Dir,
        storage: &WalStorage,
        room: &Room,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        if let Some(directory) = layout::hash_directory(&file.entry.name) {
            wals.create_subdir(&directory, DIRECTORY_MODE)?;
        }
        let path = layout::archived(&file.entry.name);
        let (unpublished, content) = wals.prepare_new(&path, file.stat.mode, |copy| {
            let content = file.store(copy, storage, room, cancel)?;
            copy.sync()?;
            Ok::<_, Error>(content)
        })?;
        Ok(Self { file: unpublished, content })
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
        self.next_within(Duration::MAX).flatten()
    }

    /// The same, if it is there by then.
    #[allow(clippy::option_option, reason = "what could not be prepared is not what takes longer")]
    pub(super) fn next_within(&mut self, patience: Duration) -> Option<Option<Prepared>> {
        let worker = self.next.checked_rem(self.workers.len()).and_then(|next| self.workers.get(next));
        let prepared = match worker.map(|worker| worker.recv_timeout(patience)) {
            Some(Ok(prepared)) => prepared,
            Some(Err(RecvTimeoutError::Timeout)) => return None,
            Some(Err(RecvTimeoutError::Disconnected)) | None => None,
        };
        self.next += 1;
        Some(prepared)
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
        let room = Room::default();
        for candidate in files {
            // What goes wrong here goes wrong again at the file's turn, and is told then.
            if prepared.send(self.prepare(candidate, &room, cancel).ok().flatten()).is_err() {
                return;
            }
        }
    }

    fn prepare(&self, candidate: &Candidate, room: &Room, cancel: &Cancel) -> Result<Option<Prepared>, Error> {
        if self.wals.stat(&layout::archived(&candidate.name))?.is_some() {
            return Ok(None);
        }
        let opened = Detected::open(self.source, &self.dir, candidate, self.storage)?;
        let Some(mut file) = opened else { return Ok(None) };
        let as_stored = if self.storage.wraps(file.encoding) {
            AsStored::Wrapped(Wrapped::of(&mut file, &self.wals, self.storage, room, cancel)?)
        } else {
            let mut delivered = self.dir.named_file(&candidate.path)?;
            // Invariant 2: the kernel tells of a failure once, and then believes the file to be clean. It is told again by
            // this handle when the file gets its name.
            let _ = delivered.sync();
            AsStored::Delivered(delivered)
        };
        Ok(Some(Prepared::new(&file, as_stored)))
    }

    /// How many files are prepared at a time: as many as there are cores, as far as memory goes. Where only the disk is waited
    /// for, one is enough.
    fn workers(&self, files: &[Candidate]) -> usize {
        const MEMORY: u64 = 120 << 20;
        if files.len() < 2 {
            return 0;
        }
        if !self.storage.wraps(Encoding::Plain) {
            return 1;
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
