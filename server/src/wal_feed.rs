//! The archive as what a server in recovery is fed from.

use crate::{Error, Server};
use barman_catalog::{ArchivedSegment, Encoding, Partial, Place};
use barman_pitr::{FoundWal, SourceError, WalSource};
use wal_format::WalFileName;

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
    fn look_up(&self, name: &WalFileName, partial: Partial) -> Result<Option<ArchivedSegment>, Error> {
        match self.server.get_wal(name, partial) {
            Ok(found) => Ok(Some(found)),
            Err(Error::WalNotFound { .. }) => {
                let catalog = self.server.catalog();
                catalog.check_archive()?;
                // Whoever removes it for good takes it out of the index first.
                match catalog.xlog_db()?.contains(name)? {
                    true => Err(Error::WalVanished { name: *name, server: self.server.name().to_owned() }),
                    false => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn open(&self, found: &ArchivedSegment) -> Result<FoundWal, Error> {
        let facts = match found.place {
            Place::Archive => self.server.catalog().facts(&found.name)?,
            Place::Source(_) => None,
        };
        let (bytes, format) = match found.encoding {
            // Whoever wants it decompresses it: it may have a long way before it.
            Encoding::Compressed(format) => (Box::new(found.open()?) as Box<_>, Some(format)),
            _ => (found.contents()?, None),
        };
        let is_unfinished = matches!(found.name, WalFileName::Partial(_));
        Ok(FoundWal { bytes, format, is_unfinished, content: facts.and_then(|facts| facts.raw) })
    }
}

impl WalSource for ArchiveSource {
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SourceError> {
        Ok(self.look_up(name, partial)?.map(|found| self.open(&found)).transpose()?)
    }
}
