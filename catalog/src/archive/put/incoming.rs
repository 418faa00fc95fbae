//! Files of a stream, on their way into `incoming/`.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use barman_storage::{Dir, Operation, PublishError, RelativePath};
use wal_format::Timestamp;

use super::PutWalError;
use super::checksums::Algorithm;
use crate::archive::errors::{Kind, move_to_errors};
use crate::{Catalog, Error, layout};

/// Only the owner reads WAL, as with Barman.
const MODE: u32 = 0o600;

/// A file that is stored under a name which nobody looks at.
#[derive(Debug)]
pub(super) struct Stored {
    /// What it is to be called.
    pub(super) name: String,
    pub(super) temporary: RelativePath,
    pub(super) sha256: String,
}

/// The files of one stream. What is not published when this is dropped is removed.
#[derive(Debug)]
pub(super) struct Received {
    incoming: Dir,
    files: Vec<Stored>,
}

impl Received {
    pub(super) fn new(incoming: &Dir) -> Self {
        Self { incoming: incoming.clone(), files: Vec::new() }
    }

    pub(super) fn files(&self) -> &[Stored] {
        &self.files
    }

    /// Stores a member of the stream, with its time.
    pub(super) fn store(&mut self, name: String, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), PutWalError> {
        // The sequence number tells apart two members of one name.
        let temporary = format!(".{}-{}-{name}", std::process::id(), self.files.len());
        let temporary = RelativePath::new(&temporary).map_err(|_| PutWalError::FileName { file: name.clone() })?;
        let modified = entry.header().mtime().map_err(PutWalError::Stream)?;
        // One of a process that had this number and was killed.
        self.incoming.remove_file(&temporary)?;
        let mut file = self.incoming.create_file(&temporary, MODE)?;
        self.files.push(Stored { name, temporary, sha256: String::new() });
        let mut failed = None;
        let summed = Algorithm::Sha256.sum(entry, |bytes| {
            file.write_all(bytes).map_err(|error| {
                failed = Some(error);
                io::Error::other("not stored")
            })
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let sha256 = summed.map_err(PutWalError::Stream)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(modified))?;
        if let Some(stored) = self.files.last_mut() {
            stored.sha256 = sha256;
        }
        Ok(())
    }

    /// Gives every file its name. When this returns, they are durable (invariants 1 and 2).
    pub(super) fn publish(&self, catalog: &Catalog, now: Timestamp) -> Result<(), PutWalError> {
        for file in &self.files {
            // Names come without directories.
            let path = RelativePath::new(&file.name).map_err(|_| PutWalError::FileName { file: file.name.clone() })?;
            match self.incoming.rename_new(&file.temporary, &self.incoming, &path) {
                Ok(_) => {}
                Err(PublishError::Conflict { .. }) => return Err(self.conflict(catalog, file, &path, now)?),
                Err(error) => return Err(Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Moves a file to `errors/` because other contents have its name.
    fn conflict(
        &self,
        catalog: &Catalog,
        file: &Stored,
        path: &RelativePath,
        now: Timestamp,
    ) -> Result<PutWalError, Error> {
        let unreadable =
            |error| barman_storage::Error::new(Operation::Read, layout::shown(&self.incoming, path), error);
        let waiting = self.incoming.open_file(path)?;
        let stored = Algorithm::Sha256.sum(waiting, |_| Ok(())).map_err(unreadable)?;
        let conflict = PutWalError::Conflict { file: file.name.clone(), stored, found: file.sha256.clone() };
        // `errors/` names a file as it was to be called.
        let place = (&self.incoming, &file.temporary);
        move_to_errors(catalog, place, path.file_name(), Kind::Duplicate, Some(&conflict), now)?;
        Ok(conflict)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        for file in &self.files {
            // Left behind, it takes space and is looked at by nobody.
            let _ = self.incoming.remove_file(&file.temporary);
        }
    }
}
