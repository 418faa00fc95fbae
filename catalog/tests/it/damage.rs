//! Twelve kinds of damage by every way in, in and out of order (invariant 5): what does not belong here is refused with the
//! reason, what PostgreSQL may have written is archived and marked where it is, the segments around it are none the worse,
//! and what is sent again, or comes next, is archived.

use std::fmt::Debug;

use barman_catalog::{Identity, PutWalError, PutWalNote, Verdict, WalSource};
use barman_storage::Cancel;
use wal_format::testing::WalBuilder;
use wal_format::{Lsn, SegmentNumber, WalFileName, WalLayout};

use crate::put_wal::{put, stream};
use crate::repository::{Repository, SEGMENT_BYTES, SYSTEM, name, options, segment_size};

const PAGE: usize = 8192;

/// Four segments of one server, each of which ends with a switch.
struct Wal {
    segments: Vec<Vec<u8>>,
    /// Where the long record of the second one begins, and its last one.
    long: usize,
    last: usize,
}

impl Wal {
    fn new() -> Self {
        let layout = WalLayout { system_id: SYSTEM, ..WalBuilder::layout(segment_size(), 8192) };
        let mut wal = WalBuilder::at(layout, SegmentNumber::new(1));
        let mut records = Vec::new();
        for _ in 1..=4 {
            wal.message(100);
            records.push((wal.message(20_000), wal.message(100)));
            wal.switch();
        }
        let segment = |lsn| wal.offset(lsn) - SEGMENT_BYTES as usize;
        let (long, last) = (segment(records[1].0), segment(records[1].1));
        Self { segments: wal.segments().into_iter().map(<[u8]>::to_vec).collect(), long, last }
    }

    /// Segment `number`, the first being 1.
    fn sound(&self, number: usize) -> &[u8] {
        &self.segments[number - 1]
    }
}

/// What becomes of a damaged segment.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It does not belong here, or the way has damaged it. The reason has these words in it.
    Refused(&'static str),
    /// It cannot be believed from this offset on.
    Marked(usize),
}
use Fate::{Marked, Refused};

/// The kinds, as in `wal-format`, done to the second segment.
fn kinds(wal: &Wal) -> [(&'static str, Vec<u8>, Fate); 12] {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = wal.sound(2).to_vec();
        change(&mut bytes);
        bytes
    };
    let put = |at: usize, value: &[u8]| with(&|bytes: &mut Vec<u8>| bytes[at..at + value.len()].copy_from_slice(value));
    let hole = |bytes: &mut Vec<u8>| {
        bytes.drain(PAGE..2 * PAGE);
        bytes.resize(SEGMENT_BYTES as usize, 0);
    };
    let stale = wal.last + 4096;
    [
        ("bit flip", with(&|bytes| bytes[wal.long + 40] ^= 4), Marked(wal.long)),
        ("hole", with(&hole), Marked(PAGE)),
        ("truncation", with(&|bytes| bytes.truncate(500_000)), Refused("500000 bytes, expected 1048576")),
        ("swapped segments", wal.sound(3).to_vec(), Refused("is not what it is called")),
        ("foreign system identifier", put(24, &[9; 8]), Refused("system identifier")),
        ("reused name", wal.sound(1).to_vec(), Refused("is not what it is called")),
        ("wrong page address", put(2 * PAGE + 8, &[7; 8]), Marked(2 * PAGE)),
        ("zeroed page", with(&|bytes| bytes[PAGE..2 * PAGE].fill(0)), Marked(PAGE)),
        ("broken contrecord", put(PAGE + 16, &[1]), Marked(PAGE)),
        ("stale tail", put(stale, &[1; 64]), Marked(stale)),
        ("wrong magic", put(PAGE, &0xD116_u16.to_ne_bytes()), Marked(PAGE)),
        ("wrong segment size", put(32, &(16_u32 << 20).to_ne_bytes()), Refused("bytes")),
    ]
}

/// A way into the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    PutWal,
    Incoming,
    Streaming,
    /// The receiver archives each segment as soon as it is complete.
    Receiver,
}

/// What a way said of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Archived,
    /// The sender was told this, or it lies beside the file in `errors/`.
    Refused(String),
    /// The archive has other contents.
    Differs,
}

fn file(number: u64) -> WalFileName {
    name(number).parse().expect("a name")
}

fn send(repository: &Repository, way: Way, number: u64, bytes: &[u8]) -> Said {
    if way == Way::PutWal {
        return send_by_put_wal(repository, number, bytes);
    }
    let source = if way == Way::Incoming { WalSource::Incoming } else { WalSource::Streaming };
    let directory = if way == Way::Incoming { "incoming" } else { "streaming" };
    repository.write(&format!("{directory}/{}", name(number)), bytes);
    let cancel = Cancel::new();
    let options = options(&cancel);
    let summary = if way == Way::Receiver {
        repository.catalog.ingest_file(source, file(number), &options, &mut |_| {})
    } else {
        repository.catalog.ingest(source, &options, &mut |_| {})
    };
    let summary = summary.expect("a run is never stopped by what is in a file");
    match (summary.archived, summary.refused, summary.duplicates) {
        (1, 0, 0) => Said::Archived,
        (0, 1, 0) => Said::Refused(reason(repository)),
        (0, 0, 1) => Said::Differs,
        _ => panic!("{way:?} {number}: {summary:?}"),
    }
}

fn send_by_put_wal(repository: &Repository, number: u64, bytes: &[u8]) -> Said {
    match put(repository, &stream(&[(&name(number), bytes)])) {
        Err(PutWalError::Catalog(error)) => panic!("{error}"),
        Err(PutWalError::ArchivedOtherwise { .. }) => Said::Differs,
        Err(refusal) => Said::Refused(refusal.to_string()),
        Ok(_) => match repository.ingest(WalSource::Incoming).expect("a run") {
            summary if summary.archived == 1 => Said::Archived,
            summary if summary.duplicates == 1 => Said::Differs,
            summary => panic!("{summary:?}"),
        },
    }
}

/// What lies beside the only refused file.
fn reason(repository: &Repository) -> String {
    let files = repository.names("errors");
    let reason = files.iter().find(|name| name.ends_with(".refused.reason")).expect("a reason");
    repository.text(&format!("errors/{reason}"))
}

fn verdict(repository: &Repository, number: u64) -> Verdict {
    repository.catalog.facts(&file(number)).expect("readable").expect("known").verdict
}

#[track_caller]
fn assert_sound(repository: &Repository, numbers: &[u64], when: &dyn Debug) {
    for number in numbers {
        let verdict = verdict(repository, *number);
        assert!(matches!(verdict, Verdict::Verified | Verdict::BorderOpen), "{number}: {verdict:?} {when:?}");
        assert!(repository.recorded().contains(&name(*number)), "{number} {when:?}");
    }
}

/// Sends the damaged segment after the first one and before the third, or the other way round; then what a server does next.
fn prove(way: Way, order: [u64; 3], wal: &Wal, (kind, damaged, fate): &(&'static str, Vec<u8>, Fate)) {
    let when = (kind, way, order);
    let repository = Repository::new();
    // So that streaming/ holds back nothing of what comes: there is a newer `.partial` file.
    repository.write(&format!("streaming/{}.partial", name(9)), wal.sound(1));
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    repository.catalog.write_identity(&identity).expect("identity");
    for number in order {
        if number != 2 {
            let sound = wal.sound(usize::try_from(number).expect("small"));
            assert_eq!(send(&repository, way, number, sound), Said::Archived, "{when:?}");
            continue;
        }
        let said = send(&repository, way, 2, damaged);
        match (fate, way) {
            (Refused(words), _) => {
                assert!(matches!(&said, Said::Refused(reason) if reason.contains(words)), "{said:?} {when:?}");
                assert!(!repository.archived().contains(&name(2)), "{when:?}");
            }
            (Marked(at), Way::PutWal) => {
                // The first time it may have been the way; the second time PostgreSQL has nothing else.
                let words = format!("WAL at {} cannot be believed", at_offset(*at));
                assert!(matches!(&said, Said::Refused(reason) if reason.contains(&words)), "{said:?} {when:?}");
                assert_taken(&repository, damaged, &when);
            }
            (Marked(_), _) => assert_eq!(said, Said::Archived, "{when:?}"),
        }
    }
    assert_sound(&repository, &[1, 3], &when);
    if let Marked(offset) = fate {
        let verdict = verdict(&repository, 2);
        assert!(matches!(verdict, Verdict::Damaged { at, .. } if at == at_offset(*offset)), "{verdict:?} {when:?}");
    }
    assert_goes_on(&repository, way, wal, *fate, &when);
}

fn at_offset(offset: usize) -> Lsn {
    Lsn::new(2 * SEGMENT_BYTES + offset as u64)
}

fn assert_taken(repository: &Repository, damaged: &[u8], when: &dyn Debug) {
    let notes = put(repository, &stream(&[(&name(2), damaged)])).expect("PostgreSQL has nothing else");
    assert_eq!(notes, [PutWalNote::Damaged(file(2))], "{when:?}");
    assert_eq!(repository.ingest(WalSource::Incoming).expect("a run").archived, 1, "{when:?}");
}

/// Sent again whole, a segment is archived unless it is already; and the next one is.
fn assert_goes_on(repository: &Repository, way: Way, wal: &Wal, fate: Fate, when: &dyn Debug) {
    let expected = if matches!(fate, Refused(_)) { Said::Archived } else { Said::Differs };
    assert_eq!(send(repository, way, 2, wal.sound(2)), expected, "{when:?}");
    assert_eq!(send(repository, way, 4, wal.sound(4)), Said::Archived, "{when:?}");
    assert_sound(repository, &[1, 3, 4], when);
    if expected == Said::Archived {
        assert_sound(repository, &[2], when);
    }
    assert!(repository.names("incoming").is_empty(), "{when:?}");
    assert_eq!(repository.names("streaming"), [format!("{}.partial", name(9))], "{when:?}");
}

fn prove_all(way: Way) {
    let wal = Wal::new();
    for kind in kinds(&wal) {
        for order in [[1, 2, 3], [3, 2, 1], [1, 3, 2]] {
            prove(way, order, &wal, &kind);
        }
    }
}

#[test]
fn through_put_wal() {
    prove_all(Way::PutWal);
}

#[test]
fn through_incoming() {
    prove_all(Way::Incoming);
}

#[test]
fn through_streaming() {
    prove_all(Way::Streaming);
}

#[test]
fn from_the_receiver() {
    prove_all(Way::Receiver);
}
