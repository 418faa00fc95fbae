//! The scripted walsender: what it does wrong is noticed, and what it does right is what PostgreSQL does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use replication_client::testing::{
    Behaviour, Cluster, Ending, Lie, Report, ScriptedBackup, ScriptedSlot, ScriptedWalsender,
};
use replication_client::{
    BackupEvent, BaseBackupOptions, Client, Durable, Error, ErrorKind, Mode, ProtocolError, ResultSet,
    StartReplication, StatusUpdate, StreamEvent, WalStream,
};
use wal_format::testing::WalBuilder;
use wal_format::{Lsn, SegmentSize, SystemId, TimelineId};

use crate::{config, slot};

const START: Lsn = Lsn::new(0x500_0000);

/// WAL in which no two places look the same.
fn wal(length: u32) -> Vec<u8> {
    (0..length).flat_map(u32::to_be_bytes).take(usize::try_from(length).unwrap()).collect()
}

async fn server(wal: &[u8]) -> ScriptedWalsender {
    ScriptedWalsender::start(Cluster::new(SystemId::new(7), START, wal)).await.unwrap()
}

async fn connect(server: &ScriptedWalsender, mode: Mode) -> Client {
    Client::connect(&config(&server.conninfo()), mode).await.unwrap()
}

async fn stream_from(server: &ScriptedWalsender, timeline: u32, start: Lsn) -> Result<WalStream, Error> {
    let timeline = TimelineId::new(timeline).unwrap();
    let client = connect(server, Mode::PhysicalReplication).await;
    client.start_replication(StartReplication { slot: None, timeline, start }).await
}

async fn stream(server: &ScriptedWalsender) -> WalStream {
    stream_from(server, 1, START).await.unwrap()
}

fn at(offset: u64) -> Lsn {
    START.checked_add(offset).unwrap()
}

/// All WAL up to the first event of another kind, or the first failure.
async fn receive(stream: &mut WalStream) -> (Vec<u8>, Result<StreamEvent, Error>) {
    let mut received = Vec::new();
    loop {
        match stream.next().await {
            Ok(StreamEvent::Wal { data, .. }) => received.extend_from_slice(&data),
            other => return (received, other),
        }
    }
}

/// What a stream of 300,000 bytes brings under this behaviour before it fails, and how it fails.
async fn failure(behaviour: Behaviour) -> (u64, Error) {
    let server = server(&wal(300_000)).await;
    server.script([behaviour]);
    let mut stream = stream(&server).await;
    let (received, end) = receive(&mut stream).await;
    assert!(wal(300_000).starts_with(&received));
    let length = u64::try_from(received.len()).unwrap();
    assert_eq!(stream.received(), at(length), "what was refused counts as received");
    (length, end.unwrap_err())
}

/// What becomes of a connection to a server that wants to change the protocol.
async fn negotiated(minor: u32, unknown: &[&str]) -> ErrorKind {
    let server = server(&[]).await;
    let unknown = unknown.iter().map(|&name| name.to_owned()).collect();
    server.update(|cluster| cluster.negotiation = Some((minor, unknown)));
    Client::connect(&config(&server.conninfo()), Mode::Sql).await.unwrap_err().into_kind()
}

#[tokio::test]
async fn a_server_that_wants_to_change_the_protocol_is_refused() {
    let lower = negotiated(0, &[]).await;
    assert!(matches!(lower, ErrorKind::Protocol(ProtocolError::Version { minor: 0 })), "{lower:?}");
    let option = negotiated(0, &["_pq_.report_parameters"]).await;
    let is_named = |name: &str| name == "_pq_.report_parameters";
    assert!(
        matches!(&option, ErrorKind::Protocol(ProtocolError::UnknownOption { name }) if is_named(name)),
        "{option:?}"
    );
}

#[tokio::test]
async fn a_good_server_sends_all_and_then_waits() {
    let server = server(&wal(300_000)).await;
    let mut stream = stream(&server).await;
    let (received, end) = receive(&mut stream).await;
    assert!(received == wal(300_000));
    assert_eq!(end.unwrap(), StreamEvent::Keepalive { end: at(300_000), reply_requested: false });

    server.update(|cluster| cluster.append(b"more"));
    let more = StreamEvent::Wal { start: at(300_000), data: Bytes::from("more") };
    assert_eq!(stream.next().await.unwrap(), more);
}

#[tokio::test]
async fn a_slow_server_loses_nothing() {
    let server = server(&wal(3000)).await;
    server.script([Behaviour::good().pieces(700).trickling(100, Duration::from_millis(1))]);
    let begin = Instant::now();
    assert!(receive(&mut stream(&server).await).await.0 == wal(3000));
    assert!(begin.elapsed() > Duration::from_millis(30));
}

#[tokio::test]
async fn lies_are_noticed() {
    for (lie, expected) in [(Lie::GoesBack(1), at(199_999)), (Lie::Gap(8), at(200_008))] {
        let (length, error) = failure(Behaviour::good().lying(200_000, lie)).await;
        let ErrorKind::Protocol(ProtocolError::NotContiguous { found, .. }) = error.kind() else { panic!("{error:?}") };
        assert_eq!((length, *found), (200_000, expected));
        assert!(!error.is_transient());
    }
    type IsExpected = fn(&ProtocolError) -> bool;
    let lies: [(Lie, IsExpected); 4] = [
        (Lie::Kind(b'?'), |error| matches!(error, ProtocolError::StreamMessage { kind: '?', .. })),
        (Lie::Length(u32::MAX / 2), |error| matches!(error, ProtocolError::TooLong { .. })),
        (Lie::Length(3), |error| matches!(error, ProtocolError::Malformed { .. })),
        // Cut within the position of a piece.
        (Lie::Length(10), |error| matches!(error, ProtocolError::StreamMessage { length: 6, .. })),
    ];
    for (lie, is_expected) in lies {
        let (length, error) = failure(Behaviour::good().lying(200_000, lie)).await;
        let ErrorKind::Protocol(protocol) = error.kind() else { panic!("{lie:?}: {error:?}") };
        assert!(is_expected(protocol), "{lie:?}: {protocol:?}");
        assert_eq!(length, 200_000);
    }
}

#[tokio::test]
async fn a_cut_is_transient_wherever_it_is() {
    for cut in [0, 1, 4, 5, 6, 13, 29, 30, 131_101, 131_102, 131_103, 250_000] {
        let (length, error) = failure(Behaviour::good().cut_after(cut)).await;
        assert!(error.is_transient(), "{cut}: {error:?}");
        // Only whole messages count.
        assert_eq!(length, if cut < 131_102 { 0 } else { 131_072 }, "{cut}");
    }
}

#[tokio::test]
async fn the_end_of_a_server_has_many_forms() {
    let ending = |ending| failure(Behaviour::good().ending(ending));
    assert!(matches!(ending(Ending::ShutsDown).await.1.kind(), ErrorKind::ServerShutDown));
    assert!(matches!(ending(Ending::Closes).await.1.kind(), ErrorKind::ConnectionClosed));
    let terminated = ending(Ending::IsTerminated).await.1;
    assert_eq!(terminated.sqlstate().map(|state| state.to_string()).as_deref(), Some("57P01"));
    assert!(terminated.is_transient());
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let server = server(b"abc").await;
    server.script([Behaviour::good().ending(Ending::Hangs)]);
    let mut stream = stream(&server).await;
    stream.set_silence_limit(Some(Duration::from_millis(200)));
    let (received, end) = receive(&mut stream).await;
    assert_eq!(received, b"abc");
    let error = end.unwrap_err();
    let ErrorKind::Silent { silence } = error.kind() else { panic!("{error:?}") };
    assert!(*silence >= Duration::from_millis(200) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_silent_server_that_answers_is_not_given_up() {
    let server = server(b"abc").await;
    server.script([Behaviour::good().ending(Ending::IsSilent)]);
    let mut stream = stream(&server).await;
    stream.set_silence_limit(Some(Duration::from_millis(100)));
    // It answers when it is asked, and so lives.
    let events = tokio::time::timeout(Duration::from_millis(400), async {
        loop {
            stream.next().await.unwrap();
        }
    });
    assert!(events.await.is_err());
    assert!(server.reports().iter().any(|report| report.reply));
}

#[tokio::test]
async fn a_promotion_ends_the_stream_and_names_the_next_timeline() {
    let server = server(&wal(1000)).await;
    let mut stream = stream(&server).await;
    assert!(receive(&mut stream).await.0 == wal(1000));
    server.update(|cluster| cluster.promote(at(1000), b"second"));
    let second = TimelineId::new(2).unwrap();
    let end = StreamEvent::EndOfTimeline { next: Some((second, at(1000))) };
    assert_eq!(receive(&mut stream).await.1.unwrap(), end);

    let mut client = stream.stop().await.unwrap();
    let history = client.timeline_history(second).await.unwrap();
    assert_eq!(
        (&history.name[..], &history.content[..]),
        ("00000002.history", &b"1\t0/50003E8\tno recovery target specified\n"[..])
    );
    let start = StartReplication { slot: None, timeline: second, start: START };
    let mut stream = client.start_replication(start).await.unwrap();
    assert!(receive(&mut stream).await.0 == [&wal(1000)[..], b"second"].concat());
}

#[tokio::test]
async fn a_history_file_has_the_name_of_its_timeline_and_no_other() {
    let server = server(&wal(1000)).await;
    let mut client = connect(&server, Mode::PhysicalReplication).await;
    for name in ["/etc/passwd", "../00000002.history", "00000003.history", "2.history", ""] {
        let columns = ["filename", "content"].map(str::to_owned).into();
        let answer = ResultSet { columns, rows: vec![vec![Some(name.into()), Some("1\t0/5000000\t\n".into())]] };
        server.update(|cluster| cluster.answers.insert("TIMELINE_HISTORY 2".into(), answer));
        let error = client.timeline_history(TimelineId::new(2).unwrap()).await.unwrap_err();
        let ErrorKind::Protocol(ProtocolError::InvalidField { field: "filename", found }) = error.kind() else {
            panic!("{error:?}")
        };
        assert_eq!(found, name);
    }
}

#[tokio::test]
async fn a_receiver_ahead_of_the_switch_gets_what_postgresql_says() {
    let server = server(&wal(1000)).await;
    server.update(|cluster| cluster.promote(at(500), b"second"));
    let error = stream_from(&server, 1, at(1000)).await;
    let error = match error {
        Ok(mut stream) => receive(&mut stream).await.1.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error.kind(), ErrorKind::NotInHistory { .. }), "{error:?}");
    let mut nothing = stream_from(&server, 1, at(500)).await.unwrap();
    let next = Some((TimelineId::new(2).unwrap(), at(500)));
    assert_eq!(nothing.next().await.unwrap(), StreamEvent::EndOfTimeline { next });
}

#[tokio::test]
async fn a_server_can_become_another() {
    let server = server(b"abc").await;
    let mut client = connect(&server, Mode::PhysicalReplication).await;
    let first = client.identify_system().await.unwrap();
    assert_eq!((first.system_id, first.position), (SystemId::new(7), at(3)));
    server.update(|cluster| cluster.system_id = SystemId::new(8));
    assert_eq!(client.identify_system().await.unwrap().system_id, SystemId::new(8));
    assert_eq!(client.show("wal_segment_size").await.unwrap(), "16MB");
}

#[tokio::test]
async fn slots_are_kept_refused_and_lost() {
    let server = server(b"abc").await;
    let mut client = connect(&server, Mode::PhysicalReplication).await;
    client.create_physical_slot(&slot("barman", true)).await.unwrap();
    let exists = client.create_physical_slot(&slot("barman", true)).await.unwrap_err();
    assert!(matches!(exists.kind(), ErrorKind::SlotExists { .. }));
    assert_eq!(client.read_slot("barman").await.unwrap().unwrap().restart_lsn, Some(at(3)));
    assert_eq!(client.read_slot("missing").await.unwrap(), None);

    let streaming = |slot: &str| {
        let start = StartReplication { slot: Some(slot.to_owned()), timeline: TimelineId::FIRST, start: START };
        let server = &server;
        async move { connect(server, Mode::PhysicalReplication).await.start_replication(start).await }
    };
    let missing = streaming("missing").await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::SlotMissing { .. }));
    let first = streaming("barman").await.unwrap();
    let in_use = streaming("barman").await.unwrap_err();
    assert!(matches!(in_use.kind(), ErrorKind::SlotInUse { .. }) && in_use.is_transient());
    first.stop().await.unwrap();
    server.update(|cluster| cluster.slots.insert("barman".into(), ScriptedSlot { lost: true, ..Default::default() }));
    let lost = streaming("barman").await.unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::SlotUnusable { .. }) && !lost.is_transient());
    client.drop_slot("barman", false).await.unwrap();

    server.script([Behaviour::good().refusing("53300", "all replication slots are in use")]);
    let refused = streaming("barman").await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
}

#[tokio::test]
async fn removed_wal_is_named() {
    let server = server(&wal(1000)).await;
    server.update(|cluster| cluster.removed_before = Some(at(500)));
    let (_, end) = receive(&mut stream(&server).await).await;
    let error = end.unwrap_err();
    let ErrorKind::WalRemoved { segment, .. } = error.kind() else { panic!("{error:?}") };
    assert_eq!(segment.to_string(), "000000010000000000000005");
}

#[tokio::test]
async fn what_was_acknowledged_is_noted_and_moves_the_slot() {
    let server = server(&wal(300_000)).await;
    server.update(|cluster| cluster.slots.insert("barman".into(), ScriptedSlot::default()));
    server.script([Behaviour::good().asking_for_answers()]);
    let start = StartReplication { slot: Some("barman".into()), timeline: TimelineId::FIRST, start: START };
    let mut stream = connect(&server, Mode::PhysicalReplication).await.start_replication(start).await.unwrap();
    let mut received = 0;
    while received < 300_000 {
        if let StreamEvent::Wal { data, .. } = stream.next().await.unwrap() {
            received += data.len();
        }
    }
    // Every piece but the last was only sent because the one before was answered.
    assert!(server.reports().len() >= 2);
    let durable = Durable::after_sync(stream.system_id(), stream.timeline(), at(300_000), || Ok::<_, ()>(())).unwrap();
    stream.set_applied(at(100));
    let update = StatusUpdate { written: at(300_000), flushed: Some(&durable), reply: true };
    stream.send_status(update).await.unwrap();
    let report = server.reported(|report| report.flushed.is_some()).await;
    let timeline = TimelineId::FIRST;
    let (written, flushed, applied) = (Some(at(300_000)), Some(at(300_000)), Some(at(100)));
    assert_eq!(report, Report { timeline, written, flushed, applied, reply: true });
    assert_eq!(server.cluster(|cluster| cluster.slots["barman"].restart_lsn), flushed);
}

#[tokio::test]
async fn queries_get_the_answers_that_were_foreseen() {
    let server = server(b"abc").await;
    let answer = ResultSet { columns: vec!["a".into()], rows: vec![vec![Some("1".into())], vec![None]] };
    server.update(|cluster| cluster.answers.insert("SELECT a FROM t".into(), answer.clone()));
    server.update(|cluster| cluster.slots.insert("idle".into(), ScriptedSlot::default()));
    let mut client = connect(&server, Mode::Sql).await;
    assert_eq!(client.simple_query("SELECT a FROM t").await.unwrap(), [answer]);
    assert!(client.simple_query("SELECT b FROM t").await.is_err());
    assert_eq!(client.read_slot("idle").await.unwrap().unwrap().restart_lsn, None);
    assert_eq!(client.read_slot("missing").await.unwrap(), None);
    client.cancel_token().unwrap().cancel().await.unwrap();
    assert_eq!(server.cancels(), 1);
}

#[tokio::test]
async fn base_backups_come_in_both_layouts_and_are_cut_like_streams() {
    let archive = wal(200_000);
    for version in ["14.9", "15.18"] {
        let server = server(b"abc").await;
        server.update(|cluster| {
            cluster.version = version.to_owned();
            cluster.backup = Some(ScriptedBackup::new(at(0), at(3), archive.clone(), "{}"));
        });
        server.script([
            Behaviour::good(),
            Behaviour::good().cut_after(150_000),
            Behaviour::good().refusing("57P03", "no"),
        ]);
        let options = BaseBackupOptions::new("test");
        let client = connect(&server, Mode::PhysicalReplication).await;
        let mut backup = client.base_backup(&options).await.unwrap();
        let (mut data, mut manifest) = (Vec::new(), Vec::new());
        while let Some(event) = backup.next().await.unwrap() {
            match event {
                BackupEvent::Data(piece) => data.extend_from_slice(&piece),
                BackupEvent::Manifest(piece) => manifest.extend_from_slice(&piece),
                _ => {}
            }
        }
        assert!(data == archive && manifest == b"{}", "{version}");
        let (end, client) = backup.finish().await.unwrap();
        assert_eq!(end.end_lsn, at(3));

        let mut backup = client.base_backup(&options).await.unwrap();
        let error = loop {
            if let Err(error) = backup.next().await {
                break error;
            }
        };
        assert!(error.is_transient());
        let client = connect(&server, Mode::PhysicalReplication).await;
        assert!(client.base_backup(&options).await.unwrap_err().is_transient());
    }
}

#[tokio::test]
async fn wal_of_the_builder_is_wal_for_whoever_reads_it() {
    let size = SegmentSize::new(1 << 20).unwrap();
    let mut built = WalBuilder::new(WalBuilder::layout(size, 8192));
    built.message(20_000);
    built.switch();
    let cluster = Cluster::new(SystemId::new(7), built.start(), built.bytes()).with_segment_size(size);
    let server = ScriptedWalsender::start(cluster).await.unwrap();
    let mut client = connect(&server, Mode::PhysicalReplication).await;
    assert_eq!(client.show("wal_segment_size").await.unwrap(), "1MB");
    let mut stream = stream_from(&server, 1, built.start()).await.unwrap();
    assert!(receive(&mut stream).await.0 == built.bytes());
}
