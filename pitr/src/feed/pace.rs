//! How far ahead to fetch: as far as it takes for the server not to wait.

use std::time::Duration;

/// Fewest segments to have ahead: one ready while another is fetched.
const FEWEST: usize = 2;

/// Most segments that are fetched at a time.
const MOST_LANES: usize = 4;

/// How fast segments are used and how long one takes to fetch, both as measured; newer segments count more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    using: Option<Duration>,
    fetching: Option<Duration>,
}

impl Pace {
    /// The server took so long from having one segment to asking for the next.
    pub(super) fn used(&mut self, took: Duration) {
        self.using = Some(averaged(self.using, took));
    }

    /// Fetching one segment took so long.
    pub(super) fn fetched(&mut self, took: Duration) {
        self.fetching = Some(averaged(self.fetching, took));
    }

    /// Returns how many segments to have ahead, fetched or being fetched: twice as many as are used while one is fetched, so
    /// that one that takes longer is not waited for. `most` is how many there is room for; the fewest come first.
    pub(super) fn depth(self, most: usize) -> usize {
        (2 * self.used_per_fetch(most)).clamp(FEWEST, most.max(FEWEST))
    }

    /// Returns how many to fetch at a time.
    pub(super) fn lanes(self) -> usize {
        self.used_per_fetch(MOST_LANES).clamp(1, MOST_LANES)
    }

    /// Segments that are used while one is fetched, rounded up, and counted up to `most`.
    fn used_per_fetch(self, most: usize) -> usize {
        let (Some(using), Some(fetching)) = (self.using, self.fetching) else { return 1 };
        let used = fetching.as_nanos().div_ceil(using.as_nanos().max(1));
        usize::try_from(used).unwrap_or(usize::MAX).min(most)
    }
}

fn averaged(before: Option<Duration>, now: Duration) -> Duration {
    before.map_or(now, |before| (before * 3 + now) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(using_ms: u64, fetching_ms: u64) -> Pace {
        let mut pace = Pace::default();
        pace.used(Duration::from_millis(using_ms));
        pace.fetched(Duration::from_millis(fetching_ms));
        pace
    }

    #[test]
    fn the_slower_fetching_the_further_ahead_within_bounds() {
        assert_eq!((Pace::default().depth(16), Pace::default().lanes()), (2, 1));
        for (using, fetching, depth, lanes) in
            [(100, 10, 2, 1), (100, 100, 2, 1), (100, 101, 4, 2), (50, 200, 8, 4), (1, 1000, 16, 4), (0, 1, 16, 4)]
        {
            let pace = pace(using, fetching);
            assert_eq!((pace.depth(16), pace.lanes()), (depth, lanes), "{using} ms, {fetching} ms");
        }
        // Two even where there is room for one: PostgreSQL keeps the one that it replays itself.
        assert_eq!(pace(1, 1000).depth(0), 2);
    }

    #[test]
    fn one_slow_segment_does_not_change_everything_and_many_do() {
        let mut slower = pace(100, 10);
        slower.fetched(Duration::from_millis(250));
        assert_eq!(slower.depth(16), 2);
        (0..10).for_each(|_| slower.fetched(Duration::from_millis(250)));
        assert_eq!(slower.depth(16), 6);
    }
}
