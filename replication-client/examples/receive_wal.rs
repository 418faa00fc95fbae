//! Streams WAL into segment files, as pg_receivewal does.
//!
//! ```text
//! cargo run --example receive_wal -- "host=/var/run/postgresql user=postgres" /var/tmp/wal
//! ```
//!
//! It starts at the beginning of the server's current segment, writes `<segment>.partial`, syncs and renames a segment
//! when it is complete, and only then tells the server that it is flushed. It ends with the timeline.

// The example writes its files by itself, because this crate knows of no repository.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use replication_client::{
    Client, Config, Durable, Environment, Mode, StartReplication, StatusUpdate, StreamEvent, WalStream,
};
use wal_format::{Lsn, SegmentNumber, SegmentSize};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(conninfo), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("usage: receive_wal CONNINFO DIRECTORY".into());
    };
    let environment = Environment::from_variables(std::env::vars()).with_user(std::env::var("USER")?);
    let config = Config::from_conninfo(&conninfo, &environment)?;
    let mut client = Client::connect(&config, Mode::PhysicalReplication).await?;
    let size = segment_size(&client.show("wal_segment_size").await?).ok_or("unknown segment size")?;
    let system = client.identify_system().await?;
    let start = SegmentNumber::containing(system.position, size).start(size);
    let start = StartReplication { slot: None, timeline: system.timeline, start };
    let stream = client.start_replication(start).await?;
    receive(stream, Path::new(&directory), size).await
}

async fn receive(mut stream: WalStream, directory: &Path, size: SegmentSize) -> Result<(), Box<dyn Error>> {
    let mut segment = Segment::open(directory, &stream, size)?;
    loop {
        match stream.next().await? {
            StreamEvent::Wal { mut data, .. } => {
                while !data.is_empty() {
                    let piece = data.split_to(data.len().min(segment.missing()));
                    segment.append(&piece)?;
                    if segment.missing() == 0 {
                        let durable = segment.complete(directory, &stream)?;
                        let update = StatusUpdate { written: durable.lsn(), flushed: Some(&durable), reply: false };
                        stream.send_status(update).await?;
                        segment = segment.next(directory, &stream)?;
                    }
                }
            }
            StreamEvent::Keepalive { end, .. } => println!("the server is at {end}"),
            StreamEvent::EndOfTimeline { next } => {
                println!("the timeline ends; next: {next:?}");
                return Ok(());
            }
        }
    }
}

/// The segment that is being written.
struct Segment {
    number: SegmentNumber,
    size: SegmentSize,
    position: Lsn,
    path: PathBuf,
    file: File,
}

impl Segment {
    fn open(directory: &Path, stream: &WalStream, size: SegmentSize) -> Result<Self, Box<dyn Error>> {
        let number = SegmentNumber::containing(stream.received(), size);
        Self::create(directory, stream, number, size)
    }

    fn next(&self, directory: &Path, stream: &WalStream) -> Result<Self, Box<dyn Error>> {
        Self::create(directory, stream, self.number.next(), self.size)
    }

    fn create(
        directory: &Path,
        stream: &WalStream,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Result<Self, Box<dyn Error>> {
        let path = directory.join(format!("{}.partial", number.name(stream.timeline(), size)));
        let file = File::create(&path)?;
        Ok(Self { number, size, position: number.start(size), path, file })
    }

    fn missing(&self) -> usize {
        let missing = self.number.end(self.size).bytes_since(self.position);
        missing.and_then(|missing| usize::try_from(missing).ok()).unwrap_or_default()
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), Box<dyn Error>> {
        self.file.write_all(piece)?;
        self.position = self.position.checked_add(piece.len() as u64).ok_or("end of WAL")?;
        Ok(())
    }

    /// Gives the file its final name, durably: data, name and directory.
    fn complete(&self, directory: &Path, stream: &WalStream) -> std::io::Result<Durable> {
        Durable::after_sync(stream.system_id(), stream.timeline(), self.position, || {
            self.file.sync_data()?;
            fs::rename(&self.path, self.path.with_extension(""))?;
            println!("{}", self.path.with_extension("").display());
            File::open(directory)?.sync_all()
        })
    }
}

/// Reads what `SHOW wal_segment_size` prints: `16MB`, `1GB`.
fn segment_size(text: &str) -> Option<SegmentSize> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit: u64 = match unit {
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    SegmentSize::new(number.parse::<u64>().ok()?.checked_mul(unit)?)
}
