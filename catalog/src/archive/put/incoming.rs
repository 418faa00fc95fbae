//! Files of a stream, on their way into `incoming/`.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use barman_storage::{Dir, Operation, OutFile, RelativePath, Unpublished};
use wal_format::{SystemId, Timestamp};

use super::checksums::{Algorithm, Sum};
use super::passing::Passing;
use super::{PutWalError, PutWalNote};
use crate::archive::beside::beside;
use crate::archive::errors::{Kind, duplicates_of, move_to_errors};
use crate::archive::ingest::is_archived_otherwise;
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
    pub(super) fn publish(
        self,
        catalog: &Catalog,
        now: Timestamp,
        note: &mut dyn FnMut(PutWalNote),
    ) -> Result<(), PutWalError> {
        for stored in self.files {
            let path = plain(&stored.name)?;
            // In this order: what is archived meanwhile vanishes here when it is there.
            let waiting = sum_of(&self.incoming, &path)?;
            if let Some(waiting) = waiting.filter(|waiting| *waiting != stored.sha256) {
                let Stored { name: file, sha256: found, .. } = &stored;
                let conflict = PutWalError::Conflict { file: file.clone(), stored: waiting, found: found.clone() };
                keep_in_errors(catalog, &self.incoming, &stored, &conflict, now)?;
                return Err(conflict);
            }
            if is_archived_otherwise(catalog, (&self.incoming, &stored.temporary()), &stored.name)? {
                let conflict = PutWalError::ArchivedOtherwise { file: stored.name.clone() };
                if keep_in_errors(catalog, &self.incoming, &stored, &conflict, now)? == Kept::Now {
                    return Err(conflict);
                }
                note(PutWalNote::KeptInErrors(stored.name));
                continue;
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

/// Writes what comes, reads its records, syncs it, and returns its checksum: that alone takes as long as all the rest, and is
/// computed beside it.
fn copy(
    entry: &mut impl Read,
    file: &mut OutFile,
    modified: SystemTime,
    passing: &mut Passing,
) -> Result<String, PutWalError> {
    let mut sum = Sum::new(Algorithm::Sha256);
    beside(
        |bytes| sum.update(bytes),
        |pass| {
            write(entry, file, passing, pass)?;
            file.set_modified(modified)?;
            Ok::<_, PutWalError>(file.sync()?)
        },
    )?;
    Ok(sum.finish())
}

fn write(
    entry: &mut impl Read,
    file: &mut OutFile,
    passing: &mut Passing,
    pass: &mut dyn FnMut(&mut Vec<u8>),
) -> Result<(), PutWalError> {
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
        passing.take(&buffer);
        pass(&mut buffer);
    }
}

/// Reads as much as is looked at together; less only at the end.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    const BUFFER: usize = 128 * 1024;
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

/// The checksum of a file; `None` if there is none.
fn sum_of(dir: &Dir, path: &RelativePath) -> Result<Option<String>, Error> {
    let unreadable = |error| barman_storage::Error::new(Operation::Read, layout::shown(dir, path), error);
    match dir.open_file(path) {
        Ok(file) => Ok(Some(Algorithm::Sha256.sum(file).map_err(unreadable)?)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Since when `errors/` has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Now,
    Before,
}

/// Keeps a file in `errors/` because other contents have its name, durably and once: a server sends it each minute, and would
/// fill the disk.
fn keep_in_errors(
    catalog: &Catalog,
    incoming: &Dir,
    file: &Stored,
    conflict: &PutWalError,
    now: Timestamp,
) -> Result<Kept, Error> {
    let errors = catalog.errors_dir()?;
    for kept in duplicates_of(&errors, file.name.as_ref())? {
        if sum_of(&errors, &kept)?.is_some_and(|kept| kept == file.sha256) {
            // Invariant 1: whoever moved it there may have been interrupted before the syncs.
            errors.sync()?;
            incoming.sync()?;
            return Ok(Kept::Before);
        }
    }
    // `errors/` names a file as it was to be called.
    let place = (incoming, &file.temporary());
    move_to_errors(catalog, place, file.name.as_ref(), Kind::Duplicate, Some(conflict), now)?;
    Ok(Kept::Now)
}
