//! First stage: what kind of file it is.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use barman_storage::{Dir, Operation, RelativePath, Stat};
use wal_format::SegmentHeader;

use crate::archive::source::Candidate;
use crate::xlog_db::described;
use crate::{Encoding, Error, WalSource, XlogEntry, layout};

/// A file with its first bytes. It stays open, so that what was checked is what is archived.
#[derive(Debug)]
pub(super) struct Detected {
    /// Its name where it arrived.
    pub(super) path: RelativePath,
    pub(super) stat: Stat,
    pub(super) encoding: Encoding,
    /// The line that it is going to have in the index.
    pub(super) entry: XlogEntry,
    /// As many bytes as a segment's header has, if there are so many.
    pub(super) head: Vec<u8>,
    file: File,
    dir: Dir,
}

impl Detected {
    /// Opens a file; `None` if it is gone.
    pub(super) fn open(source: WalSource, dir: &Dir, candidate: &Candidate) -> Result<Option<Self>, Error> {
        let path = candidate.path.clone();
        let Some(stat) = dir.stat(&path)? else { return Ok(None) };
        let mut file = match dir.open_file(&path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut head = Vec::new();
        let unreadable = |source| barman_storage::Error::new(Operation::Read, layout::shown(dir, &path), source);
        file.by_ref().take(SegmentHeader::LEN as u64).read_to_end(&mut head).map_err(unreadable)?;
        let encoding = match source {
            // The receiver writes what PostgreSQL sends, and nothing else.
            WalSource::Streaming => Encoding::Plain,
            WalSource::Incoming => Encoding::detect(&head),
        };
        let entry = described(candidate.name, &stat, encoding);
        Ok(Some(Self { path, stat, encoding, entry, head, file, dir: dir.clone() }))
    }

    /// Shows the whole file to `take`, a buffer at a time. It must have as many bytes as it had when it was opened.
    pub(super) fn read(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        const BUFFER: usize = 256 * 1024;
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.unreadable(error))?;
        let mut buffer = vec![0; BUFFER];
        let mut left = self.stat.size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let Some(bytes) = buffer.get_mut(..wanted) else { break };
            self.file.read_exact(bytes).map_err(|error| self.unreadable(error))?;
            take(bytes)?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// Tells whether the name still stands for the file that was opened, and nobody has written to it since.
    pub(super) fn is_unchanged(&self) -> Result<bool, Error> {
        Ok(self.dir.stat(&self.path)? == Some(self.stat))
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        barman_storage::Error::new(Operation::Read, layout::shown(&self.dir, &self.path), error).into()
    }
}
