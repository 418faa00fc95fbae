//! Lists the transactions that committed in the WAL of a directory, with their times: `commits DIRECTORY [TIMELINE]`.
//!
//! That is what point-in-time recovery needs to be told: a position, a transaction or a moment to stop at.

use std::error::Error;
use std::path::{Path, PathBuf};

use wal_format::{Item, Payload, Record, RecordReader, SegmentHeader, SegmentName, Source, TimelineId};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: commits DIRECTORY [TIMELINE]")?;
    let timeline = arguments.next().map_or(Ok(TimelineId::FIRST), |timeline| timeline.parse())?;
    let mut reader = None;
    for (name, path) in segments(Path::new(&dir), timeline)? {
        let wal = std::fs::read(path)?;
        let size = SegmentHeader::parse(&wal)?.segment_size;
        let start = name.start(size)?;
        // Records go on in the next segment. Where one is missing, reading begins anew.
        let reader = match &mut reader {
            Some(reader) if RecordReader::position(reader) == start => reader,
            other => other.insert(RecordReader::new(start, timeline, size, Source::Open)),
        };
        let mut input = wal.as_slice();
        while let Some(item) = reader.next(&mut input)? {
            match item {
                Item::Record(record) => print_commit(&record)?,
                Item::Skipped(range) => eprintln!("damaged: {} to {}", range.start, range.end),
                // Only a reader that was asked to pass some records over has any of these.
                Item::Passed(_) => {}
                Item::End(end) => {
                    println!("{} end of WAL: {}", end.at, end.reason);
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn segments(dir: &Path, timeline: TimelineId) -> Result<Vec<(SegmentName, PathBuf)>, Box<dyn Error>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| name.parse::<SegmentName>().ok());
        segments.extend(name.filter(|name| name.timeline == timeline).map(|name| (name, entry.path())));
    }
    segments.sort();
    Ok(segments)
}

fn print_commit(record: &Record<'_>) -> Result<(), Box<dyn Error>> {
    if let Payload::Commit(commit) = record.decode()? {
        let seconds = commit.at.unix_micros() as f64 / 1e6;
        println!("{} transaction {} committed at {seconds:.6}", record.start, commit.xid);
    }
    Ok(())
}
