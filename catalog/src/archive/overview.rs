//! What the archive has, and what waits to get there, in few words.

use wal_format::{SegmentName, TimelineId, WalFileName};

use super::source::Batch;
use super::{WalSource, for_each_archived};
use crate::{Catalog, Error};

/// How many files wait to be archived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitingWal {
    /// In `incoming/`.
    pub incoming: u64,
    /// In `streaming/`, what the receiver is writing included.
    pub streaming: u64,
}

impl Catalog {
    /// Counts what waits to be archived.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn waiting_wal(&self) -> Result<WaitingWal, Error> {
        let count =
            |source: WalSource| Ok::<_, Error>(Batch::collect(source, &source.dir(self)?, None)?.candidates as u64);
        Ok(WaitingWal { incoming: count(WalSource::Incoming)?, streaming: count(WalSource::Streaming)? })
    }

    /// Returns the newest archived segment of the newest timeline that has any.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn newest_archived_segment(&self) -> Result<Option<SegmentName>, Error> {
        let newest: Option<TimelineId> = self.archived_timelines()?.into_iter().next_back();
        let mut found = None;
        for_each_archived(&self.wals_dir()?, |file| {
            if let WalFileName::Segment(name) = file.name
                && Some(name.timeline) == newest
            {
                found = found.max(Some(name));
            }
            Ok::<_, Error>(())
        })?;
        Ok(found)
    }
}
