//! Moving WAL into the archive.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use barman_catalog::{
    ArchivedFile, Error, HookDecision, Hooks, Identity, IngestEvent, IngestOptions, IngestSummary, Refusal, Status,
    Verdict, WalSource,
};
use barman_storage::Cancel;
use barman_storage::testing::Recorder;
use wal_format::SystemId;

use crate::repository::{Repository, SEGMENT_BYTES, SYSTEM, name, options, segment, segment_of};

const DB: &str = "wals/main-xlog.db";
const LABEL: &str = "000000010000000000000001.00000028.backup";
const HISTORY: &str = "00000002.history";

fn archived(name: &str) -> String {
    format!("wals/0000000100000000/{name}")
}

fn deliver(repository: &Repository, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
}

/// Everything that a run reports, in words.
fn report(repository: &Repository, source: WalSource) -> Vec<String> {
    let mut told = Vec::new();
    let summary = repository.ingest_with(source, &mut |event| told.push(format!("{event:?}")));
    summary.expect("a run");
    told
}

#[test]
fn delivered_files_are_archived_and_recorded_in_order() {
    let repository = Repository::new();
    deliver(&repository, [2, 1]);
    repository.write(&format!("incoming/{LABEL}"), "START WAL LOCATION: 0/100028\n");
    repository.write(&format!("incoming/{HISTORY}"), "1\t0/3000000\tno recovery target specified\n");
    let summary = repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(summary, IngestSummary { archived: 4, ..IngestSummary::default() });
    assert_eq!(repository.recorded(), [&name(1), LABEL, &name(2), HISTORY]);
    assert_eq!(repository.archived(), [&name(1), LABEL, &name(2), HISTORY]);
    assert_eq!(repository.read(&archived(&name(1))), segment(&name(1), 7));
    assert!(repository.names("incoming").is_empty());
}

#[test]
fn mode_and_time_come_along() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    let file = std::fs::File::open(repository.path("incoming").join(name(1))).expect("open");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_795_193_057, 286_914_825)).expect("time");
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).expect("mode");
    repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(repository.text(DB), format!("{}\t1048576\t1795193057.2869148\tNone\tNone\n", name(1)));
    let metadata = repository.path(&archived(&name(1))).metadata().expect("there");
    assert_eq!((metadata.mode() & 0o777, metadata.mtime(), metadata.mtime_nsec()), (0o600, 1_795_193_057, 286_914_825));
}

#[test]
fn a_run_takes_no_more_than_its_batch() {
    let repository = Repository::new();
    deliver(&repository, 1..=3);
    let cancel = Cancel::new();
    let options = IngestOptions { batch_size: NonZeroUsize::new(2), ..options(&cancel) };
    let mut started = None;
    let summary = repository.catalog.ingest(WalSource::Incoming, &options, &mut |event| {
        if let IngestEvent::Started { files, candidates, .. } = event {
            started = Some((files, candidates));
        }
    });
    assert_eq!((summary.expect("a run").archived, started), (2, Some((2, 3))));
    assert_eq!(repository.names("incoming"), [name(3)]);
}

#[test]
fn the_receiver_keeps_what_it_is_writing() {
    let repository = Repository::new();
    repository.write(&format!("streaming/{}", name(1)), segment(&name(1), 1));
    repository.write(&format!("streaming/{}.partial", name(2)), segment(&name(2), 2));
    assert_eq!(repository.ingest(WalSource::Streaming).expect("a run").archived, 1);
    assert_eq!(repository.names("streaming"), [format!("{}.partial", name(2))]);
}

#[test]
fn old_partial_files_are_archived_as_they_are() {
    let repository = Repository::new();
    repository.write(&format!("streaming/{}.partial", name(1)), segment(&name(1), 1));
    repository.write(&format!("streaming/{}.partial", name(2)), vec![0; 100]);
    repository.write(&format!("streaming/{}.partial", name(3)), b"");
    let summary = repository.ingest(WalSource::Streaming).expect("a run");
    assert_eq!((summary.archived, summary.refused), (2, 0));
    assert_eq!(repository.recorded(), [format!("{}.partial", name(1)), format!("{}.partial", name(2))]);
}

#[test]
fn a_named_file_is_archived_whatever_else_is_there() {
    let repository = Repository::new();
    repository.write(&format!("streaming/{}", name(1)), segment(&name(1), 1));
    let wanted = name(1).parse().expect("a name");
    let cancel = Cancel::new();
    let options = options(&cancel);
    let ingest = || repository.catalog.ingest_file(WalSource::Streaming, wanted, &options, &mut |_| {});
    assert_eq!(ingest().expect("a run").archived, 1);
    assert_eq!(ingest().expect("nothing to do"), IngestSummary::default());
    assert_eq!(repository.recorded(), [name(1)]);
}

#[test]
fn the_same_file_again_is_removed_and_not_recorded_again() {
    let repository = Repository::new();
    for _ in 0..2 {
        deliver(&repository, [1]);
        repository.ingest(WalSource::Incoming).expect("a run");
    }
    assert_eq!(repository.recorded(), [name(1)]);
    assert!(repository.names("incoming").is_empty() && repository.names("errors").is_empty());
}

#[test]
fn other_contents_go_to_errors_with_the_reason_beside_them() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    repository.ingest(WalSource::Incoming).expect("a run");
    repository.write(&format!("incoming/{}", name(1)), segment(&name(1), 8));
    let summary = repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(summary, IngestSummary { duplicates: 1, ..IngestSummary::default() });
    let errors = repository.names("errors");
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with(&format!("{}.20", name(1))) && errors[0].ends_with("Z.duplicate"), "{errors:?}");
    assert_eq!(errors[1], format!("{}.reason", errors[0]));
    let reason = format!("{} is archived already, with different contents\n", name(1));
    assert_eq!(repository.text(&format!("errors/{}", errors[1])), reason);
    assert_eq!(repository.read(&archived(&name(1))), segment(&name(1), 7));
    assert_eq!(repository.read(&format!("errors/{}", errors[0])), segment(&name(1), 8));
    assert_eq!(repository.catalog.error_files().expect("readable").duplicates, 1);
}

#[test]
fn what_is_refused_or_there_already_takes_its_turn_among_what_is_archived_together() {
    let repository = Repository::new();
    deliver(&repository, [3, 5]);
    repository.ingest(WalSource::Incoming).expect("a run");
    deliver(&repository, [1, 2, 4, 5, 7]);
    repository.write(&format!("incoming/{}", name(3)), segment(&name(3), 8));
    repository.write(&format!("incoming/{}", name(6)), segment(&name(9), 7));
    let told = report(&repository, WalSource::Incoming);
    let turns: Vec<&str> = told.iter().filter_map(|event| event.split([' ', '(']).next()).collect();
    let archived = ["File", "Archived"];
    let expected =
        [&["Started"][..], &archived, &archived, &["File", "Refused"], &archived, &["File", "AlreadyArchived"]];
    assert_eq!(turns, [&expected.concat()[..], &["File", "Refused"], &archived, &["Gap"]].concat(), "{told:#?}");
    assert_eq!(repository.recorded(), [1, 2, 3, 4, 5, 7].map(name));
    assert!(repository.names("incoming").is_empty());
}

/// The one that is refused says nothing of the one behind it: that is judged by what the archive has.
#[test]
fn behind_a_duplicate_the_archived_segment_is_the_neighbour() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    repository.ingest(WalSource::Incoming).expect("a run");
    repository.write(&format!("incoming/{}", name(1)), segment(&name(1), 8));
    deliver(&repository, [2]);
    repository.ingest(WalSource::Incoming).expect("a run");
    let facts = |number| {
        let name = name(number).parse().expect("a name");
        repository.catalog.facts(&name).expect("readable").expect("known")
    };
    let other = Repository::new();
    deliver(&other, [1, 2]);
    other.ingest(WalSource::Incoming).expect("a run");
    let name = name(2).parse().expect("a name");
    assert_eq!(Some(facts(2)), other.catalog.facts(&name).expect("readable"));
}

#[test]
fn what_is_replaced_after_it_was_looked_at_is_left_to_the_next_run() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    repository.ingest(WalSource::Incoming).expect("a run");
    deliver(&repository, 1..=3);
    let summary = repository.ingest_with(WalSource::Incoming, &mut |event| {
        // All three were looked at, and the others are archived together behind this one.
        if matches!(event, IngestEvent::AlreadyArchived(_)) {
            repository.write(&format!("incoming/{}", name(2)), segment(&name(2), 8));
        }
    });
    let expected = IngestSummary { archived: 1, already_archived: 1, ..IngestSummary::default() };
    assert_eq!(summary.expect("a run"), expected);
    assert_eq!((repository.recorded(), repository.names("incoming")), (vec![name(1), name(3)], vec![name(2)]));
    repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(repository.read(&archived(&name(2))), segment(&name(2), 8));
}

#[test]
fn two_errors_in_one_second_have_two_names() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    repository.ingest(WalSource::Incoming).expect("a run");
    let cancel = Cancel::new();
    let options = options(&cancel);
    for salt in [8, 9] {
        repository.write(&format!("incoming/{}", name(1)), segment(&name(1), salt));
        repository.catalog.ingest(WalSource::Incoming, &options, &mut |_| {}).expect("a run");
    }
    assert_eq!(repository.catalog.error_files().expect("readable").duplicates, 2);
}

#[test]
fn what_is_not_wal_is_moved_away_and_the_rest_goes_on() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    for junk in ["notawal", "0000000100000000000000zz", "x.tmp", ".hidden"] {
        repository.write(&format!("incoming/{junk}"), "junk");
    }
    let told = report(&repository, WalSource::Incoming);
    assert!(told.contains(&r#"Unknown(["0000000100000000000000zz", "notawal"])"#.to_owned()), "{told:?}");
    assert_eq!(repository.recorded(), [name(1)]);
    assert_eq!(repository.names("incoming"), [".hidden", "x.tmp"]);
    assert_eq!(repository.catalog.error_files().expect("readable").unknown, 2);
}

#[test]
fn what_is_no_plain_file_stays_and_is_not_reported_as_moved() {
    let repository = Repository::new();
    std::fs::create_dir(repository.path("incoming").join(name(2))).expect("directory");
    std::os::unix::fs::symlink("/nowhere", repository.path("incoming").join(name(3))).expect("link");
    let _socket = std::os::unix::net::UnixListener::bind(repository.path("incoming").join("socket")).expect("socket");
    let stay = [name(2), name(3), "socket".to_owned()];
    for moved in [0, 1, 0] {
        if moved == 1 {
            repository.write("incoming/notawal", "junk");
        }
        let mut reported = Vec::new();
        let summary = repository.ingest_with(WalSource::Incoming, &mut |event| {
            if let IngestEvent::Unknown(names) = event {
                reported.extend_from_slice(names);
            }
        });
        assert_eq!((summary.expect("a run").unknown, reported.len()), (moved, moved), "{reported:?}");
        assert_eq!(repository.names("incoming"), stay);
    }
}

#[test]
fn wal_of_another_cluster_is_refused() {
    let repository = Repository::new();
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    repository.catalog.write_identity(&identity).expect("identity");
    repository.write(&format!("incoming/{}", name(1)), segment_of(SystemId::new(42), &name(1), 1));
    repository.write(&format!("streaming/{}", name(1)), segment_of(SystemId::new(42), &name(1), 1));
    repository.write(&format!("streaming/{}.partial", name(2)), b"");
    for source in [WalSource::Streaming, WalSource::Incoming] {
        let told = report(&repository, source);
        assert!(told.iter().any(|event| event.contains("System { expected: ")), "{told:?}");
    }
    assert!(repository.archived().is_empty() && repository.recorded().is_empty());
    let reasons: Vec<_> = repository.names("errors").into_iter().filter(|name| name.ends_with(".reason")).collect();
    assert_eq!(reasons.len(), 2);
    let reason = repository.text(&format!("errors/{}", reasons[0]));
    assert!(reason.contains("system identifier 42, expected 7710294594766418489"), "{reason}");
    assert_eq!(repository.catalog.error_files().expect("readable").refused, 2);
}

#[test]
fn the_first_segment_says_which_cluster_it_is_until_something_else_does() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    repository.write(&format!("incoming/{}", name(2)), segment_of(SystemId::new(42), &name(2), 1));
    let summary = repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!((summary.archived, summary.refused), (1, 1));
}

#[test]
fn wal_that_is_not_what_its_name_says_is_refused() {
    let repository = Repository::new();
    let mut early_page = segment(&name(4), 1);
    early_page[2] = 0;
    let cases = [
        (name(1), segment(&name(2), 1), "Address"),
        (name(2), segment(&name(2), 1)[..1000].to_vec(), "Length"),
        (name(3), [segment(&name(3), 1), vec![0]].concat(), "Length"),
        (name(4), early_page, "NotFirstPage"),
        (name(5), b"\x10\xd1".to_vec(), "Length"),
        ("00000001000000000000F000".to_owned(), segment(&name(1), 1), "Impossible"),
    ];
    for (called, bytes, reason) in cases {
        repository.write(&format!("incoming/{called}"), bytes);
        let told = report(&repository, WalSource::Incoming);
        assert!(told.iter().any(|event| event.contains("Refused") && event.contains(reason)), "{called} {told:?}");
    }
    assert!(repository.archived().is_empty());
}

#[test]
fn a_file_that_is_still_being_written_is_left_for_later() {
    let repository = Repository::new();
    let whole = segment(&name(1), 1);
    let cancel = Cancel::new();
    let later = options(&cancel);
    let now = wal_format::Timestamp::from_unix_micros(later.now.unix_micros() - 7_200_000_000);
    let options = IngestOptions { now, ..later };
    let ingest = || repository.catalog.ingest(WalSource::Incoming, &options, &mut |_| {}).expect("a run");
    for length in [0, 10, 100_000] {
        repository.write(&format!("incoming/{}", name(1)), &whole[..length]);
        assert_eq!(ingest(), IngestSummary::default(), "{length}");
        assert_eq!(repository.names("incoming"), [name(1)]);
    }
    repository.write(&format!("incoming/{}", name(1)), &whole);
    assert_eq!(ingest().archived, 1);
}

#[test]
fn what_cannot_be_read_is_archived_with_a_warning() {
    let repository = Repository::new();
    let newer = newer(&segment(&name(2), 1));
    repository.write(&format!("incoming/{}", name(2)), &newer);
    repository.write(&format!("incoming/{}", name(3)), b"\x85\x01\x0c\x03 not really");
    let told = report(&repository, WalSource::Incoming);
    assert_eq!(told.iter().filter(|event| event.starts_with("Unverified")).count(), 2, "{told:?}");
    assert_eq!(repository.read(&archived(&name(2))), newer);
    let entries = repository.catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
    let columns: Vec<_> =
        entries.iter().map(|entry| (entry.compression.as_deref(), entry.encryption.as_deref())).collect();
    assert_eq!(columns, [(None, None), (None, Some("gpg"))]);
}

/// A segment as a version to come would write it.
fn newer(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for page in bytes.chunks_mut(8192).filter(|page| page.len() > 2) {
        page[..2].copy_from_slice(&0xD2FFu16.to_ne_bytes());
    }
    bytes
}

#[test]
fn wal_of_a_version_to_come_must_be_what_its_name_says() {
    let repository = Repository::new();
    repository.backup("20260101T000000", &name(1), &name(1), Status::Done);
    let whole = segment(&name(1), 1);
    let mut other_size = whole.clone();
    other_size[32..36].copy_from_slice(&(2u32 << 20).to_ne_bytes());
    other_size[8..16].copy_from_slice(&(2u64 << 20).to_ne_bytes());
    other_size.resize(2 << 20, 1);
    let no_size: Vec<_> = [&whole[..32], &3_000_000u32.to_ne_bytes(), &whole[36..]].concat();
    let mut more_flags = newer(&whole);
    more_flags[2..4].copy_from_slice(&0x0042u16.to_ne_bytes());
    let cases = [
        (b"random bytes of any length".repeat(4), "NoWal"),
        (b"random bytes of any length".repeat(40_330)[..whole.len()].to_vec(), "NoWal"),
        (vec![0; whole.len()], "NoWal"),
        (newer(&no_size), "SegmentSize"),
        (newer(&whole[..30]), "TooShort"),
        (newer(&whole[..1000]), "Length"),
        (newer(&[&whole[..], &[0]].concat()), "Length"),
        (newer(&segment(&name(2), 1)), "Address"),
        (newer(&segment_of(SystemId::new(42), &name(1), 1)), "System"),
        (newer(&other_size), "Size { expected: SegmentSize(1048576), found: SegmentSize(2097152) }"),
    ];
    for (bytes, reason) in cases {
        repository.write(&format!("incoming/{}", name(1)), bytes);
        let told = report(&repository, WalSource::Incoming);
        assert!(told.iter().any(|event| event.contains("Refused") && event.contains(reason)), "{reason} {told:?}");
        assert!(repository.archived().is_empty(), "{reason}");
    }
    repository.write(&format!("incoming/{}", name(1)), more_flags);
    let told = report(&repository, WalSource::Incoming);
    assert!(told.iter().any(|event| event.starts_with("Unverified")), "{told:?}");
    assert_eq!(repository.recorded(), [name(1)]);
}

#[test]
fn wal_of_a_version_to_come_may_be_partial_or_unfinished() {
    let repository = Repository::new();
    let bytes = newer(&segment(&name(1), 1));
    repository.write(&format!("incoming/{}.partial", name(1)), &bytes[..100_000]);
    assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").archived, 1);
    repository.write(&format!("incoming/{}", name(1)), &bytes[..100_000]);
    let cancel = Cancel::new();
    let later = options(&cancel);
    let now = wal_format::Timestamp::from_unix_micros(later.now.unix_micros() - 7_200_000_000);
    let options = IngestOptions { now, ..later };
    let summary = repository.catalog.ingest(WalSource::Incoming, &options, &mut |_| {}).expect("a run");
    assert_eq!((summary, repository.names("incoming")), (IngestSummary::default(), vec![name(1)]));
}

#[test]
fn the_refusal_of_what_is_no_wal_says_what_was_expected() {
    let repository = Repository::new();
    let mut bytes = newer(&segment(&name(1), 1));
    bytes[..2].copy_from_slice(&0x1234u16.to_ne_bytes());
    bytes[32..36].copy_from_slice(&7u32.to_ne_bytes());
    repository.write(&format!("incoming/{}", name(1)), bytes);
    repository.ingest(WalSource::Incoming).expect("a run");
    let errors = repository.names("errors");
    let reason = repository.text(&format!("errors/{}", errors[1]));
    assert!(reason.contains("magic 0x1234"), "{reason}");
    assert!(reason.contains("segment size at byte 32 is 7, expected a power of two"), "{reason}");
}

#[test]
fn what_is_no_timeline_history_is_refused() {
    let repository = Repository::new();
    for (bytes, reason) in [
        (b"".to_vec(), "has 0 bytes, expected 1 to 1048576"),
        (vec![b'\n'; (1 << 20) + 1], "has 1048577 bytes, expected 1 to 1048576"),
        (b"# no more\n".to_vec(), "expected an ancestor at byte 10, found the end"),
        (b"nonsense\n".to_vec(), "at byte 0, found \"nonsense\""),
        (b"2\t0/3000000\ta later timeline\n".to_vec(), "below the file's own"),
    ] {
        repository.write(&format!("incoming/{HISTORY}"), bytes);
        let mut refusals = Vec::new();
        let summary = repository.ingest_with(WalSource::Incoming, &mut |event| {
            if let IngestEvent::Refused { reason, .. } = event {
                let source = std::error::Error::source(reason).map(ToString::to_string);
                refusals.push(format!("{reason}: {}", source.unwrap_or_default()));
            }
        });
        assert_eq!(summary.expect("a run").refused, 1, "{reason}");
        assert!(refusals[0].contains(HISTORY) && refusals[0].contains(reason), "{refusals:?}");
        assert!(repository.archived().is_empty() && repository.recorded().is_empty());
    }
    repository.write(&format!("incoming/{HISTORY}"), "1\t0/3000000\treason\n");
    assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").archived, 1);
}

#[test]
fn compressed_copies_cannot_be_compared_with_plain_ones() {
    let repository = Repository::new();
    repository.write(&archived(&name(1)), b"\x1f\x8b\x08\x00 by barman");
    deliver(&repository, [1]);
    let mut reason = None;
    let summary = repository.ingest_with(WalSource::Incoming, &mut |event| {
        if let IngestEvent::Refused { reason: found, .. } = event {
            reason = Some(found.clone());
        }
    });
    assert_eq!(summary.expect("a run").duplicates, 1);
    assert!(matches!(reason, Some(Refusal::Duplicate { stored, .. }) if stored.compression() == Some("gzip")));
}

#[test]
fn a_file_that_barman_archived_and_did_not_record_is_recorded() {
    let repository = Repository::new();
    deliver(&repository, [1]);
    repository.ingest(WalSource::Incoming).expect("a run");
    deliver(&repository, [2]);
    repository.write(&archived(&name(2)), segment(&name(2), 7));
    let summary = repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(summary.already_archived, 1);
    assert_eq!(repository.recorded(), [name(1), name(2)]);
}

/// Notes what it is told, and stops before one file.
#[derive(Default)]
struct Script {
    told: RefCell<Vec<String>>,
    stop_before: Option<String>,
}

impl Hooks for Script {
    fn before_archive(&self, file: ArchivedFile<'_>) -> HookDecision {
        let name = file.entry.name.to_string();
        assert!(file.path.ends_with(format!("incoming/{name}")) && file.path.exists());
        self.told.borrow_mut().push(format!("before {name} {}", file.entry.size));
        if self.stop_before == Some(name) { HookDecision::Stop } else { HookDecision::Continue }
    }

    fn after_archive(&self, file: ArchivedFile<'_>) {
        let error = file.error.map(|error| format!(": {error}")).unwrap_or_default();
        self.told.borrow_mut().push(format!("after {}{error}", file.path.file_name().expect("a name").display()));
    }
}

#[test]
fn hooks_run_around_every_file_and_can_stop_the_run() {
    let repository = Repository::new();
    deliver(&repository, 1..=3);
    repository.write(&format!("incoming/{}", name(2)), segment(&name(9), 7));
    let script = Script { stop_before: Some(name(3)), ..Script::default() };
    let cancel = Cancel::new();
    let options = IngestOptions { hooks: &script, ..options(&cancel) };
    let summary = repository.catalog.ingest(WalSource::Incoming, &options, &mut |_| {}).expect("a run");
    assert_eq!((summary.archived, summary.refused), (1, 1));
    let told = script.told.into_inner();
    assert_eq!(told[0], format!("before {} {SEGMENT_BYTES}", name(1)));
    assert_eq!(told[1], format!("after {}", name(1)));
    assert!(told[3].contains(": "), "{told:?}");
    assert_eq!(told[4..], [format!("before {} {SEGMENT_BYTES}", name(3))]);
    assert_eq!(repository.names("incoming"), [name(3)]);
}

#[test]
fn a_cancelled_run_leaves_what_it_has_not_begun() {
    let repository = Repository::new();
    // Sixteen are archived together.
    deliver(&repository, 1..=17);
    let cancel = Cancel::new();
    let options = options(&cancel);
    let result = repository.catalog.ingest(WalSource::Incoming, &options, &mut |event| {
        if matches!(event, IngestEvent::Archived(_)) {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(Error::Cancelled(_))));
    let begun: Vec<String> = (1..=16).map(name).collect();
    assert_eq!((repository.recorded(), repository.names("incoming")), (begun, vec![name(17)]));
}

/// Cuts a file when its turn has come and its length is known: what is read of it then ends too early, as on a bad sector.
struct Cutting<'r>(&'r Repository, u64);

impl Hooks for Cutting<'_> {
    fn before_archive(&self, file: ArchivedFile<'_>) -> HookDecision {
        if file.path.ends_with(name(self.1)) {
            self.0.write(&format!("incoming/{}", name(self.1)), &segment(&name(self.1), 1)[..500_000]);
        }
        HookDecision::Continue
    }
}

/// They would wait for ever behind it.
#[test]
fn what_is_behind_an_unreadable_file_is_archived() {
    for batch_size in [None, NonZeroUsize::new(3), NonZeroUsize::new(2)] {
        let repository = Repository::new();
        for number in 1..=4 {
            repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 1));
        }
        let (cancel, mut unreadable) = (Cancel::new(), Vec::new());
        let options = IngestOptions { hooks: &Cutting(&repository, 2), batch_size, ..options(&cancel) };
        let mut tell = |event: IngestEvent<'_>| {
            if let IngestEvent::Unreadable { name, error } = event {
                unreadable.push((name.to_string(), error.path().to_owned()));
            }
        };
        let failed = repository.catalog.ingest(WalSource::Incoming, &options, &mut tell);
        let path = repository.path(&format!("incoming/{}", name(2)));
        assert!(matches!(&failed, Err(Error::Storage(error)) if error.path() == path), "{failed:?}");
        assert_eq!(unreadable, [(name(2), path.clone())]);
        let archived = if batch_size.is_some_and(|size| size.get() == 2) { vec![1, 3] } else { vec![1, 3, 4] };
        assert_eq!(repository.recorded(), archived.into_iter().map(name).collect::<Vec<_>>(), "{batch_size:?}");
        assert!(path.exists());
    }
}

/// A disk that fails when a file is about to be stored, and not when it is looked at.
#[test]
fn what_is_behind_a_file_that_cannot_be_synced_is_archived() {
    const EIO: i32 = 5;
    let delivered = || {
        let repository = Repository::new();
        deliver(&repository, 1..=4);
        let recorder = Recorder::start(&repository.home);
        (Repository::at(&repository.home), repository, recorder)
    };
    let (run, _home, recorder) = delivered();
    run.ingest(WalSource::Incoming).expect("a run");
    let recording = recorder.recording();
    let is_of_first = |sync: &usize| recording.synced(*sync).is_some_and(|path| path.ends_with(name(1)));
    let sync = recording.syncs().into_iter().find(is_of_first).expect("it is synced");

    let (run, _home, recorder) = delivered();
    recorder.fail_at(sync, EIO);
    let mut told = Vec::new();
    let failed = run.ingest_with(WalSource::Incoming, &mut |event| told.push(format!("{event:?}")));
    let path = run.path(&format!("incoming/{}", name(1)));
    assert!(matches!(&failed, Err(Error::Storage(error)) if error.path() == path), "{failed:?}");
    assert_eq!(told.iter().filter(|event| event.starts_with("Unreadable")).count(), 1, "{told:#?}");
    assert_eq!((run.recorded(), run.names("incoming")), ([2, 3, 4].map(name).to_vec(), vec![name(1)]));
    assert_eq!(run.facts(&name(2)).verdict, Verdict::BorderOpen, "what is before it is not there");
    assert_eq!(run.ingest(WalSource::Incoming).expect("a run").archived, 1);
    assert_eq!(run.facts(&name(2)).verdict, Verdict::Verified);
}

#[test]
fn the_newest_segment_that_can_be_read_says_which_cluster_it_is() {
    let repository = Repository::new();
    deliver(&repository, 1..=2);
    repository.ingest(WalSource::Incoming).expect("a run");
    std::fs::remove_dir_all(repository.path("ledger")).expect("it is ours");
    // A link that leads nowhere can be opened by nobody.
    let path = repository.path(&archived(&name(3)));
    std::os::unix::fs::symlink(&path, &path).expect("a link");
    repository.write(&format!("incoming/{}", name(4)), segment_of(SystemId::new(42), &name(4), 7));
    deliver(&repository, [5]);
    let summary = repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(
        (summary.refused, summary.archived),
        (1, 1),
        "the archive has WAL of another cluster than the first one's"
    );
}

/// What lies beside a segment that arrives is judged together with it only if it can be read.
#[test]
fn an_archived_segment_that_cannot_be_read_keeps_no_other_waiting() {
    let repository = Repository::new();
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    repository.catalog.write_identity(&identity).expect("written");
    repository.write(&format!("wals/0000000100000000/{}", name(1)), segment(&name(1), 1));
    // A link that leads nowhere can be opened by nobody.
    let path = repository.path(&format!("wals/0000000100000000/{}", name(2)));
    std::os::unix::fs::symlink(&path, &path).expect("a link");
    repository.write(&format!("incoming/{}", name(3)), segment(&name(3), 1));
    repository.ingest(WalSource::Incoming).expect("a run");
    assert_eq!(repository.facts(&name(3)).verdict, Verdict::BorderOpen);
}
