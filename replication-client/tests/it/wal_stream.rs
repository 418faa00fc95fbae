//! The WAL stream.

use std::time::Duration;

use replication_client::{
    Client, Config, Durable, Environment, Error, ErrorKind, Mode, StartReplication, StatusUpdate, StreamEvent,
    WalStream,
};
use test_support::{Postgres, StopMode};
use wal_format::{Lsn, SegmentNumber, SegmentSize, TimelineId};

use crate::{majors, replication, slot, small_segments};

const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

async fn stream_on(server: &Postgres, number: u32, start: Lsn) -> Result<WalStream, Error> {
    let start = StartReplication { slot: None, timeline: timeline(number), start };
    replication(server).await.start_replication(start).await
}

/// A stream from the start of the server's current segment.
async fn stream(server: &Postgres) -> WalStream {
    let position = lsn(&server.psql("select pg_current_wal_lsn()"));
    stream_on(server, 1, SegmentNumber::containing(position, SIZE).start(SIZE)).await.unwrap()
}

/// Receives until all WAL before `end` is there, and returns it.
async fn receive_until(stream: &mut WalStream, end: Lsn) -> Vec<u8> {
    let mut received = Vec::new();
    while stream.received() < end {
        if let StreamEvent::Wal { data, .. } = stream.next().await.unwrap() {
            received.extend_from_slice(&data);
        }
    }
    received
}

/// Receives until the timeline ends, and returns what follows.
async fn end_of_timeline(stream: &mut WalStream) -> Option<(TimelineId, Lsn)> {
    loop {
        if let StreamEvent::EndOfTimeline { next } = stream.next().await.unwrap() {
            return next;
        }
    }
}

async fn error_of(stream: &mut WalStream) -> Error {
    loop {
        if let Err(error) = stream.next().await {
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_arrive_byte_for_byte() {
    for major in majors() {
        let server = small_segments(major).setting("wal_keep_size", "64MB").start();
        let mut stream = stream(&server).await;
        let first = SegmentNumber::containing(stream.received(), SIZE);
        server.psql("create table t as select generate_series(1, 30000) i");
        server.switch_wal();
        let end = SegmentNumber::containing(lsn(&server.psql("select pg_current_wal_lsn()")), SIZE).start(SIZE);

        let received = receive_until(&mut stream, end).await;
        let segments = received.chunks_exact(1 << 20);
        assert!(segments.len() > 1);
        for (number, segment) in (first.get()..).zip(segments) {
            let name = SegmentNumber::new(number).name(TimelineId::FIRST, SIZE).to_string();
            let file = std::fs::read(server.data_dir().join("pg_wal").join(&name)).unwrap();
            assert!(file == segment, "{major}: {name} differs");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_follows_what_is_durable_and_nothing_else() {
    let server = small_segments(15).start();
    let mut client = replication(&server).await;
    client.create_physical_slot(&slot("barman", true)).await.unwrap();
    let restart = client.read_slot("barman").await.unwrap().unwrap().restart_lsn.unwrap();
    let start = SegmentNumber::containing(restart, SIZE).start(SIZE);
    let start = StartReplication { slot: Some("barman".into()), timeline: TimelineId::FIRST, start };
    let mut stream = client.start_replication(start).await.unwrap();
    server.psql("create table t ()");
    let end = lsn(&server.psql("select pg_current_wal_flush_lsn()"));
    receive_until(&mut stream, end).await;

    let column = |name: &str| server.psql(&format!("select {name} from pg_stat_replication"));
    stream.send_status(StatusUpdate { written: end, flushed: None, reply: true }).await.unwrap();
    server.wait_until(&format!("select write_lsn = '{end}' from pg_stat_replication"));
    assert_eq!(column("flush_lsn"), "");
    assert_eq!(lsn(&server.psql("select restart_lsn from pg_replication_slots")), restart);

    let durable = Durable::after_sync(stream.system_id(), stream.timeline(), end, || Ok::<_, ()>(())).unwrap();
    stream.send_status(StatusUpdate { written: end, flushed: Some(&durable), reply: false }).await.unwrap();
    server.wait_until(&format!("select restart_lsn = '{end}' from pg_replication_slots"));
    assert_eq!(column("flush_lsn"), end.to_string());
    assert_eq!(column("replay_lsn"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_an_answer_are_answered() {
    let server = small_segments(15).setting("wal_sender_timeout", "1s").start();
    let mut stream = stream(&server).await;
    stream.set_status_interval(None);
    let idle = tokio::time::timeout(Duration::from_secs(4), error_of(&mut stream)).await;
    assert!(idle.is_err(), "the server gave the stream up: {idle:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_future_of_the_next_event_loses_nothing() {
    let server = small_segments(15).setting("wal_keep_size", "64MB").start();
    let mut stream = stream(&server).await;
    let first = SegmentNumber::containing(stream.received(), SIZE);
    server.psql("create table t as select generate_series(1, 30000) i");
    server.switch_wal();
    let end = first.end(SIZE);
    let mut received = Vec::new();
    while stream.received() < end {
        // Far too short for a whole piece of WAL, so that most futures are dropped half-way.
        let next = tokio::time::timeout(Duration::from_micros(20), stream.next()).await;
        if let Ok(Ok(StreamEvent::Wal { data, .. })) = next {
            received.extend_from_slice(&data);
        }
    }
    let name = first.name(TimelineId::FIRST, SIZE).to_string();
    assert!(std::fs::read(server.data_dir().join("pg_wal").join(name)).unwrap() == received[..1 << 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_stopped_leaves_a_usable_connection() {
    let server = small_segments(15).start();
    let mut stream = stream(&server).await;
    server.psql("create table t as select generate_series(1, 30000) i");
    stream.next().await.unwrap();
    let mut client = stream.stop().await.unwrap();
    let identity = client.identify_system().await.unwrap();
    assert_eq!(identity.timeline, TimelineId::FIRST);
    // And again, on the same connection.
    let start = StartReplication { slot: None, timeline: TimelineId::FIRST, start: identity.position };
    let stream = client.start_replication(start).await.unwrap();
    stream.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_ended_before_ends_with_the_next() {
    let primary = small_segments(15).start();
    let mut standby = small_segments(15).start_standby_of(&primary);
    let position = lsn(&standby.psql("select pg_last_wal_replay_lsn()"));
    let start = SegmentNumber::containing(position, SIZE).start(SIZE);
    standby.promote();

    let mut stream = stream_on(&standby, 1, start).await.unwrap();
    let (next, switch) = end_of_timeline(&mut stream).await.unwrap();
    assert_eq!((next, stream.received()), (timeline(2), switch));

    let client = stream.stop().await.unwrap();
    let start = StartReplication { slot: None, timeline: TimelineId::FIRST, start: switch };
    let mut nothing = client.start_replication(start).await.unwrap();
    assert_eq!(end_of_timeline(&mut nothing).await, Some((next, switch)));

    let client = nothing.stop().await.unwrap();
    let start = StartReplication { slot: None, timeline: next, start: switch };
    let mut second = client.start_replication(start).await.unwrap();
    standby.psql("create table t ()");
    receive_until(&mut second, lsn(&standby.psql("select pg_current_wal_flush_lsn()"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_ends_the_stream_that_it_meets() {
    let primary = small_segments(15).start();
    let mut standby = small_segments(15).start_standby_of(&primary);
    let end = lsn(&primary.psql("select pg_current_wal_flush_lsn()"));
    let start = SegmentNumber::containing(end, SIZE).start(SIZE);
    let mut stream = stream_on(&standby, 1, start).await.unwrap();
    receive_until(&mut stream, end).await;
    let received = tokio::spawn(async move {
        let next = end_of_timeline(&mut stream).await;
        (next, stream.received())
    });
    tokio::task::block_in_place(|| standby.promote());
    let (next, received) = received.await.unwrap();
    assert_eq!(next, Some((timeline(2), received)));
}

#[tokio::test(flavor = "multi_thread")]
async fn wal_that_is_gone_is_named() {
    let server = small_segments(15).start();
    let first = SegmentNumber::containing(lsn(&server.psql("select pg_current_wal_lsn()")), SIZE);
    for _ in 0..6 {
        server.switch_wal();
        server.psql("checkpoint");
    }
    let mut stream = stream_on(&server, 1, first.start(SIZE)).await.unwrap();
    let error = error_of(&mut stream).await;
    let ErrorKind::WalRemoved { segment, .. } = error.kind() else { panic!("{error:?}") };
    assert_eq!(*segment, first.name(TimelineId::FIRST, SIZE));
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_and_timelines_that_the_server_never_saw_are_refused() {
    let server = small_segments(15).start();
    let far = Lsn::new(0x7_0000_0000);
    let ahead = error_of(&mut stream_on(&server, 1, far).await.unwrap()).await;
    let unknown = stream_on(&server, 7, lsn("0/100000")).await.unwrap_err();
    for error in [ahead, unknown] {
        assert!(matches!(error.kind(), ErrorKind::NotInHistory { .. }), "{error:?}");
        assert!(!error.is_transient());
    }
    let start = StartReplication { slot: Some("missing".into()), timeline: TimelineId::FIRST, start: far };
    let error = replication(&server).await.start_replication(start).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::SlotMissing { slot, .. } if slot == "missing"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_shutdown_waits_for_the_answer_and_is_named() {
    let mut server = small_segments(15).start();
    let mut stream = stream(&server).await;
    let streaming = tokio::spawn(async move {
        loop {
            match stream.next().await {
                Ok(StreamEvent::Wal { .. }) => {
                    let written = stream.received();
                    stream.send_status(StatusUpdate { written, flushed: None, reply: false }).await.unwrap();
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    });
    tokio::task::block_in_place(|| server.stop(StopMode::Fast));
    let error = streaming.await.unwrap();
    assert!(matches!(error.kind(), ErrorKind::ServerShutDown), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_transient() {
    let mut server = small_segments(15).start();
    let mut stream = stream(&server).await;
    let streaming = tokio::spawn(async move { error_of(&mut stream).await });
    tokio::task::block_in_place(|| server.kill9());
    let error = streaming.await.unwrap();
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_shown_under_its_name() {
    let server = small_segments(15).start();
    let environment = Environment::default();
    let mut config = Config::from_conninfo(&server.conninfo(), &environment).unwrap();
    config.set_application_name("barman_receive_wal");
    let client = Client::connect(&config, Mode::PhysicalReplication).await.unwrap();
    let position = lsn(&server.psql("select pg_current_wal_lsn()"));
    let start = StartReplication { slot: None, timeline: TimelineId::FIRST, start: position };
    let _stream = client.start_replication(start).await.unwrap();
    server
        .wait_until("select application_name = 'barman_receive_wal' and state = 'streaming' from pg_stat_replication");
}
