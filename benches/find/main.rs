//! Finding the moment to recover to. Process start included, files in the page cache.
//!
//! - `find-target` over the ledger of 100 GB of WAL, 6,400 segments: under 1 s. And `plan` over the same for a time that no WAL
//!   reaches, so that it looks at all segments and ends with a refusal: under 100 ms.
//! - `find-target` for a table that is known by its name, from the backup of a real server before 100 GB of WAL in which no name
//!   changes: under 1 s. And `plan` for a restore point behind that backup, which it finds, in the WAL of that server: under
//!   100 ms.
//! - `find-target` over WAL that the ledger does not know, uncompressed: at least 2 GB/s on two cores. One archive is nearly
//!   all full-page images, the other small transactions (as in the benchmark `wal`).
//!
//! `find [ROUNDS]` prints medians with their intervals. No peer searches WAL.

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
use benches::Interval;
use test_support::{Barman, BarmanHome};
use workload::Workload;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let ours = Barman::at(benches::our_program());
    let known = home::with_segments(30, 6_400);
    add_files(&known);
    println!("6400 segments, all in the ledger");
    let report = |home: &BarmanHome, arguments: &[&str], is_answered: bool| {
        let taken = measure(rounds, || time(ours.command(home).args(arguments), is_answered));
        println!("  {}: {} ms", arguments.join(" "), Interval::of_millis(taken));
    };
    for question in [&["--restore-point", "none"][..], &["--drop-of", "16384"], &["--xid", "7403"]] {
        report(&known, &[&["find-target", "main"], question].concat(), true);
    }
    report(&known, &["plan", "main", "auto", "--target-time", "2199-01-01 00:00:00Z"], false);
    drop(known);
    println!("the backup of a real server before 6400 segments");
    let named = named::home_with_dropped_table(6_400);
    add_files(&named);
    report(&named, &["find-target", "main", "--drop-of", "public.orders"], true);
    report(&named, &["plan", "main", "auto", "--target-name", named::BEFORE], true);
    drop(named);
    for workload in Workload::ALL {
        let (home, bytes) = unknown(&workload.prepared());
        let search = ["find-target", "--restore-point", "none", "main"];
        let taken = measure(rounds, || time(ours.command(&home).args(search), true));
        let rates = taken.iter().map(|taken| bytes as f64 / 1e9 / taken.as_secs_f64());
        println!(
            "{}, {:.2} GB without a ledger: {} GB/s",
            workload.name,
            bytes as f64 / 1e9,
            Interval::of(rates.collect())
        );
    }
}

/// Makes an empty file of each segment that only the index has: what is gone is not planned with.
fn add_files(home: &BarmanHome) {
    let wals = home.path().join("main/wals");
    let index = std::fs::read_to_string(wals.join("main-xlog.db")).expect("an index");
    for name in index.lines().filter_map(|line| line.split('\t').next()).filter(|name| name.len() == 24) {
        // A real one stays as it is.
        _ = std::fs::File::create_new(wals.join(&name[..16]).join(name));
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

/// What each of so many runs takes, after one that fills the page cache.
fn measure(rounds: usize, mut run: impl FnMut() -> Duration) -> Vec<Duration> {
    run();
    (0..rounds).map(|_| run()).collect()
}

/// Runs a program that answers, be it that there is nothing, or refuses.
fn time(command: &mut Command, is_answered: bool) -> Duration {
    let started = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("the program can be run");
    let taken = started.elapsed();
    assert_eq!(status.success(), is_answered, "{command:?}: {status}");
    taken
}
