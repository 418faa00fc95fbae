//! The same WAL in any order, in any number of runs, by any number of archivers at once: the same archive, the same index,
//! the same ledger; and where one of them is lost, it is made again.

use std::collections::BTreeMap;

use barman_catalog::{Verdict, WalSource};
use barman_storage::Cancel;
use proptest::prelude::*;
use wal_format::WalFileName;

use crate::repository::{Repository, name, options, segment};

const SEGMENTS: u64 = 8;

/// What is archived: contents and verdict of each file, and that the index has it once.
type Archive = BTreeMap<String, (Vec<u8>, String)>;

fn archive(repository: &Repository) -> Archive {
    let recorded = repository.recorded();
    assert_eq!(recorded, repository.archived(), "the index, in the order of the log, and the archive");
    let entry = |name: String| {
        let contents = repository.read(&format!("wals/{}/{name}", &name[..16]));
        let file: WalFileName = name.parse().expect("a name");
        let facts = repository.catalog.facts(&file).expect("readable").expect("known");
        assert_eq!(facts.stored.bytes, contents.len() as u64);
        (name, (contents, shown(&facts.verdict)))
    };
    recorded.into_iter().map(entry).collect()
}

fn shown(verdict: &Verdict) -> String {
    format!("{verdict:?}")
}

/// Deliveries in this order; after each one as many archivers as it says run at once.
fn run(deliveries: &[(u64, bool, usize)]) -> Repository {
    let repository = Repository::new();
    for (number, streaming, archivers) in deliveries {
        let directory = if *streaming { "streaming" } else { "incoming" };
        repository.write(&format!("{directory}/{}", name(*number)), segment(&name(*number), 7));
        archive_at_once(&repository, *archivers);
    }
    // In the end streaming/ holds nothing back: there is a newer `.partial` file.
    repository.write(&format!("streaming/{}.partial", name(SEGMENTS + 1)), segment(&name(SEGMENTS + 1), 7));
    archive_at_once(&repository, 2);
    repository
}

fn archive_at_once(repository: &Repository, archivers: usize) {
    std::thread::scope(|scope| {
        for _ in 0..archivers {
            scope.spawn(|| {
                let mine = Repository::at(&repository.home);
                mine.ingest(WalSource::Streaming).expect("a run");
                mine.ingest(WalSource::Incoming).expect("a run");
            });
        }
    });
}

/// All segments, each by one way, in any order, with up to three archivers behind each.
fn deliveries() -> impl Strategy<Value = Vec<(u64, bool, usize)>> {
    let order = Just((1..=SEGMENTS).collect::<Vec<_>>()).prop_shuffle();
    let ways = prop::collection::vec((any::<bool>(), 0..4usize), SEGMENTS as usize);
    (order, ways).prop_map(|(order, ways)| {
        order.into_iter().zip(ways).map(|(number, (streaming, archivers))| (number, streaming, archivers)).collect()
    })
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]
    #[test]
    fn any_order_and_interleaving_gives_the_same_archive(deliveries in deliveries()) {
        let in_order: Vec<_> = (1..=SEGMENTS).map(|number| (number, false, 1)).collect();
        let expected = archive(&run(&in_order));
        let repository = run(&deliveries);
        prop_assert!(repository.names("incoming").is_empty() && repository.names("errors").is_empty());
        prop_assert_eq!(archive(&repository), expected);
    }

    #[test]
    fn whatever_is_lost_of_the_records_is_made_again(
        deliveries in deliveries(),
        loses_index in any::<bool>(),
        cut in 0..4000u64,
    ) {
        let repository = run(&deliveries);
        let expected = archive(&repository);
        let lost = if loses_index { "wals/main-xlog.db" } else { "ledger/0000000100000000" };
        let file = std::fs::File::options().write(true).open(repository.path(lost)).expect("there");
        let length = file.metadata().expect("readable").len();
        file.set_len(cut.min(length)).expect("cut");
        let cancel = Cancel::new();
        if loses_index {
            repository.catalog.rebuild_index().expect("rebuilt");
        } else {
            repository.catalog.rebuild_ledger(options(&cancel).now, &cancel, &mut |_| {}).expect("rebuilt");
        }
        prop_assert_eq!(archive(&repository), expected);
    }
}
