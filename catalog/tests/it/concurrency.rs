//! Several at once, and things in any order.

use std::collections::BTreeSet;

use barman_catalog::WalSource;
use proptest::prelude::*;

use crate::repository::{Repository, name, segment};

#[test]
fn two_archivers_at_once_lose_nothing() {
    let repository = Repository::new();
    for number in 0..40 {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
    let archive = || {
        let mine = Repository::at(&repository.home);
        mine.ingest(WalSource::Incoming).expect("a run").archived
    };
    let archived: usize = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(archive)).collect();
        runs.into_iter().map(|run| run.join().expect("no panic")).sum()
    });
    assert_eq!(archived, 40);
    let expected: Vec<_> = (0..40).map(name).collect();
    assert_eq!((repository.recorded(), repository.archived()), (expected.clone(), expected));
    assert!(repository.names("incoming").is_empty() && repository.names("errors").is_empty());
}

#[test]
fn readers_see_whole_lines_while_files_are_archived() {
    let repository = Repository::new();
    for number in 0..30 {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
    std::thread::scope(|scope| {
        let archiver = scope.spawn(|| repository.ingest(WalSource::Incoming).expect("a run"));
        let mut last = 0;
        while !archiver.is_finished() {
            let seen = repository.recorded();
            assert!(seen.len() >= last && seen.iter().enumerate().all(|(index, seen)| *seen == name(index as u64)));
            last = seen.len();
        }
    });
    assert_eq!(repository.recorded().len(), 30);
}

/// What is delivered: where, which file, with which contents.
#[derive(Debug, Clone)]
struct Delivery {
    streaming: bool,
    number: u64,
    suffix: &'static str,
    salt: u8,
}

fn any_delivery() -> impl Strategy<Value = Delivery> {
    let suffix = prop_oneof![4 => Just(""), 1 => Just(".partial"), 1 => Just(".00000028.backup")];
    (any::<bool>(), 0u64..6, suffix, 0u8..2).prop_map(|(streaming, number, suffix, salt)| Delivery {
        streaming,
        number,
        suffix,
        salt,
    })
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 10))]
    #[test]
    fn index_and_archive_agree_whatever_is_delivered(
        deliveries in prop::collection::vec(any_delivery(), 0..12),
        run_after in prop::collection::vec(any::<bool>(), 12),
    ) {
        let repository = Repository::new();
        for (delivery, run) in deliveries.iter().zip(&run_after) {
            let directory = if delivery.streaming { "streaming" } else { "incoming" };
            let file = format!("{directory}/{}{}", name(delivery.number), delivery.suffix);
            repository.write(&file, segment(&name(delivery.number), delivery.salt));
            if *run {
                repository.ingest(WalSource::Streaming).expect("a run");
                repository.ingest(WalSource::Incoming).expect("a run");
            }
        }
        repository.ingest(WalSource::Incoming).expect("a run");
        let recorded = repository.recorded();
        let distinct: BTreeSet<_> = recorded.iter().cloned().collect();
        prop_assert_eq!(distinct.len(), recorded.len());
        prop_assert_eq!(distinct.into_iter().collect::<Vec<_>>(), repository.archived());
        prop_assert!(repository.names("incoming").is_empty());
        // A rebuild finds the same.
        let mut sorted = recorded;
        sorted.sort();
        std::fs::remove_file(repository.path("wals/main-xlog.db")).expect("remove");
        let mut rebuilt = repository.recorded();
        rebuilt.sort();
        prop_assert_eq!(rebuilt, sorted);
    }
}
