//! Finding the moment to recover to. Process start included, files in the page cache.
//!
//! - `find-target` over the ledger of 100 GB of WAL, 6,400 segments: under 1 s. And `plan` over the same: under 100 ms; it is
//!   asked for a time that no WAL reaches, so that it looks at all segments and ends with a refusal.
//! - The same for a table that is known by its name, from a backup before 100 GB of WAL in which no name changes: under 1 s.
//! - `find-target` over WAL that the ledger does not know, uncompressed: at least 2 GB/s on two cores. One archive is nearly
//!   all full-page images, the other small transactions (as in the benchmark `wal`).
//!
//! `find [ROUNDS]` prints medians. No peer searches WAL.

// The repository is made by hand: archiving so many segments would take hours.
#![allow(clippy::disallowed_methods)]

#[path = "../catalog/home.rs"]
mod home;
mod named;
#[path = "../wal/workload.rs"]
mod workload;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use barman_catalog::{Catalog, LocalZone, ServerLayout};
use test_support::{Barman, BarmanHome};
use workload::Workload;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let ours = Barman::at(benches::our_program());
    let known = home::with_segments(30, 6_400);
    println!("6400 segments, all in the ledger");
    for question in [&["--restore-point", "none"][..], &["--drop-of", "16384"], &["--xid", "7403"]] {
        let command = || ours.command(&known);
        let taken = median(rounds, || time(command().arg("find-target").args(question).arg("main")));
        println!("  find-target {}: {:.1} ms", question.join(" "), taken.as_secs_f64() * 1000.0);
    }
    let too_late = ["plan", "--target-time", "2199-01-01 00:00:00Z", "main", "auto"];
    let taken = median(rounds, || time(ours.command(&known).args(too_late)));
    println!("  plan: {:.1} ms", taken.as_secs_f64() * 1000.0);
    drop(known);
    let named = named::home_with_dropped_table(6_400);
    let drop_of = ["find-target", "--drop-of", "public.orders", "main"];
    let taken = median(rounds, || time(ours.command(&named).args(drop_of)));
    println!("  {} of a real server's backup: {:.1} ms", drop_of.join(" "), taken.as_secs_f64() * 1000.0);
    drop(named);
    for workload in Workload::ALL {
        let (home, bytes) = unknown(&workload.prepared());
        let search = ["find-target", "--restore-point", "none", "main"];
        let taken = median(rounds, || time(ours.command(&home).args(search)));
        let rate = bytes as f64 / 1e9 / taken.as_secs_f64();
        println!("{}, {:.2} GB without a ledger: {rate:.2} GB/s", workload.name, bytes as f64 / 1e9);
    }
}

/// A home with these segments, of which nothing is known, and their length.
fn unknown(segments: &Path) -> (BarmanHome, u64) {
    let home = BarmanHome::new();
    home.server("main", &[("conninfo", "host=/nowhere"), ("backup_method", "postgres"), ("archiver", "on")]);
    let catalog = Catalog::open(ServerLayout::below(&home.path(), "main"), LocalZone::UTC);
    catalog.create_directories().expect("directories");
    let wals = home.path().join("main/wals");
    let (mut index, mut bytes) = (String::new(), 0);
    let mut names: Vec<_> =
        std::fs::read_dir(segments).expect("prepared").map(|entry| entry.expect("listed").path()).collect();
    names.sort();
    for segment in names {
        let name = segment.file_name().and_then(|name| name.to_str()).expect("a segment");
        let directory = wals.join(&name[..16]);
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        bytes += std::fs::copy(&segment, directory.join(name)).expect("copied");
        writeln!(index, "{name}\t16777216\t1750000000.0\tNone\tNone").expect("a string");
    }
    std::fs::write(wals.join("main-xlog.db"), index).expect("written");
    (home, bytes)
}

fn median(rounds: usize, mut run: impl FnMut() -> Duration) -> Duration {
    run();
    let mut taken: Vec<_> = (0..rounds).map(|_| run()).collect();
    taken.sort_unstable();
    taken[taken.len() / 2]
}

fn time(command: &mut Command) -> Duration {
    let started = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program can be run");
    started.elapsed()
}
