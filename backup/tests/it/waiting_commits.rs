//! Commits that wait for the receiver while more and more WAL arrives.

use std::time::Duration;

use barman_backup::{ReceiverOptions, Synchronous};
use replication_client::testing::{Behaviour, Cluster, ScriptedWalsender};
use test_support::TempDir;
use wal_format::{Lsn, SegmentSize, SystemId};

use crate::receiving::Receiving;

const MIB: u64 = 1 << 20;
const START: Lsn = Lsn::new(0x500_0000);

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_does_not_wait_for_what_arrives_without_end() {
    // It is all there from the beginning, and sent as fast as it is taken.
    let length = 12 * MIB;
    let cluster = Cluster::new(SystemId::new(7), START, vec![1; usize::try_from(length).unwrap()]);
    let server = ScriptedWalsender::start(cluster).await.unwrap();
    let streaming = TempDir::new();
    std::fs::File::create(streaming.path().join("000000010000000000000005.partial")).unwrap();
    let mut options = ReceiverOptions::default();
    options.synchronous = Synchronous::Always;
    let receiving = Receiving::from(&server.conninfo(), streaming.path(), options);
    let end = START.checked_add(length).unwrap();
    server.reported(|report| report.flushed == Some(end)).await;
    receiving.stop();

    let mut flushed: Vec<u64> = server.reports().iter().filter_map(|report| report.flushed).map(Lsn::as_u64).collect();
    flushed.insert(0, START.as_u64());
    let largest = flushed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    // Half a mebibyte, and the piece with which it is reached.
    assert!(largest <= MIB / 2 + 128 * 1024, "{largest} bytes were synced at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_wal_is_written_is_synced_with_it() {
    const PIECE: u64 = 16 * 1024 + 4;
    let wal = vec![1; usize::try_from(2 * MIB).unwrap()];
    let cluster = Cluster::new(SystemId::new(7), START, wal).with_segment_size(SegmentSize::new(MIB).unwrap());
    let server = ScriptedWalsender::start(cluster).await.unwrap();
    let pieces = Behaviour::good().pieces(usize::try_from(PIECE).unwrap());
    server.script([pieces.trickling(usize::MAX, Duration::from_millis(5))]);
    let streaming = TempDir::new();
    std::fs::File::create(streaming.path().join("000000010000000000000050.partial")).unwrap();
    let mut options = ReceiverOptions::default();
    options.synchronous = Synchronous::Always;
    // While the first segment is finished, the pieces behind the one that reached beyond its end arrive.
    let receiving = Receiving::held_up(&server.conninfo(), streaming.path(), options, Duration::from_millis(100));
    let end = START.checked_add(2 * MIB).unwrap();
    server.reported(|report| report.flushed == Some(end)).await;
    receiving.stop();

    let beyond = START.checked_add(MIB.div_ceil(PIECE) * PIECE).unwrap();
    let flushed: Vec<_> = server.reports().iter().filter_map(|report| report.flushed).collect();
    assert!(flushed.contains(&START.checked_add(MIB).unwrap()), "{flushed:?}");
    assert!(!flushed.contains(&beyond), "{beyond} was synced although more had arrived: {flushed:?}");
}
