//! The history files that there are: in the archive, or waiting to get there.

use std::collections::BTreeSet;

use barman_catalog::{Catalog, Partial};
use wal_format::{TimelineHistory, TimelineId, WalFileName};

use super::wal::{archived_names, unreadable_form};
use crate::plan_error::PlanError;
use crate::timeline_path::newest_timeline;

/// Which timelines have history files; a file is read when its timeline is the target.
///
/// One that is not archived yet counts as well: `get-wal` sends it, so PostgreSQL follows it.
pub(super) struct Histories<'a> {
    catalog: &'a Catalog,
    /// By the index of the archive. One of these that is not there is an error: without it a recovery would end elsewhere.
    listed: BTreeSet<TimelineId>,
}

impl<'a> Histories<'a> {
    pub(super) fn list(catalog: &'a Catalog) -> Result<Self, PlanError> {
        let names = archived_names(catalog, |name| matches!(name, WalFileName::History(_)))?;
        let listed = names.into_iter().filter_map(|name| match name {
            WalFileName::History(timeline) => Some(timeline),
            _ => None,
        });
        Ok(Self { catalog, listed: listed.collect() })
    }

    /// Returns what `latest` means for a server that starts on this timeline.
    pub(super) fn newest(&self, from: TimelineId) -> Result<TimelineId, PlanError> {
        newest_timeline(from, |timeline| Ok(self.listed.contains(&timeline) || self.is_there(timeline)?))
    }

    /// Reads where a timeline came from; `None` if nothing says so.
    pub(super) fn read(&self, timeline: TimelineId) -> Result<Option<TimelineHistory>, PlanError> {
        let read = self.catalog.timeline_history(timeline).map_err(|error| refusal(timeline, error))?;
        if read.is_none() && self.listed.contains(&timeline) {
            return Err(PlanError::LostHistory { timeline });
        }
        // The first timeline branched off nothing, and has no file.
        let first = timeline == TimelineId::FIRST;
        Ok(read.or_else(|| first.then(|| TimelineHistory::without_ancestors(timeline))))
    }

    /// Returns the files that are not archived yet, and that PostgreSQL asks for on its way between two timelines: it looks
    /// for the newest timeline even where it was told which one to take.
    pub(super) fn waiting(&self, from: TimelineId, to: TimelineId) -> Result<Vec<WalFileName>, PlanError> {
        let row = (from.get()..=self.newest(from)?.get()).filter_map(TimelineId::new);
        let asked_for: BTreeSet<_> = row.chain([to]).filter(|timeline| !self.listed.contains(timeline)).collect();
        let mut waiting = Vec::new();
        for timeline in asked_for {
            if self.is_there(timeline)? {
                waiting.push(WalFileName::History(timeline));
            }
        }
        Ok(waiting)
    }

    fn is_there(&self, timeline: TimelineId) -> Result<bool, PlanError> {
        Ok(self.catalog.find_wal(&WalFileName::History(timeline), Partial::Exclude)?.is_some())
    }
}

fn refusal(timeline: TimelineId, error: barman_catalog::Error) -> PlanError {
    match error {
        barman_catalog::Error::History { source, .. } => PlanError::History { timeline, source },
        barman_catalog::Error::Encoded { encoding, .. } => unreadable_form(WalFileName::History(timeline), encoding),
        error => error.into(),
    }
}
