//! Measuring two things beside each other.
//!
//! A figure alone says little: machines differ, and one machine differs from minute to minute. What we promise are ratios,
//! so each benchmark runs what it compares in turns, and says how sure the ratio is.
//!
//! ```
//! use benches::Comparison;
//!
//! let outcome = Comparison::of_pairs(9).run(
//!     || { std::hint::black_box((0..1000).sum::<u64>()); },
//!     || { std::hint::black_box((0..2000).sum::<u64>()); },
//! );
//! println!("the first is {} times as fast", outcome.speed());
//! ```
//!
//! `scripts/bench NAME` prepares and runs the benchmark of that name.

mod paired;

use std::path::PathBuf;

pub use paired::{Comparison, Interval, Outcome, process};

/// The program `barman` of this workspace, as `scripts/bench` builds it beside the benchmarks.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn our_program() -> PathBuf {
    let own = std::env::current_exe().expect("this program is a file");
    let profile = own.ancestors().nth(2).expect("benchmarks lie in deps/ of their profile");
    let program = profile.join("barman");
    assert!(
        program.is_file(),
        "{} is not built: run scripts/bench, or cargo build --release -p barman-cli",
        program.display()
    );
    program
}
