//! Deleting a backup with very much WAL.

use std::path::Path;
use std::time::Duration;

use benches::Interval;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use test_support::{Barman, BarmanHome};

use crate::{home, run};

/// So many go with the older of two backups, and as many stay.
const SEGMENTS: usize = 100_000;

/// Deletes the older backup, each time of another home, and prints how long that takes and how often the index is written
/// meanwhile.
pub(crate) fn measure(what: &str, program: &Barman, rounds: usize) {
    let (times, writes): (Vec<Duration>, Vec<usize>) = (0..rounds).map(|_| delete(program)).unzip();
    let writes = writes.iter().max().copied().unwrap_or_default();
    println!("  delete{what}: {} ms, writes the index {writes} times", Interval::of_millis(times));
}

fn delete(program: &Barman) -> (Duration, usize) {
    let home = home::with_segments(2, 2 * SEGMENTS as u64);
    let wals = home.path().join("main/wals");
    make_files(&wals, SEGMENTS);
    let before = files(&home);
    let writes = Writes::of(&wals);
    let (taken, _) = run(program.command(&home).args(["delete", "main", "oldest"]));
    let left = files(&home);
    assert!(before - left > 99 * before / 100, "{left} of {before} files are left");
    (taken, writes.count())
}

/// Makes the files of the first lines of the index, in the directories that are there.
fn make_files(wals: &Path, segments: usize) {
    let index = std::fs::read_to_string(wals.join("main-xlog.db")).expect("it was written");
    for name in index.lines().take(segments).filter_map(|line| line.split('\t').next()) {
        std::fs::write(wals.join(&name[..16]).join(name), b"").expect("written");
    }
}

/// How many WAL files there are.
fn files(home: &BarmanHome) -> usize {
    let directories = std::fs::read_dir(home.path().join("main/wals")).expect("readable");
    let directories = directories.map(|entry| entry.expect("entry").path()).filter(|path| path.is_dir());
    directories.map(|directory| std::fs::read_dir(directory).expect("readable").count()).sum()
}

/// The events of writing the index: a file of its name is closed that was written to, whether or not it had that name then.
struct Writes(Inotify);

impl Writes {
    fn of(wals: &Path) -> Self {
        let events = Inotify::init(InitFlags::IN_NONBLOCK).expect("the kernel can");
        events.add_watch(wals, AddWatchFlags::IN_CLOSE_WRITE).expect("a directory");
        Self(events)
    }

    fn count(&self) -> usize {
        let events = std::iter::from_fn(|| self.0.read_events().ok()).flatten();
        events.filter(|event| event.name.as_ref().is_some_and(|name| name == "main-xlog.db")).count()
    }
}
