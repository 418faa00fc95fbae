//! Queries, replication commands and slots.

use std::time::Duration;

use replication_client::{ErrorKind, Notice, ResultSet, StartReplication, WalStatus};
use test_support::Postgres;
use wal_format::{Lsn, TimelineId};

use crate::{majors, replication, slot, small_segments, sql};

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_query_returns_its_rows() {
    let server = Postgres::start();
    let mut client = sql(&server).await;
    let query = "create table t (a int, b text); insert into t values (1, 'ä'), (2, null); select * from t order by a; select 3 as c";
    let results = client.simple_query(query).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        ResultSet {
            columns: vec!["a".into(), "b".into()],
            rows: vec![vec![text("1"), text("ä")], vec![text("2"), None]],
        },
        ResultSet { columns: vec!["c".into()], rows: vec![vec![text("3")]] },
    ];
    assert_eq!(results, expected);
    assert_eq!(client.simple_query("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_query_leaves_the_session_usable() {
    let server = Postgres::start();
    let mut client = sql(&server).await;
    let error = client.simple_query("select 1; select 1/0").await.unwrap_err();
    assert_eq!(error.sqlstate().map(|state| state.to_string()).as_deref(), Some("22012"));
    assert_eq!(client.show("port").await.unwrap(), server.port().to_string());
    assert!(client.show("no_such_setting").await.is_err());
    assert!(matches!(client.simple_query("select '\0'").await.unwrap_err().kind(), ErrorKind::Nul { .. }));
    assert_eq!(client.show("port").await.unwrap(), server.port().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_was_given_up_does_not_answer_the_next() {
    let server = Postgres::start();
    let mut client = sql(&server).await;
    let slow = client.simple_query("select pg_sleep(0.3), 1 from generate_series(1, 3)");
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    assert_eq!(client.simple_query("select 'next'").await.unwrap()[0].rows[0][0].as_deref(), Some("next"));
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_kept() {
    let server = Postgres::start();
    let mut client = sql(&server).await;
    client.simple_query("do $$ begin raise notice 'look here'; end $$").await.unwrap();
    let notices = client.take_notices();
    assert_eq!(notices.iter().map(Notice::message).collect::<Vec<_>>(), ["look here"]);
    assert_eq!(client.take_notices(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ends_says_why() {
    let server = Postgres::start();
    let mut client = sql(&server).await;
    let error = client.simple_query("select pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
    assert_eq!(error.sqlstate().map(|state| state.to_string()).as_deref(), Some("57P01"), "{error:?}");
    assert!(error.is_transient());
    let after = client.simple_query("select 1").await.unwrap_err();
    assert!(matches!(after.kind(), ErrorKind::Unusable), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_is_identified() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let mut client = replication(&server).await;
        let identity = client.identify_system().await.unwrap();
        assert_eq!(identity.system_id.to_string(), server.psql("select system_identifier from pg_control_system()"));
        assert_eq!(identity.timeline, TimelineId::FIRST);
        assert!(identity.position <= lsn(&server.psql("select pg_current_wal_insert_lsn()")));
        assert_eq!(client.show("wal_segment_size").await.unwrap(), "16MB");
        assert_eq!(client.simple_query("SHOW port").await.unwrap()[0].rows[0][0], Some(server.port().to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_file_comes_as_it_is_and_a_missing_one_is_named() {
    let primary = Postgres::start();
    let mut standby = Postgres::builder().start_standby_of(&primary);
    standby.promote();
    let mut client = replication(&standby).await;
    let second = client.identify_system().await.unwrap().timeline;
    assert_eq!(second.get(), 2);
    let history = client.timeline_history(second).await.unwrap();
    assert_eq!(history.name, "00000002.history");
    let file = std::fs::read(standby.data_dir().join("pg_wal/00000002.history")).unwrap();
    assert_eq!(history.content, file);

    let third = TimelineId::new(3).unwrap();
    let missing = client.timeline_history(third).await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::HistoryMissing { timeline, .. } if *timeline == third), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_created_read_and_dropped() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let mut client = replication(&server).await;
        let mut sql = sql(&server).await;
        assert_eq!(sql.read_slot("barman").await.unwrap(), None);

        client.create_physical_slot(&slot("barman", true)).await.unwrap();
        let exists = client.create_physical_slot(&slot("barman", true)).await.unwrap_err();
        assert!(matches!(exists.kind(), ErrorKind::SlotExists { slot, .. } if slot == "barman"), "{exists:?}");
        let position = sql.read_slot("barman").await.unwrap().unwrap();
        let restart_lsn = lsn(&server.psql("select restart_lsn from pg_replication_slots"));
        assert_eq!((position.restart_lsn, position.active), (Some(restart_lsn), Some(false)));

        client.create_physical_slot(&slot("idle", false)).await.unwrap();
        assert_eq!(sql.read_slot("idle").await.unwrap().unwrap().restart_lsn, None);

        if major >= 15 {
            let position = client.read_slot("barman").await.unwrap().unwrap();
            assert_eq!((position.restart_lsn, position.timeline), (Some(restart_lsn), Some(TimelineId::FIRST)));
            let idle = client.read_slot("idle").await.unwrap().unwrap();
            assert_eq!((idle.restart_lsn, idle.timeline), (None, None));
            assert_eq!(client.read_slot("missing").await.unwrap(), None);
        } else {
            let too_old = client.read_slot("barman").await.unwrap_err();
            assert!(matches!(too_old.kind(), ErrorKind::ServerVersion { needs: 150_000, .. }), "{too_old:?}");
        }

        client.drop_slot("idle", false).await.unwrap();
        let missing = client.drop_slot("idle", false).await.unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::SlotMissing { slot, .. } if slot == "idle"), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_use_is_transient_and_can_be_waited_for() {
    let server = Postgres::start();
    let mut client = replication(&server).await;
    client.create_physical_slot(&slot("barman", true)).await.unwrap();
    let position = client.identify_system().await.unwrap().position;
    let start = StartReplication { slot: Some("barman".into()), timeline: TimelineId::FIRST, start: position };
    let stream = replication(&server).await.start_replication(start.clone()).await.unwrap();
    assert_eq!(sql(&server).await.read_slot("barman").await.unwrap().unwrap().active, Some(true));

    let second = replication(&server).await.start_replication(start).await.unwrap_err();
    assert!(matches!(second.kind(), ErrorKind::SlotInUse { .. }) && second.is_transient(), "{second:?}");
    let dropped = client.drop_slot("barman", false).await.unwrap_err();
    assert!(matches!(dropped.kind(), ErrorKind::SlotInUse { .. }), "{dropped:?}");

    let waiting = tokio::spawn(async move { client.drop_slot("barman", true).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    drop(stream);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_slot_goes_with_its_session() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let mut client = replication(&server).await;
        let mut temporary = slot("fleeting", true);
        temporary.temporary = true;
        client.create_physical_slot(&temporary).await.unwrap();
        let mut sql = sql(&server).await;
        let found = sql.read_slot("fleeting").await.unwrap().unwrap();
        assert!(found.restart_lsn.is_some() && found.wal_status == Some(WalStatus::Reserved), "{major}: {found:?}");
        drop(client);
        server.wait_until("select count(*) = 0 from pg_replication_slots");
        assert_eq!(sql.read_slot("fleeting").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logical_slot_is_not_taken_for_one_that_is_lost() {
    for major in majors() {
        let server = small_segments(major).setting("wal_level", "logical").start();
        server.psql("select pg_create_logical_replication_slot('other', 'pgoutput')");
        let mut client = replication(&server).await;
        let start = client.identify_system().await.unwrap().position;
        if client.server_version_num() >= 150_000 {
            let error = client.read_slot("other").await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::SlotNotPhysical { slot, .. } if slot == "other"), "{error:?}");
        }
        let start = StartReplication { slot: Some("other".into()), timeline: TimelineId::FIRST, start };
        let error = client.start_replication(start).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::SlotNotPhysical { slot, .. } if slot == "other"), "{error:?}");
        assert!(!error.is_transient());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_wal_is_gone_is_lost() {
    for major in majors() {
        let server = small_segments(major).setting("max_slot_wal_keep_size", "1MB").start();
        let mut client = replication(&server).await;
        client.create_physical_slot(&slot("behind", true)).await.unwrap();
        let mut sql = sql(&server).await;
        let start = sql.read_slot("behind").await.unwrap().unwrap().restart_lsn.unwrap();
        for _ in 0..6 {
            server.switch_wal();
            server.psql("checkpoint");
        }
        assert_eq!(sql.read_slot("behind").await.unwrap().unwrap().wal_status, Some(WalStatus::Lost), "{major}");

        let start = StartReplication { slot: Some("behind".into()), timeline: TimelineId::FIRST, start };
        let error = match client.start_replication(start).await {
            Ok(mut stream) => stream.next().await.unwrap_err(),
            Err(error) => error,
        };
        // Servers before 14 let such a slot start, and miss the WAL only then.
        let is_lost = matches!(error.kind(), ErrorKind::SlotUnusable { .. } | ErrorKind::WalRemoved { .. });
        assert!(is_lost && !error.is_transient(), "{major}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_reported_as_they_change() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let mut client = sql(&server).await;
        assert_eq!(client.parameter("client_encoding"), Some("UTF8"));
        assert_eq!(client.server_version_num() / 10_000, major);
        client.simple_query("set application_name = 'renamed'").await.unwrap();
        assert_eq!(client.parameter("application_name"), Some("renamed"));
        assert!(client.parameters().any(|parameter| parameter == ("integer_datetimes", "on")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_for_the_other_kind_of_connection_are_refused_here() {
    let server = Postgres::start();
    let mut client = sql(&server).await;
    let errors = [
        client.identify_system().await.unwrap_err(),
        client.create_physical_slot(&slot("barman", true)).await.unwrap_err(),
        client.timeline_history(TimelineId::FIRST).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error.kind(), ErrorKind::WrongMode { .. }), "{error:?}");
    }
    let bad_name = replication(&server).await.create_physical_slot(&slot("bar\"man", true)).await.unwrap_err();
    assert!(matches!(bad_name.kind(), ErrorKind::SlotName { .. }), "{bad_name:?}");
}
