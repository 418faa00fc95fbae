//! Which segments recovery will ask for.

use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

/// The line of timelines that a recovery follows, as far as it has asked for history files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    history: Option<TimelineHistory>,
}

impl Route {
    /// Takes note of a history file that the server was given. It goes to the newest that it was given: it asks for others
    /// only on the way there.
    pub(super) fn learn(&mut self, history: TimelineHistory) {
        if self.history.as_ref().is_none_or(|known| known.timeline <= history.timeline) {
            self.history = Some(history);
        }
    }

    /// Returns the names under which a server that is on timeline `current` looks for a segment, in this order; the first
    /// that exists is taken.
    ///
    /// As `XLogFileReadAnyTLI` in xlogrecovery.c: the newest timeline first, none that begins behind the segment, none older
    /// than the current one.
    pub(super) fn names(&self, current: TimelineId, number: SegmentNumber, size: SegmentSize) -> Vec<SegmentName> {
        let history = self.history.as_ref().filter(|history| Self::leads_from(history, current));
        let Some(history) = history else { return vec![number.name(current, size)] };
        let mut timelines = vec![(history.timeline, history.entries.last().map(|entry| entry.switch_lsn))];
        let ancestors = history.entries.iter().enumerate().rev();
        timelines.extend(ancestors.map(|(index, entry)| (entry.parent, Self::beginning(history, index))));
        let begins = |at: Option<Lsn>| at.is_none_or(|lsn| SegmentNumber::containing(lsn, size) <= number);
        timelines.retain(|&(timeline, begin)| timeline >= current && begins(begin));
        timelines.into_iter().map(|(timeline, _)| number.name(timeline, size)).collect()
    }

    /// Where an ancestor begins: where the one before it was left.
    fn beginning(history: &TimelineHistory, index: usize) -> Option<Lsn> {
        history.entries.get(index.checked_sub(1)?).map(|elder| elder.switch_lsn)
    }

    fn leads_from(history: &TimelineHistory, current: TimelineId) -> bool {
        history.timeline == current || history.switch_lsn(current).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn names(route: &Route, current: u32, number: u64) -> Vec<String> {
        let names = route.names(timeline(current), SegmentNumber::new(number), SegmentSize::DEFAULT);
        names.iter().map(|name| format!("{}/{:X}", name.timeline, name.segment)).collect()
    }

    fn route(histories: &[(u32, &str)]) -> Route {
        let mut route = Route::default();
        for (number, text) in histories {
            route.learn(TimelineHistory::parse(timeline(*number), text.as_bytes()).unwrap());
        }
        route
    }

    #[test]
    fn without_history_it_stays_on_its_timeline() {
        assert_eq!(names(&Route::default(), 3, 5), ["3/5"]);
    }

    #[test]
    fn a_timeline_is_looked_for_from_the_segment_on_in_which_it_begins_and_before_its_parent() {
        // 1 was left in segment 3, 2 in segment 5, and 4 is where it goes; 3 was another branch.
        let route = route(&[(4, "1\t0/3500000\tx\n2\t0/5000000\tx\n")]);
        assert_eq!(names(&route, 1, 2), ["1/2"]);
        assert_eq!(names(&route, 1, 3), ["2/3", "1/3"]);
        assert_eq!(names(&route, 2, 4), ["2/4"]);
        assert_eq!(names(&route, 2, 5), ["4/5", "2/5"]);
        assert_eq!(names(&route, 4, 6), ["4/6"]);
    }

    #[test]
    fn the_newest_history_counts_whatever_is_asked_for_later() {
        let both = route(&[(3, "1\t0/3500000\tx\n"), (2, "1\t0/2000000\tx\n")]);
        assert_eq!(names(&both, 1, 2), ["1/2"]);
        assert_eq!(names(&both, 1, 3), ["3/3", "1/3"]);
    }

    #[test]
    fn a_history_that_does_not_lead_from_where_it_is_does_not_count() {
        let elsewhere = route(&[(4, "3\t0/3500000\tx\n")]);
        assert_eq!(names(&elsewhere, 2, 9), ["2/9"]);
    }
}
