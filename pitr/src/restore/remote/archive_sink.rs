//! Sending what an archive of the backup holds: all that is not there already, and that the restore does not write anew.

use std::collections::{HashMap, HashSet};

use barman_storage::RelativePath;

use super::Originals;
use super::files_there::FilesThere;
use super::pipe::Pipe;
use crate::plan::PlannedFile;
use crate::restore::archive::Sink;
use crate::restore::parcel::ParcelReader;
use crate::restore::{Restore, RestoreError, RestoreEvent};

/// Takes what an archive of the backup holds.
pub(super) struct ArchiveSink<'a> {
    restore: &'a Restore<'a>,
    pub(super) pipe: Pipe,
    there: &'a FilesThere,
    /// The SHA-256 of files that are there and have not been compared.
    sums: HashMap<RelativePath, String>,
    /// The files that are there and are not as they should be: the archive is read once more for them.
    pub(super) differing: HashSet<RelativePath>,
    /// The files that the restore writes anew, and so are not sent.
    kept: Vec<RelativePath>,
    pub(super) originals: Originals,
    /// Those are made at the end: files that come later would change them.
    pub(super) directories: Vec<RelativePath>,
}

impl<'a> ArchiveSink<'a> {
    pub(super) fn new(
        restore: &'a Restore<'a>,
        pipe: Pipe,
        there: &'a FilesThere,
        sums: HashMap<RelativePath, String>,
        kept: Vec<RelativePath>,
    ) -> Self {
        let (differing, originals, directories) = (HashSet::new(), Originals::new(), Vec::new());
        Self { restore, pipe, there, sums, differing, kept, originals, directories }
    }

    /// Keeps what a file was that the restore writes anew.
    fn keep(&mut self, path: &RelativePath, mode: u32, mut contents: ParcelReader<'_>) -> Result<(), RestoreError> {
        let mut text = Vec::new();
        contents.read_all(&mut |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })?;
        self.originals.insert(path.clone(), (text, mode));
        Ok(())
    }
}

impl Sink for ArchiveSink<'_> {
    fn directory(&mut self, path: &RelativePath) -> Result<(), RestoreError> {
        self.directories.push(path.clone());
        Ok(())
    }

    /// That is seen when it has passed by.
    fn has(&mut self, _: &PlannedFile, _: u32) -> Result<bool, RestoreError> {
        Ok(false)
    }

    fn file(&mut self, path: &RelativePath, mode: u32, contents: ParcelReader<'_>) -> Result<(), RestoreError> {
        if self.kept.contains(path) {
            return self.keep(path, mode, contents);
        }
        let bytes = contents.size();
        let sum_there = self.sums.remove(path).filter(|_| self.there.get(path) == Some(&(bytes, mode)));
        match sum_there {
            None => self.pipe.send_contents(path, mode, contents)?,
            Some(there) if contents.sha256()?.is_some_and(|sum| sum.to_string() == there) => {
                (self.restore.events)(RestoreEvent::Kept { bytes });
            }
            Some(_) => drop(self.differing.insert(path.clone())),
        }
        Ok(())
    }
}
