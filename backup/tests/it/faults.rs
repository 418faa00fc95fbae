//! Connections that are cut, stall, trickle and come late, at every border of messages and in the middle of them.
//!
//! `BARMAN_FAULTS` says how many places there are of each of the two kinds: 24 by default, 1000 in `scripts/receiver-faults`.

use std::time::{Duration, Instant};

use barman_backup::{ReceiverOptions, Reconnect};
use test_support::{Fault, FaultKind, FaultPlace, FaultProxy};

use crate::receiver::{Ground, debug_name, segments};
use crate::receiving::Receiving;

const MIB: u64 = 1 << 20;

fn places() -> usize {
    std::env::var("BARMAN_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// One kind after the other; most are cuts, which are what a receiver has to recover from.
fn kind(number: usize) -> FaultKind {
    match number % 6 {
        1 => FaultKind::Stall(Duration::from_millis(30)),
        3 => FaultKind::Delay(Duration::from_millis(2)),
        5 => FaultKind::Trickle,
        _ => FaultKind::Cut,
    }
}

/// A number that looks random, the same in every run.
fn scattered(number: usize) -> u64 {
    (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

/// Messages up to the end of the second segment of a session: greeting, answers and WAL in pieces of up to 128 KiB.
const MESSAGES: usize = 60;

/// A session's every border of messages, then bytes anywhere in its first one and a half segments, or of what we say.
fn faults(places: usize) -> Vec<Fault> {
    let step = MESSAGES.div_ceil(places).max(1);
    let borders = (0..MESSAGES).step_by(step).cycle().take(places.min(MESSAGES * 4)).enumerate();
    let borders = borders.map(|(number, message)| {
        // Each border with another kind each time it comes.
        Fault { place: FaultPlace::Message(message), kind: kind(number / MESSAGES.div_ceil(step) + number) }
    });
    let bytes = (0..places).map(|number| {
        let place = match number % 8 {
            7 => FaultPlace::ClientByte(scattered(number) % 600),
            _ => FaultPlace::Byte(scattered(number) % (3 * MIB / 2)),
        };
        Fault { place, kind: kind(number) }
    });
    borders.chain(bytes).collect()
}

#[test]
fn whatever_happens_to_connections_no_byte_is_lost_or_received_twice() {
    let ground = Ground::new();
    let proxy = FaultProxy::start(ground.server.port());
    let planned = faults(places());
    planned.iter().for_each(|fault| proxy.plan(*fault));
    let receiving = Receiving::through(&proxy, &ground.streaming, reconnecting());
    ground.server.psql("create table t (row int, text text)");
    let deadline = Instant::now() + Duration::from_secs(60 + 2 * planned.len() as u64);
    let mut fired = 0;
    while fired < planned.len() {
        assert!(
            Instant::now() < deadline,
            "{fired} of {} faults happened: {:?}",
            planned.len(),
            receiving.events().last()
        );
        ground.server.psql("insert into t select row, md5(row::text) from generate_series(1, 2000) row");
        ground.server.switch_wal();
        if proxy.fired() > fired {
            fired = proxy.fired();
            // A connection with a fault that does not end it would stay the only one.
            ground.server.psql("select pg_terminate_backend(pid) from pg_stat_replication where state = 'streaming'");
        }
    }
    let last = ground.server.switch_wal();
    receiving.wait_for(&format!("SegmentFinished {{ segment: {}", debug_name(&last)));
    ground.wait_archived(&last);
    ground.server.psql("insert into t values (1, 'one more')");
    let received = receiving.stop();

    let received_segments = segments(&ground.streaming);
    let archived = segments(&ground.archive).into_iter().skip_while(|name| *name < received_segments[0]);
    assert_eq!(received_segments, archived.collect::<Vec<_>>(), "a gap");
    ground.assert_equal_to_archive();
    assert_partial_is_what_the_server_has(&ground, received.durable.unwrap().lsn().as_u64());
    eprintln!("{fired} of {} faults happened", planned.len());
}

fn reconnecting() -> ReceiverOptions {
    let mut options = crate::receiver::options();
    options.reconnect = Some(Reconnect { first: Duration::from_millis(5), longest: Duration::from_millis(20) });
    options
}

/// Compares what is durable of the segment under way with the server's own file.
fn assert_partial_is_what_the_server_has(ground: &Ground, durable: u64) {
    let name = ground.server.psql("select pg_walfile_name(pg_current_wal_lsn())");
    let length = (durable % MIB) as usize;
    let received = std::fs::read(ground.streaming.join(format!("{name}.partial"))).unwrap();
    let written = std::fs::read(ground.server.data_dir().join("pg_wal").join(&name)).unwrap();
    assert!(length > 0 && received[..length] == written[..length], "{name} differs in its first {length} bytes");
}
