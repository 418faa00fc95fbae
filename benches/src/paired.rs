//! Two sides, run in turns.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How two sides are measured: in pairs, so that both meet the same moods of the machine, and each side first in every
/// other pair. A pair that is not counted comes before them, to warm up caches.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    pairs: usize,
}

/// What each side took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// For each pair, what the first and what the second side took.
    times: Vec<(Duration, Duration)>,
}

/// A median with the interval that holds the true one with a probability of at least 95 %.
///
/// The bounds are order statistics: they assume nothing of how the values are distributed, only that they are
/// independent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The median of the values.
    pub median: f64,
    /// The upper bound.
    pub high: f64,
}

impl Comparison {
    /// The fewest pairs with which the interval leaves out an outlier at either end.
    const FEWEST: usize = 9;

    /// A comparison of that many pairs.
    ///
    /// # Panics
    /// With fewer than nine, one outlier at either end would be a bound.
    #[must_use]
    pub fn of_pairs(pairs: usize) -> Self {
        assert!(pairs >= Self::FEWEST, "{pairs} pairs");
        Self { pairs }
    }

    /// Measures both sides: closures, or what [`process`] makes of a program.
    pub fn run(self, mut first: impl FnMut(), mut second: impl FnMut()) -> Outcome {
        self.measure(|| time(&mut first), || time(&mut second))
    }

    /// Measures sides that say themselves what they took, because not all that they do counts.
    pub fn measure(self, mut first: impl FnMut() -> Duration, mut second: impl FnMut() -> Duration) -> Outcome {
        let mut pair = |first_goes_first: bool| {
            if first_goes_first {
                let taken = first();
                (taken, second())
            } else {
                let taken = second();
                (first(), taken)
            }
        };
        pair(true);
        Outcome { times: (0..self.pairs).map(|i| pair(i % 2 == 0)).collect() }
    }
}

fn time(side: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    side();
    start.elapsed()
}

/// A side that is a program, run from its start to its end; what it prints goes nowhere.
///
/// # Panics
/// The side panics if the program cannot be run or fails.
pub fn process(mut command: Command) -> impl FnMut() {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    move || {
        let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        assert!(status.success(), "{command:?}: {status}");
    }
}

impl Outcome {
    /// What was measured in another way, processor time for example: for each pair, what either side took.
    pub fn of(times: impl IntoIterator<Item = (Duration, Duration)>) -> Self {
        Self { times: times.into_iter().collect() }
    }

    /// How many times as fast the first side is: above 1 where it takes less time.
    #[must_use]
    pub fn speed(&self) -> Interval {
        Interval::of(self.times.iter().map(|(first, second)| second.as_secs_f64() / first.as_secs_f64()).collect())
    }

    /// How long the first side takes, in seconds.
    #[must_use]
    pub fn first_secs(&self) -> Interval {
        Interval::of(self.times.iter().map(|(first, _)| first.as_secs_f64()).collect())
    }

    /// How long the first side takes, in milliseconds.
    #[must_use]
    pub fn first_millis(&self) -> Interval {
        Interval::of_millis(self.times.iter().map(|(first, _)| *first))
    }

    /// How long the second side takes, in seconds.
    #[must_use]
    pub fn second_secs(&self) -> Interval {
        Interval::of(self.times.iter().map(|(_, second)| second.as_secs_f64()).collect())
    }
}

impl Interval {
    /// The median of what one side took, in milliseconds.
    #[must_use]
    pub fn of_millis(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1000.0).collect())
    }

    /// The median of what was measured.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (n, rank) = (values.len(), bound_rank(values.len()));
        let median = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
        Self { low: values[rank], median, high: values[n - 1 - rank] }
    }
}

/// How many of `n` values to leave out at either end: as many as the true median lies beyond with a probability of at most
/// 2.5 %. Each value lies below it with a probability of one half.
fn bound_rank(n: usize) -> usize {
    let mut probability = 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut beyond = probability;
    let mut rank = 0;
    while beyond <= 0.025 && rank < n {
        rank += 1;
        probability *= (n - rank + 1) as f64 / rank as f64;
        beyond += probability;
    }
    rank.saturating_sub(1)
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} (95 %: {:.2} to {:.2})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_ranks_of_the_sign_test() {
        // From tables of the sign test, which count ranks from 1.
        for (n, rank) in [(5, 0), (6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5), (25, 7)] {
            assert_eq!(bound_rank(n), rank, "{n}");
        }
    }

    #[test]
    fn an_outlier_at_either_end_moves_nothing() {
        let mut values = vec![2.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let interval = Interval { low: 2.0, median: 5.0, high: 8.0 };
        assert_eq!(Interval::of(values.clone()), interval);
        (values[1], values[8]) = (-100.0, 1000.0);
        assert_eq!(Interval::of(values), interval);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(Interval::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }

    #[test]
    fn sides_run_in_turns_and_speed_is_that_of_the_first() {
        let order = std::cell::RefCell::new(Vec::new());
        let side = |name: char, ms: u64| {
            order.borrow_mut().push(name);
            std::thread::sleep(Duration::from_millis(ms));
        };
        let outcome = Comparison::of_pairs(9).run(|| side('a', 1), || side('b', 5));
        assert!(outcome.speed().median > 1.5, "{}", outcome.speed());
        assert!(outcome.first_secs().median < outcome.second_secs().median);
        assert!(order.into_inner().into_iter().collect::<String>().starts_with("ababbaabba"));
    }

    #[test]
    fn a_process_runs_to_its_end() {
        let mut side = process(Command::new("true"));
        side();
        let failed = std::panic::catch_unwind(|| process(Command::new("false"))());
        assert!(failed.is_err());
    }
}
