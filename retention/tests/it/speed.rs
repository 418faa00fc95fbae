//! A plan over a very large catalog takes no time that anybody would notice.

use std::time::{Duration, Instant};

use barman_retention::{Request, Rules, WalRule, plan};
use wal_format::TimelineTree;

use crate::large_server::{SEGMENTS, SIZE, backups, minute, wal};

/// `scripts/bench retention` measures it. This bound leaves room for unoptimised builds on a busy machine, and still
/// fails for anything that grows with the square of the catalog.
#[test]
fn ten_thousand_backups_and_a_million_segments_are_planned_in_a_moment() {
    let (backups, wal) = (backups(), wal());
    let rules: Rules = "RECOVERY WINDOW OF 14 DAYS".parse().unwrap();
    let request = Request {
        rules: &rules,
        minimum_redundancy: 2,
        now: minute(SEGMENTS + 1),
        backups: &backups,
        wal: &wal,
        damage: &[],
        timelines: &TimelineTree::default(),
        segment_size: SIZE,
        zones: &|_: &str, _| None,
    };
    let mut times: Vec<_> = (0..5).map(|_| timed(|| plan(&request).unwrap())).collect();
    times.sort();
    println!("{times:?}");
    assert!(times[2] < Duration::from_secs(1), "{times:?}");
    let plan = plan(&request).unwrap();
    assert!(plan.deletions.len() > 9_700 && plan.deletions.len() < 9_900, "{}", plan.deletions.len());
    let freed = plan.wal.iter().filter(|range| matches!(range.rule, WalRule::FreedWith(_)));
    assert!(freed.map(|range| range.files).sum::<u64>() > 970_000);
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    let result = work();
    let took = begun.elapsed();
    drop(result);
    took
}
