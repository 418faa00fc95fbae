//! WAL that comes as a tar stream.

use barman_catalog::{Identity, PutWalError, PutWalNote, Verdict, WalSource};
use barman_storage::Cancel;
use barman_storage::codec::Algorithm;
use wal_format::{ChecksumAlgorithm, Hasher, SystemId};

use crate::compression::{storing, with};
use crate::repository::{Repository, SYSTEM, name, options, segment, segment_of};

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().expect("a checksum").bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mtime(1_795_193_057);
    tar.append_data(&mut header, name, bytes).expect("append");
}

/// A stream of these files and their checksums, as `barman-wal-archive` writes it.
pub(crate) fn stream(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut sums = String::new();
    for (name, bytes) in files {
        append(&mut tar, name, bytes);
        sums += &format!("{} *{name}\n", sha256(bytes));
    }
    append(&mut tar, "SHA256SUMS", sums.as_bytes());
    tar.into_inner().expect("tar")
}

pub(crate) fn put(repository: &Repository, stream: &[u8]) -> Result<Vec<PutWalNote>, PutWalError> {
    let mut notes = Vec::new();
    let now = options(&Cancel::new()).now;
    repository.catalog.put_wal(&mut &*stream, None, now, &mut |note| notes.push(note)).map(|()| notes)
}

fn refused(repository: &Repository, stream: &[u8]) -> String {
    put(repository, stream).expect_err("refused").to_string()
}

#[test]
fn files_that_are_whole_wait_to_be_archived() {
    let repository = Repository::new();
    let bytes = segment(&name(1), 1);
    let history: &[u8] = b"1\t0/3000000\treason\n";
    put(&repository, &stream(&[(&name(1), &bytes), ("00000002.history", history)])).expect("taken");
    assert_eq!(repository.names("incoming"), [name(1), "00000002.history".to_owned()]);
    assert_eq!(repository.read(&format!("incoming/{}", name(1))), bytes);
    put(&repository, &stream(&[(&name(1), &bytes)])).expect("the same again");
    assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").archived, 2);
    assert!(repository.text("wals/main-xlog.db").contains("\t1795193057.0\t"), "with the time of the sender");
}

/// Whoever writes to a pipe that nobody reads any more fails: Barman's client did so once in thirty times.
#[test]
fn a_stream_is_read_up_to_its_end() {
    let repository = Repository::new();
    let history: &[u8] = b"1\t0/3000000\treason\n";
    let mut padded = stream(&[("00000002.history", history)]);
    padded.resize(10_240, 0);
    let mut rest = padded.as_slice();
    repository.catalog.put_wal(&mut rest, None, options(&Cancel::new()).now, &mut |_| {}).expect("taken");
    assert!(rest.is_empty(), "{} bytes were left", rest.len());
}

#[test]
fn a_stream_that_does_not_add_up_leaves_nothing() {
    let repository = Repository::new();
    let bytes = segment(&name(1), 1);
    let with = |sums: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, &name(1), &bytes);
        append(&mut tar, "SHA256SUMS", sums.as_bytes());
        tar.into_inner().expect("tar")
    };
    let right = format!("{} *{}\n", sha256(&bytes), name(1));
    assert_eq!(refused(&repository, &with("")), format!("Missing checksum for file '{}'", name(1)));
    let wrong = format!("0000 *{}\n", name(1));
    let expected = format!("Bad file checksum '{}' (should be 0000) for file '{}'", sha256(&bytes), name(1));
    assert_eq!(refused(&repository, &with(&wrong)), expected);
    let more = format!("{right}0000 *{}\n", name(2));
    assert_eq!(refused(&repository, &with(&more)), format!("Checksum without corresponding file '{}'", name(2)));
    let whole = with(&right);
    for length in [0, 100, 512, 5000, bytes.len(), bytes.len() + 600] {
        assert!(put(&repository, &whole[..length]).is_err() || length == 0, "{length}");
    }
    assert!(matches!(put(&repository, b"this is no tar archive at all").unwrap_err(), PutWalError::Stream(_)));
    assert!(repository.names("incoming").is_empty(), "{:?}", repository.names("incoming"));
    let notes = put(&repository, &with(&format!("badline\n{right}"))).expect("taken");
    assert_eq!(notes, [PutWalNote::BadChecksumLine("badline".to_owned())]);
}

#[test]
fn only_plain_files_with_plain_names_are_taken() {
    let repository = Repository::new();
    assert_eq!(refused(&repository, &stream(&[("d/x", b"x")])), "Unsupported filename 'd/x'");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    tar.append_data(&mut header, "d", &[][..]).expect("append");
    let refusal = refused(&repository, &tar.into_inner().expect("tar"));
    assert!(
        refusal == "Unsupported file type 'b'5'' for file 'd'" || refusal == "Unsupported filename 'd/'",
        "{refusal}"
    );
}

#[test]
fn md5_stands_for_the_whole_stream() {
    let repository = Repository::new();
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "00000002.history", b"1\t0/3000000\treason\n");
    // md5sum of these bytes.
    let sum = "0".repeat(32);
    append(&mut tar, "MD5SUMS", format!("{sum} *00000002.history\n").as_bytes());
    let refusal = refused(&repository, &tar.into_inner().expect("tar"));
    assert!(refusal.starts_with("Bad file checksum '") && refusal.contains("(should be 0000"), "{refusal}");
    assert_eq!(refusal.split('\'').nth(1).expect("a checksum").len(), 32);
}

#[test]
fn damage_is_refused_once_and_taken_the_second_time() {
    let repository = Repository::new();
    let mut damaged = segment(&name(1), 1);
    damaged[5 * 8192..6 * 8192].fill(0);
    let refusal = refused(&repository, &stream(&[(&name(1), &damaged)]));
    assert!(refusal.contains("is damaged: WAL at 0/10A000 cannot be believed"), "{refusal}");
    assert!(repository.names("incoming").is_empty());
    // Other bytes are another first time.
    let mut other = damaged.clone();
    other[9 * 8192..10 * 8192].fill(0);
    assert!(put(&repository, &stream(&[(&name(1), &other)])).is_err());
    let notes = put(&repository, &stream(&[(&name(1), &damaged)])).expect("PostgreSQL has nothing else");
    assert_eq!(notes, [PutWalNote::Damaged(name(1).parse().expect("a name"))]);
    assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").damaged, 1);
    let facts = repository.catalog.facts(&name(1).parse().expect("a name")).expect("readable").expect("known");
    assert!(matches!(facts.verdict, Verdict::Damaged { .. }));
}

#[test]
fn what_the_way_did_to_a_segment_is_made_good_by_sending_it_again() {
    let repository = Repository::new();
    let sound = segment(&name(1), 1);
    let mut damaged = sound.clone();
    damaged[100_000] ^= 1;
    assert!(put(&repository, &stream(&[(&name(1), &damaged)])).is_err());
    put(&repository, &stream(&[(&name(1), &sound)])).expect("taken");
    assert_eq!(repository.read(&format!("incoming/{}", name(1))), sound);
}

#[test]
fn a_truncated_segment_and_wal_of_another_cluster_are_never_taken() {
    let repository = Repository::new();
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    repository.catalog.write_identity(&identity).expect("identity");
    let foreign = segment_of(SystemId::new(42), &name(1), 1);
    let cut = &segment(&name(1), 1)[..500_000];
    for _ in 0..3 {
        match put(&repository, &stream(&[(&name(1), &foreign)])).expect_err("refused") {
            PutWalError::Foreign { reason, expected } => {
                assert!(reason.contains("system identifier 42"), "{reason}");
                assert_eq!(expected, Some(SYSTEM));
            }
            other => panic!("{other}"),
        }
        let refusal = refused(&repository, &stream(&[(&name(1), cut)]));
        assert!(refusal.contains("500000 bytes, expected 1048576"), "{refusal}");
    }
    assert!(repository.names("incoming").is_empty());
}

#[test]
fn a_damaged_border_never_holds_back_the_later_segment() {
    let repository = Repository::new();
    let mut before = segment(&name(1), 1);
    let length = before.len();
    // The last record: what follows it will not know its neighbour any more.
    before[length - 20] ^= 1;
    repository.write(&format!("incoming/{}", name(1)), &before);
    repository.ingest(WalSource::Incoming).expect("a run");
    put(&repository, &stream(&[(&name(2), &segment(&name(2), 1))])).expect("taken");
}

#[test]
fn other_contents_go_to_errors_and_the_sender_is_told() {
    let repository = Repository::new();
    put(&repository, &stream(&[(&name(1), &segment(&name(1), 1))])).expect("taken");
    let conflict = put(&repository, &stream(&[(&name(1), &segment(&name(1), 2))])).expect_err("different");
    assert!(matches!(conflict, PutWalError::Conflict { .. }), "{conflict}");
    assert_eq!(repository.catalog.error_files().expect("readable").duplicates, 1);
    assert!(repository.names("errors")[0].starts_with(&name(1)));
    assert_eq!(repository.read(&format!("incoming/{}", name(1))), segment(&name(1), 1));
    assert_eq!(repository.names("incoming"), [name(1)]);
}

/// Refused for ever, it would keep all later WAL on the server.
#[test]
fn what_is_archived_with_other_contents_is_refused_once_and_stays_in_errors() {
    let repository = Repository::new();
    let (archived, other) = (segment(&name(1), 1), stream(&[(&name(1), &segment(&name(1), 2))]));
    put(&repository, &stream(&[(&name(1), &archived)])).expect("taken");
    repository.ingest(WalSource::Incoming).expect("a run");
    let refusal = refused(&repository, &other);
    assert!(refusal.starts_with(&format!("{} is archived already, with other contents", name(1))), "{refusal}");
    for _ in 0..2 {
        assert_eq!(put(&repository, &other).expect("it is kept"), [PutWalNote::KeptInErrors(name(1))]);
        let [kept, reason] = repository.names("errors").try_into().expect("it is kept once, with the reason");
        assert_eq!(repository.read(&format!("errors/{kept}")), segment(&name(1), 2));
        assert_eq!(
            (format!("{kept}.reason"), repository.text(&format!("errors/{reason}"))),
            (reason, refusal.clone() + "\n")
        );
    }
    // Other bytes are another first time; what is taken out of `errors/` is not kept any more.
    refused(&repository, &stream(&[(&name(1), &segment(&name(1), 3))]));
    std::fs::remove_dir_all(repository.path("errors")).expect("it is ours");
    refused(&repository, &other);
    put(&repository, &stream(&[(&name(1), &archived)])).expect("the same as in the archive");
    assert_eq!(repository.names("incoming"), [name(1)]);
    assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").already_archived, 1);
}

#[test]
fn what_is_archived_compressed_is_compared_by_what_it_holds() {
    let repository = Repository::new();
    let catalog = storing(&repository, with(Algorithm::Zstd));
    let now = options(&Cancel::new()).now;
    let put = |salt| {
        let sent = stream(&[(&name(1), &segment(&name(1), salt))]);
        catalog.put_wal(&mut &*sent, None, now, &mut |_| {})
    };
    put(1).expect("taken");
    catalog.ingest(WalSource::Incoming, &options(&Cancel::new()), &mut |_| {}).expect("a run");
    put(1).expect("the same");
    std::fs::remove_file(repository.path(&format!("incoming/{}", name(1)))).expect("it is ours");
    assert!(matches!(put(2), Err(PutWalError::ArchivedOtherwise { .. })));
}

/// An unfinished segment grows: which one is kept is decided when it is archived.
#[test]
fn a_longer_unfinished_segment_is_no_conflict() {
    let repository = Repository::new();
    let whole = segment(&name(1), 1);
    let sent = |length: usize| {
        let mut bytes = whole[..length].to_vec();
        bytes.resize(whole.len(), 0);
        stream(&[(&format!("{}.partial", name(1)), &bytes)])
    };
    for length in [100_000, 500_000] {
        put(&repository, &sent(length)).expect("taken");
        assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").archived, 1);
    }
}

#[test]
fn what_waits_with_other_contents_keeps_one_copy_in_errors() {
    let repository = Repository::new();
    put(&repository, &stream(&[(&name(1), &segment(&name(1), 1))])).expect("taken");
    for _ in 0..3 {
        refused(&repository, &stream(&[(&name(1), &segment(&name(1), 2))]));
    }
    assert_eq!(repository.catalog.error_files().expect("readable").duplicates, 1);
}

#[test]
fn the_connection_says_which_cluster_it_is_where_nothing_recorded_does() {
    let (theirs, sent) = (SystemId::new(7), stream(&[(&name(1), &segment(&name(1), 1))]));
    let put = |repository: &Repository, connected| {
        repository.catalog.put_wal(&mut &*sent, Some(connected), options(&Cancel::new()).now, &mut |_| {})
    };
    let repository = Repository::new();
    assert!(
        matches!(put(&repository, theirs), Err(PutWalError::Foreign { expected: Some(expected), .. }) if expected == theirs)
    );
    put(&repository, SYSTEM).expect("taken");
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    repository.catalog.write_identity(&identity).expect("written");
    put(&repository, theirs).expect("what is recorded comes first");
}
