//! Writing a file anew while the old one is still in use.

use std::io;

use crate::temporary::Temporary;
use crate::{Dir, Error, Operation, OutFile, RelativePath};

/// A file that will replace another one of the same directory, in two steps: what takes long, writing and syncing, can
/// be done before the lock is taken under which the file gets its name. Dropping it leaves the old file as it is.
///
/// As [`Dir::replace`], only for files whose old version may vanish.
#[derive(Debug)]
pub struct Replacement(Temporary);

impl Dir {
    /// Begins to write a file anew; the old one stays until [`Replacement::commit`].
    ///
    /// # Errors
    /// The file is not directly in this directory, or cannot be made.
    pub fn replacement(&self, path: &RelativePath, mode: u32) -> Result<Replacement, Error> {
        if path.parent().is_some() {
            let elsewhere = io::Error::new(io::ErrorKind::InvalidInput, "not a name in this directory");
            return Err(self.failed(Operation::Create, path.as_path(), elsewhere));
        }
        Ok(Replacement(Temporary::create(self, path.file_name(), mode)?))
    }
}

impl Replacement {
    /// Returns the file to write to.
    pub fn file(&mut self) -> &mut OutFile {
        self.0.file()
    }

    /// Gives the file its name. On return it is durable; a crash before leaves the old file or this one, whole.
    ///
    /// # Errors
    /// A system call failed. The old file is still there, except that after a failed sync of the directory it may be
    /// the new one, not to be relied on.
    pub fn commit(self) -> Result<(), Error> {
        self.0.replace()
    }
}
