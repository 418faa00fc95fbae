use super::observer::Notes;
use super::*;
use proptest::prelude::*;
use wal_format::testing::WalBuilder;
use wal_format::{SegmentHeader, SegmentName, SegmentNumber, SegmentSize, Source};

macro_rules! golden {
    ($major:literal) => {
        (
            include_bytes!(concat!("../../../../wal-format/testdata/", $major, "/segment")),
            include_str!(concat!("../../../../wal-format/testdata/", $major, "/segment.waldump")),
        )
    };
}
const GOLDEN: [(&[u8], &str); 6] =
    [golden!("13"), golden!("15"), golden!("16"), golden!("17"), golden!("18"), golden!("19")];

fn observe(segment: &[u8], size: SegmentSize) -> Observed {
    let header = SegmentHeader::parse(segment).unwrap();
    let start = header.page_address;
    let name = SegmentNumber::containing(start, size).name(header.timeline, size);
    let mut observer = Observer::new(name, (start, size), Source::Complete, None);
    segment.chunks(10_000).for_each(|chunk| observer.take(chunk));
    observer.finish()
}

/// The golden segment of this number in the table, whole, and what `pg_waldump` says about it.
fn golden_facts(index: usize) -> (RecordFacts, Vec<&'static str>) {
    let (segment, text) = GOLDEN[index];
    let size = SegmentHeader::parse(segment).unwrap().segment_size;
    let mut whole = segment.to_vec();
    whole.resize(usize::try_from(size.bytes()).unwrap(), 0);
    let observed = observe(&whole, size);
    assert_eq!(observed.damage, None);
    (observed.records.unwrap(), text.lines().filter(|line| line.starts_with("rmgr:")).collect())
}

/// What follows `key` in a line of `pg_waldump`.
fn word<'a>(line: &'a str, key: &str) -> &'a str {
    let (_, rest) = line.split_once(key).unwrap();
    rest.trim_start().split([',', ' ', ';']).next().unwrap()
}

#[test]
fn the_facts_are_those_that_pg_waldump_tells() {
    for index in 0..GOLDEN.len() {
        let (facts, lines) = golden_facts(index);
        let lsn = |line: &&str| word(line, "lsn: ").parse::<Lsn>().unwrap();
        assert_eq!(Some(facts.first), lines.first().map(lsn));
        assert_eq!(Some(facts.last), lines.last().map(lsn));
        let xids: Vec<u32> =
            lines.iter().map(|line| word(line, "tx:").parse().unwrap()).filter(|xid| *xid != 0).collect();
        let range = facts.xids.unwrap();
        assert_eq!(Some(&range.lowest), xids.iter().min());
        assert_eq!(Some(&(range.lowest + range.span)), xids.iter().max());
        let of_kind = |manager: &str, kind: &str| -> Vec<Lsn> {
            let is = |line: &&&str| line.contains(manager) && line.contains(kind);
            lines.iter().filter(is).map(lsn).collect()
        };
        let events = |is: fn(&WalEventKind) -> bool| -> Vec<Lsn> {
            facts.events.iter().filter(|event| is(&event.kind)).map(|event| event.lsn).collect()
        };
        let checkpoints: Vec<_> = facts.checkpoints.iter().map(|checkpoint| checkpoint.lsn).collect();
        assert_eq!(checkpoints, of_kind("rmgr: XLOG", "desc: CHECKPOINT_ONLINE"));
        assert_eq!(events(|kind| matches!(kind, WalEventKind::RestorePoint { .. })), of_kind("XLOG", "RESTORE_POINT"));
        let removed = of_kind("rmgr: Transaction", "rels:");
        assert_eq!(events(|kind| matches!(kind, WalEventKind::FilesRemoved { .. })), removed);
        assert!(!removed.is_empty());
        assert_eq!(events(|kind| matches!(kind, WalEventKind::TablesTruncated { .. })), of_kind("Heap ", "TRUNCATE"));
        let of_a_naming_catalog = |line: &&str| {
            let is_change = ["INSERT", "UPDATE", "DELETE"].iter().any(|kind| line.contains(kind));
            let file = || word(line, "rel ").rsplit('/').next();
            line.contains("rmgr: Heap ") && is_change && matches!(file(), Some("1259" | "1262" | "2615"))
        };
        assert_eq!(facts.names_changed, Some(lines.iter().any(of_a_naming_catalog)));
    }
}

#[test]
fn times_and_names_are_kept() {
    let (facts, lines) = golden_facts(1);
    let ends: Vec<&str> =
        lines.iter().copied().filter(|line| line.contains("COMMIT") || line.contains("ABORT")).collect();
    assert!(ends.len() > 3);
    let time = |line: &&str| {
        let start = line.find("2026-").unwrap();
        let civil: jiff::civil::DateTime = line[start..start + 26].parse().unwrap();
        Timestamp::from_unix_micros(civil.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_microsecond())
    };
    let (least, greatest) = (ends.iter().map(time).min().unwrap(), ends.iter().map(time).max().unwrap());
    assert_eq!(facts.ends, Some(TimeRange { least, greatest }));
    let names: Vec<_> = facts
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            WalEventKind::RestorePoint { name } => Some(name.as_slice()),
            _ => None,
        })
        .collect();
    assert_eq!(names, [b"before the \"big\" change"]);
}

#[test]
fn every_fact_survives_being_written_down() {
    for index in 0..GOLDEN.len() {
        let records = golden_facts(index).0;
        let content = Content { bytes: 1 << 20, crc32c: 0xDEAD_BEEF };
        let facts = Facts {
            name: "000000010000000000000002".parse().unwrap(),
            raw: Some(content),
            stored: content,
            verdict: Verdict::Damaged { at: records.last, what: "a page is zero".to_owned() },
            records: Some(records),
        };
        let entry = facts.to_entry();
        assert_eq!(Facts::of_entry(&entry), Some(facts));
        let (_, older) = entry.split_last().unwrap();
        let of_older = Facts::of_entry(older).unwrap().records.unwrap();
        assert_eq!(of_older.names_changed, None, "what versions wrote that did not look for it");
        for length in 0..older.len() {
            assert_eq!(Facts::of_entry(&entry[..length]), None, "{length} bytes");
        }
    }
}

#[test]
fn events_of_every_kind_survive() {
    use WalEventKind as Kind;
    let relation = RelFileLocator { tablespace: 1663, database: 5, number: 16384 };
    let timeline = |number| TimelineId::new(number).unwrap();
    let kinds = [
        Kind::RestorePoint { name: b"caf\xe9".to_vec() },
        Kind::TimelineBegin { timeline: timeline(3), previous: timeline(2) },
        Kind::FilesRemoved { relations: vec![relation; 3], committed: true },
        Kind::FilesRemoved { relations: vec![], committed: false },
        Kind::FileCut { relation, blocks: 7 },
        Kind::TablesTruncated { database: 5, tables: vec![1, 2] },
        Kind::LargeDelete { relation, rows: 1_000_000 },
        Kind::DatabaseCreate { database: 5, tablespace: 1663 },
        Kind::DatabaseDrop { database: 5 },
        Kind::TablespaceCreate { tablespace: 9, path: b"/srv".to_vec() },
        Kind::TablespaceDrop { tablespace: 9 },
    ];
    let mut records = golden_facts(1).0;
    let event = |(number, kind): (u32, Kind)| WalEvent {
        lsn: records.first,
        xid: (number % 2 == 0).then_some(number),
        at: (number % 3 == 0).then_some(Timestamp::from_pg_micros(-5)),
        kind,
    };
    records.events = (0..).zip(kinds).map(event).collect();
    let content = Content { bytes: 0, crc32c: 0 };
    for verdict in [
        Verdict::Verified,
        Verdict::BorderOpen,
        Verdict::Unverified(Unread::Compressed),
        Verdict::Unverified(Unread::Encrypted),
        Verdict::Unverified(Unread::Version),
    ] {
        let name = "00000002.history".parse().unwrap();
        let facts = Facts { name, raw: None, stored: content, verdict, records: Some(records.clone()) };
        assert_eq!(Facts::of_entry(&facts.to_entry()), Some(facts));
    }
}

#[test]
fn neighbours_leave_nothing_open_in_order() {
    let size = SegmentSize::new(1 << 20).unwrap();
    let mut wal = WalBuilder::new(WalBuilder::layout(size, 8192));
    wal.cross(5000);
    wal.fill();
    let name = |number| -> SegmentName { SegmentNumber::new(number).name(TimelineId::FIRST, size) };
    let read = |number, bytes: &[u8], before| {
        let start = SegmentNumber::new(number).start(size);
        let mut observer = Observer::new(name(number), (start, size), Source::Complete, before);
        observer.take(bytes);
        observer.finish()
    };
    let [first, second] = wal.segments()[..] else { panic!() };
    let one = read(4, first, None);
    assert!(one.border_open, "nothing is known of the one before");
    assert_eq!(one.records.as_ref().and_then(|records| records.names_changed), Some(false));
    assert!(read(5, second, None).border_open);
    let two = read(5, second, one.border.clone());
    assert!(!two.border_open && two.damage.is_none());
    // The first bytes of the second segment belong to a record that begins in the first.
    let mut broken = second.to_vec();
    broken[100] ^= 1;
    let damage = read(5, &broken, one.border).damage.unwrap();
    assert!(damage.at < SegmentNumber::new(5).start(size), "{damage:?}");
}

#[test]
fn a_million_files_removed_leave_room_for_the_rest() {
    let mut facts = golden_facts(1).0;
    facts.events.clear();
    let mut notes = Notes::new(facts, true);
    let relation = RelFileLocator { tablespace: u32::MAX, database: u32::MAX, number: u32::MAX };
    for number in 0..200 {
        let kind = WalEventKind::FilesRemoved { relations: vec![relation; 10_000], committed: true };
        let event = WalEvent { lsn: Lsn::new(number), xid: Some(number as u32), at: None, kind };
        notes.note(event);
    }
    let facts = notes.facts;
    assert!(facts.events_left_out > 0 && !facts.events.is_empty());
    let content = Content { bytes: 0, crc32c: 0 };
    let name = "000000010000000000000002".parse().unwrap();
    let facts = Facts { name, raw: None, stored: content, verdict: Verdict::Verified, records: Some(facts) };
    assert!(facts.to_entry().len() < crate::journal::LONGEST_ENTRY);
}

proptest! {
    #[test]
    fn a_range_has_every_transaction_in_it(
        next_xid in (1u64 << 33)..(1 << 40),
        // What is under way is less than 2^31 behind.
        behind in prop::collection::vec(0..(1u64 << 31) - 1, 1..20),
    ) {
        let xids: Vec<u64> = behind.iter().map(|behind| next_xid - 1 - behind).collect();
        let low = |xid: &u64| u32::try_from(xid & 0xFFFF_FFFF).unwrap();
        let mut range = XidRange::of(low(&xids[0]));
        for xid in &xids {
            range = range.with(low(xid));
        }
        let expected = (*xids.iter().min().unwrap(), *xids.iter().max().unwrap());
        prop_assert_eq!(range.full(next_xid), Some(expected));
    }

    #[test]
    fn no_entry_panics(entry: Vec<u8>) {
        let _ = Facts::of_entry(&entry);
    }
}

/// Whoever ends a prepared transaction writes without a number: the record's contents name the one that ends.
#[test]
fn the_transactions_of_a_segment_include_those_that_were_prepared_before() {
    const TRANSACTION: wal_format::ResourceManager = wal_format::ResourceManager::TRANSACTION;
    const COMMIT_PREPARED: u8 = 0x30 | 0x80;
    let size = SegmentSize::new(1 << 20).unwrap();
    let mut wal = WalBuilder::new(WalBuilder::layout(size, 8192));
    let (at, parts, xid) = (5i64.to_ne_bytes(), (1u32 << 4).to_ne_bytes(), 800u32.to_ne_bytes());
    wal.record(TRANSACTION, COMMIT_PREPARED, &[&at[..], &parts, &xid].concat());
    wal.fill();
    let facts = observe(wal.bytes(), size).records.unwrap();
    assert_eq!(facts.xids, Some(XidRange::of(800)));
    assert!(XidRange { lowest: u32::MAX, span: 4 }.contains(3));
    assert!(!XidRange { lowest: u32::MAX, span: 4 }.contains(4));
}
