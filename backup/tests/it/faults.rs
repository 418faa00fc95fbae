//! Connections that are cut, stall, trickle, come late and repeat themselves, at every border of messages and in the middle
//! of them.
//!
//! `BARMAN_FAULTS` says how many places there are of each of the two kinds: 24 by default, 1000 in `scripts/receiver-faults`.

use std::time::{Duration, Instant};

use barman_backup::{ReceiverOptions, Reconnect};
use test_support::{Authority, Fault, FaultKind, FaultPlace, FaultProxy, Wanted};
use wal_format::Lsn;

use crate::receiver::{Ground, archiving, segments};
use crate::receiving::Receiving;

const MIB: u64 = 1 << 20;

fn places() -> usize {
    std::env::var("BARMAN_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

const KINDS: [FaultKind; 5] = [
    FaultKind::Cut,
    FaultKind::Stall(Duration::from_millis(30)),
    FaultKind::RepeatMessage,
    FaultKind::Delay(Duration::from_millis(2)),
    FaultKind::Trickle,
];

/// One kind after the other.
fn kind(number: usize) -> FaultKind {
    KINDS[number % KINDS.len()]
}

/// A number that looks random, the same in every run.
fn scattered(number: usize) -> u64 {
    (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

/// Messages up to the end of the second segment of a session: greeting, answers and WAL in pieces of up to 128 KiB.
const MESSAGES: usize = 60;

/// A connection that lasts for so many segments has passed any place there is.
const MOST_SEGMENTS: usize = 16;

/// A session's every border of messages.
fn at_borders(places: usize) -> impl Iterator<Item = Fault> {
    let step = MESSAGES.div_ceil(places).max(1);
    let messages = (0..MESSAGES).step_by(step).cycle().take(places.min(MESSAGES * KINDS.len())).enumerate();
    messages.map(move |(number, message)| {
        // Each border with another kind each time it comes.
        Fault { place: FaultPlace::Message(message), kind: kind(number / MESSAGES.div_ceil(step) + number) }
    })
}

/// Bytes anywhere in a session's first one and a half segments, or of what we say.
fn anywhere(number: usize) -> FaultPlace {
    match number % 8 {
        7 => FaultPlace::ClientByte(scattered(number) % 600),
        _ => FaultPlace::Byte(scattered(number) % (3 * MIB / 2)),
    }
}

#[test]
fn whatever_happens_to_connections_no_byte_is_lost_or_received_twice() {
    let within = (0..places()).map(|number| match (anywhere(number), kind(number)) {
        // What we say is short, and comes in whole messages.
        (place @ FaultPlace::ClientByte(_), FaultKind::RepeatMessage) => Fault { place, kind: FaultKind::RepeatBytes },
        (place, kind) => Fault { place, kind },
    });
    Spoilt::start(Ground::new(), "disable", at_borders(places()).chain(within)).survives();
}

/// Without encryption, bytes that come twice within a piece of WAL change it in a way that nothing in the protocol shows:
/// who has to reckon with more than cut connections encrypts them.
#[test]
fn bytes_of_an_encrypted_connection_that_come_twice_are_noticed_wherever_they_are() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &Wanted::server());
    let ground = Ground::of(|archive| archiving(archive).tls(&authority, &certificate));
    let repeated = |number| Fault { place: anywhere(number), kind: FaultKind::RepeatBytes };
    Spoilt::start(ground, "require", (0..places() / 3).map(repeated)).survives();
}

/// A receiver whose connections are spoilt, and which is started anew where that ends it.
struct Spoilt {
    ground: Ground,
    proxy: FaultProxy,
    conninfo: String,
    receiving: Receiving,
    planned: usize,
}

impl Spoilt {
    fn start(ground: Ground, sslmode: &str, faults: impl Iterator<Item = Fault>) -> Self {
        let proxy = FaultProxy::start(ground.server.port());
        let planned = faults.map(|fault| proxy.plan(fault)).count();
        // A handshake in which both sides wait for each other does not last for as long as the server would wait.
        let conninfo =
            format!("host=127.0.0.1 port={} user=postgres sslmode={sslmode} connect_timeout=2", proxy.port());
        let receiving = Receiving::from(&conninfo, &ground.streaming, reconnecting());
        ground.server.psql("create table t (row int, text text)");
        Self { ground, proxy, conninfo, receiving, planned }
    }

    /// Goes on until all faults have happened, and compares what was received with what the server kept.
    fn survives(mut self) {
        let planned = self.planned;
        let deadline = Instant::now() + Duration::from_secs(60 + 2 * planned as u64);
        let (mut fired, mut segments) = (0, 0);
        while fired < planned {
            let last = self.receiving.events().pop();
            assert!(Instant::now() < deadline, "{fired} of {planned} faults happened: {last:?}");
            self.ground.server.psql("insert into t select row, md5(row::text) from generate_series(1, 2000) row");
            self.ground.server.switch_wal();
            segments += 1;
            if self.proxy.fired() > fired || segments % MOST_SEGMENTS == 0 {
                fired = self.proxy.fired();
                self.end_connection();
            }
            self.keep_running();
        }
        eprintln!("{fired} of {planned} faults happened");
        self.assert_all_received();
    }

    /// A connection with a fault that does not end it would stay the only one; so would one that had none, because it came
    /// before the last one's fault was planned again.
    fn end_connection(&self) {
        let end = "select pg_terminate_backend(pid) from pg_stat_replication where state = 'streaming'";
        self.ground.server.psql(end);
    }

    /// What the protocol rules out ends a receiver: then there is another one, as there is from `cron`.
    fn keep_running(&mut self) {
        if self.receiving.has_ended() {
            self.receiving = Receiving::from(&self.conninfo, &self.ground.streaming, reconnecting());
        }
    }

    fn assert_all_received(mut self) {
        let last = self.ground.server.switch_wal();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.ground.streaming.join(&last).exists() {
            assert!(Instant::now() < deadline, "no {last}: {:?}", self.receiving.events());
            self.keep_running();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.ground.wait_archived(&last);
        self.ground.server.psql("insert into t values (1, 'one more')");
        let open = self.ground.server.psql("select pg_walfile_name(pg_current_wal_lsn())");
        let partial = self.ground.streaming.join(format!("{open}.partial"));
        let received = self.receiving.stop_when(|| partial.exists());

        let received_segments = segments(&self.ground.streaming);
        let archived = segments(&self.ground.archive).into_iter().skip_while(|name| *name < received_segments[0]);
        assert_eq!(received_segments, archived.collect::<Vec<_>>(), "a gap");
        self.ground.assert_equal_to_archive();
        assert_partial_is_what_the_server_has(&self.ground, &open, received.durable.unwrap().lsn());
    }
}

fn reconnecting() -> ReceiverOptions {
    let mut options = crate::receiver::options();
    options.reconnect = Some(Reconnect { first: Duration::from_millis(5), longest: Duration::from_millis(20) });
    options
}

/// Compares what is durable of the segment under way with the server's own file.
fn assert_partial_is_what_the_server_has(ground: &Ground, name: &str, durable: Lsn) {
    let length = (durable.as_u64() % MIB) as usize;
    let received = std::fs::read(ground.streaming.join(format!("{name}.partial"))).unwrap();
    let written = std::fs::read(ground.server.data_dir().join("pg_wal").join(name)).unwrap();
    assert!(length > 0 && received[..length] == written[..length], "{name} differs in its first {length} bytes");
}
