//! A server with more backups and WAL than anybody has.

use barman_retention::{ArchivedWal, Backup, Candidate, Stage, State, Timestamp};
use wal_format::{Lsn, SegmentNumber, SegmentSize, TimelineId, WalFileName};

pub(crate) const SIZE: SegmentSize = SegmentSize::DEFAULT;
pub(crate) const BACKUPS: u64 = 10_000;
pub(crate) const SEGMENTS: u64 = 1_000_000;

/// A segment is written in a minute.
pub(crate) fn minute(minutes: u64) -> Timestamp {
    Timestamp::from_unix_micros(i64::try_from(minutes).expect("less than time has") * 60_000_000)
}

/// A backup every 100 segments; half of them incremental.
pub(crate) fn backups() -> Vec<Backup<u64>> {
    (0..BACKUPS).map(backup).collect()
}

fn backup(number: u64) -> Backup<u64> {
    let begin = number * SEGMENTS / BACKUPS;
    let name = |number: u64| Some(SegmentNumber::new(number).name(TimelineId::FIRST, SIZE));
    Backup {
        candidate: Candidate {
            id: number,
            state: State::Done { end_time: minute(begin + 2) },
            keep: None,
            root: (number % 2 == 1).then(|| number - 1),
        },
        stage: Stage::Done,
        timeline: Some(TimelineId::FIRST),
        begin_wal: name(begin),
        end_wal: name(begin + 1),
        end_lsn: Some(Lsn::new((begin + 1) * SIZE.bytes() + 8192)),
        size: 1 << 30,
        marked: false,
        in_use: false,
    }
}

/// All WAL on one timeline, in order.
pub(crate) fn wal() -> Vec<ArchivedWal> {
    let wal = |number: u64| ArchivedWal {
        name: WalFileName::Segment(SegmentNumber::new(number).name(TimelineId::FIRST, SIZE)),
        size: 1 << 20,
        modified: minute(number + 1),
    };
    (0..SEGMENTS).map(wal).collect()
}
