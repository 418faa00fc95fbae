//! What a process costs: time, and that of the processor.

use std::process::Command;
use std::time::{Duration, Instant};

use benches::{Outcome, process};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Runs a program to its end and returns how long that took: what it needs was made, and what others left removed, before.
pub(crate) fn time_of(command: Command) -> Duration {
    let mut run = process(command);
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Runs a program to its end and returns the processor time that it took, in the system and outside.
pub(crate) fn cpu_of(command: Command) -> Duration {
    let mut run = process(command);
    let before = of_children();
    run();
    of_children() - before
}

fn of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system counts");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

/// Costs of two sides, which each say themselves what they took.
pub(crate) struct Costs;

impl Costs {
    pub(crate) fn of_pairs(
        pairs: usize,
        mut first: impl FnMut() -> Duration,
        mut second: impl FnMut() -> Duration,
    ) -> Outcome {
        Outcome::of((0..pairs).map(|pair| match pair % 2 {
            0 => (first(), second()),
            _ => {
                let taken = second();
                (first(), taken)
            }
        }))
    }
}
