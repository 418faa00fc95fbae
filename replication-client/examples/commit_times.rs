//! Prints each transaction that a server commits, and when: what a recovery target can be chosen from.
//!
//! ```text
//! cargo run --example commit_times -- "host=/var/run/postgresql user=postgres"
//! ```

use std::convert::Infallible;
use std::error::Error;

use replication_client::{Client, Config, Environment, Mode, StartReplication, StatusUpdate, StreamEvent};
use wal_format::{Item, Lsn, Payload, Record, RecordReader, ResourceManager, SegmentNumber, Source, Timestamp, Walk};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [conninfo] = &arguments[..] else { return Err("usage: commit_times CONNINFO".into()) };
    let user = std::env::var("USER").unwrap_or_default();
    let config = Config::from_conninfo(conninfo, &Environment::from_variables(std::env::vars_os()).with_user(user))?;
    let print = |commit: Commit| match jiff::Timestamp::from_microsecond(commit.at.unix_micros()) {
        Ok(at) => println!("{at} transaction {} at {}", commit.xid, commit.lsn),
        Err(_) => println!("at no time that has a name: transaction {} at {}", commit.xid, commit.lsn),
    };
    match follow(&config, print).await? {}
}

/// A commit.
pub(crate) struct Commit {
    pub(crate) xid: u32,
    pub(crate) at: Timestamp,
    pub(crate) lsn: Lsn,
}

/// Calls `on_commit` for each commit from the begin of the server's current segment on, until something fails.
pub(crate) async fn follow(config: &Config, mut on_commit: impl FnMut(Commit)) -> Result<Infallible, Box<dyn Error>> {
    let mut client = Client::connect(config, Mode::PhysicalReplication).await?;
    let size = client.wal_segment_size().await?;
    let system = client.identify_system().await?;
    let start = SegmentNumber::containing(system.position, size).start(size);
    let transactions = Walk { wanted: |header| header.manager == ResourceManager::TRANSACTION, ..Walk::CHECKED };
    let mut reader = RecordReader::new(start, system.timeline, size, Source::Complete).with_walk(transactions);
    let start = StartReplication { slot: None, timeline: system.timeline, start };
    let mut stream = client.start_replication(start).await?;
    loop {
        match stream.next().await? {
            StreamEvent::Wal { data, .. } => {
                let mut bytes = &data[..];
                while let Some(item) = reader.next(&mut bytes)? {
                    if let Item::Record(record) = item {
                        commit(&record)?.map(&mut on_commit);
                    }
                }
                // Nothing is kept here, so nothing is called flushed.
                let update = StatusUpdate { written: stream.received(), flushed: None, reply: false };
                stream.send_status(update).await?;
            }
            StreamEvent::Keepalive { .. } => {}
            StreamEvent::EndOfTimeline { .. } => return Err("the timeline has ended".into()),
        }
    }
}

fn commit(record: &Record<'_>) -> Result<Option<Commit>, Box<dyn Error>> {
    Ok(match record.decode()? {
        Payload::Commit(end) => Some(Commit { xid: end.xid, at: end.at, lsn: record.start }),
        _ => None,
    })
}
