//! Finding a WAL file for a server that recovers.

use crate::{Error, Server};
use barman_catalog::{ArchivedSegment, Partial};
use barman_config::Command;
use wal_format::{SegmentSize, WalFileName};

impl Server {
    /// Finds a WAL file whose contents can be read: archived, delivered, or being streamed; `partial` says whether an
    /// unfinished one will do.
    ///
    /// # Errors
    /// It is nowhere, or stored in a form that cannot be read yet.
    pub fn get_wal(&self, name: &WalFileName, partial: Partial) -> Result<ArchivedSegment, Error> {
        let found = self.get_wal_as_stored(name, partial)?;
        match found.encoding {
            encoding if self.catalog().wal_storage().can_read(encoding) => Ok(found),
            encoding => Err(Error::EncodedWal { name: *name, encoding }),
        }
    }

    /// Finds a WAL file, however it is compressed or encrypted.
    ///
    /// # Errors
    /// It is nowhere.
    pub fn get_wal_as_stored(&self, name: &WalFileName, partial: Partial) -> Result<ArchivedSegment, Error> {
        self.refuse_unsupported(Command::GetWal)?;
        let found = self.catalog().find_wal(name, partial)?;
        found.ok_or_else(|| Error::WalNotFound { name: *name, server: self.name().to_owned() })
    }

    /// Returns the names of up to `limit` files that can be had: `name` itself, and if that is a segment those which
    /// follow it without a gap.
    ///
    /// # Errors
    /// The catalog or the archive cannot be read, or an option is set that is not built.
    pub fn peek_wal(&self, name: &WalFileName, limit: usize, partial: Partial) -> Result<Vec<WalFileName>, Error> {
        self.refuse_unsupported(Command::GetWal)?;
        let newest = self.catalog().backups()?.pop();
        let size = newest.map_or(SegmentSize::DEFAULT, |info| info.xlog_segment_size);
        let found = self.catalog().peek_wal(name, limit, partial, size)?;
        if found.is_empty() {
            // To a server in recovery this means the end of WAL.
            self.catalog().check_archive()?;
        }
        Ok(found)
    }
}
