//! One segment, sent or fetched.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use benches::{Comparison, Interval, Outcome};
use test_support::TempDir;

use crate::home::{Home, Side, time};

/// How many segments are sent one after the other: how long a disk takes for one differs too much.
const SENT: usize = 8;

/// `put-wal` of segments beside `dd`, which only writes and syncs the same stream; and beside the calls for that alone, made by
/// a process that runs already and has the bytes in its memory. Each begins with an empty directory and with nothing that waits
/// to be written.
pub(crate) fn put_wal(pairs: usize, segments: &[PathBuf]) {
    let (home, place) = (Home::new(Side::Ours, "none"), TempDir::new());
    let segments = &segments[..SENT];
    let streams: Vec<PathBuf> = segments.iter().map(|segment| pack(segment, place.path())).collect();
    let contents: Vec<Vec<u8>> = segments.iter().map(|segment| std::fs::read(segment).expect("readable")).collect();
    let incoming = |segment: &PathBuf| home.path("incoming").join(segment.file_name().expect("a segment"));
    let begin = || {
        home.deliver(&[]);
        home.identify(&segments[0]);
    };
    let put = || {
        begin();
        let put = |stream| time(home.command(&["put-wal", "main"]).stdin(File::open(stream).expect("packed")));
        streams.iter().map(put).sum::<Duration>()
    };
    let dd = || {
        begin();
        let copies = streams.iter().zip(segments).map(|(stream, segment)| time(&mut dd_of(stream, &incoming(segment))));
        copies.sum::<Duration>()
    };
    let write = || {
        begin();
        let started = Instant::now();
        for (bytes, segment) in contents.iter().zip(segments) {
            write_and_sync(bytes, &incoming(segment));
        }
        started.elapsed()
    };
    report("writing and syncing the same stream with dd (goal 1.3)", &Comparison::of_pairs(pairs).measure(dd, put));
    report("the calls that write and sync the same bytes", &Comparison::of_pairs(pairs).measure(write, put));
    // What can be known of a process that does nothing.
    let start = (0..pairs).map(|_| home.time(&["put-wal", "--test", "main"])).min().unwrap_or_default();
    println!("  of which starting the program takes {:.1} ms", millis(start.as_secs_f64()));
}

fn report(what: &str, outcome: &Outcome) {
    let each = |secs: Interval| millis(secs.median) / SENT as f64;
    let (other, put) = (each(outcome.first_secs()), each(outcome.second_secs()));
    println!("put-wal: times as long as {what}: {} [{put:.1} and {other:.1} ms each]", outcome.speed());
}

/// As a process, and from a stream, as `put-wal` does it.
fn dd_of(stream: &Path, file: &Path) -> Command {
    let mut command = Command::new("dd");
    command.arg(format!("of={}", file.display())).args(["bs=256K", "conv=fsync"]);
    command.stdin(File::open(stream).expect("packed"));
    command
}

fn write_and_sync(bytes: &[u8], path: &Path) {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).expect("a file can be made");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
    std::fs::rename(&temporary, path).expect("renamed");
    File::open(path.parent().expect("a file in a directory")).and_then(|dir| dir.sync_all()).expect("synced");
}

/// Makes the stream that `barman-wal-archive` sends: the segment and its checksum.
fn pack(segment: &Path, place: &Path) -> PathBuf {
    let script =
        "cd \"$1\" && sha256sum -b \"$2\" > \"$3/SHA256SUMS\" && tar -cf \"$3/$2.tar\" \"$2\" -C \"$3\" SHA256SUMS";
    let (dir, name) = (segment.parent().expect("a directory"), segment.file_name().expect("a name"));
    let mut command = Command::new("sh");
    command.args(["-c", script, "pack"]).args([dir.as_os_str(), name, place.as_os_str()]);
    assert!(command.status().expect("a shell").success());
    place.join(name).with_extension("tar")
}

/// `get-wal` of a segment that is stored with zstd.
pub(crate) fn get_wal(pairs: usize, segments: &[PathBuf]) {
    let (ours, theirs) = (Home::new(Side::Ours, "zstd"), Home::new(Side::Reference, "zstd"));
    let name = segments[0].file_name().and_then(|name| name.to_str()).expect("a name");
    for home in [&ours, &theirs] {
        home.deliver(&segments[..2]);
        home.time(&["archive-wal", "main"]);
    }
    let fetch = |home: &Home| -> Duration { home.time(&["get-wal", "main", name]) };
    let outcome = Comparison::of_pairs(pairs).measure(|| fetch(&ours), || fetch(&theirs));
    let their = millis(outcome.second_secs().median);
    println!("get-wal, zstd: {} ms (goal 15) [Barman {their:.1} ms]", outcome.first_millis());
}

fn millis(secs: f64) -> f64 {
    secs * 1000.0
}
