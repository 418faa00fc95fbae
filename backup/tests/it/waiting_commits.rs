//! Commits that wait for the receiver while more and more WAL arrives.

use barman_backup::{ReceiverOptions, Synchronous};
use replication_client::testing::{Cluster, ScriptedWalsender};
use test_support::TempDir;
use wal_format::{Lsn, SystemId};

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
