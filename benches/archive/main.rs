//! Archiving WAL, beside Barman 3.19.1 on the same 45 segments.
//!
//! Questions, and the answers that are hoped for, with our program's checks on, process start included, files in the page
//! cache, and syncs as Barman does them:
//!
//! - How fast are 45 segments archived? With gzip at least 4 times as fast, at no larger output; with zstd at least twice;
//!   without compression at least as fast.
//! - How long does `put-wal` take for a segment? At most 1.3 times as long as writing and syncing the same stream.
//! - How long does `get-wal` of a segment take that is stored with zstd? Under 15 ms.
//!
//! `archive [gzip | zstd | none | put-wal | get-wal] [PAIRS]` measures one of these, or all. Files lie in `TMPDIR`, the WAL
//! in `.cache/bench/archive`, where it is made the first time.

// What is measured is made and thrown away.
#![allow(clippy::disallowed_methods)]

mod home;
mod single;
mod workload;

use std::time::Duration;

use benches::Comparison;

use home::{Home, Side};

fn main() {
    // cargo adds its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let pairs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let wanted = arguments.iter().find(|argument| argument.parse::<usize>().is_err());
    let segments = workload::segments();
    for (name, goal) in [("gzip", 4.0), ("zstd", 2.0), ("none", 1.0)] {
        if wanted.is_none_or(|wanted| wanted == name) {
            archive(name, goal, pairs, &segments);
        }
    }
    if wanted.is_none_or(|wanted| wanted == "put-wal") {
        single::put_wal(pairs, &segments);
    }
    if wanted.is_none_or(|wanted| wanted == "get-wal") {
        single::get_wal(pairs, &segments);
    }
}

fn archive(compression: &str, goal: f64, pairs: usize, segments: &[std::path::PathBuf]) {
    let (ours, theirs) = (Home::new(Side::Ours, compression), Home::new(Side::Reference, compression));
    let (mut our_bytes, mut their_bytes) = (0, 0);
    let run = |home: &Home, bytes: &mut u64| -> Duration {
        home.deliver(segments);
        let taken = home.time(&["archive-wal", "main"]);
        *bytes = home.archived_bytes(segments.len());
        taken
    };
    let outcome = Comparison::of_pairs(pairs).measure(|| run(&ours, &mut our_bytes), || run(&theirs, &mut their_bytes));
    let (our_secs, their_secs) = (outcome.first_secs().median, outcome.second_secs().median);
    println!(
        "{} segments, compression {compression}: times as fast {} (goal {goal}) [{our_secs:.2} and {their_secs:.2} s]",
        segments.len(),
        outcome.speed()
    );
    println!("  stored: {:.1} and {:.1} MiB", mib(our_bytes), mib(their_bytes));
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
