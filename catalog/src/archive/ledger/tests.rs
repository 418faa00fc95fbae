use super::*;
use crate::{LocalZone, ServerLayout, Verdict};
use barman_storage::testing::Recorder;
use std::path::Path;
use wal_format::{SegmentNumber, SegmentSize, TimelineId};

fn catalog(root: &Path) -> Catalog {
    let catalog = Catalog::open(ServerLayout::below(root, "main"), LocalZone::UTC);
    catalog.create_directories().unwrap();
    catalog
}

/// What is known of segment `number`: nothing but its name.
fn facts(number: u64) -> Facts {
    let name = WalFileName::Segment(SegmentNumber::new(number).name(TimelineId::FIRST, SegmentSize::DEFAULT));
    let stored = Content { bytes: number, crc32c: 0 };
    Facts { name, raw: None, stored, verdict: Verdict::Verified, records: None }
}

fn noted(ledger: &Ledger) -> Noted {
    ledger.noted(&layout::ledger_of(&facts(1).name)).unwrap()
}

#[test]
fn however_many_files_are_announced_each_journal_is_synced_once() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(root.path());
    let catalog = catalog(root.path());
    let (mut ledger, lock) = (catalog.ledger().unwrap(), catalog.xlog_db().unwrap());
    let next_log = SegmentSize::DEFAULT.segments_per_log();
    for (numbers, expected) in [
        ([1, 2, 3], &["0000000100000000", ""][..]),
        ([4, 5, next_log], &["0000000100000000", "", "0000000100000001", ""]),
    ] {
        let (files, begun) = (numbers.map(facts), recorder.position());
        ledger.announce(&lock, &files.each_ref()).unwrap();
        let recording = recorder.recording();
        let syncs = recording.syncs().into_iter().filter(|sync| *sync >= begun);
        let synced: Vec<_> = syncs.map(|sync| recording.synced(sync).unwrap()).collect();
        let expected = expected.iter().map(|name| Path::new("main/ledger").join(name));
        assert_eq!(synced, expected.collect::<Vec<_>>());
    }
}

#[test]
fn an_announcement_outlives_that_its_journal_is_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let catalog = catalog(root.path());
    let announced = BTreeMap::from([(facts(1).name, facts(1))]);
    let mut ledger = catalog.ledger().unwrap();
    {
        let lock = catalog.xlog_db().unwrap();
        ledger.announce(&lock, &[&facts(1)]).unwrap();
        ledger.append(&lock, &facts(2)).unwrap();
        catalog.forget_facts(&lock, &[facts(2).name]).unwrap();
    }
    assert_eq!((noted(&ledger).known.len(), &noted(&ledger).announced), (0, &announced));
    catalog.wals_dir().unwrap().create_subdir(&layout::ledger_of(&facts(1).name), DIRECTORY_MODE).unwrap();
    let seen = vec![facts(3)];
    ledger.replace_directory(&catalog, &layout::ledger_of(&facts(1).name), seen, Timestamp::from_pg_micros(0)).unwrap();
    assert_eq!((noted(&ledger).known.len(), &noted(&ledger).announced), (1, &announced));
}

/// What is no journal says nothing; one that cannot be opened may say all that is known of encrypted files.
#[test]
#[allow(clippy::disallowed_methods, reason = "what somebody else leaves")]
fn a_rebuild_takes_no_journal_for_empty_that_cannot_be_opened() {
    let root = tempfile::tempdir().unwrap();
    let ledger = catalog(root.path()).ledger().unwrap();
    let journal = layout::ledger_of(&facts(1).name);
    let path = root.path().join("main/ledger").join(&journal);
    std::fs::write(&path, "no journal at all, and longer than what one begins with").unwrap();
    assert!(ledger.noted(&journal).is_err());
    assert!(ledger.readable(&journal).unwrap().known.is_empty());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(ledger.readable(&journal).is_err());
}
