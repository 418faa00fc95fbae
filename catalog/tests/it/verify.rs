//! Reading the archive again, and making its records anew.

use barman_catalog::{ArchiveFault, Due, Rebuilt, Verification, WalSource};
use barman_storage::Cancel;
use wal_format::Timestamp;

use crate::repository::{Repository, name, options, segment};

fn filled() -> Repository {
    let repository = Repository::new();
    for number in 1..=3 {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 1));
    }
    repository.write("incoming/00000002.history", "1\t0/3000000\treason\n");
    repository.ingest(WalSource::Incoming).expect("a run");
    repository
}

fn verify(repository: &Repository, due: Due, now: Timestamp) -> (Verification, Vec<ArchiveFault>) {
    let mut faults = Vec::new();
    let mut found = |fault: &ArchiveFault| faults.push(fault.clone());
    let done = repository.catalog.verify_archive(due, now, &Cancel::new(), &mut found).expect("readable");
    (done, faults)
}

fn later(hours: i64) -> Timestamp {
    Timestamp::from_unix_micros(options(&Cancel::new()).now.unix_micros() + hours * 3_600_000_000)
}

fn archived(number: u64) -> String {
    format!("wals/0000000100000000/{}", name(number))
}

#[test]
fn what_was_read_is_read_again_when_it_is_due() {
    let repository = filled();
    let all = Verification { sound: 4, ..Verification::default() };
    assert_eq!(verify(&repository, Due::Never, later(0)), (all, vec![]));
    let none = Verification { not_due: 4, ..Verification::default() };
    assert_eq!(verify(&repository, Due::Never, later(1)), (none, vec![]));
    assert_eq!(verify(&repository, Due::Since(later(-1)), later(1)), (none, vec![]));
    assert_eq!(verify(&repository, Due::Since(later(1)), later(2)), (all, vec![]));
    assert_eq!(verify(&repository, Due::All, later(3)), (all, vec![]));
}

#[test]
fn decay_and_loss_are_found_until_they_are_mended() {
    let repository = filled();
    let mut bytes = repository.read(&archived(2));
    bytes[70_000] ^= 0x10;
    repository.write(&archived(2), &bytes);
    std::fs::remove_file(repository.path(&archived(3))).expect("remove");
    for hours in [1, 2] {
        let (done, faults) = verify(&repository, Due::Never, later(hours));
        assert_eq!(done.faults, 2, "{faults:?}");
        assert!(matches!(&faults[0], ArchiveFault::Changed { name: found, .. } if found.to_string() == name(2)));
        assert!(matches!(&faults[1], ArchiveFault::Missing { name: found } if found.to_string() == name(3)));
    }
    bytes[70_000] ^= 0x10;
    repository.write(&archived(2), &bytes);
    repository.write(&archived(3), segment(&name(3), 1));
    assert_eq!(verify(&repository, Due::Never, later(3)).0.faults, 0);
}

#[test]
fn what_was_sound_once_and_is_no_more_is_due_until_it_is_mended() {
    let repository = filled();
    assert_eq!(verify(&repository, Due::Never, later(0)).0.sound, 4);
    let sound = repository.read(&archived(2));
    let mut bytes = sound.clone();
    bytes[70_000] ^= 0x10;
    repository.write(&archived(2), &bytes);
    for (due, hours) in [(Due::All, 1), (Due::Never, 2), (Due::Since(later(0)), 3)] {
        assert_eq!(verify(&repository, due, later(hours)).0.faults, 1, "{due:?}");
    }
    repository.write(&archived(2), sound);
    let mended = Verification { sound: 1, not_due: 3, ..Verification::default() };
    assert_eq!(verify(&repository, Due::Never, later(4)).0, mended);
}

#[test]
fn damage_that_postgresql_wrote_stays_a_fault() {
    let repository = Repository::new();
    let mut damaged = segment(&name(1), 1);
    damaged[5 * 8192..6 * 8192].fill(0);
    repository.write(&format!("incoming/{}", name(1)), &damaged);
    repository.ingest(WalSource::Incoming).expect("a run");
    for _ in 0..2 {
        let (done, faults) = verify(&repository, Due::Never, later(1));
        assert_eq!(done.faults, 1);
        assert!(matches!(&faults[0], ArchiveFault::Damaged { .. }), "{faults:?}");
    }
}

#[test]
fn an_archive_without_a_ledger_is_verified_too() {
    let repository = filled();
    std::fs::remove_dir_all(repository.path("ledger")).expect("remove");
    let (done, faults) = verify(&repository, Due::Never, later(1));
    assert_eq!((done.sound, faults), (4, vec![]));
    assert!(repository.catalog.facts(&name(2).parse().expect("a name")).expect("readable").is_some());
}

#[test]
fn a_rebuilt_index_keeps_what_files_do_not_show() {
    let repository = filled();
    repository.write(&archived(4), b"\x85\x01\x0c\x03 encrypted");
    repository.write(&archived(5), b"filtered by something");
    repository.write(&format!("{}.partial", archived(6)), [0; 100]);
    let lines = format!(
        "{}\t14\t1795193566.0\tlz4\tgpg\n{}\t21\t1795193566.0\tcustom\tNone\nthis is no line of an index\n",
        name(4),
        name(5)
    );
    repository.write("wals/main-xlog.db", repository.text("wals/main-xlog.db") + &lines);
    let rebuilt = repository.catalog.rebuild_index().expect("rebuilt");
    assert_eq!(rebuilt, Rebuilt { histories: 1, labels: 0, segments: 5, partials: 1 });
    let entries = repository.catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
    let columns: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.to_string(), entry.compression.as_deref(), entry.encryption.as_deref()))
        .filter(|(_, compression, _)| compression.is_some())
        .collect();
    assert_eq!(columns, [(name(4), Some("lz4"), Some("gpg")), (name(5), Some("custom"), None)]);
    assert!(repository.recorded().contains(&format!("{}.partial", name(6))));
}

#[test]
fn the_longer_of_two_unfinished_segments_is_kept() {
    let whole = segment(&name(1), 1);
    let unfinished = |length: usize, rest: u8| {
        let mut bytes = whole[..length].to_vec();
        bytes.resize(whole.len(), rest);
        bytes
    };
    let partial = format!("{}.partial", name(1));
    let arrive = |repository: &Repository, bytes: &[u8]| {
        repository.write(&format!("incoming/{partial}"), bytes);
        repository.ingest(WalSource::Incoming).expect("a run")
    };
    let stored = format!("wals/0000000100000000/{partial}");
    for (first, second) in [(100_000, 500_000), (500_000, 100_000), (500_000, 500_000)] {
        let repository = Repository::new();
        arrive(&repository, &unfinished(first, 0));
        // Behind the last record lies what an older segment left.
        let summary = arrive(&repository, &unfinished(second, 0xAB));
        assert_eq!(summary.duplicates, 0, "{first} {second}");
        let kept = repository.read(&stored);
        assert!(kept.starts_with(&whole[..first.max(second)]), "{first} {second}");
        assert_eq!(repository.recorded(), std::slice::from_ref(&partial));
        assert!(repository.names("incoming").is_empty());
    }
    let repository = Repository::new();
    arrive(&repository, &unfinished(100_000, 0));
    let mut other = segment(&name(1), 2);
    other.truncate(200_000);
    assert_eq!(arrive(&repository, &other).duplicates, 1, "another segment altogether");
}
