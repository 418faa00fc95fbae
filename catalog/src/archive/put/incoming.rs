//! Files of a stream, on their way into `incoming/`.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use barman_storage::{Dir, Operation, OutFile, RelativePath, Unpublished};
use wal_format::{SystemId, Timestamp};

use super::PutWalError;
use super::checksums::{Algorithm, Sum};
use super::passing::Passing;
use crate::archive::beside::beside;
use crate::archive::errors::{Kind, move_to_errors};
use crate::{Catalog, Error, layout};

/// Only the owner reads WAL, as with Barman.
const MODE: u32 = 0o600;

/// A file that is stored under a name which nobody looks at, and is removed when this is dropped. What a killed process
/// left is removed when the file is sent again.
#[derive(Debug)]
pub(super) struct Stored {
    /// What it is to be called.
    pub(super) name: String,
    pub(super) sha256: String,
    /// Whether it was judged while it came, and nothing is wrong with it.
    pub(super) is_sound: bool,
    file: Unpublished,
}

impl Stored {
    /// Where it is until then.
    pub(super) fn temporary(&self) -> RelativePath {
        self.file.path()
    }
}

/// The files of one stream.
#[derive(Debug)]
pub(super) struct Received {
    incoming: Dir,
    /// The cluster that WAL must be of, if that is known.
    system: Option<SystemId>,
    files: Vec<Stored>,
}

impl Received {
    pub(super) fn new(incoming: &Dir, system: Option<SystemId>) -> Self {
        Self { incoming: incoming.clone(), system, files: Vec::new() }
    }

    pub(super) fn files(&self) -> &[Stored] {
        &self.files
    }

    /// Stores a member of the stream, with its time.
    pub(super) fn store(&mut self, name: String, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), PutWalError> {
        let modified = entry.header().mtime().map_err(PutWalError::Stream)?;
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
        let mut passing = Passing::new(&name, entry.size(), self.system);
        let (file, sha256) =
            self.incoming.prepare_new(&plain(&name)?, MODE, |file| copy(entry, file, modified, &mut passing))?;
        self.files.push(Stored { name, sha256, is_sound: passing.finish(), file });
        Ok(())
    }

    /// Gives every file its name. When this returns, they are durable (invariants 1 and 2).
    pub(super) fn publish(self, catalog: &Catalog, now: Timestamp) -> Result<(), PutWalError> {
        for stored in self.files {
            let path = plain(&stored.name)?;
            let waiting = sum_of_waiting(&self.incoming, &path)?;
            if let Some(waiting) = waiting.filter(|waiting| *waiting != stored.sha256) {
                return Err(conflict(catalog, &self.incoming, &stored, waiting, now)?);
            }
            stored.file.publish()?;
        }
        Ok(())
    }
}

/// Names come without directories.
fn plain(name: &str) -> Result<RelativePath, PutWalError> {
    RelativePath::new(name).map_err(|_| PutWalError::FileName { file: name.to_owned() })
}

/// Writes what comes, syncs it, and returns its checksum. That is computed, and the records are read, beside that.
fn copy(
    entry: &mut impl Read,
    file: &mut OutFile,
    modified: SystemTime,
    passing: &mut Passing,
) -> Result<String, PutWalError> {
    let mut sum = Sum::new(Algorithm::Sha256);
    let look = |bytes: &[u8]| {
        sum.update(bytes);
        passing.take(bytes);
    };
    beside(look, |pass| {
        write(entry, file, pass)?;
        file.set_modified(modified)?;
        Ok::<_, PutWalError>(file.sync()?)
    })?;
    Ok(sum.finish())
}

fn write(entry: &mut impl Read, file: &mut OutFile, pass: &mut dyn FnMut(&mut Vec<u8>)) -> Result<(), PutWalError> {
    /// The disk works while the rest comes and is judged; then the sync has little to wait for.
    const WRITE_BACK: u64 = 1 << 20;
    let (mut buffer, mut written, mut written_back) = (Vec::new(), 0, 0);
    loop {
        fill(entry, &mut buffer).map_err(PutWalError::Stream)?;
        if buffer.is_empty() {
            return Ok(());
        }
        file.write_all(&buffer)?;
        written += buffer.len() as u64;
        if written - written_back >= WRITE_BACK {
            file.start_write_back(written_back, written - written_back);
            written_back = written;
        }
        pass(&mut buffer);
    }
}

/// Reads as much as is looked at together; less only at the end.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    const BUFFER: usize = 256 * 1024;
    buffer.resize(BUFFER, 0);
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// The checksum of the file that waits under this name; `None` if there is none.
fn sum_of_waiting(incoming: &Dir, path: &RelativePath) -> Result<Option<String>, Error> {
    let unreadable = |error| barman_storage::Error::new(Operation::Read, layout::shown(incoming, path), error);
    match incoming.open_file(path) {
        Ok(waiting) => Ok(Some(Algorithm::Sha256.sum(waiting).map_err(unreadable)?)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Moves a file to `errors/` because other contents have its name.
fn conflict(
    catalog: &Catalog,
    incoming: &Dir,
    file: &Stored,
    waiting: String,
    now: Timestamp,
) -> Result<PutWalError, Error> {
    let conflict = PutWalError::Conflict { file: file.name.clone(), stored: waiting, found: file.sha256.clone() };
    // `errors/` names a file as it was to be called.
    let place = (incoming, &file.temporary());
    move_to_errors(catalog, place, file.name.as_ref(), Kind::Duplicate, Some(&conflict), now)?;
    Ok(conflict)
}
