//! The history files in the archive.

use std::collections::BTreeSet;

use barman_catalog::Catalog;
use wal_format::{TimelineHistory, TimelineId, WalFileName};

use super::wal::{archived_names, read_history};
use crate::plan_error::PlanError;
use crate::timeline_path::newest_timeline;

/// Which timelines the archive has history files of; a file is read when its timeline is the target.
pub(super) struct ArchivedHistories<'a> {
    catalog: &'a Catalog,
    timelines: BTreeSet<TimelineId>,
}

impl<'a> ArchivedHistories<'a> {
    pub(super) fn list(catalog: &'a Catalog) -> Result<Self, PlanError> {
        let names = archived_names(catalog, |name| matches!(name, WalFileName::History(_)))?;
        let timelines = names.into_iter().filter_map(|name| match name {
            WalFileName::History(timeline) => Some(timeline),
            _ => None,
        });
        Ok(Self { catalog, timelines: timelines.collect() })
    }

    /// Returns what `latest` means for a server that starts on this timeline.
    pub(super) fn newest(&self, from: TimelineId) -> TimelineId {
        newest_timeline(from, &self.timelines)
    }

    /// Reads where a timeline came from; `None` if nothing says so.
    pub(super) fn read(&self, timeline: TimelineId) -> Result<Option<TimelineHistory>, PlanError> {
        if !self.timelines.contains(&timeline) {
            // The first timeline branched off nothing, and has no file.
            let first = timeline == TimelineId::FIRST;
            return Ok(first.then(|| TimelineHistory::without_ancestors(timeline)));
        }
        let text = read_history(self.catalog, timeline)?;
        let history = TimelineHistory::parse(timeline, &text);
        history.map(Some).map_err(|source| PlanError::History { timeline, source })
    }
}
