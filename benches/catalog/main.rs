//! Questions to the catalog of a server with a million archived segments and 30 backups.
//!
//! - What `list-backups` needs to know of the WAL (Barman 3.19.1 takes 87 s for its answer): under 50 ms and 64 MiB.
//! - What WAL there is, without a gap: what `check` and `recovery-window` ask.
//!
//! `catalog [ROUNDS]` prints medians. No peer runs beside: one answer of Barman's takes longer than all of this.

// The repository is made by hand: archiving a million segments would take hours.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use barman_catalog::{BackupId, BackupInfo, BackupMode, Catalog, LocalZone, ServerLayout, Status};
use wal_format::{SegmentNumber, SegmentSize, TimelineId};

const SEGMENTS: u64 = 1_000_000;
const BACKUPS: u64 = 30;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let root = tempfile::tempdir().expect("temporary directory");
    let catalog = Catalog::open(ServerLayout::below(root.path(), "main"), LocalZone::UTC);
    catalog.create_directories().expect("directories");
    write_index(root.path());
    (0..BACKUPS).for_each(|number| catalog.save(&backup(number)).expect("saved"));
    let backups = catalog.backups().expect("readable");

    let before = peak_memory();
    report("statistics of every backup's WAL", rounds, || {
        let stats = catalog.wal_stats(&backups).expect("readable");
        assert_eq!(stats.len() as u64, BACKUPS);
    });
    println!("  peak memory {} MiB, {before} before", peak_memory());
    report("which WAL there is", rounds, || {
        assert_eq!(catalog.wal_coverage().expect("readable").damage().count(), 0);
    });
    println!("  peak memory {} MiB", peak_memory());
}

fn report(what: &str, rounds: usize, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what}: {:.1} ms", median.as_secs_f64() * 1000.0);
}

/// The lines that Barman would have written.
fn write_index(home: &Path) {
    let mut text = String::new();
    for number in 0..SEGMENTS {
        let name = SegmentNumber::new(number + 1).name(TimelineId::FIRST, SegmentSize::DEFAULT);
        let (size, time) = (300_000 + number % 1000, 1_700_000_000 + number * 10);
        writeln!(text, "{name}\t{size}\t{time}.2869148\tzstd\tNone").expect("a string");
    }
    std::fs::write(home.join("main/wals/main-xlog.db"), text).expect("written");
}

fn backup(number: u64) -> BackupInfo {
    let id: BackupId = format!("202601{:02}T000000", number + 1).parse().expect("an id");
    let begin = SegmentNumber::new(1 + number * (SEGMENTS / BACKUPS));
    let mut info = BackupInfo::new(id, "main");
    info.status = Status::Done;
    info.mode = Some(BackupMode::Postgres);
    info.begin_wal = Some(begin.name(TimelineId::FIRST, SegmentSize::DEFAULT));
    info.end_wal = Some(begin.next().name(TimelineId::FIRST, SegmentSize::DEFAULT));
    info.timeline = Some(TimelineId::FIRST);
    info
}

/// The most memory that this process ever had, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
