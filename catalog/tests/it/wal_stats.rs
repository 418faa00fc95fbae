//! Counting the WAL of every backup.

use barman_catalog::{BackupInfo, Status, WalStats};
use proptest::prelude::*;

use crate::repository::{Repository, backup, name, segment_size};

fn line(number: u64, size: u64, seconds: u64) -> String {
    format!("{}\t{size}\t{seconds}.0\tNone\tNone\n", name(number))
}

#[test]
fn segments_count_for_the_backup_and_for_the_time_until_the_next() {
    let repository = Repository::new();
    let mut index = "00000002.history\t50\t1.0\tNone\tNone\n".to_owned();
    index += &format!("{}.00000028.backup\t300\t1.0\tNone\tNone\n", name(2));
    index += &(1..=8).map(|number| line(number, 1000 + number, 100 * number)).collect::<String>();
    index += "000000020000000000000003\t5\t1.0\tNone\tNone\n";
    repository.write("wals/main-xlog.db", index);
    let backups = [
        repository.backup("20260101T000000", &name(2), &name(3), Status::Done),
        repository.backup("20260102T000000", "", "", Status::Failed),
        repository.backup("20260103T000000", &name(5), &name(6), Status::WaitingForWals),
    ];
    let stats = repository.catalog.wal_stats(&backups).expect("readable");
    let first = &stats[&backups[0].backup_id];
    assert_eq!((first.wal_num, first.wal_size), (2, 2005));
    assert_eq!((first.wal_until_next_num, first.wal_until_next_size), (3, 3015));
    assert_eq!(first.last.map(|last| last.to_string()), Some(name(6)));
    assert_eq!(first.wals_per_second(), Some(5.0 / 400.0));
    let last = &stats[&backups[2].backup_id];
    assert_eq!((last.wal_num, last.wal_until_next_num, last.wal_until_next_size), (2, 2, 2015));
    assert_eq!(last.compression_ratio(segment_size()), 1.0 - 2011.0 / 2_097_152.0);
    assert!(!stats.contains_key(&backups[1].backup_id));
}

#[test]
fn sizes_of_a_damaged_index_do_not_overflow() {
    let repository = Repository::new();
    repository.write("wals/main-xlog.db", (1..=4).map(|number| line(number, u64::MAX, 100)).collect::<String>());
    let backups = [repository.backup("20260101T000000", &name(1), &name(2), Status::Done)];
    let stats = repository.catalog.wal_stats(&backups).expect("readable");
    let only = &stats[&backups[0].backup_id];
    assert_eq!((only.wal_size, only.wal_until_next_size), (u64::MAX, u64::MAX));
}

#[test]
fn a_backup_without_wal_has_no_rate_and_saves_nothing() {
    let stats = WalStats::default();
    assert_eq!((stats.wals_per_second(), stats.compression_ratio(segment_size())), (None, 0.0));
}

/// What is counted of a backup: segments up to its end, segments behind it, and when its first and the last one were written.
type Counted = (u64, u64, Option<f64>, Option<f64>);

/// The same by the definition: every backup looks at every segment, each of which was written when its line was.
fn by_definition(backups: &[BackupInfo], segments: &[u64]) -> Vec<Counted> {
    let count = |index: usize| {
        let (begin, end) =
            (backups[index].begin_wal.expect("set").to_string(), backups[index].end_wal.expect("set").to_string());
        let limit = backups.get(index + 1).and_then(|next| next.end_wal).map(|end| end.to_string());
        let own = segments.iter().map(|number| name(*number)).zip(0u32..).filter(|(name, _)| *name >= begin);
        let own: Vec<_> = own.filter(|(name, _)| limit.as_ref().is_none_or(|limit| name <= limit)).collect();
        let within = own.iter().filter(|(name, _)| *name <= end).count() as u64;
        let written = |(_, line): &(String, u32)| f64::from(*line);
        let first = own.iter().rfind(|(name, _)| *name == begin).map(written);
        (within, own.len() as u64 - within, first, own.last().map(written))
    };
    (0..backups.len()).map(count).collect()
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 6))]
    #[test]
    fn one_pass_counts_what_many_would(
        steps in prop::collection::vec((0u64..4, 0u64..3), 0..8),
        segments in prop::collection::vec(0u64..40, 0..60),
    ) {
        let repository = Repository::new();
        let lines = segments.iter().zip(0..).map(|(number, seconds)| line(*number, 1, seconds));
        repository.write("wals/main-xlog.db", lines.collect::<String>());
        let mut begin = 0;
        let backups: Vec<_> = steps.iter().enumerate().map(|(day, (step, length))| {
            begin += step;
            backup(&format!("202601{:02}T000000", day + 1), &name(begin), &name(begin + length), Status::Done)
        }).collect();
        let stats = repository.catalog.wal_stats(&backups).expect("readable");
        let counted: Vec<_> = backups.iter().map(|info| {
            let stats = &stats[&info.backup_id];
            (stats.wal_num, stats.wal_until_next_num, stats.first_modified, stats.last_modified)
        }).collect();
        prop_assert_eq!(counted, by_definition(&backups, &segments));
    }
}
