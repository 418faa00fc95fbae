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

pub use paired::{Comparison, Interval, Outcome, process};
