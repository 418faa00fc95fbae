//! Says whether WAL segments are whole and follow each other, reading them on all processors: `verify_segments FILE...`.
//!
//! Each segment is read without knowing the others, in whatever order threads get to them; what their ends leave open is
//! then judged together. See `verify_segment` for what whole means.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wal_format::{Item, RecordReader, SegmentHeader, SegmentName, Source, Stretch, Walk};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    // The order of their names is that of the log.
    paths.sort_by(|one, other| one.file_name().cmp(&other.file_name()));

    let next = AtomicUsize::new(0);
    let read_some = || {
        let due = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < paths.len()));
        due.map(|i| Ok((i, read(&paths[i])?))).collect::<Result<Vec<_>, Failure>>()
    };
    let mut stretches = thread::scope(|scope| {
        let threads: Vec<_> = (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(read_some)).collect();
        let read = threads.into_iter().map(|thread| thread.join().expect("no thread panics"));
        Ok::<_, Failure>(read.collect::<Result<Vec<_>, _>>()?.concat())
    })?;

    stretches.sort_by_key(|&(i, _)| i);
    let mut stretches = stretches.into_iter().map(|(_, stretch)| stretch);
    let first = stretches.next().ok_or("usage: verify_segments FILE...")?;
    let whole = stretches.try_fold(first, Stretch::join)?;
    println!("{} segments, whole from {} to {}", paths.len(), whole.start(), whole.end().at);
    Ok(())
}

fn read(path: &Path) -> Result<Stretch, Failure> {
    let wal = std::fs::read(path)?;
    let name: SegmentName = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().parse()?;
    let size = SegmentHeader::parse(&wal)?.segment_size;
    let mut reader =
        RecordReader::new(name.start(size)?, name.timeline, size, Source::Complete).with_walk(Walk::CHECKED);
    reader.for_each(&mut wal.as_slice(), &mut |_: Item<'_>| ())?;
    reader.finish()?;
    reader.stretch().ok_or_else(|| format!("{} is not as long as a segment", path.display()).into())
}
