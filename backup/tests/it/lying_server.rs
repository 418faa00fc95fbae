//! Servers that lie and break off, as PostgreSQL cannot be made to: a scripted one does.

use std::path::Path;
use std::time::Duration;

use barman_backup::{ReceiveError, ReceiverEvent, ReceiverOptions, Reconnect};
use barman_storage::testing::Recorder;
use replication_client::ErrorKind;
use replication_client::testing::{Behaviour, Cluster, Ending, Lie, Report, ScriptedWalsender};
use test_support::TempDir;
use wal_format::{Lsn, SegmentSize, SystemId, TimelineId};

use crate::receiving::Receiving;

const MIB: usize = 1 << 20;
const START: Lsn = Lsn::new(0x500_0000);
const SYSTEM: SystemId = SystemId::new(7);
/// Two segments and a part of the next.
const LENGTH: usize = 5 * MIB / 2;

/// WAL in which no two places look the same.
fn wal() -> Vec<u8> {
    (1..).flat_map(u32::to_be_bytes).take(LENGTH).collect()
}

/// A server with WAL from the beginning of a segment on, and where it is received.
struct Scene {
    server: ScriptedWalsender,
    streaming: TempDir,
}

impl Scene {
    async fn start(behaviours: impl IntoIterator<Item = Behaviour>) -> Self {
        let size = SegmentSize::new(MIB as u64).unwrap();
        let cluster = Cluster::new(SYSTEM, START, wal()).with_segment_size(size);
        let server = ScriptedWalsender::start(cluster).await.unwrap();
        server.script(behaviours);
        let scene = Self { server, streaming: TempDir::new() };
        // It is the segment that the server is writing with which receiving begins where there is nothing.
        std::fs::File::create(scene.path("000000010000000000000050.partial")).unwrap().set_len(MIB as u64).unwrap();
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.streaming.path().join(name)
    }

    fn receive(&self, options: ReceiverOptions) -> Receiving {
        Receiving::from(&self.server.conninfo(), self.streaming.path(), options)
    }

    /// Asserts that exactly the first `length` bytes of WAL are there, and that no more was reported at any time.
    #[track_caller]
    fn assert_received(&self, length: usize) {
        let wal = wal();
        for (number, expected) in wal[..length].chunks(MIB).enumerate() {
            let name = format!("0000000100000000000000{:02X}", 0x50 + number);
            let path = if expected.len() == MIB { self.path(&name) } else { self.path(&format!("{name}.partial")) };
            assert_begins_with(&path, expected);
        }
        let end = START.checked_add(length as u64).unwrap();
        for report in self.server.reports() {
            assert!(report.flushed <= report.written && report.written <= Some(end), "{report:?}");
        }
    }
}

/// The rest of a file is empty.
#[track_caller]
fn assert_begins_with(path: &Path, expected: &[u8]) {
    let found = std::fs::read(path).unwrap();
    assert_eq!(found.len(), MIB);
    let (begin, rest) = found.split_at(expected.len());
    assert!(begin == expected && rest.iter().all(|byte| *byte == 0), "{}", path.display());
}

fn reconnecting(first: Duration) -> ReceiverOptions {
    let mut options = ReceiverOptions::default();
    options.system = Some(SYSTEM);
    // So that a test need not wait long to hear how far it is.
    options.status_interval = Duration::from_millis(100);
    options.reconnect = Some(Reconnect { first, longest: first });
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_is_left_and_nothing_of_the_lie_is_kept() {
    for lie in [Lie::GoesBack(1), Lie::Gap(8), Lie::Kind(b'?'), Lie::Length(u32::MAX / 2), Lie::Length(10)] {
        let scene = Scene::start([Behaviour::good().lying(1_200_000, lie)]).await;
        // It would not end by itself if that were taken for something that passes.
        let error = scene.receive(reconnecting(Duration::from_millis(5))).failed();
        let ReceiveError::Connection(connection) = &error else { panic!("{lie:?}: {error:?}") };
        assert!(matches!(connection.kind(), ErrorKind::Protocol(_)), "{lie:?}: {error:?}");
        scene.assert_received(1_200_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_within_messages_lose_and_repeat_nothing() {
    let cuts = [0, 1, 4, 5, 6, 13, 29, 30, 131_101, 131_102, 1_048_575, 1_048_576, 1_200_000];
    let scene = Scene::start(cuts.map(|bytes| Behaviour::good().cut_after(bytes))).await;
    let receiving = scene.receive(reconnecting(Duration::from_millis(5)));
    receiving.wait_for("segment: 81 }");
    let reconnections = receiving.events().iter().filter(|event| event.starts_with("Reconnecting")).count();
    assert_eq!(reconnections, cuts.len());
    receiving.stop_when(|| scene.server.reports().iter().any(|report| report.written == Some(end())));
    scene.assert_received(LENGTH);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_behind_the_same_address_is_refused() {
    let scene = Scene::start([Behaviour::good().cut_after(1_200_000)]).await;
    let receiving = scene.receive(reconnecting(Duration::from_secs(2)));
    receiving.wait_for("Reconnecting");
    let received = std::fs::read(scene.path("000000010000000000000051.partial")).unwrap();
    scene.server.update(|cluster| cluster.system_id = SystemId::new(8));
    let error = receiving.failed();
    let ReceiveError::ForeignSystem { expected, found } = error else { panic!("{error:?}") };
    assert_eq!((expected, found), (SYSTEM, SystemId::new(8)));
    assert!(std::fs::read(scene.path("000000010000000000000051.partial")).unwrap() == received);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_one_of_many_requests_for_an_answer_is_answered() {
    let scene = Scene::start([Behaviour::good().pieces(10_000).asking_for_answers()]).await;
    let receiving = scene.receive(reconnecting(Duration::from_millis(5)));
    // The server does not go on without its answers.
    receiving.wait_for("segment: 81 }");
    receiving.stop_when(|| scene.server.reports().iter().any(|report| report.flushed == Some(end())));
    scene.assert_received(LENGTH);
    assert!(scene.server.reports().len() >= LENGTH / 10_000, "{}", scene.server.reports().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_beyond_a_promotion_is_kept_as_partial_files_and_named() {
    let names = |from: u32| (from..0x53).map(|number| format!("0000000100000000000000{number:02X}.partial"));
    // Within the segment under way, as after most failovers, and before whole segments; while nobody received, and while
    // the promoted server itself had sent more.
    for (at, first, connected) in
        [(2 * MIB + 100, 0x52, false), (2 * MIB + 100, 0x52, true), (MIB / 2, 0x50, false), (MIB / 2, 0x50, true)]
    {
        let scene = Scene::start([]).await;
        let everything = || scene.server.reports().iter().any(|report| report.written == Some(end()));
        let switch = START.checked_add(at as u64).unwrap();
        let promote = || scene.server.update(|cluster| cluster.promote(switch, &[7; MIB]));
        let receiving = scene.receive(reconnecting(Duration::from_millis(5)));
        let receiving = if connected {
            while !everything() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            promote();
            receiving
        } else {
            receiving.stop_when(everything);
            promote();
            scene.receive(reconnecting(Duration::from_millis(5)))
        };
        let told = receiving.wait_for("SurplusKept");
        let files = names(first).map(|name| name.parse().unwrap()).collect();
        let expected = ReceiverEvent::SurplusKept { timeline: TimelineId::FIRST, at: switch, files, archived: None };
        assert_eq!(told, format!("{expected:?}"));
        receiving.wait_for("HistoryStored");
        receiving.stop();
        for (number, name) in names(first).enumerate() {
            let kept = (first as usize - 0x50 + number) * MIB;
            assert_begins_with(&scene.path(&name), &wal()[kept..LENGTH.min(kept + MIB)]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_power_failure_takes_there_is_no_wal_of_a_timeline_without_its_history() {
    let scene = Scene::start([]).await;
    let switch = START.checked_add(MIB as u64 / 2).unwrap();
    scene.server.update(|cluster| cluster.promote(switch, &[7; MIB]));
    let recorder = Recorder::start(scene.streaming.path());
    let receiving = scene.receive(reconnecting(Duration::from_millis(5)));
    let end = switch.checked_add(MIB as u64).unwrap();
    let second = |report: &Report| report.timeline.get() == 2 && report.flushed == Some(end);
    receiving.stop_when(|| scene.server.reports().iter().any(|report| report.written == Some(end)));
    assert!(scene.server.reports().iter().any(second));
    let is_of_second = |path: &Path| path.to_str().is_some_and(|name| name.starts_with("000000020"));
    let crash = recorder.recording().find_crash(12, |_, survivors| {
        let history = survivors.file("00000002.history").unwrap_or_default();
        history.starts_with(b"1\t0/5080000\t") || !survivors.paths().any(is_of_second)
    });
    assert_eq!(crash, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_when_the_connection_breaks_has_the_segment_received_into_a_new_file() {
    let cut = || Scene::start([Behaviour::good().cut_after(300_000)]);
    let sync = {
        let scene = cut().await;
        let recorder = Recorder::start(scene.streaming.path());
        scene.receive(ReceiverOptions::default()).failed();
        recorder.recording().syncs()[0]
    };
    let scene = cut().await;
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(scene.path(name)).unwrap());
    let doubtful = inode("000000010000000000000050.partial");
    let recorder = Recorder::start(scene.streaming.path());
    recorder.fail_at(sync, 5);
    let mut options = reconnecting(Duration::from_millis(5));
    // The first sync is that of the broken connection.
    options.status_interval = Duration::from_secs(3600);
    let receiving = scene.receive(options);
    receiving.wait_for("SyncFailed");
    receiving.wait_for("Reconnecting");
    receiving.wait_for("SegmentFinished");
    receiving.stop();
    assert_begins_with(&scene.path("000000010000000000000050"), &wal()[..MIB]);
    assert_ne!(inode("000000010000000000000050"), doubtful);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_left_and_asked_again_elsewhere() {
    let scene = Scene::start([Behaviour::good().pieces(10_000).ending(Ending::Hangs), Behaviour::good()]).await;
    let mut options = reconnecting(Duration::from_millis(5));
    options.silence_limit = Duration::from_millis(200);
    let receiving = scene.receive(options);
    receiving.wait_for("Reconnecting");
    scene.server.update(|cluster| cluster.append(&[9; 100]));
    let more = end().checked_add(100).unwrap();
    receiving.stop_when(|| scene.server.reports().iter().any(|report| report.written == Some(more)));
}

fn end() -> Lsn {
    START.checked_add(LENGTH as u64).unwrap()
}
