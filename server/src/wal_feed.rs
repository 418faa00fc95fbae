//! The archive as what a server in recovery is fed from.

use crate::{Error, Server};
use barman_catalog::{ArchivedSegment, Encoding, Partial, Place, XlogDb};
use barman_pitr::{FoundWal, SourceError, WalSource};
use wal_format::{SegmentName, SegmentSize, WalFileName};

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
                let index = catalog.xlog_db()?;
                let server = self.server.name().to_owned();
                match Absent::of(&index, name, catalog.wal_segment_size()?)? {
                    Absent::Vanished => Err(Error::WalVanished { name: *name, server }),
                    Absent::Purged { first } => Err(Error::WalPurged { name: *name, server, first }),
                    Absent::Unheard => Ok(None),
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

/// What the index of an archive says of a file that is not there.
enum Absent {
    /// It should be there.
    Vanished,
    /// The archive begins behind it, with this segment. A server in recovery got what was before it, so this one was there
    /// too and has been removed since: it is not the end of WAL.
    Purged { first: SegmentName },
    /// Nothing.
    Unheard,
}

impl Absent {
    fn of(index: &XlogDb, name: &WalFileName, size: SegmentSize) -> Result<Self, Error> {
        let text = name.to_string();
        let number = |name: &SegmentName| name.number(size).ok();
        let (mut is_recorded, mut first) = (false, None::<SegmentName>);
        index.scan(|line| {
            is_recorded |= line.name() == text;
            let earlier = line.segment().filter(|name| first.is_none_or(|first| number(name) < number(&first)));
            first = earlier.or(first);
            Ok::<_, barman_catalog::Error>(())
        })?;
        Ok(match (name, first) {
            _ if is_recorded => Self::Vanished,
            (WalFileName::Segment(wanted), Some(first)) if number(wanted) < number(&first) => Self::Purged { first },
            _ => Self::Unheard,
        })
    }
}

impl WalSource for ArchiveSource {
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SourceError> {
        Ok(self.look_up(name, partial)?.map(|found| self.open(&found)).transpose()?)
    }
}
