//! Walking WAL, beside `pg_waldump --stats` of PostgreSQL 15 on the same files.
//!
//! Two kinds of WAL: full of images of pages, as after a checkpoint, and full of small records. They are made by a real
//! server once, and kept in `.cache/bench`. Questions, and the answers that are hoped for:
//!
//! - How fast is a walk that computes all checksums? 1.5 times as fast as `pg_waldump --stats` on one core, 2.5 times on two.
//! - How fast is a walk over headers only? 5 GB/s, from memory.
//! - What does decoding commit times and restore points add to a walk? At most 10 %.
//!
//! `wal [PAIRS]` measures, `wal prepare` only makes the WAL, `wal walk ...` is one of the sides.

// Nothing here is a repository: what is written is the input of the benchmark.
#![allow(clippy::disallowed_methods)]

mod walk;
mod workload;

use std::process::Command;

use benches::{Comparison, Outcome, process};
use test_support::CommandExt as _;
use wal_format::Walk;

use walk::Segments;
use workload::Workload;

fn main() {
    // cargo adds its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["prepare"] => Workload::ALL.iter().for_each(|workload| drop(workload.prepared())),
        ["walk", name, threads, dir] => walk_as_process(name, threads.parse().expect("a number of threads"), dir),
        ref pairs => {
            let pairs = pairs.first().map_or(11, |pairs| pairs.parse().expect("a number of pairs"));
            Workload::ALL.iter().for_each(|workload| measure(workload, Comparison::of_pairs(pairs)));
        }
    }
}

/// How a side that is a process of ours is called.
fn walk_as_process(name: &str, threads: usize, dir: &str) {
    let segments = Segments::in_dir(dir.as_ref());
    let tally = match name {
        "checked" => segments.walk_files(Walk::CHECKED, threads, walk::Tally::count),
        "headers" => segments.walk_files(Walk::HEADERS, threads, walk::Tally::count),
        "stats" => segments.walk_files(Walk::WHOLE, threads, walk::Tally::count_with_images),
        other => panic!("no walk is called {other}"),
    };
    println!("{tally}");
}

fn measure(workload: &Workload, comparison: Comparison) {
    let dir = workload.prepared();
    let segments = Segments::in_dir(&dir);
    println!("{}: {} MiB", workload.name, segments.len_bytes() >> 20);
    let ours = |name: &str, threads: usize| {
        let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
        command.args(["walk", name, &threads.to_string()]).arg(&dir);
        command
    };
    check_counts(&segments.pg_waldump().succeed(), &ours("checked", 1).succeed());
    let bytes = segments.len_bytes() as f64;
    for (name, threads) in [("checked", 1), ("checked", 2), ("stats", 1)] {
        let outcome = comparison.run(process(ours(name, threads)), process(segments.pg_waldump()));
        report(&format!("{name} on {threads}, times pg_waldump --stats"), &outcome, bytes);
    }
    let memory = segments.read();
    let checked = || memory.walk(Walk::CHECKED, walk::Tally::count);
    let headers = comparison.run(|| memory.walk(Walk::HEADERS, walk::Tally::count), checked);
    report("headers from memory, times checked", &headers, bytes);
    let decoded = comparison.run(|| memory.walk(walk::COMMITS, walk::Tally::count_commits), checked);
    report("commits decoded from memory, times checked", &decoded, bytes);
}

fn report(name: &str, outcome: &Outcome, bytes: f64) {
    let rate = |secs: f64| bytes / secs / 1e9;
    let (ours, theirs) = (rate(outcome.first_secs().median), rate(outcome.second_secs().median));
    println!("  {name:46} {}  [{ours:.2} and {theirs:.2} GB/s]", outcome.speed());
}

/// Both sides see the same records, or they cannot be compared.
fn check_counts(pg_waldump: &str, ours: &str) {
    let total = pg_waldump.lines().find_map(|line| line.strip_prefix("Total")).expect("pg_waldump prints a total");
    let theirs = total.split_whitespace().next();
    assert_eq!(ours.split_whitespace().next(), theirs, "records");
}
