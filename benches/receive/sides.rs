//! Our sides, each a process of its own.

use std::path::Path;

use barman_backup::{ReceiverEvent, ReceiverOptions, Synchronous, receive as receive_wal};
use barman_catalog::{Catalog, IngestOptions, LocalZone, NoHooks, ServerLayout, WalSource};
use barman_storage::{Cancel, Dir};
use replication_client::{Client, Config, Environment, Mode, StartReplication, StreamEvent};
use wal_format::{Lsn, SegmentName, SegmentSize, Timestamp};

/// By this name commits wait for us.
pub(crate) const STANDBY: &str = "bench_standby";

/// Receives up to the end of the segment `last`; without it until the process is killed, and as a synchronous standby.
pub(crate) fn receive(conninfo: &str, dir: &Path, last: Option<&str>) {
    let last: Option<SegmentName> = last.map(|last| last.parse().expect("the name of a segment"));
    let streaming = Dir::create(dir, 0o700).expect("the directory can be made");
    let mut options = ReceiverOptions::default();
    if last.is_none() {
        options.synchronous = Synchronous::Always;
    }
    let events = move |event: &ReceiverEvent<'_>| {
        if matches!(event, ReceiverEvent::SegmentFinished { segment } if Some(*segment) == last) {
            // All of it is durable. A request to stop is looked for ten times a second, which is not to be measured.
            std::process::exit(0);
        }
    };
    run(async {
        receive_wal(&config(conninfo), &streaming, &options, &Cancel::new(), &events).await.expect("WAL is received")
    });
}

/// Receives the same and keeps nothing.
pub(crate) fn discard(conninfo: &str, first: &str, end: &str) {
    let first: SegmentName = first.parse().expect("the name of a segment");
    let start = first.start(SegmentSize::DEFAULT).expect("a segment of 16 MiB");
    let end: Lsn = end.parse().expect("an LSN");
    run(async {
        let client = Client::connect(&config(conninfo), Mode::PhysicalReplication).await.expect("the server runs");
        let start = StartReplication { slot: None, timeline: first.timeline, start };
        let mut stream = client.start_replication(start).await.expect("the WAL is there");
        loop {
            match stream.next().await.expect("WAL comes") {
                StreamEvent::Wal { start, data } if start.checked_add(data.len() as u64) >= Some(end) => break,
                _ => {}
            }
        }
    });
}

/// Archives what was received below `home`.
pub(crate) fn archive(home: &Path) {
    let catalog = Catalog::open(ServerLayout::below(home, "main"), LocalZone::UTC);
    catalog.create_directories().expect("they can be made");
    let cancel = Cancel::new();
    let now = Timestamp::from_unix_micros(0);
    let options = IngestOptions { batch_size: None, system_id: None, now, hooks: &NoHooks, cancel: &cancel };
    catalog.ingest(WalSource::Streaming, &options, &mut |_| {}).expect("it is WAL");
}

fn config(conninfo: &str) -> Config {
    let mut config = Config::from_conninfo(conninfo, &Environment::default()).expect("it is well formed");
    config.set_application_name(STANDBY);
    config
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
