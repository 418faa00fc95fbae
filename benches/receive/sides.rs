//! Our sides, each a process of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use barman_backup::{ReceiverEvent, ReceiverOptions, Synchronous, receive as receive_wal};
use barman_catalog::{Catalog, IngestOptions, LocalZone, NoHooks, ServerLayout, WalSource};
use barman_storage::{Cancel, Dir};
use replication_client::{Client, Config, Environment, Mode, StartReplication, StreamEvent};
use wal_format::{Lsn, SegmentName, SegmentSize, Timestamp};

/// The size of a segment in bytes.
const SEGMENT: u64 = SegmentSize::DEFAULT.bytes();

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
    take(conninfo, first, end, |_, _| {});
}

/// Receives the same, writes it into files of a segment's size, and does nothing else: no receiver can do less.
pub(crate) fn write(conninfo: &str, dir: &Path, first: &str, end: &str) {
    let mut file = None;
    take(conninfo, first, end, |start, mut data| {
        let (segment, mut offset) = (start.as_u64() / SEGMENT, start.as_u64() % SEGMENT);
        while !data.is_empty() {
            if offset % SEGMENT == 0 {
                file = Some(File::create(dir.join((segment + offset / SEGMENT).to_string())).expect("it can be made"));
            }
            let room = usize::try_from(SEGMENT - offset % SEGMENT).expect("it fits");
            let (piece, rest) = data.split_at(room.min(data.len()));
            file.as_mut().expect("WAL starts with a segment").write_all(piece).expect("there is room");
            offset += piece.len() as u64;
            data = rest;
        }
    });
}

/// Receives from the beginning of the segment `first` up to `end`, and has each piece looked at.
fn take(conninfo: &str, first: &str, end: &str, mut look: impl FnMut(Lsn, &[u8])) {
    let first: SegmentName = first.parse().expect("the name of a segment");
    let start = first.start(SegmentSize::DEFAULT).expect("a segment of 16 MiB");
    let end: Lsn = end.parse().expect("an LSN");
    run(async {
        let client = Client::connect(&config(conninfo), Mode::PhysicalReplication).await.expect("the server runs");
        let start = StartReplication { slot: None, timeline: first.timeline, start };
        let mut stream = client.start_replication(start).await.expect("the WAL is there");
        loop {
            let StreamEvent::Wal { start, data } = stream.next().await.expect("WAL comes") else { continue };
            look(start, &data);
            if start.checked_add(data.len() as u64) >= Some(end) {
                break;
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
