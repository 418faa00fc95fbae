//! Reading the archive again, and making its records anew.

use barman_catalog::{ArchiveFault, Catalog, Due, Identity, Rebuilt, Status, Verdict, Verification, WalSource};
use barman_storage::Cancel;
use wal_format::testing::WalBuilder;
use wal_format::{SegmentNumber, SystemId, Timestamp};

use crate::compression::{custom, storing};
use crate::repository::{Repository, SYSTEM, name, options, segment, segment_of, segment_size};

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

fn rebuild_ledger(catalog: &Catalog) {
    catalog.rebuild_ledger(later(0), &Cancel::new(), &mut |_| {}).expect("rebuilt");
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
fn what_is_deleted_meanwhile_is_not_missing() {
    let repository = filled();
    repository.write(&archived(1), "not what was archived");
    let mut faults = Vec::new();
    let mut found = |fault: &ArchiveFault| {
        faults.push(fault.clone());
        // As all deletions do: first the line, then the file.
        let mut db = repository.catalog.xlog_db().expect("an index");
        db.retain(|line| line.name() != name(3)).expect("written");
        std::fs::remove_file(repository.path(&archived(3))).expect("remove");
    };
    repository.catalog.verify_archive(Due::All, later(1), &Cancel::new(), &mut found).expect("readable");
    assert!(matches!(&faults[..], [ArchiveFault::Changed { .. }]), "{faults:?}");
}

/// On a bad sector; a link that leads nowhere can be opened by nobody.
#[test]
fn what_cannot_be_read_is_a_fault_and_keeps_nothing_else_from_being_read() {
    let repository = filled();
    let (known, path) = (repository.facts(&name(2)), repository.path(&archived(2)));
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink(&path, &path).expect("a link");
    for _ in 0..2 {
        let (done, faults) = verify(&repository, Due::All, later(1));
        assert_eq!((done.sound, done.faults), (3, 1), "{faults:?}");
        assert!(matches!(&faults[0], ArchiveFault::Unreadable { name: found, .. } if found.to_string() == name(2)));
        rebuild_ledger(&repository.catalog);
    }
    assert_eq!(repository.facts(&name(2)), known);
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
        rebuild_ledger(&repository.catalog);
    }
}

/// A host that has lost the program which its WAL was compressed with: what was known of it before is all that there is.
#[test]
fn a_rebuilt_ledger_keeps_what_cannot_be_seen_any_more() {
    let repository = Repository::new();
    let mut blind = custom(Some(b"CUST"));
    let readable = storing(&repository, blind.clone());
    (blind.filters.compress, blind.filters.decompress) = (None, None);
    let blind = storing(&repository, blind);
    for number in 1..=4 {
        let mut bytes = segment(&name(number), 1);
        if number == 2 {
            bytes[5 * 8192..6 * 8192].fill(0);
        }
        repository.write(&format!("incoming/{}", name(number)), &bytes);
    }
    readable.ingest(WalSource::Incoming, &options(&Cancel::new()), &mut |_| {}).expect("a run");
    let known = || [1, 2, 3, 4].map(|number| repository.facts(&name(number)));
    let before = known();
    rebuild_ledger(&blind);
    assert_eq!(known(), before);
    // What is not what was archived, and cannot show that it is sound, is found as before.
    let mut stored = repository.read(&archived(3));
    *stored.last_mut().expect("some") ^= 1;
    repository.write(&archived(3), stored);
    for _ in 0..2 {
        rebuild_ledger(&blind);
        let mut faults = Vec::new();
        let mut found = |fault: &ArchiveFault| faults.push(fault.clone());
        blind.verify_archive(Due::Never, later(1), &Cancel::new(), &mut found).expect("readable");
        assert!(matches!(&faults[..], [ArchiveFault::Damaged { .. }, ArchiveFault::Changed { .. }]), "{faults:?}");
    }
}

#[test]
fn a_rebuilt_ledger_keeps_the_judgement_of_a_border_whose_other_side_is_gone() {
    let repository = filled();
    let judged = repository.facts(&name(2));
    assert_eq!(judged.verdict, Verdict::Verified);
    std::fs::remove_file(repository.path(&archived(1))).expect("remove");
    rebuild_ledger(&repository.catalog);
    assert_eq!(repository.facts(&name(2)), judged);
}

#[test]
fn rebuilding_the_ledger_leaves_what_is_not_of_the_archive() {
    let repository = filled();
    repository.write("ledger/rates", "measured");
    // Archived by somebody else, after the archive was listed: its directory is there.
    repository.write("ledger/0000000100000001", repository.read("ledger/0000000100000000"));
    repository.write("ledger/0000000100000002", repository.read("ledger/0000000100000000"));
    std::fs::create_dir(repository.path("wals/0000000100000001")).expect("created");
    rebuild_ledger(&repository.catalog);
    let left = ["0000000100000000", "0000000100000001", "histories", "rates", "summary"];
    assert_eq!(repository.names("ledger"), left);
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

/// The only index of a home that Barman 3.12 left.
#[test]
fn a_rebuilt_index_keeps_what_the_old_one_in_its_old_place_says() {
    let repository = Repository::new();
    repository.write(&archived(4), b"\x85\x01\x0c\x03 encrypted");
    repository.write("wals/xlog.db", format!("{}\t14\t1795193566.0\tlz4\tgpg", name(4)));
    let entries = repository.catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
    assert_eq!(entries[0].compression.as_deref(), Some("lz4"));
    assert!(!repository.path("wals/xlog.db").exists());
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

/// A longer one took the place of an unfinished segment, and the run broke off before that was noted: it was announced.
#[test]
fn an_unfinished_segment_that_an_interrupted_run_replaced_is_what_was_announced() {
    let partial = format!("{}.partial", name(1));
    let (journal, stored) = ("ledger/0000000100000000", format!("wals/0000000100000000/{partial}"));
    let repository = Repository::new();
    for length in [100_000, 500_000] {
        let mut bytes = segment(&name(1), 1);
        bytes[length..].fill(0);
        repository.write(&format!("incoming/{partial}"), &bytes);
        repository.ingest(WalSource::Incoming).expect("a run");
        if length == 100_000 {
            assert_eq!(verify(&repository, Due::Never, later(0)).0.sound, 1);
        }
    }
    // Without its end the last entry says nothing.
    let noted = repository.read(journal);
    repository.write(journal, &noted[..noted.len() - 1]);
    let longer = repository.read(&stored);
    for (length, expected) in [(longer.len(), (1, 0)), (longer.len() - 1, (0, 1)), (longer.len(), (1, 0))] {
        repository.write(&stored, &longer[..length]);
        let (done, faults) = verify(&repository, Due::Never, later(1));
        assert_eq!((done.sound, done.faults), expected, "{length}: {faults:?}");
        // What was sound would not be due again.
        repository.write(journal, &noted[..noted.len() - 1]);
    }
    assert_eq!(verify(&repository, Due::Never, later(1)).0.sound, 1);
    assert_eq!(repository.facts(&partial).stored.bytes, 1 << 20);
    repository.write(&stored, &longer[..longer.len() - 1]);
    let (_, faults) = verify(&repository, Due::All, later(2));
    let [ArchiveFault::Changed { expected, .. }] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!(*expected, repository.facts(&partial).stored);
}

/// After `--accept-new-system`.
#[test]
fn wal_of_a_cluster_and_of_the_one_that_was_accepted_after_it_are_both_sound() {
    const BEFORE: &str = "20260101T000000";
    let accepted = SystemId::new(7_710_294_594_766_418_490);
    let repository = Repository::new();
    let arrive = |system, numbers: [u64; 2]| {
        for number in numbers {
            repository.write(&format!("incoming/{}", name(number)), segment_of(system, &name(number), 1));
        }
        assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").refused, 0);
    };
    repository.backup(BEFORE, &name(1), &name(1), Status::Done);
    arrive(SYSTEM, [1, 2]);
    let identity = Identity { system_id: accepted, version: "15".to_owned() };
    repository.catalog.replace_identity(&identity).expect("written");
    arrive(accepted, [11, 12]);
    let is_sound = |when: &str| {
        let (done, faults) = verify(&repository, Due::All, later(1));
        assert_eq!((done.sound, done.faults), (4, 0), "{when}: {faults:?}");
    };
    is_sound("archived");
    rebuild_ledger(&repository.catalog);
    is_sound("of a ledger that was rebuilt");
    std::fs::remove_dir_all(repository.path("ledger")).expect("removed");
    is_sound("without a ledger");
    // Without a backup of it, it is no WAL that anybody could use.
    std::fs::remove_file(repository.path(&format!("meta/{BEFORE}-backup.info"))).expect("removed");
    rebuild_ledger(&repository.catalog);
    assert_eq!(verify(&repository, Due::All, later(2)).0.faults, 2);
}

/// All that they hold is the rest of a record that began in the segment before, which is archived or not: no record ends in
/// them.
#[test]
fn the_longer_of_two_unfinished_segments_without_the_end_of_a_record_is_kept() {
    let mut wal = WalBuilder::at(WalBuilder::layout(segment_size(), 8192), SegmentNumber::new(4));
    wal.message(1_000_000);
    wal.message(400_000);
    let (before, whole) = (wal.segments()[0].to_vec(), wal.segments()[1].to_vec());
    let unfinished = |length: usize| {
        let mut bytes = whole[..length].to_vec();
        bytes.resize(before.len(), 0);
        bytes
    };
    let partial = format!("{}.partial", name(5));
    let arrive = |repository: &Repository, bytes: &[u8]| {
        repository.write(&format!("incoming/{partial}"), bytes);
        repository.ingest(WalSource::Incoming).expect("a run")
    };
    let stored = format!("wals/0000000100000000/{partial}");
    for is_alone in [true, false] {
        for (first, second) in [(100_000, 200_000), (200_000, 100_000), (200_000, 350_000), (350_000, 200_000)] {
            let repository = Repository::new();
            if !is_alone {
                repository.write(&format!("incoming/{}", name(4)), &before);
            }
            arrive(&repository, &unfinished(first));
            let summary = arrive(&repository, &unfinished(second));
            assert_eq!(summary.duplicates, 0, "{first} {second} {is_alone}");
            assert_eq!(repository.read(&stored), unfinished(first.max(second)), "{first} {second} {is_alone}");
            assert!(repository.names("incoming").is_empty());
        }
    }
    // Which of two that differ is right nobody can say.
    let repository = Repository::new();
    arrive(&repository, &unfinished(200_000));
    let mut other = unfinished(100_000);
    other[50_000] ^= 1;
    assert_eq!(arrive(&repository, &other).duplicates, 1);
    assert_eq!(repository.read(&stored), unfinished(200_000));
}
