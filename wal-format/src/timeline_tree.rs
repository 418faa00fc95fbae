//! All timelines of a cluster, and how they branch.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use crate::{HistoryEntry, Lsn, TimelineHistory, TimelineId};

/// The timelines of a cluster: where each leaves its parent, and which of them lead to a position.
///
/// History files repeat the whole line of ancestors, so each of them must agree with those of its ancestors.
///
/// ```
/// use wal_format::{Lsn, TimelineHistory, TimelineId, TimelineTree};
///
/// let [second, third] = [2, 3].map(|number| TimelineId::new(number).unwrap_or(TimelineId::FIRST));
/// let tree = TimelineTree::new([
///     TimelineHistory::parse(second, b"1\t0/3000000\tno recovery target specified\n")?,
///     TimelineHistory::parse(third, b"1\t0/2000000\tafter transaction 742\n")?,
/// ])?;
/// assert_eq!(tree.switch_lsn(third), Some(Lsn::new(0x200_0000)));
/// assert_eq!(tree.children(TimelineId::FIRST).collect::<Vec<_>>(), [second, third]);
/// assert!(tree.leads_through(third, TimelineId::FIRST, Lsn::new(0x1FF_FFFF)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TimelineTree {
    parents: BTreeMap<TimelineId, Branch>,
    known: BTreeSet<TimelineId>,
}

/// Where a timeline leaves its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Branch {
    parent: TimelineId,
    switch_lsn: Lsn,
}

/// A part of the log that is read from one timeline's segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineSpan {
    /// The timeline.
    pub timeline: TimelineId,
    /// From where to where, the end excluded; [`Lsn::MAX`] for the end of a timeline that is not left.
    pub range: Range<Lsn>,
}

impl TimelineTree {
    /// The tree that these histories describe.
    ///
    /// # Errors
    /// Two of them disagree about where a timeline begins.
    pub fn new(histories: impl IntoIterator<Item = TimelineHistory>) -> Result<Self, ConflictingHistories> {
        let mut tree = Self::default();
        for history in histories {
            tree.add(&history)?;
        }
        Ok(tree)
    }

    /// Adds what a history says, of its timeline and of all ancestors.
    fn add(&mut self, history: &TimelineHistory) -> Result<(), ConflictingHistories> {
        let children = history.entries.iter().skip(1).map(|entry| entry.parent).chain([history.timeline]);
        for (HistoryEntry { parent, switch_lsn, .. }, timeline) in history.entries.iter().zip(children) {
            let branch = Branch { parent: *parent, switch_lsn: *switch_lsn };
            self.known.extend([timeline, *parent]);
            let known = *self.parents.entry(timeline).or_insert(branch);
            if known != branch {
                return Err(ConflictingHistories { timeline, positions: [known.switch_lsn, branch.switch_lsn] });
            }
        }
        self.known.insert(history.timeline);
        Ok(())
    }

    /// All timelines that a history names, by their numbers.
    pub fn timelines(&self) -> impl Iterator<Item = TimelineId> + '_ {
        self.known.iter().copied()
    }

    /// The timeline that `timeline` branches off from; `None` if it has no ancestors.
    #[must_use]
    pub fn parent(&self, timeline: TimelineId) -> Option<TimelineId> {
        self.parents.get(&timeline).map(|branch| branch.parent)
    }

    /// Where `timeline` begins: its parent's WAL before this position is its own too. `None` if it has no ancestors.
    #[must_use]
    pub fn switch_lsn(&self, timeline: TimelineId) -> Option<Lsn> {
        self.parents.get(&timeline).map(|branch| branch.switch_lsn)
    }

    /// The timelines that branch off from `timeline`, by their numbers.
    pub fn children(&self, timeline: TimelineId) -> impl Iterator<Item = TimelineId> + '_ {
        self.parents.iter().filter(move |(_, branch)| branch.parent == timeline).map(|(child, _)| *child)
    }

    /// The ways from the beginning of the log to the end of `timeline`: which part of it is on which timeline, oldest first.
    /// Parts may be empty, where a timeline was left where it began.
    #[must_use]
    pub fn path(&self, timeline: TimelineId) -> Vec<TimelineSpan> {
        let mut spans = Vec::new();
        let (mut timeline, mut end) = (timeline, Lsn::MAX);
        loop {
            let branch = self.parents.get(&timeline);
            let start = branch.map_or(Lsn::new(0), |branch| branch.switch_lsn).min(end);
            spans.push(TimelineSpan { timeline, range: start..end });
            // A parent's number is lower than its child's, so this ends.
            match branch {
                Some(branch) if branch.parent < timeline => (timeline, end) = (branch.parent, start),
                _ => break,
            }
        }
        spans.reverse();
        spans
    }

    /// Whether the life that leads to the end of `timeline` had written the byte at `lsn` on `through`: a backup taken there
    /// can be recovered along `timeline`.
    #[must_use]
    pub fn leads_through(&self, timeline: TimelineId, through: TimelineId, lsn: Lsn) -> bool {
        self.path(timeline).iter().any(|span| span.timeline == through && span.range.contains(&lsn))
    }

    /// The timelines that reach `lsn`, coming from the byte at `from` on `timeline`: that one, and all that branched off
    /// behind `from`, however many branches later. A timeline ends where nobody knows; each of these at least begins before
    /// `lsn` or there.
    pub fn reaching(&self, timeline: TimelineId, from: Lsn, lsn: Lsn) -> impl Iterator<Item = TimelineId> + '_ {
        let begins_in_time = move |candidate: &TimelineId| self.switch_lsn(*candidate).is_none_or(|start| start <= lsn);
        let candidates = self.known.iter().copied().chain((!self.known.contains(&timeline)).then_some(timeline));
        candidates.filter(begins_in_time).filter(move |candidate| self.leads_through(*candidate, timeline, from))
    }
}

/// Two history files that cannot be of the same cluster, or one that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("histories disagree about where timeline {timeline} begins: {} and {}", .positions[0], .positions[1])]
pub struct ConflictingHistories {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it begins, as one and as the other has it.
    pub positions: [Lsn; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn history(own: u32, text: &str) -> TimelineHistory {
        TimelineHistory::parse(timeline(own), text.as_bytes()).unwrap()
    }

    /// 1 was left for 2 at 300 and for 3 at 200; 2 for 4 at 400; 4 for 5 at 400, where it began.
    fn tree() -> TimelineTree {
        TimelineTree::new([
            history(2, "1\t0/300\t\n"),
            history(3, "1\t0/200\t\n"),
            history(5, "1\t0/300\t\n2\t0/400\t\n4\t0/400\t\n"),
        ])
        .unwrap()
    }

    #[test]
    fn a_path_leads_through_all_ancestors() {
        let span = |number, start, end| TimelineSpan { timeline: timeline(number), range: Lsn::new(start)..end };
        let expected = vec![
            span(1, 0, Lsn::new(0x300)),
            span(2, 0x300, Lsn::new(0x400)),
            span(4, 0x400, Lsn::new(0x400)),
            span(5, 0x400, Lsn::MAX),
        ];
        assert_eq!(tree().path(timeline(5)), expected);
        assert_eq!(tree().path(timeline(7)), [span(7, 0, Lsn::MAX)]);
    }

    #[test]
    fn ancestors_without_a_history_file_of_their_own_are_known() {
        assert_eq!(tree().switch_lsn(timeline(4)), Some(Lsn::new(0x400)));
        assert_eq!(tree().timelines().map(TimelineId::get).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(tree().parent(timeline(1)), None);
    }

    #[test]
    fn a_switchpoint_belongs_to_the_later_timeline() {
        let leads = |through, lsn| tree().leads_through(timeline(2), timeline(through), Lsn::new(lsn));
        assert!(leads(1, 0x2FF) && !leads(1, 0x300));
        assert!(!leads(2, 0x2FF) && leads(2, 0x300));
        assert!(!leads(3, 0x250));
    }

    #[test]
    fn timelines_that_reach_a_position_branched_off_behind_the_start() {
        let reaching = |from, lsn| {
            let found = tree();
            found.reaching(timeline(1), Lsn::new(from), Lsn::new(lsn)).map(TimelineId::get).collect::<Vec<_>>()
        };
        assert_eq!(reaching(0x100, 0x1FF), [1]);
        assert_eq!(reaching(0x100, 0x200), [1, 3]);
        assert_eq!(reaching(0x250, 0x400), [1, 2, 4, 5]);
        assert_eq!(reaching(0x350, 0x400), [1]);
    }

    #[test]
    fn histories_that_disagree_are_refused() {
        let error =
            TimelineTree::new([history(2, "1\t0/300\t\n"), history(4, "1\t0/301\t\n2\t0/400\t\n")]).unwrap_err();
        assert_eq!(error.to_string(), "histories disagree about where timeline 2 begins: 0/300 and 0/301");
    }
}
