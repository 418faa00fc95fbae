//! Names from a server that runs now, for what no backup has.

use std::collections::BTreeSet;

use barman_catalog::Catalog;
use wal_format::{RelFileLocator, TimelineHistory, TimelineId};

use super::Hit;
use crate::plan_error::PlanError;
use crate::relation_name::{RelationName, RelationPattern};

/// What a server that runs now is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveQuestion<'a> {
    /// Which relations have these files.
    Files(&'a BTreeSet<RelFileLocator>),
    /// Which relations have this name, and a file.
    Name(&'a RelationPattern),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAnswer {
    /// The timeline that it is on.
    pub timeline: TimelineId,
    /// The relations.
    pub relations: Vec<LiveRelation>,
}

/// A relation that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRelation {
    /// Its name.
    pub name: RelationName,
    /// Its file.
    pub file: RelFileLocator,
}

/// Asks the server that runs now. `None` if it cannot be asked, or does not answer; whoever asks knows why.
pub type AskLive<'a> = dyn FnMut(LiveQuestion<'_>) -> Option<LiveAnswer> + 'a;

/// An answer, and how the server came to be what it is.
pub(super) struct Present {
    pub(super) relations: Vec<LiveRelation>,
    timeline: TimelineId,
    history: Option<TimelineHistory>,
}

impl Present {
    pub(super) fn ask(
        catalog: &Catalog,
        live: &mut AskLive<'_>,
        question: LiveQuestion<'_>,
    ) -> Result<Option<Self>, PlanError> {
        let Some(LiveAnswer { timeline, relations }) = live(question) else { return Ok(None) };
        Ok(Some(Self { relations, timeline, history: catalog.timeline_history(timeline)? }))
    }

    /// Whether that happened on the server's own way. On other branches the number of a file may be another relation's.
    pub(super) fn has_passed(&self, hit: &Hit) -> bool {
        let own = self.history.as_ref().map_or(self.timeline, |history| history.timeline_at(hit.lsn));
        own == hit.timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::HitKind;
    use wal_format::Lsn;

    #[test]
    fn only_what_lies_on_its_own_way_has_passed_a_server() {
        let history =
            |id: u32, text: &str| TimelineHistory::parse(TimelineId::new(id).unwrap(), text.as_bytes()).unwrap();
        let third = Present {
            relations: Vec::new(),
            timeline: TimelineId::new(3).unwrap(),
            history: Some(history(3, "1\t0/5000000\tfailover\n")),
        };
        let has_passed = |timeline: u32, lsn: u64| {
            let timeline = TimelineId::new(timeline).unwrap();
            let what = HitKind::TransactionEnd;
            third.has_passed(&Hit { timeline, lsn: Lsn::new(lsn), at: None, transaction: None, what, name: None })
        };
        assert!(has_passed(1, 0x4FF_FFFF) && has_passed(3, 0x500_0000));
        assert!(!has_passed(1, 0x500_0000), "the old primary went on");
        assert!(!has_passed(2, 0x500_0000), "another standby was promoted, too");
    }
}
