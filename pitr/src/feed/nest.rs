//! The directory in which the helper keeps its files and is met.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use barman_storage::{Dir, LockFile, RelativePath};

use super::{FeedError, RecoveringServer};

/// In the data directory, so that handing over is a rename where `pg_wal` lies there too. PostgreSQL leaves files that begin
/// like this out of base backups (`sendDir` in basebackup.c), and so does `pg_rewind`.
pub(crate) const NAME: &str = "pgsql_tmp_barman_feed";
const SOCKET: &str = "socket";
const LOCK: &str = "lock";

const MODE: u32 = 0o700;

/// Turns that emptying the directory takes at most, with files that are just being written.
const TURNS: usize = 100;

/// The directory while a helper has it. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Nest {
    pub(super) dir: Dir,
    data: Dir,
    /// Held until the directory is gone: whoever comes too early to begin anew does without.
    _lock: LockFile,
}

impl Nest {
    /// Makes the directory, or takes over what a helper left that was killed; `None` if another one has it.
    pub(super) fn claim(server: &RecoveringServer) -> Result<Option<Self>, FeedError> {
        let data = server.data.clone();
        let dir = data.create_subdir(&RelativePath::literal(NAME), MODE)?;
        let Some(lock) = LockFile::try_exclusive(&dir, &RelativePath::literal(LOCK))? else { return Ok(None) };
        let nest = Self { dir, data, _lock: lock };
        nest.clear()?;
        Ok(Some(nest))
    }

    /// Begins to listen.
    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(self.dir.path().join(SOCKET))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Whether the directory is still there.
    pub(super) fn exists(&self) -> bool {
        matches!(self.dir.stat(&RelativePath::literal(LOCK)), Ok(Some(_)))
    }

    /// Removes everything but the lock.
    fn clear(&self) -> Result<(), FeedError> {
        for entry in self.dir.entries()?.iter().filter(|entry| entry.name != LOCK) {
            self.dir.remove_tree(&entry.path())?;
        }
        Ok(())
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let name = RelativePath::literal(NAME);
        for _ in 0..TURNS {
            let cleared = self.clear().and_then(|()| Ok(self.dir.remove_file(&RelativePath::literal(LOCK))?));
            // What fails here leaves files that the next helper removes.
            if cleared.is_err() || self.data.remove_empty_dir(&name).unwrap_or(true) {
                return;
            }
        }
    }
}

/// Calls the helper of a server, if it has one.
pub(super) fn call(server: &RecoveringServer) -> io::Result<UnixStream> {
    UnixStream::connect(path(server).join(SOCKET))
}

/// Opens its directory.
pub(super) fn open(server: &RecoveringServer) -> Result<Dir, FeedError> {
    Ok(Dir::open(&path(server))?)
}

fn path(server: &RecoveringServer) -> PathBuf {
    server.data.path().join(NAME)
}
