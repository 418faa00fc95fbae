//! What a process costs the processor.

use std::process::{Command, Stdio};
use std::time::Duration;

use benches::Outcome;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Runs a program to its end and returns the processor time that it took, in the system and outside.
pub(crate) fn cpu_of(mut command: Command) -> Duration {
    let before = of_children();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
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
