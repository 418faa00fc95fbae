//! What the archive has, and what waits to get there, in few words.

use barman_storage::{Dir, Entry, Kind};
use wal_format::{SegmentName, WalFileName};

use crate::archive::WalSource;
use crate::archive::source::Batch;
use crate::catalog::existing;
use crate::{Catalog, Error, layout};

/// How many files wait to be archived. Files that are still being delivered do not count.
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
        let count = |source: WalSource| match existing(source.directory(self.layout()))? {
            Some(dir) => Ok::<_, Error>(Batch::waiting(&dir)? as u64),
            None => Ok(0),
        };
        Ok(WaitingWal { incoming: count(WalSource::Incoming)?, streaming: count(WalSource::Streaming)? })
    }

    /// Returns the newest archived segment of each timeline that has any, the newest timeline's first.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn newest_archived_segments(&self) -> Result<Vec<SegmentName>, Error> {
        let mut newest: Vec<SegmentName> = Vec::new();
        let Some(wals) = existing(&self.layout().wals_directory)? else { return Ok(newest) };
        // By name a timeline's newest directory is its last, and empty or without a segment only when a purge was
        // interrupted.
        for entry in wals.entries()?.into_iter().rev().filter(|entry| entry.kind == Kind::Directory) {
            let Some(timeline) = layout::timeline_of_hash_directory(&entry.name) else { continue };
            if newest.last().is_none_or(|found| found.timeline != timeline) {
                newest.extend(newest_segment(&wals.subdir(&entry.path())?)?);
            }
        }
        Ok(newest)
    }
}

impl Catalog {
    /// The last `count` segments of the newest timeline's last directory, the newest first.
    pub(crate) fn last_archived_segments(&self, count: usize) -> Result<Vec<SegmentName>, Error> {
        let Some(newest) = self.newest_archived_segments()?.first().copied() else { return Ok(Vec::new()) };
        let Some(directory) = layout::hash_directory(&WalFileName::Segment(newest)) else { return Ok(Vec::new()) };
        let entries = self.wals_dir()?.subdir(&directory)?.entries()?;
        Ok(entries.iter().rev().filter_map(segment_of).take(count).collect())
    }
}

fn newest_segment(dir: &Dir) -> Result<Option<SegmentName>, Error> {
    Ok(dir.entries()?.iter().rev().find_map(segment_of))
}

fn segment_of(entry: &Entry) -> Option<SegmentName> {
    match entry.name.to_str()?.parse() {
        Ok(WalFileName::Segment(segment)) => Some(segment),
        _ => None,
    }
}
