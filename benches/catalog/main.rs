//! Questions to the catalog of a server with a million archived segments and 30 backups, and of one with 10 000 backups,
//! beside Barman 3.19.1. Process start included, files in the page cache.
//!
//! - `list-backups`, a million segments: under 50 ms and 64 MiB. Barman is asked once: it takes a minute and a half.
//! - `list-backups`, 10 000 backups: under 200 ms; `show-backup latest` and `check` are told beside.
//! - `show-backup latest` and `check` with a million segments: under 50 ms. The server cannot be reached, so that `check`
//!   waits for nobody; it fails, after having looked at all that it looks at.
//! - `delete` of a backup with 100 000 segments: the index is written once. A third of the rounds, and Barman is asked once.
//!
//! `catalog [ours] [ROUNDS]` prints medians with their intervals, and the most memory; `ours` asks nobody else.

// The repository is made by hand: archiving a million segments would take hours.
#![allow(clippy::disallowed_methods)]

mod deletion;
mod home;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::Interval;
use test_support::{Barman, BarmanHome};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let ours = Barman::at(benches::our_program());
    let reference = (!arguments.iter().any(|argument| argument == "ours")).then(Barman::reference);

    let large = home::with_segments(30, 1_000_000);
    println!("30 backups, 1 000 000 segments");
    report("list-backups", &ours, &large, &["list-backups", "main"], rounds);
    report("show-backup latest", &ours, &large, &["show-backup", "main", "latest"], rounds);
    report("check", &ours, &large, &["check", "main"], rounds);
    if let Some(barman) = &reference {
        report("list-backups of Barman", barman, &large, &["list-backups", "main"], 1);
    }
    drop(large);

    let many = home::with_segments(10_000, 100_000);
    println!("10 000 backups, 100 000 segments");
    report("list-backups", &ours, &many, &["list-backups", "main"], rounds);
    report("show-backup latest", &ours, &many, &["show-backup", "main", "latest"], rounds);
    report("check", &ours, &many, &["check", "main"], rounds);
    drop(many);

    println!("2 backups, 200 000 segments, of which half go");
    deletion::measure("", &ours, rounds.div_ceil(3));
    if let Some(barman) = &reference {
        deletion::measure(" of Barman", barman, 1);
    }
}

fn report(what: &str, program: &Barman, home: &BarmanHome, arguments: &[&str], rounds: usize) {
    let runs: Vec<(Duration, u64)> = (0..rounds).map(|_| run(program.command(home).args(arguments))).collect();
    let memory = runs.iter().map(|(_, kib)| kib / 1024).max().unwrap_or_default();
    println!("  {what}: {} ms, {memory} MiB", Interval::of_millis(runs.into_iter().map(|(taken, _)| taken)));
}

/// What a process takes, and the most memory that any child has had.
fn run(command: &mut Command) -> (Duration, u64) {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("the program can be run");
    let taken = started.elapsed();
    assert!(!output.stdout.is_empty(), "{command:?}: {}", output.status);
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("counted");
    (taken, usage.max_rss().unsigned_abs())
}
