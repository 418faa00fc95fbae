//! First stage: what kind of file it is.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use barman_storage::codec::Room;
use barman_storage::{Cancel, Dir, Operation, OutFile, RelativePath, Stat};
use wal_format::{Crc32c, SegmentHeader};

use crate::archive::read::open_again;
use crate::archive::source::Candidate;
use crate::xlog_db::described;
use crate::{Content, Encoding, Error, WalSource, WalStorage, XlogEntry, layout};

use super::walk::Walk;

/// How much is read at a time.
const BUFFER: usize = 256 * 1024;

/// A file with its first bytes. It stays open, so that what was checked is what is archived.
#[derive(Debug)]
pub(super) struct Detected {
    /// Its name where it arrived.
    pub(super) path: RelativePath,
    pub(super) stat: Stat,
    pub(super) encoding: Encoding,
    /// The line that it is going to have in the index.
    pub(super) entry: XlogEntry,
    /// As many bytes as a segment's header has, if there are so many: decompressed, if that can be done.
    pub(super) head: Vec<u8>,
    /// How it is read when its records are looked at.
    pub(super) walk: Walk,
    file: File,
    dir: Dir,
    storage: WalStorage,
}

impl Detected {
    /// Opens a file; `None` if it is gone. One that is compressed and broken has a head that is too short.
    pub(super) fn open(
        source: WalSource,
        dir: &Dir,
        candidate: &Candidate,
        storage: &WalStorage,
    ) -> Result<Option<Self>, Error> {
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
            WalSource::Incoming => storage.detect(&head),
        };
        let entry = described(candidate.name, &stat, encoding);
        let (dir, storage) = (dir.clone(), storage.clone());
        let mut found = Self { path, stat, encoding, entry, head, walk: Walk::TwoThreads, file, dir, storage };
        if encoding != Encoding::Plain && found.is_readable() {
            found.head = found.unwrapped_head();
        }
        Ok(Some(found))
    }

    /// What is left out of a broken stream is missed by whoever reads the head, or all.
    fn unwrapped_head(&mut self) -> Vec<u8> {
        let mut head = Vec::new();
        let read = self.reader().map(|reader| reader.take(SegmentHeader::LEN as u64).read_to_end(&mut head));
        tracing::trace!(?read, "the beginning of {}", self.entry.name);
        head
    }

    /// Whether what PostgreSQL wrote can be seen. What is encrypted is not tried: its key need not be at hand.
    pub(super) fn is_readable(&self) -> bool {
        self.encoding != Encoding::Encrypted && self.storage.can_read(self.encoding)
    }

    /// Shows what PostgreSQL wrote to `take`, a buffer at a time: the whole file, decompressed.
    pub(super) fn read(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.read_buffers(|buffer| take(buffer))
    }

    /// Does the same; `take` may keep a buffer and leave another one in its place.
    pub(super) fn read_buffers(&mut self, take: impl FnMut(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        if self.encoding == Encoding::Plain {
            return self.read_stored_buffers(take);
        }
        let reader = self.reader()?;
        show(reader, take, |error| self.broken(error))
    }

    /// What PostgreSQL wrote, from its beginning.
    pub(super) fn reader(&self) -> Result<Box<dyn Read + Send>, Error> {
        let file = open_again(&self.file).map_err(|error| self.unreadable(error))?;
        self.storage.reader(self.encoding, file).map_err(|error| self.broken(error))
    }

    /// Shows the whole file as it is to `take`, a buffer at a time. It must have as many bytes as it had when it was opened.
    pub(super) fn read_stored(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.read_stored_buffers(|buffer| take(buffer))
    }

    fn read_stored_buffers(&mut self, mut take: impl FnMut(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.unreadable(error))?;
        let mut buffer = Vec::new();
        let mut left = self.stat.size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            buffer.resize(wanted, 0);
            self.file.read_exact(&mut buffer).map_err(|error| self.unreadable(error))?;
            take(&mut buffer)?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// Writes into `copy` what is to be stored of it, with its mode and time.
    pub(super) fn store(
        &mut self,
        copy: &mut OutFile,
        storage: &WalStorage,
        room: &Room,
        cancel: &Cancel,
    ) -> Result<Content, Error> {
        let (stat, encoding) = (self.stat, self.encoding);
        let content = storage.store(encoding, stat.size, (copy, room), |take| {
            self.read_stored(|bytes| {
                cancel.check()?;
                take(bytes)
            })
        })?;
        copy.set_mode(stat.mode)?;
        copy.set_modified(stat.modified())?;
        Ok(content)
    }

    /// Writes down in the entry what became of it.
    pub(super) fn describe_as_stored(&mut self, size: u64, storage: &WalStorage) {
        let (compression, encryption) = storage.stored_as(self.encoding);
        self.entry.size = size;
        self.entry.compression = compression.map(str::to_owned);
        self.entry.encryption = encryption.map(str::to_owned);
    }

    /// Tells whether the name still stands for the file that was opened, and nobody has written to it since. It may have got
    /// another name, in the archive.
    pub(super) fn is_unchanged(&self) -> Result<bool, Error> {
        self.is_at(&self.dir, &self.path)
    }

    /// Tells the same of another name.
    pub(super) fn is_at(&self, dir: &Dir, path: &RelativePath) -> Result<bool, Error> {
        let found = dir.stat(path)?.map(|mut found| {
            found.links = self.stat.links;
            found
        });
        Ok(found == Some(self.stat))
    }

    /// Returns length and checksum of what was delivered; `raw` is that of what PostgreSQL wrote, if that is known.
    pub(super) fn stored_content(&mut self, raw: Option<Content>, cancel: &Cancel) -> Result<Content, Error> {
        if let Some(raw) = raw.filter(|_| self.encoding == Encoding::Plain) {
            return Ok(raw);
        }
        let mut crc = Crc32c::new();
        self.read_stored(|bytes| {
            cancel.check()?;
            crc.update(bytes);
            Ok(())
        })?;
        Ok(Content { bytes: self.stat.size, crc32c: crc.finish() })
    }

    fn broken(&self, source: io::Error) -> Error {
        if source.raw_os_error().is_some() {
            return self.unreadable(source);
        }
        Error::Unwrap { path: layout::shown(&self.dir, &self.path), source }
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        barman_storage::Error::new(Operation::Read, layout::shown(&self.dir, &self.path), error).into()
    }
}

fn show(
    mut reader: impl Read,
    mut take: impl FnMut(&mut Vec<u8>) -> Result<(), Error>,
    failed: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER];
    loop {
        // It may be shorter by now, or another one.
        buffer.resize(BUFFER, 0);
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                buffer.truncate(length);
                take(&mut buffer)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
