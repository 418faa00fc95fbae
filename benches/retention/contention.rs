//! How long an archiver waits while much WAL is deleted.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use barman_catalog::{
    BackupId, BackupInfo, BackupMode, Catalog, DeleteOptions, LocalZone, NoHooks, ServerLayout, Status,
};
use barman_retention::{Occasion, Timestamp};
use barman_storage::Cancel;
use wal_format::{SegmentNumber, SegmentSize, TimelineId, WalFileName};

/// So many go with the older of two backups; as many stay.
const SEGMENTS: u64 = 100_000;

/// Deletes the older backup while another thread takes the lock of the index again and again, as an archiver does for each
/// file, and prints the longest time that it waited.
pub(crate) fn measure() {
    let root = tempfile::tempdir().expect("temporary directory");
    let catalog = Catalog::open(ServerLayout::below(root.path(), "main"), LocalZone::UTC);
    catalog.create_directories().expect("directories");
    let index = fill_archive(&root.path().join("main/wals"));
    std::fs::write(root.path().join("main/wals/main-xlog.db"), index).expect("written");
    let older = save(&catalog, "20260101T000000", 0);
    save(&catalog, "20260102T000000", SEGMENTS);

    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let archiver = scope.spawn(|| archive_until(&ended, &catalog));
        let begun = Instant::now();
        let cancel = Cancel::new();
        let options = DeleteOptions { now: Timestamp::from_unix_micros(0), hooks: &NoHooks, cancel: &cancel };
        catalog.delete_backups(&[(older, Occasion::Command)], &options, &mut |_| {}).expect("deleted");
        let took = begun.elapsed();
        ended.store(true, Ordering::SeqCst);
        let mut waits = archiver.join().expect("the archiver ends");
        waits.sort_unstable();
        println!(
            "deleting {SEGMENTS} segments: {took:.1?}; an archiver took the lock {} times, waited {:.1?} at most and {:.2?} \
             in the middle",
            waits.len(),
            waits.last().copied().unwrap_or_default(),
            waits.get(waits.len() / 2).copied().unwrap_or_default()
        );
    });
}

fn archive_until(ended: &AtomicBool, catalog: &Catalog) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !ended.load(Ordering::SeqCst) {
        let asked = Instant::now();
        drop(catalog.xlog_db().expect("the lock"));
        waits.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    waits
}

/// Makes all segments; returns their lines.
fn fill_archive(wals: &Path) -> String {
    let mut index = String::new();
    for number in 0..2 * SEGMENTS {
        let name = WalFileName::Segment(SegmentNumber::new(number).name(TimelineId::FIRST, SegmentSize::DEFAULT));
        let directory = wals.join(name.hash_directory().expect("a segment"));
        std::fs::create_dir_all(&directory).expect("directory");
        std::fs::write(directory.join(name.to_string()), "wal").expect("written");
        writeln!(index, "{name}\t3\t1795193057.0\tNone\tNone").expect("a String");
    }
    index
}

fn save(catalog: &Catalog, id: &str, begin: u64) -> BackupId {
    let id: BackupId = id.parse().expect("an id");
    let name = |number| Some(SegmentNumber::new(number).name(TimelineId::FIRST, SegmentSize::DEFAULT));
    let mut info = BackupInfo::new(id, "main");
    info.status = Status::Done;
    info.mode = Some(BackupMode::Postgres);
    info.timeline = Some(TimelineId::FIRST);
    (info.begin_wal, info.end_wal) = (name(begin), name(begin + 1));
    catalog.save(&info).expect("saved");
    id
}
