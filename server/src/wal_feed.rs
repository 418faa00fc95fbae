//! The archive as what a server in recovery is fed from.

use crate::{Error, Server};
use barman_catalog::{ArchivedSegment, Content, Partial, Place};
use barman_pitr::{Fetched, SourceError, WalSource};
use barman_storage::OutFile;
use std::io::Read;
use wal_format::{Crc32c, WalFileName};

/// The WAL of one server, read where it lies.
#[derive(Clone, Debug)]
pub struct ArchiveSource {
    server: Server,
}

impl ArchiveSource {
    /// Takes what this server has archived and received.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self { server }
    }

    /// Finds a file; `None` if the archive is there and does not have it.
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<ArchivedSegment>, Error> {
        match self.server.get_wal(name, partial) {
            Ok(found) => Ok(Some(found)),
            Err(Error::WalNotFound { .. }) => {
                self.server.catalog().check_archive()?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the contents are those that were archived. What decays on the disk would end recovery as if it were the end
    /// of WAL (invariant 5).
    fn check(&self, found: &ArchivedSegment, content: Content) -> Result<(), Error> {
        let facts = match found.place {
            Place::Archive => self.server.catalog().facts(&found.name)?,
            Place::Source(_) => None,
        };
        match facts.and_then(|facts| facts.raw) {
            Some(expected) if expected != content => {
                Err(Error::ChangedWal { name: found.name, path: found.display_path(), expected, found: content })
            }
            _ => Ok(()),
        }
    }
}

impl WalSource for ArchiveSource {
    fn fetch(&self, name: &WalFileName, partial: Partial, target: &mut OutFile) -> Result<Fetched, SourceError> {
        let Some(found) = self.find(name, partial)? else { return Ok(Fetched::Missing) };
        let content = copy(&mut *found.contents()?, target)?;
        self.check(&found, content)?;
        Ok(match found.name {
            WalFileName::Partial(_) => Fetched::Unfinished,
            _ => Fetched::Whole,
        })
    }
}

fn copy(source: &mut dyn Read, target: &mut OutFile) -> Result<Content, SourceError> {
    const BUFFER: usize = 256 * 1024;
    let (mut buffer, mut bytes, mut crc) = (vec![0; BUFFER], 0, Crc32c::new());
    loop {
        let length = source.read(&mut buffer)?;
        let Some(read @ [_, ..]) = buffer.get(..length) else { break };
        crc.update(read);
        target.write_all(read)?;
        bytes += length as u64;
    }
    Ok(Content { bytes, crc32c: crc.finish() })
}
