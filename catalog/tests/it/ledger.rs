//! What is known of archived files, and how WAL is judged on its way in.

use barman_catalog::{Due, IngestEvent, Status, Verdict, WalSource};
use barman_storage::Cancel;
use wal_format::testing::WalBuilder;
use wal_format::{ResourceManager, SegmentNumber, TimelineId, Timestamp};

use crate::repository::{Repository, SEGMENT_BYTES, id, name, options, segment, segment_size};

fn verdict(repository: &Repository, number: u64) -> Verdict {
    repository.facts(&name(number)).verdict
}

/// Brings files into one of the directories, one run for each, and returns what was reported.
fn arrive(repository: &Repository, source: WalSource, files: &[(u64, &[u8])]) -> Vec<String> {
    let mut told = Vec::new();
    let cancel = Cancel::new();
    for (number, bytes) in files {
        let directory = if source == WalSource::Streaming { "streaming" } else { "incoming" };
        repository.write(&format!("{directory}/{}", name(*number)), bytes);
        let wanted = name(*number).parse().expect("a name");
        let mut report = |event: IngestEvent<'_>| told.push(format!("{event:?}"));
        repository.catalog.ingest_file(source, wanted, &options(&cancel), &mut report).expect("a run");
    }
    told
}

/// WAL in which records cross every border, from segment 4 on.
fn crossing(segments: usize) -> WalBuilder {
    let mut wal = WalBuilder::at(WalBuilder::layout(segment_size(), 8192), SegmentNumber::new(4));
    for _ in 0..segments {
        wal.cross(5000);
    }
    wal
}

fn whole_segments(wal: &WalBuilder) -> Vec<Vec<u8>> {
    let bytes = usize::try_from(SEGMENT_BYTES).expect("small");
    wal.segments().into_iter().filter(|segment| segment.len() == bytes).map(<[u8]>::to_vec).collect()
}

#[test]
fn segments_in_order_are_verified_but_for_the_first_border() {
    let repository = Repository::new();
    let wal = whole_segments(&crossing(3));
    arrive(&repository, WalSource::Incoming, &[(4, &wal[0]), (5, &wal[1]), (6, &wal[2])]);
    let verdicts = [4, 5, 6].map(|number| verdict(&repository, number));
    assert_eq!(verdicts, [Verdict::BorderOpen, Verdict::Verified, Verdict::Verified]);
}

#[test]
fn segments_in_any_order_get_the_same_facts() {
    let wal = whole_segments(&crossing(4));
    let known = |order: &[usize]| {
        let repository = Repository::new();
        let files: Vec<_> = order.iter().map(|index| (*index as u64 + 4, wal[*index].as_slice())).collect();
        arrive(&repository, WalSource::Streaming, &files);
        [4, 5, 6, 7].map(|number| repository.facts(&name(number)))
    };
    let expected = known(&[0, 1, 2, 3]);
    for order in [[3, 2, 1, 0], [0, 2, 1, 3], [1, 0, 3, 2], [2, 0, 3, 1], [3, 0, 1, 2]] {
        assert_eq!(known(&order), expected, "{order:?}");
    }
}

/// Of a transaction's end that crosses a border, only a few bytes may lie in the segment before.
#[test]
fn what_a_record_says_that_crosses_a_border_is_known_in_whatever_order_its_segments_arrive() {
    for len in [8, 24, 32] {
        let mut wal = WalBuilder::at(WalBuilder::layout(segment_size(), 8192), SegmentNumber::new(4));
        wal.leave(len);
        let at = Timestamp::from_unix_micros(1_795_132_800_000_000);
        wal.set_xid(731);
        let commit = wal.record(ResourceManager::TRANSACTION, 0, &at.pg_micros().to_ne_bytes());
        let mut point = at.pg_micros().to_ne_bytes().to_vec();
        point.extend(b"between");
        point.resize(8 + 64, 0);
        wal.leave(len);
        wal.record(ResourceManager::XLOG, 0x70, &point);
        wal.fill();
        assert_eq!(SegmentNumber::containing(commit, segment_size()).get(), 4);
        let wal = whole_segments(&wal);
        for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2]] {
            let repository = Repository::new();
            let files: Vec<_> = order.iter().map(|index| (*index as u64 + 4, wal[*index].as_slice())).collect();
            arrive(&repository, WalSource::Streaming, &files);
            let [before, between, behind] = [4, 5, 6].map(|number| repository.facts(&name(number)).records);
            let ends = between.expect("records").ends.map(|ends| (ends.least, ends.greatest));
            assert_eq!((before.expect("records").ends, ends), (None, Some((at, at))), "{len} {order:?}");
            assert_eq!(behind.expect("records").events.len(), 1, "{len} {order:?}");
        }
    }
}

/// A record of three segments proves nothing in the segment that it fills; it does once all are there.
#[test]
fn a_record_longer_than_a_segment_is_judged_when_all_of_it_is_there() {
    let mut wal = WalBuilder::at(WalBuilder::layout(segment_size(), 8192), SegmentNumber::new(4));
    wal.message(1000);
    wal.message(usize::try_from(2 * SEGMENT_BYTES).expect("small"));
    wal.fill();
    wal.cross(64);
    let wal = whole_segments(&wal);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3], [1, 2, 3, 0]] {
        let repository = Repository::new();
        let files: Vec<_> = order.map(|index: usize| (index as u64 + 4, wal[index].as_slice())).to_vec();
        arrive(&repository, WalSource::Incoming, &files);
        assert_eq!(repository.facts(&name(5)).records, None);
        let verdicts = [4, 5, 6, 7].map(|number| verdict(&repository, number));
        assert_eq!(verdicts[0], Verdict::BorderOpen);
        assert!(verdicts[1..].iter().all(|verdict| *verdict == Verdict::Verified), "{order:?} {verdicts:?}");
    }
}

#[test]
fn a_border_that_does_not_fit_is_found_in_either_order() {
    let wal = whole_segments(&crossing(3));
    let mut broken = wal[1].clone();
    // Within the record that began in the segment before.
    broken[200] ^= 1;
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        let repository = Repository::new();
        let bytes = [&wal[0], &broken, &wal[2]];
        let files: Vec<_> = order.map(|index: usize| (index as u64 + 4, bytes[index].as_slice())).to_vec();
        let told = arrive(&repository, WalSource::Incoming, &files);
        let Verdict::Damaged { at, what } = verdict(&repository, 5) else { panic!("{order:?} {told:?}") };
        assert!(at < SegmentNumber::new(5).start(segment_size()), "the record begins before the border");
        assert!(what.contains("checksum"), "{what}");
        assert_eq!(told.iter().filter(|event| event.starts_with("Damaged")).count(), 1, "{order:?} {told:?}");
        assert_eq!(verdict(&repository, 6), Verdict::Verified, "{order:?}: the next one is not held responsible");
        assert_eq!(repository.recorded().len(), 3);
    }
}

/// The end of timeline 1, and timeline 2 from the middle of segment 5 on, into which a record of segment 4 crosses: files by
/// name, the history last.
fn promoted(change: impl Fn(&mut Vec<u8>)) -> [(String, Vec<u8>); 3] {
    let mut wal = crossing(1);
    wal.message(3000);
    let switch = wal.end();
    wal.set_timeline(TimelineId::new(2).expect("not 0"));
    wal.cross(100);
    let bytes = whole_segments(&wal);
    let (old, mut new) = (bytes[0].clone(), bytes[1].clone());
    change(&mut new);
    let branch = name(5).replacen("00000001", "00000002", 1);
    [(name(4), old), (branch, new), ("00000002.history".to_owned(), format!("1\t{switch}\tpromoted\n").into_bytes())]
}

fn arrive_in(order: [usize; 3], files: &[(String, Vec<u8>); 3]) -> (Repository, usize) {
    let (repository, cancel) = (Repository::new(), Cancel::new());
    let mut damaged = 0;
    for (name, bytes) in order.map(|index| &files[index]) {
        repository.write(&format!("incoming/{name}"), bytes);
        let wanted = name.parse().expect("a name");
        let mut count = |event: IngestEvent<'_>| damaged += usize::from(matches!(event, IngestEvent::Damaged { .. }));
        repository.catalog.ingest_file(WalSource::Incoming, wanted, &options(&cancel), &mut count).expect("a run");
    }
    (repository, damaged)
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn the_first_segment_of_a_timeline_is_judged_by_its_ancestors_whatever_came_first() {
    let files = promoted(|_| {});
    for order in ORDERS {
        let (repository, damaged) = arrive_in(order, &files);
        assert_eq!((repository.facts(&files[1].0).verdict, damaged), (Verdict::Verified, 0), "{order:?}");
    }
}

#[test]
fn a_first_segment_that_does_not_go_on_from_its_ancestors_is_found_whatever_came_first() {
    // Within the record that began in the segment before.
    let files = promoted(|bytes| bytes[200] ^= 1);
    for order in ORDERS {
        let (repository, damaged) = arrive_in(order, &files);
        let Verdict::Damaged { at, .. } = repository.facts(&files[1].0).verdict else { panic!("{order:?}") };
        assert!(at < SegmentNumber::new(5).start(segment_size()), "the record begins before the border");
        assert_eq!(damaged, 1, "{order:?}: it is told");
    }
}

#[test]
fn what_barman_archived_in_any_order_is_judged_when_the_ledger_catches_up() {
    let files = promoted(|bytes| bytes[200] ^= 1);
    for order in ORDERS {
        let (repository, cancel) = (Repository::new(), Cancel::new());
        let mut index = String::new();
        for (name, bytes) in order.map(|index| &files[index]) {
            let path = if name.len() == 24 { format!("wals/{}/{name}", &name[..16]) } else { format!("wals/{name}") };
            repository.write(&path, bytes);
            index += &format!("{name}\t{}\t1.0\tNone\tNone\n", bytes.len());
        }
        repository.write("wals/main-xlog.db", index);
        let caught = repository.catalog.catch_up_ledger(10, options(&cancel).now, &cancel).expect("caught up");
        assert!(matches!(repository.facts(&files[1].0).verdict, Verdict::Damaged { .. }), "{order:?}");
        assert_eq!((caught.read, caught.damaged), (3, 1), "{order:?}");
    }
}

#[test]
fn a_gap_is_told_when_the_next_segment_arrives() {
    let repository = Repository::new();
    let told = arrive(&repository, WalSource::Incoming, &[(1, &segment(&name(1), 1))]);
    assert!(!told.iter().any(|event| event.contains("Gap")), "nothing is before the first: {told:?}");
    let told = arrive(&repository, WalSource::Incoming, &[(5, &segment(&name(5), 1))]);
    let gap = told.iter().find(|event| event.starts_with("Gap")).expect("a gap");
    assert!(gap.contains("segments: 3") && gap.contains("segment: 2 }, last:"), "{gap}");
    let told = arrive(&repository, WalSource::Incoming, &[(6, &segment(&name(6), 1))]);
    assert!(!told.iter().any(|event| event.contains("Gap")), "it is told once: {told:?}");
}

#[test]
fn a_gap_may_reach_over_the_names_of_a_log() {
    let repository = Repository::new();
    let per_log = segment_size().segments_per_log();
    let last = per_log - 2;
    arrive(&repository, WalSource::Incoming, &[(last, &segment(&name(last), 1))]);
    let next = per_log + 1;
    let told = arrive(&repository, WalSource::Incoming, &[(next, &segment(&name(next), 1))]);
    let gap = told.iter().find(|event| event.starts_with("Gap")).expect("a gap");
    assert!(gap.contains("segments: 2"), "{gap}");
}

#[test]
fn every_kind_of_file_has_facts() {
    let repository = Repository::new();
    let label = "000000010000000000000001.00000028.backup";
    repository.write(&format!("incoming/{label}"), "START WAL LOCATION: 0/100028\n");
    repository.write("incoming/00000002.history", "1\t0/3000000\treason\n");
    let encrypted = b"\x85\x01\x0c\x03 encrypted elsewhere";
    repository.write(&format!("incoming/{}", name(1)), encrypted);
    repository.ingest(WalSource::Incoming).expect("a run");
    let history = repository.facts("00000002.history");
    assert_eq!((history.verdict, history.raw), (Verdict::Verified, Some(history.stored)));
    assert_eq!(repository.facts(label).verdict, Verdict::Verified);
    let unread = repository.facts(&name(1));
    assert!(matches!(unread.verdict, Verdict::Unverified(_)) && unread.raw.is_none());
    assert_eq!(unread.stored.bytes, encrypted.len() as u64);
}

#[test]
fn the_ledger_knows_what_was_archived_without_it() {
    let repository = Repository::new();
    let wal = whole_segments(&crossing(3));
    arrive(&repository, WalSource::Incoming, &[(4, &wal[0])]);
    archive_as_barman(&repository, 5, &wal[1]);
    arrive(&repository, WalSource::Incoming, &[(6, &wal[2])]);
    assert_eq!(repository.catalog.facts(&name(5).parse().expect("a name")).expect("readable"), None);
    let cancel = Cancel::new();
    let caught_up = repository.catalog.catch_up_ledger(10, options(&cancel).now, &cancel).expect("caught up");
    assert_eq!((caught_up.read, caught_up.left), (1, 0));
    assert_eq!(verdict(&repository, 5), Verdict::Verified);
}

/// What Barman archives has no entry until the ledger catches up.
fn archive_as_barman(repository: &Repository, number: u64, bytes: &[u8]) {
    repository.write(&format!("wals/{}/{}", &name(number)[..16], name(number)), bytes);
    let line = format!("{}\t{}\t1795193057.0\tNone\tNone\n", name(number), bytes.len());
    repository.write("wals/main-xlog.db", repository.text("wals/main-xlog.db") + &line);
}

#[test]
fn what_was_removed_is_forgotten() {
    const BACKUP: &str = "20260101T000000";
    let repository = Repository::new();
    let log = segment_size().segments_per_log();
    for number in [log - 1, log, log + 1] {
        arrive(&repository, WalSource::Incoming, &[(number, &segment(&name(number), 1))]);
    }
    repository.backup(BACKUP, &name(log + 1), &name(log + 1), Status::Done);
    let plan = repository.catalog.plan_purge(&id(BACKUP)).expect("readable").expect("a plan");
    repository.catalog.purge(&plan, |_| {}).expect("purged");
    assert!(!repository.path("ledger/0000000100000000").exists());
    let kept = repository.facts(&name(log + 1));
    // The same name comes again, from Barman: what was known of the other file is not what is known of this one.
    archive_as_barman(&repository, log, &segment(&name(log), 9));
    let cancel = Cancel::new();
    let caught_up = repository.catalog.catch_up_ledger(10, options(&cancel).now, &cancel).expect("caught up");
    assert_eq!((caught_up.read, repository.facts(&name(log + 1))), (1, kept));
}

/// What is left of a ledger that was complete when `change` has happened to the archive, and it has caught up with that.
fn journals_after(change: impl Fn(&Repository)) -> Vec<String> {
    let (repository, cancel) = (Repository::new(), Cancel::new());
    crate::power_loss::long_index(&repository);
    let catch_up = || repository.catalog.catch_up_ledger(100, options(&cancel).now, &cancel).expect("caught up");
    catch_up();
    change(&repository);
    catch_up();
    repository.names("ledger").into_iter().filter(|name| name.len() == 16).collect()
}

#[test]
fn journals_of_directories_that_barman_removed_go_when_the_ledger_catches_up() {
    let left = journals_after(|repository| {
        std::fs::remove_dir_all(repository.path("wals/0000000100000000")).expect("removed");
        repository.write("wals/main-xlog.db", "");
        archive_as_barman(repository, segment_size().segments_per_log(), b"\x85\x01\x0c\x03 encrypted");
    });
    assert_eq!(left, ["0000000100000001"]);
}

#[test]
fn the_ledger_of_an_archive_that_is_not_mounted_stays() {
    let left = journals_after(|repository| {
        std::fs::rename(repository.path("wals"), repository.path("elsewhere")).expect("renamed");
    });
    assert_eq!(left, ["0000000100000000"]);
}

#[test]
fn a_rebuilt_ledger_is_the_same() {
    let repository = Repository::new();
    let wal = whole_segments(&crossing(4));
    let files: Vec<_> = [3usize, 1, 0, 2].map(|index| (index as u64 + 4, wal[index].as_slice())).to_vec();
    arrive(&repository, WalSource::Incoming, &files);
    let known = || [4, 5, 6, 7].map(|number| repository.facts(&name(number)));
    let before = known();
    for damage in ["", "not a journal at all, and longer than its header"] {
        repository.write("ledger/0000000100000000", damage);
        let cancel = Cancel::new();
        let rebuilt = repository.catalog.rebuild_ledger(options(&cancel).now, &cancel, &mut |_| {}).expect("rebuilt");
        assert_eq!(rebuilt.read, 4);
        assert_eq!(known(), before);
    }
}

/// The end of a prepared transaction, and a checkpoint with this next transaction.
fn segment_with(number: u64, xid: u32, next_xid: Option<u64>) -> Vec<u8> {
    const COMMIT_PREPARED: u8 = 0x30 | 0x80;
    const CHECKPOINT_ONLINE: u8 = 0x10;
    let mut wal = WalBuilder::at(WalBuilder::layout(segment_size(), 8192), SegmentNumber::new(number));
    let contents = [&5i64.to_ne_bytes()[..], &(1u32 << 4).to_ne_bytes(), &xid.to_ne_bytes()].concat();
    wal.record(ResourceManager::TRANSACTION, COMMIT_PREPARED, &contents);
    if let Some(next_xid) = next_xid {
        // `CheckPoint` of PostgreSQL 15.
        let mut checkpoint = 0x28u64.to_ne_bytes().to_vec();
        checkpoint.extend([1u32, 1, 1, 0].map(u32::to_ne_bytes).concat());
        checkpoint.extend(next_xid.to_ne_bytes());
        checkpoint.extend([20_000u32, 1, 0, 3, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat());
        wal.record(ResourceManager::XLOG, CHECKPOINT_ONLINE, &checkpoint);
    }
    wal.cross_with_head(64, 0);
    wal.bytes().to_vec()
}

/// Records have half of it; a checkpoint near by, in whatever order all of it came, tells the other half.
#[test]
fn the_ledger_tells_all_64_bits_of_transactions() {
    const EPOCH: u64 = 1 << 32;
    // The last segments of one directory, and the first one of the next; the number of the last but one is used up in between.
    let segments =
        [(4093, u32::MAX - 9, None), (4094, u32::MAX - 8, Some(2 * EPOCH - 4)), (4095, 5, None), (4096, 6, None)];
    let expected = [2 * EPOCH - 10, 2 * EPOCH - 9, 2 * EPOCH + 5, 2 * EPOCH + 6];
    let full_xids = |repository: &Repository| {
        let mut ledger = repository.catalog.ledger_reader().expect("a ledger");
        segments.map(|(number, ..)| {
            let file = name(number);
            let next_xid = ledger.next_xid_near(&file.parse().expect("a segment")).expect("readable").expect("near by");
            repository.facts(&file).records.and_then(|records| records.xids?.full(next_xid)).expect("transactions")
        })
    };
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let repository = Repository::new();
        for (number, xid, next_xid) in order.map(|index: usize| segments[index]) {
            arrive(&repository, WalSource::Incoming, &[(number, &segment_with(number, xid, next_xid))]);
        }
        assert_eq!(full_xids(&repository), expected.map(|xid| (xid, xid)), "{order:?}");
        std::fs::remove_dir_all(repository.path("ledger")).expect("it is ours");
        let cancel = Cancel::new();
        repository.catalog.rebuild_ledger(options(&cancel).now, &cancel, &mut |_| {}).expect("rebuilt");
        assert_eq!(full_xids(&repository), expected.map(|xid| (xid, xid)), "{order:?}");
    }
    let repository = Repository::new();
    arrive(&repository, WalSource::Incoming, &[(4, &segment_with(4, 700, None))]);
    let near = |repository: &Repository| {
        repository
            .catalog
            .ledger_reader()
            .and_then(|mut ledger| ledger.next_xid_near(&name(4).parse().expect("a segment")))
    };
    assert_eq!(near(&repository).expect("readable"), None, "no checkpoint is near by");
    assert_eq!(near(&Repository::new()).expect("readable"), None, "there is no ledger");
}

#[test]
fn a_ledger_that_cannot_be_written_keeps_no_wal_waiting() {
    let repository = Repository::new();
    repository.write("ledger/0000000100000000", "not a journal at all, and longer than its header");
    arrive(&repository, WalSource::Incoming, &[(1, &segment(&name(1), 1))]);
    assert_eq!(repository.recorded(), [name(1)]);
}

/// Where the twelve kinds of damage are, and what becomes of a segment with it that PostgreSQL delivered or streamed.
#[test]
fn damage_is_archived_and_marked_and_foreign_wal_refused() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, bool, Change); 12] = [
        ("bit flip", true, |b| b[300] ^= 4),
        ("hole", false, |b| drop(b.drain(3 * 8192..5 * 8192))),
        ("truncation", false, |b| b.truncate(100_000)),
        ("swapped segments", false, |b| *b = segment(&name(6), 1)),
        ("foreign system identifier", false, |b| b[24..32].fill(9)),
        ("reused name", false, |b| *b = segment(&name(4), 1)),
        ("wrong page address", true, |b| b[2 * 8192 + 8..][..8].fill(7)),
        ("zeroed page", true, |b| b[4 * 8192..5 * 8192].fill(0)),
        ("broken contrecord", true, |b| b[8192 + 16] ^= 1),
        ("zeroed first page", true, |b| b[..8192].fill(0)),
        ("wrong magic", true, |b| b[5 * 8192..][..2].copy_from_slice(&0xD116u16.to_ne_bytes())),
        ("wrong segment size", false, |b| b[32..36].copy_from_slice(&(16u32 << 20).to_ne_bytes())),
    ];
    for (kind, archived, change) in cases {
        for source in [WalSource::Incoming, WalSource::Streaming] {
            for in_order in [true, false] {
                let repository = Repository::new();
                let mut damaged = segment(&name(5), 1);
                change(&mut damaged);
                let (before, after) = (segment(&name(4), 1), segment(&name(6), 1));
                let files: [(u64, &[u8]); 3] = match in_order {
                    true => [(4, &before), (5, &damaged), (6, &after)],
                    false => [(6, &after), (4, &before), (5, &damaged)],
                };
                let told = arrive(&repository, source, &files);
                let names = repository.recorded();
                assert_eq!(names.contains(&name(5)), archived, "{kind} {source} {in_order} {told:?}");
                assert!(names.contains(&name(4)) && names.contains(&name(6)), "{kind}: good segments are unaffected");
                if archived {
                    assert!(matches!(verdict(&repository, 5), Verdict::Damaged { .. }), "{kind} {told:?}");
                    assert_eq!(repository.read(&format!("wals/0000000100000000/{}", name(5))), damaged);
                } else {
                    let refused = repository.names("errors").into_iter().filter(|name| name.ends_with(".refused"));
                    assert_eq!(refused.count(), 1, "{kind}");
                }
                assert!(repository.names("incoming").is_empty() && repository.names("streaming").is_empty(), "{kind}");
            }
        }
    }
}

/// What is known of the archive with the ledger's summary is what is known without.
#[track_caller]
fn check_summary(repository: &Repository) {
    let with = repository.catalog.wal_coverage().expect("readable");
    let summary = repository.path("ledger/summary");
    let aside = repository.path("ledger-summary-aside");
    std::fs::rename(&summary, &aside).expect("there is a summary");
    let without = repository.catalog.wal_coverage().expect("readable");
    std::fs::rename(&aside, &summary).expect("renamed");
    assert_eq!(with, without);
}

fn verify(repository: &Repository) {
    let cancel = Cancel::new();
    repository.catalog.verify_archive(Due::All, options(&cancel).now, &cancel, &mut |_| {}).expect("verified");
}

#[test]
fn a_summary_says_what_the_journals_say() {
    let repository = Repository::new();
    let wal = whole_segments(&crossing(6));
    let mut damaged = wal[2].clone();
    damaged[8192 * 5 + 100] ^= 1;
    arrive(&repository, WalSource::Incoming, &[(4, &wal[0]), (5, &wal[1])]);
    verify(&repository);
    check_summary(&repository);
    let other_log = segment_size().segments_per_log();
    for file in [(7, wal[3].as_slice()), (6, &damaged), (9, &wal[5]), (other_log, b"\x85\x01\x0c\x03 encrypted")] {
        arrive(&repository, WalSource::Incoming, &[file]);
        check_summary(&repository);
        verify(&repository);
        check_summary(&repository);
    }
    let coverage = repository.catalog.wal_coverage().expect("readable");
    assert_eq!(coverage.damage().map(|damage| damage.name.to_string()).collect::<Vec<_>>(), [name(6)]);
}

#[test]
fn a_summary_holds_while_the_journal_is_as_long_as_it_was() {
    let repository = Repository::new();
    for number in 4..=6 {
        arrive(&repository, WalSource::Incoming, &[(number, &segment(&name(number), 7))]);
    }
    repository.backup("20260101T000000", &name(4), &name(5), Status::Done);
    verify(&repository);
    let known = repository.catalog.wal_coverage().expect("readable");
    // Which shows that the journal is not read.
    let journal = "ledger/0000000100000000";
    let length = repository.read(journal).len();
    repository.write(journal, vec![0; length]);
    assert_eq!(repository.catalog.wal_coverage().expect("readable"), known);
    repository.write(journal, vec![0; length + 1]);
    assert_ne!(repository.catalog.wal_coverage().expect("readable"), known);
}
