//! Planning retention, and deleting beside an archiver.
//!
//! - How long does a plan over 10 000 backups and a million segments take? Under 20 ms.
//! - While a backup is deleted with 100 000 segments, how long does an archiver wait for the lock of the index? At most
//!   100 ms at a time.
//!
//! `retention [FILTER]` runs the plans that match. No peer runs beside: Barman 3.19.1 has no plan to show, and holds that
//! lock from the first file that it removes to the last.

// The repository is made by hand: archiving so many segments would take hours.
#![allow(clippy::disallowed_methods)]

mod contention;
mod large_server;

use std::hint::black_box;

use barman_retention::{Request, Rules, plan};
use criterion::Criterion;
use wal_format::TimelineTree;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(50);
    planning(&mut criterion);
    criterion.final_summary();
    contention::measure();
}

fn planning(criterion: &mut Criterion) {
    let (backups, wal) = (large_server::backups(), large_server::wal());
    for policy in ["RECOVERY WINDOW OF 14 DAYS", "KEEP 7 DAILY 4 WEEKLY 12 MONTHLY 7 YEARLY IN UTC WAL FOR 14 DAYS"] {
        let rules: Rules = policy.parse().expect("rules");
        let request = Request {
            rules: &rules,
            minimum_redundancy: 2,
            now: large_server::minute(large_server::SEGMENTS + 1),
            backups: &backups,
            wal: &wal,
            damage: &[],
            timelines: &TimelineTree::default(),
            segment_size: large_server::SIZE,
            zones: &|_: &str, _| Some(0),
        };
        criterion.bench_function(policy, |bencher| bencher.iter(|| plan(black_box(&request)).expect("a plan")));
    }
}
