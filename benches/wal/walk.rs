//! Our side: walking segments of a directory.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::pg_tool;
use wal_format::{
    Item, Payload, RecordHeader, RecordReader, ResourceManager, SegmentHeader, SegmentName, SegmentSize, Source,
    Stretch, Walk,
};

/// All checksums, and the contents of what says when a transaction ended, or is a restore point.
pub(crate) const COMMITS: Walk = Walk {
    wanted: |header| matches!(header.manager, ResourceManager::TRANSACTION | ResourceManager::XLOG),
    ..Walk::CHECKED
};

/// What a walk counts, for each resource manager.
pub(crate) struct Tally {
    records: [u64; 256],
    bytes: [u64; 256],
    images: u64,
    /// Of commits and restore points.
    times: i64,
}

/// What is counted of each item; a type of its own for each, so that it is compiled into the walk.
pub(crate) trait Count: Fn(&mut Tally, &Item<'_>) + Copy + Send {}
impl<F: Fn(&mut Tally, &Item<'_>) + Copy + Send> Count for F {}

impl Tally {
    const fn new() -> Self {
        Self { records: [0; 256], bytes: [0; 256], images: 0, times: 0 }
    }

    fn add_header(&mut self, header: &RecordHeader) {
        let manager = usize::from(header.manager.get());
        self.records[manager] += 1;
        self.bytes[manager] += u64::from(header.total_len);
    }

    pub(crate) fn count(&mut self, item: &Item<'_>) {
        match item {
            Item::Passed(passed) => self.add_header(&passed.header),
            Item::Record(record) => self.add_header(&record.header),
            other => panic!("{other:?}"),
        }
    }

    /// As `pg_waldump --stats` does.
    pub(crate) fn count_with_images(&mut self, item: &Item<'_>) {
        self.count(item);
        if let Item::Record(record) = item {
            self.images += record.contents().expect("a server wrote it").image_len() as u64;
        }
    }

    pub(crate) fn count_commits(&mut self, item: &Item<'_>) {
        self.count(item);
        if let Item::Record(record) = item {
            self.times ^= match record.decode().expect("a server wrote it") {
                Payload::Commit(end) | Payload::Abort(end) => end.at.unix_micros(),
                Payload::RestorePoint(point) => point.at.unix_micros(),
                _ => 0,
            };
        }
    }

    fn merge(mut self, other: &Self) -> Self {
        for i in 0..256 {
            self.records[i] += other.records[i];
            self.bytes[i] += other.bytes[i];
        }
        self.images += other.images;
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, bytes): (u64, u64) = (self.records.iter().sum(), self.bytes.iter().sum());
        write!(f, "{records} records of {bytes} bytes, {} of them images", self.images)
    }
}

/// Whole segments that follow each other.
pub(crate) struct Segments {
    files: Vec<(SegmentName, PathBuf)>,
    size: SegmentSize,
}

impl Segments {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let named = |path: PathBuf| Some((path.file_name()?.to_str()?.parse::<SegmentName>().ok()?, path));
        let mut files: Vec<_> = entries.filter_map(|entry| named(entry.expect("directory entry").path())).collect();
        files.sort();
        let mut header = [0; 40];
        let mut first = File::open(&files[0].1).expect("a segment can be opened");
        first.read_exact(&mut header).expect("a segment has a header");
        let size = SegmentHeader::parse(&header).expect("a server wrote it").segment_size;
        Self { files, size }
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.files.len() as u64 * self.size.bytes()
    }

    /// The other side, on the same files.
    pub(crate) fn pg_waldump(&self) -> Command {
        let mut command = Command::new(pg_tool(15, "pg_waldump"));
        let ends = [&self.files[0], &self.files[self.files.len() - 1]];
        command.arg("--stats").args(ends.map(|(_, path)| path));
        command
    }

    /// Walks over the files on so many threads, each with neighbours of its own; then their ends are judged together.
    pub(crate) fn walk_files(&self, walk: Walk, threads: usize, count: impl Count) -> Tally {
        let share = self.files.len().div_ceil(threads);
        let walked: Vec<(Stretch, Tally)> = std::thread::scope(|scope| {
            let walk_share = |files| scope.spawn(move || self.walk_some(files, walk, count));
            let handles: Vec<_> = self.files.chunks(share).map(walk_share).collect();
            handles.into_iter().map(|handle| handle.join().expect("a walk ends")).collect()
        });
        let (stretches, tallies): (Vec<_>, Vec<_>) = walked.into_iter().unzip();
        let (first, others) = stretches.split_first().expect("there is a segment");
        let joined = others.iter().cloned().try_fold(first.clone(), Stretch::join);
        joined.expect("one server wrote them one after the other");
        tallies.iter().fold(Tally::new(), Tally::merge)
    }

    fn walk_some(&self, files: &[(SegmentName, PathBuf)], walk: Walk, count: impl Count) -> (Stretch, Tally) {
        let mut reader = self.reader(&files[0].0, walk);
        let mut tally = Tally::new();
        let mut buffer = vec![0; 256 << 10];
        for (_, path) in files {
            let mut file = File::open(path).expect("a segment can be opened");
            loop {
                let len = file.read(&mut buffer).expect("a segment can be read");
                if len == 0 {
                    break;
                }
                walk_over(&mut reader, &buffer[..len], &mut tally, count);
            }
        }
        (reader.stretch().expect("segments are whole"), tally)
    }

    fn reader(&self, first: &SegmentName, walk: Walk) -> RecordReader {
        let start = first.start(self.size).expect("a possible name");
        RecordReader::new(start, first.timeline, self.size, Source::Complete).with_walk(walk)
    }

    /// All of them, in memory.
    pub(crate) fn read(&self) -> InMemory<'_> {
        let read = |path| std::fs::read(path).expect("a segment can be read");
        InMemory { segments: self, bytes: self.files.iter().map(|(_, path)| read(path)).collect() }
    }
}

/// Segments in memory.
pub(crate) struct InMemory<'a> {
    segments: &'a Segments,
    bytes: Vec<Vec<u8>>,
}

impl InMemory<'_> {
    pub(crate) fn walk(&self, walk: Walk, count: impl Count) {
        let mut reader = self.segments.reader(&self.segments.files[0].0, walk);
        let mut tally = Tally::new();
        for segment in &self.bytes {
            walk_over(&mut reader, segment, &mut tally, count);
        }
        std::hint::black_box(tally);
    }
}

fn walk_over(reader: &mut RecordReader, mut bytes: &[u8], tally: &mut Tally, count: impl Count) {
    reader.for_each(&mut bytes, &mut |item: Item<'_>| count(tally, &item)).expect("a server wrote it");
}
