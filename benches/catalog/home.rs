//! A home with very much in it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use barman_catalog::{
    BackupId, BackupInfo, BackupMode, BackupTime, Catalog, Content, Facts, LocalZone, RecordFacts, ServerLayout,
    Status, TimeRange, Verdict,
};
use test_support::BarmanHome;
use wal_format::{SegmentNumber, SegmentSize, SystemId, TimelineId, Timestamp, WalFileName};

const SIZE: SegmentSize = SegmentSize::DEFAULT;

/// A server `main` that was backed up at even distances, with all its WAL, whose every segment the ledger knows.
pub(crate) fn with_segments(backups: u64, segments: u64) -> BarmanHome {
    let home = BarmanHome::new();
    let options = [
        ("conninfo", "host=/nowhere dbname=postgres"),
        ("streaming_conninfo", "host=/nowhere"),
        ("backup_method", "postgres"),
    ];
    home.server(
        "main",
        &[&options[..], &[("archiver", "on"), ("retention_policy", "RECOVERY WINDOW OF 9999 DAYS")]].concat(),
    );
    let catalog = Catalog::open(ServerLayout::below(&home.path(), "main"), LocalZone::UTC);
    catalog.create_directories().expect("directories");
    for number in 0..backups {
        let backup = backup(number, segments / backups);
        catalog.save(&backup).expect("saved");
        let data = home.path().join("main/base").join(backup.backup_id.to_string()).join("data");
        std::fs::create_dir_all(data).expect("a directory can be made");
    }
    add_segments(&home, 0..segments);
    home
}

/// Adds the WAL of so many seconds to the index of a home and to its ledger.
pub(crate) fn add_segments(home: &BarmanHome, numbers: Range<u64>) {
    write_index(&home.path().join("main/wals"), numbers.clone());
    let catalog = Catalog::open(ServerLayout::below(&home.path(), "main"), LocalZone::UTC);
    catalog.fill_ledger(numbers.map(facts)).expect("written");
}

/// The lines that Barman would have written, and the directories, of which the first has a file.
fn write_index(wals: &Path, numbers: Range<u64>) {
    let mut text = String::new();
    for number in numbers {
        let name = name(number);
        let (size, time) = (300_000 + number % 1000, seconds(number));
        writeln!(text, "{name}\t{size}\t{time}.2869148\tzstd\tNone").expect("a string");
        if number % SIZE.segments_per_log() == 0 {
            let directory = wals.join(name.hash_directory());
            std::fs::create_dir_all(&directory).expect("a directory can be made");
            std::fs::write(directory.join(name.to_string()), b"").expect("written");
        }
    }
    let index = std::fs::OpenOptions::new().create(true).append(true).open(wals.join("main-xlog.db"));
    index.and_then(|mut index| index.write_all(text.as_bytes())).expect("written");
}

fn name(number: u64) -> wal_format::SegmentName {
    SegmentNumber::new(number + 1).name(TimelineId::FIRST, SIZE)
}

/// A segment takes ten seconds.
fn seconds(number: u64) -> u64 {
    1_750_000_000 + number * 10
}

fn moment(number: u64) -> Timestamp {
    Timestamp::from_unix_micros(i64::try_from(seconds(number)).expect("small") * 1_000_000)
}

fn facts(number: u64) -> Facts {
    let start = SegmentNumber::new(number + 1).start(SIZE);
    let at = |offset: u64| wal_format::Lsn::new(start.as_u64() + offset);
    let records = RecordFacts {
        system_id: SystemId::new(7_710_294_594_766_418_489),
        major: 15,
        first: at(40),
        last: at(16_000_000),
        end: at(SIZE.bytes()),
        ends: Some(TimeRange { least: moment(number), greatest: moment(number + 1) }),
        xids: None,
        next_xid: Some(number),
        checkpoints: Vec::new(),
        events: Vec::new(),
        events_left_out: 0,
        names_changed: Some(false),
    };
    Facts {
        name: WalFileName::Segment(name(number)),
        raw: Some(Content { bytes: SIZE.bytes(), crc32c: 1 }),
        stored: Content { bytes: 300_000 + number % 1000, crc32c: 2 },
        verdict: Verdict::Verified,
        records: Some(records),
    }
}

/// The backup of this number, which began with the WAL of so many segments each.
fn backup(number: u64, segments: u64) -> BackupInfo {
    let begin = 1 + number * segments;
    let at = BackupTime::utc(moment(begin));
    let id: BackupId = at
        .to_string()
        .chars()
        .filter(|digit| digit.is_ascii_digit() || *digit == ' ')
        .take(15)
        .map(|digit| if digit == ' ' { 'T' } else { digit })
        .collect::<String>()
        .parse()
        .expect("an id");
    let mut info = BackupInfo::new(id, "main");
    info.status = Status::Done;
    info.mode = Some(BackupMode::Postgres);
    info.begin_wal = Some(name(begin));
    info.end_wal = Some(name(begin + 1));
    info.begin_time = Some(at);
    info.end_time = Some(BackupTime::utc(moment(begin + 1)));
    info.begin_xlog = Some(SegmentNumber::new(begin + 1).start(SIZE));
    info.end_xlog = Some(wal_format::Lsn::new(SegmentNumber::new(begin + 2).start(SIZE).as_u64() + 40));
    info.timeline = Some(TimelineId::FIRST);
    info.size = Some(1 << 30);
    info
}
