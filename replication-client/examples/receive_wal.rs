//! Streams WAL into segment files, as pg_receivewal does: resumes where it stopped, follows timelines, and tells the
//! server of WAL only when it is on disk under its final name.
//!
//! ```text
//! cargo run --example receive_wal -- "host=/var/run/postgresql user=postgres" /var/tmp/wal
//! ```

// The example writes its files by itself, because this crate knows of no repository.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use replication_client::{Client, Config, Durable, Environment, Mode, StartReplication, StatusUpdate, StreamEvent};
use wal_format::{SegmentName, SegmentNumber, SegmentSize, TimelineId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [conninfo, directory] = &arguments[..] else { return Err("usage: receive_wal CONNINFO DIRECTORY".into()) };
    let user = std::env::var("USER").unwrap_or_default();
    let config = Config::from_conninfo(conninfo, &Environment::from_variables(std::env::vars_os()).with_user(user))?;
    loop {
        let error = receive(&config, Path::new(directory)).await.unwrap_err();
        let passes = error.downcast_ref().is_some_and(replication_client::Error::is_transient);
        if !passes {
            return Err(error);
        }
        eprintln!("{error}; trying again");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Receives until something fails.
pub(crate) async fn receive(config: &Config, directory: &Path) -> Result<std::convert::Infallible, Box<dyn Error>> {
    let mut client = Client::connect(config, Mode::PhysicalReplication).await?;
    let size = client.wal_segment_size().await?;
    let system = client.identify_system().await?;
    let current = (system.timeline, SegmentNumber::containing(system.position, size));
    let (mut timeline, mut number) = resume(directory, size)?.unwrap_or(current);
    loop {
        if timeline != TimelineId::FIRST {
            let history = client.timeline_history(timeline).await?;
            publish(&directory.join(history.name), |file| file.write_all(&history.content))?;
        }
        let start = StartReplication { slot: None, timeline, start: number.start(size) };
        let mut stream = client.start_replication(start).await?;
        let mut segment = Segment::create(directory, timeline, number, size)?;
        let (next, switch) = loop {
            match stream.next().await? {
                StreamEvent::Wal { mut data, .. } => {
                    while !data.is_empty() {
                        segment.write(&data.split_to(segment.missing().min(data.len())))?;
                        if segment.missing() == 0 {
                            let (system, end) = (stream.system_id(), segment.number.end(size));
                            let durable = Durable::after_sync(system, timeline, end, || segment.complete())?;
                            let update = StatusUpdate { written: end, flushed: Some(&durable), reply: false };
                            stream.send_status(update).await?;
                            segment = Segment::create(directory, timeline, segment.number.next(), size)?;
                        }
                    }
                }
                StreamEvent::Keepalive { .. } => {}
                StreamEvent::EndOfTimeline { next } => break next.ok_or("the server ended the stream")?,
            }
        };
        client = stream.stop().await?;
        (timeline, number) = (next, SegmentNumber::containing(switch, size));
    }
}

/// The newest segment in the directory, if it is partial, or the one behind it.
fn resume(directory: &Path, size: SegmentSize) -> Result<Option<(TimelineId, SegmentNumber)>, Box<dyn Error>> {
    let mut newest = None;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let whole = name.strip_suffix(".partial").unwrap_or(&name);
        if let Ok(segment) = whole.parse::<SegmentName>() {
            let number = segment.number(size)?;
            let next = if whole == name { number.next() } else { number };
            newest = newest.max(Some((segment.timeline, next)));
        }
    }
    Ok(newest)
}

/// The segment that is being written.
struct Segment {
    number: SegmentNumber,
    missing: usize,
    path: PathBuf,
    file: File,
}

impl Segment {
    fn create(directory: &Path, timeline: TimelineId, number: SegmentNumber, size: SegmentSize) -> io::Result<Self> {
        let path = directory.join(format!("{}.partial", number.name(timeline, size)));
        let missing = usize::try_from(size.bytes()).expect("a segment is at most 1 GiB");
        Ok(Self { number, missing, file: File::create(&path)?, path })
    }

    fn missing(&self) -> usize {
        self.missing
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.missing -= piece.len();
        self.file.write_all(piece)
    }

    /// Gives the file its final name, durably: data, name and directory.
    fn complete(&self) -> io::Result<()> {
        self.file.sync_data()?;
        let path = self.path.with_extension("");
        fs::rename(&self.path, &path)?;
        sync_parent(&path)
    }
}

/// Writes a file that is there whole or not at all.
fn publish(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
