//! The timelines that the archive knows of.

use std::collections::BTreeSet;
use std::io::Read as _;

use barman_storage::{Kind, Operation};
use wal_format::{SegmentName, TimelineHistory, TimelineId, WalFileName};

use crate::catalog::existing;
use crate::{BackupInfo, Catalog, Error, Partial, layout};

impl Catalog {
    /// Returns the timelines of which at least one segment is archived.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn archived_timelines(&self) -> Result<BTreeSet<TimelineId>, Error> {
        let mut timelines = BTreeSet::new();
        let Some(wals) = existing(&self.layout().wals_directory)? else { return Ok(timelines) };
        for entry in wals.entries()?.into_iter().filter(|entry| entry.kind == Kind::Directory) {
            let Some(timeline) = layout::timeline_of_hash_directory(&entry.name) else { continue };
            if !timelines.contains(&timeline) {
                let is_segment = |name: &str| name.parse::<SegmentName>().is_ok();
                let files = wals.subdir(&entry.path())?.entries()?;
                if files.iter().filter_map(|file| file.name.to_str()).any(is_segment) {
                    timelines.insert(timeline);
                }
            }
        }
        Ok(timelines)
    }

    /// Returns the history of a timeline, from the archive or from where it waits to be archived. The first timeline, and
    /// any other whose history file is not there, has none.
    ///
    /// # Errors
    /// The file cannot be read, is compressed or encrypted, or is not a history file.
    pub fn timeline_history(&self, timeline: TimelineId) -> Result<Option<TimelineHistory>, Error> {
        /// Far more than any history has: a line for each time that the cluster was promoted.
        const LIMIT: u64 = 1 << 20;
        let Some(found) = self.find_wal(&WalFileName::History(timeline), Partial::Exclude)? else { return Ok(None) };
        let path = found.display_path();
        let mut text = Vec::new();
        let unreadable = |source| barman_storage::Error::new(Operation::Read, &path, source);
        found.contents()?.take(LIMIT).read_to_end(&mut text).map_err(unreadable)?;
        let invalid = |source| Error::History { path: path.clone(), source };
        TimelineHistory::parse(timeline, &text).map(Some).map_err(invalid)
    }

    /// Returns the later timelines that branched off a backup's own after its end, so that a recovery from the backup can
    /// follow them: those whose history files follow the backup's timeline without a gap.
    ///
    /// # Errors
    /// A history file cannot be read.
    pub fn reachable_timelines(&self, info: &BackupInfo) -> Result<Vec<TimelineId>, Error> {
        let (Some(timeline), Some(end)) = (info.timeline, info.end_xlog) else { return Ok(Vec::new()) };
        let mut reachable = Vec::new();
        for number in timeline.get().saturating_add(1).. {
            let Some(history) = TimelineId::new(number).map(|next| self.timeline_history(next)).transpose()?.flatten()
            else {
                break;
            };
            if history.switch_lsn(timeline).is_some_and(|switch| switch >= end) {
                reachable.push(history.timeline);
            }
        }
        Ok(reachable)
    }
}
