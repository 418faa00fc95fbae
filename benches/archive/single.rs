//! One segment, sent or fetched.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::Comparison;

use crate::home::{Home, Side, time};

/// `put-wal` beside writing the same bytes, giving them their name and syncing both.
pub(crate) fn put_wal(pairs: usize, segments: &[PathBuf]) {
    let home = Home::new(Side::Ours, "none");
    let stream = home.path("stream.tar");
    home.deliver(&[]);
    pack(&segments[0], &stream);
    let bytes = std::fs::read(&segments[0]).expect("readable");
    let put = || {
        home.deliver(&[]);
        pack(&segments[0], &stream);
        time(home.command(&["put-wal", "main"]).stdin(File::open(&stream).expect("packed")))
    };
    let written = home.path("incoming/written");
    let write = || {
        let started = Instant::now();
        write_and_sync(&bytes, &written);
        started.elapsed()
    };
    let outcome = Comparison::of_pairs(pairs).measure(write, put);
    let (write, put) = (millis(outcome.first_secs().median), millis(outcome.second_secs().median));
    println!(
        "put-wal: times as long as writing and syncing {} (goal 1.3) [{put:.1} and {write:.1} ms]",
        outcome.speed()
    );
    // What can be known of a process that does nothing.
    let start = (0..pairs).map(|_| home.time(&["put-wal", "--test", "main"])).min().unwrap_or_default();
    println!("  of which starting the program takes {:.1} ms", millis(start.as_secs_f64()));
}

fn write_and_sync(bytes: &[u8], path: &Path) {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).expect("a file can be made");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
    std::fs::rename(&temporary, path).expect("renamed");
    File::open(path.parent().expect("a file in a directory")).and_then(|dir| dir.sync_all()).expect("synced");
}

/// The stream that `barman-wal-archive` sends: the segment and its checksum.
fn pack(segment: &Path, stream: &Path) {
    let script = "cd \"$1\" && sha256sum -b \"$2\" > \"$4/SHA256SUMS\" && tar -cf \"$3\" \"$2\" -C \"$4\" SHA256SUMS";
    let (dir, name) = (segment.parent().expect("a directory"), segment.file_name().expect("a name"));
    let list = stream.parent().expect("a directory");
    let mut command = Command::new("sh");
    let status =
        command.args(["-c", script, "pack"]).args([dir.as_os_str(), name, stream.as_os_str(), list.as_os_str()]);
    assert!(status.stdout(Stdio::null()).status().expect("a shell").success());
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
