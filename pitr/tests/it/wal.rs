//! WAL made by hand: readable segments, with one of everything that a target can name in each.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use wal_format::testing::WalBuilder;
use wal_format::{ResourceManager, SegmentNumber, SegmentSize, Timestamp};

use crate::fixture::{SIZE_BYTES, segment_start, timeline};

/// How many segments there are.
const SEGMENTS: u64 = 32;

/// The transaction that commits in a segment, alone but for its subtransaction.
pub(crate) fn xid_of(number: u64) -> u32 {
    730 + u32::try_from(number).expect("small")
}

/// When it commits: the first of segment 6 on at 17:05, each of the others twenty minutes later; those before, in which the
/// backup is taken, at 16:43 and 16:44.
pub(crate) fn commit_time(number: u64) -> Timestamp {
    let number = i64::try_from(number).expect("small");
    let minutes = if number < 6 { 16 * 60 + 39 + number } else { 17 * 60 + 5 + 20 * (number - 6) };
    Timestamp::from_unix_micros((MIDNIGHT + minutes * 60) * 1_000_000)
}

/// 2026-11-20, in seconds since 1970.
const MIDNIGHT: i64 = 1_795_132_800;

/// The restore points: in segments 7 and 9, and one in 8 that only looks like them.
const POINTS: [(u64, &str); 3] = [(7, "rp1"), (8, "rp10"), (9, "rp1")];

/// A backup that begins in the first of these segments is ended by a record behind the commit in the second.
pub(crate) const BACKUP_WITH_END: (u64, u64) = (7, 8);

/// A checkpoint in this segment proves that it was this late, in minutes after its commit.
pub(crate) const PROOF_MINUTES: i64 = 10;

/// Returns the segment as it was written on a timeline. All timelines have the same records.
pub(crate) fn segment(on: u32, number: u64) -> Vec<u8> {
    static WRITTEN: OnceLock<Mutex<BTreeMap<u32, Vec<u8>>>> = OnceLock::new();
    let mut written = WRITTEN.get_or_init(Mutex::default).lock().expect("no test panics here");
    let all = written.entry(on).or_insert_with(|| write(on));
    let length = usize::try_from(SIZE_BYTES).expect("small");
    let start = length * usize::try_from(number).expect("small");
    all.get(start..start + length).expect("no test asks for more segments").to_vec()
}

fn write(on: u32) -> Vec<u8> {
    let size = SegmentSize::new(SIZE_BYTES).expect("a segment size");
    let mut wal = WalBuilder::at(WalBuilder::layout(size, 8192), SegmentNumber::new(0));
    wal.set_timeline(timeline(on));
    for number in 0..SEGMENTS {
        fill(&mut wal, number);
    }
    wal.bytes().to_vec()
}

fn fill(wal: &mut WalBuilder, number: u64) {
    const RESTORE_POINT: u8 = 0x70;
    const CHECKPOINT: u8 = 0x10;
    const BACKUP_END: u8 = 0x50;
    let xid = xid_of(number);
    let at = commit_time(number);
    wal.set_xid(xid);
    wal.message(300);
    commit(wal, at, xid + 1000);
    wal.set_xid(0);
    wal.message(300);
    for (_, name) in POINTS.iter().filter(|(in_segment, _)| *in_segment == number) {
        let mut point = at.pg_micros().to_ne_bytes().to_vec();
        point.extend(name.as_bytes());
        point.resize(8 + 64, 0);
        wal.record(ResourceManager::XLOG, RESTORE_POINT, &point);
    }
    if number == BACKUP_WITH_END.1 {
        let begin = segment_start(BACKUP_WITH_END.0).as_u64() + 40;
        wal.record(ResourceManager::XLOG, BACKUP_END, &begin.to_ne_bytes());
    }
    let seconds = at.unix_micros() / 1_000_000 + PROOF_MINUTES * 60;
    wal.record(ResourceManager::XLOG, CHECKPOINT, &checkpoint(seconds));
    // A record that crosses into the next segment, but for those at whose beginning a backup ends.
    let rest = if number.is_multiple_of(3) { 500 } else { 0 };
    wal.cross(rest);
}

/// A commit with one subtransaction.
fn commit(wal: &mut WalBuilder, at: Timestamp, subtransaction: u32) {
    const HAS_PARTS: u8 = 0x80;
    const SUBTRANSACTIONS: u32 = 1 << 1;
    let numbers = [SUBTRANSACTIONS, 1, subtransaction].map(u32::to_ne_bytes).concat();
    let contents = [at.pg_micros().to_ne_bytes().to_vec(), numbers].concat();
    wal.record(ResourceManager::TRANSACTION, HAS_PARTS, &contents);
}

/// `CheckPoint` of PostgreSQL 15, of which only the time matters here; the next transaction has epoch 0.
fn checkpoint(seconds: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0x28u64.to_ne_bytes());
    bytes.extend([1u32, 1].map(u32::to_ne_bytes).concat());
    bytes.extend(u64::from(1u8).to_ne_bytes());
    bytes.extend(900u64.to_ne_bytes());
    bytes.extend([20_000u32, 1, 0, 3, 1, 1, 1, 0].map(u32::to_ne_bytes).concat());
    bytes.extend(seconds.to_ne_bytes());
    bytes.extend([0u32; 4].map(u32::to_ne_bytes).concat());
    bytes
}
