//! Servers that are promoted while they are behind what was received, once and again.

use std::path::Path;
use std::time::Duration;

use barman_backup::{ReceiverOptions, Reconnect};
use test_support::{Postgres, PostgresBuilder, StopMode, TempDir};

use crate::receiver::debug_name;
use crate::receiving::Receiving;

#[test]
fn after_two_promotions_the_surplus_of_both_timelines_is_named() {
    let root = TempDir::new();
    let streaming = root.path().join("streaming");
    let mut first = server().initdb_option("--wal-segsize=1").start();
    first.psql("create table t (row int)");
    let mut second = server().start_standby_of(&first);
    let surplus = receive_surplus(&first, &second, &streaming);
    first.stop(StopMode::Immediate);
    second.promote();
    assert!(streaming.join(&surplus).exists());

    let mut third = server().start_standby_of(&second);
    let next = receive_surplus(&second, &third, &streaming);
    assert!(next.starts_with("00000002"), "{next}");
    second.stop(StopMode::Immediate);
    third.promote();

    let receiving = receive(&third, &streaming);
    let last = write_segment(&third);
    receiving.wait_for(&debug_name(&last));
    let told: Vec<_> = receiving.events().into_iter().filter(|event| event.starts_with("SurplusKept")).collect();
    receiving.stop();
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, (timeline, surplus)) in told.iter().zip([(1, &surplus), (2, &next)]) {
        assert!(told.contains(&format!("timeline: TimelineId({timeline})")), "{told}");
        assert!(told.contains(&format!("Partial({})", debug_name(surplus))), "{told}");
        assert!(
            streaming.join(format!("{surplus}.partial")).exists() && !streaming.join(surplus).exists(),
            "{surplus}"
        );
    }
}

fn server() -> PostgresBuilder {
    Postgres::builder().setting("wal_keep_size", "1GB")
}

fn receive(server: &Postgres, streaming: &Path) -> Receiving {
    let mut options = ReceiverOptions::default();
    let (first, longest) = (Duration::from_millis(20), Duration::from_millis(100));
    options.reconnect = Some(Reconnect { first, longest });
    Receiving::start(server, streaming, options)
}

/// Receives a segment of the server's that its standby does not get to see, and returns its name.
fn receive_surplus(server: &Postgres, standby: &Postgres, streaming: &Path) -> String {
    let receiving = receive(server, streaming);
    standby.psql("alter system set primary_conninfo = 'host=/nowhere'");
    standby.psql("select pg_reload_conf()");
    standby.wait_until("select count(*) = 0 from pg_stat_wal_receiver");
    write_segment(server);
    let surplus = write_segment(server);
    receiving.wait_for(&format!("SegmentFinished {{ segment: {}", debug_name(&surplus)));
    receiving.stop();
    surplus
}

fn write_segment(server: &Postgres) -> String {
    server.psql("insert into t select generate_series(1, 1000)");
    server.switch_wal()
}
