//! A plan over a very large catalog takes no time that anybody would notice.

use std::time::{Duration, Instant};

use barman_retention::{ArchivedWal, Backup, Candidate, Request, Rules, Stage, State, Timestamp, WalRule, plan};
use wal_format::{Lsn, SegmentNumber, SegmentSize, TimelineId, TimelineTree, WalFileName};

const SIZE: SegmentSize = SegmentSize::DEFAULT;
const BACKUPS: u64 = 10_000;
const SEGMENTS: u64 = 1_000_000;

/// A segment is written in a minute.
fn minute(minutes: u64) -> Timestamp {
    Timestamp::from_pg_micros(i64::try_from(minutes).unwrap() * 60_000_000)
}

/// A backup every 100 segments; half of them incremental.
fn backup(number: u64) -> Backup<u64> {
    let begin = number * SEGMENTS / BACKUPS;
    let name = |number: u64| Some(SegmentNumber::new(number).name(TimelineId::FIRST, SIZE));
    Backup {
        candidate: Candidate {
            id: number,
            state: State::Done { end_time: minute(begin + 2) },
            keep: None,
            root: (number % 2 == 1).then(|| number - 1),
        },
        stage: Stage::Done,
        timeline: Some(TimelineId::FIRST),
        begin_wal: name(begin),
        end_wal: name(begin + 1),
        end_lsn: Some(Lsn::new((begin + 1) * SIZE.bytes() + 8192)),
        size: 1 << 30,
        marked: false,
    }
}

/// In release builds on two idle cores: 20 ms. This bound leaves room for unoptimised builds on a busy machine, and still
/// fails for anything that grows with the square of the catalog.
#[test]
fn ten_thousand_backups_and_a_million_segments_are_planned_in_a_moment() {
    let backups: Vec<_> = (0..BACKUPS).map(backup).collect();
    let wal = |number: u64| ArchivedWal {
        name: WalFileName::Segment(SegmentNumber::new(number).name(TimelineId::FIRST, SIZE)),
        size: 1 << 20,
        modified: minute(number + 1),
    };
    let wal: Vec<_> = (0..SEGMENTS).map(wal).collect();
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
