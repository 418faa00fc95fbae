//! Copying many files.

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use barman_storage::testing::Recorder;
use barman_storage::{
    Cancel, CopyError, CopyItem, CopyOptions, CopyProgress, Dir, Existing, FileCheck, Throttle, copy_files,
};
use rustix::io::Errno;
use tempfile::TempDir;

use super::{contents, empty_directory, names, path};

/// Files to copy from one directory to another.
struct Fixture {
    source: TempDir,
    target: TempDir,
    from: Dir,
    to: Dir,
    items: Vec<CopyItem>,
    options: CopyOptions,
}

impl Fixture {
    fn new(sizes: &[usize]) -> Self {
        let ((source, from), (target, to)) = (empty_directory(), empty_directory());
        for (index, &size) in sizes.iter().enumerate() {
            std::fs::write(source.path().join(index.to_string()), contents(size, index.to_le_bytes()[0]))
                .expect("write");
        }
        let item = |(index, &size): (usize, &usize)| CopyItem {
            from: path(&index.to_string()),
            to: path(&format!("copy-{index}")),
            size: size as u64,
            mode: 0o600,
        };
        let items = sizes.iter().enumerate().map(item).collect();
        let jobs = NonZeroUsize::new(3).expect("not zero");
        let options = CopyOptions { jobs, cancel: Cancel::new(), existing: Existing::Refuse, throttle: None };
        Self { source, target, from, to, items, options }
    }

    fn copy(&self) -> Result<(), CopyError> {
        self.copy_checked(&|_| None)
    }

    fn copy_checked<'c>(
        &self,
        check: &(dyn Fn(usize) -> Option<Box<dyn FileCheck + 'c>> + Sync),
    ) -> Result<(), CopyError> {
        copy_files(&self.from, &self.to, &self.items, &self.options, check, &|_| {})
    }
}

/// Remembers what it sees, and accepts or refuses it.
struct Witness<'a> {
    seen: Vec<u8>,
    all: &'a Mutex<Vec<Vec<u8>>>,
    index: usize,
    verdict: Result<(), &'static str>,
}

impl FileCheck for Witness<'_> {
    fn update(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
    }

    fn finish(self: Box<Self>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.all.lock().expect("lock")[self.index] = self.seen;
        Ok(self.verdict?)
    }
}

fn witness<'a>(
    all: &'a Mutex<Vec<Vec<u8>>>,
    index: usize,
    verdict: Result<(), &'static str>,
) -> Box<dyn FileCheck + 'a> {
    Box::new(Witness { seen: Vec::new(), all, index, verdict })
}

#[test]
fn every_file_arrives_whatever_its_size() {
    let mut sizes: Vec<usize> = (0..300).map(|index| index * 7).collect();
    sizes.extend([0, 1, 262_143, 262_144, 262_145, 3_000_000]);
    let fixture = Fixture::new(&sizes);
    let copied = AtomicU64::new(0);
    let count = |progress| {
        let CopyProgress::Copied(bytes) = progress else { panic!("nothing is there yet") };
        copied.fetch_add(bytes, Ordering::Relaxed);
    };
    copy_files(&fixture.from, &fixture.to, &fixture.items, &fixture.options, &|_| None, &count).expect("copy");
    for (index, &size) in sizes.iter().enumerate() {
        let copy = std::fs::read(fixture.target.path().join(format!("copy-{index}"))).expect("read");
        assert!(copy == contents(size, index.to_le_bytes()[0]), "file {index}");
    }
    assert_eq!(copied.into_inner(), sizes.iter().sum::<usize>() as u64);
}

#[test]
fn a_copy_has_the_asked_mode_and_the_time_of_its_original() {
    let mut fixture = Fixture::new(&[10]);
    fixture.items[0].mode = 0o400;
    // Long ago, because the clock of a file system may stand still for some milliseconds.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fixture.from.edit_file(&path("0")).and_then(|mut file| file.set_modified(time)).expect("time");
    fixture.copy().expect("copy");
    let copy = fixture.to.stat(&path("copy-0")).expect("stat").expect("a file");
    assert_eq!((copy.mode, copy.modified()), (0o400, time));
}

#[test]
fn nothing_to_copy_is_done_at_once() {
    Fixture::new(&[]).copy().expect("copy");
}

#[test]
fn the_biggest_files_come_first() {
    let mut fixture = Fixture::new(&[1, 300, 20, 4000]);
    fixture.options.jobs = NonZeroUsize::MIN;
    let order = Mutex::new(Vec::new());
    let note = |index| {
        order.lock().expect("lock").push(index);
        None
    };
    copy_files(&fixture.from, &fixture.to, &fixture.items, &fixture.options, &note, &|_| {}).expect("copy");
    assert_eq!(order.into_inner().expect("lock"), [3, 1, 2, 0]);
}

#[test]
fn a_check_sees_every_byte_of_its_own_file() {
    let sizes = [0, 700_000, 5, 262_144];
    let fixture = Fixture::new(&sizes);
    let all = Mutex::new(vec![Vec::new(); sizes.len()]);
    let check = |index| Some(witness(&all, index, Ok(())));
    fixture.copy_checked(&check).expect("copy");
    for (index, seen) in all.into_inner().expect("lock").into_iter().enumerate() {
        assert!(seen == contents(sizes[index], index.to_le_bytes()[0]), "file {index}");
    }
}

#[test]
fn a_check_that_refuses_fails_the_copy_and_names_the_file() {
    let fixture = Fixture::new(&[100, 50, 10]);
    let all = Mutex::new(vec![Vec::new(); 3]);
    let check = |index| (index == 1).then(|| witness(&all, index, Err("expected another checksum")));
    let error = fixture.copy_checked(&check).expect_err("refused");
    assert!(matches!(&error, CopyError::Damaged { path, .. } if *path == fixture.source.path().join("1")), "{error}");
    assert_eq!(error.source().expect("a cause").to_string(), "expected another checksum");
}

#[test]
fn a_file_of_another_length_is_refused() {
    for (actual, expected) in [(100, 99), (100, 101), (0, 1), (1, 0)] {
        let mut fixture = Fixture::new(&[actual]);
        fixture.items[0].size = expected;
        let error = fixture.copy().expect_err("wrong size");
        let CopyError::WrongSize { expected: named, found, .. } = error else { panic!("{error}") };
        assert_eq!((named, found), (expected, actual as u64));
        assert!(names(fixture.target.path()).is_empty(), "nothing of it is copied");
    }
}

#[test]
fn nothing_is_overwritten() {
    let fixture = Fixture::new(&[10]);
    std::fs::write(fixture.target.path().join("copy-0"), b"precious").expect("write");
    assert!(matches!(fixture.copy(), Err(CopyError::Storage(error)) if error.is_already_exists()));
    assert_eq!(std::fs::read(fixture.target.path().join("copy-0")).expect("read"), b"precious");
}

/// A file of another length, one of other bytes, a directory, and the right one with a wrong mode.
#[test]
fn what_is_there_and_equal_is_kept_and_all_else_is_replaced() {
    for checked in [false, true] {
        let mut fixture = Fixture::new(&[10, 20, 30, 40, 50]);
        fixture.options.existing = Existing::KeepEqual;
        let there = |index: usize| fixture.target.path().join(format!("copy-{index}"));
        std::fs::write(there(0), b"other length").expect("write");
        std::fs::write(there(1), contents(20, 2)).expect("write");
        std::fs::create_dir(there(2)).expect("directory");
        std::fs::write(there(3), contents(40, 3)).expect("write");
        let inode = |index: usize| std::fs::metadata(there(index)).map(|metadata| metadata.ino()).expect("a file");
        let kept = inode(3);
        let progress = Mutex::new((0, 0));
        let count = |step| match step {
            CopyProgress::Copied(bytes) => progress.lock().expect("lock").0 += bytes,
            CopyProgress::Kept(bytes) => progress.lock().expect("lock").1 += bytes,
        };
        let check = |index: usize| {
            checked.then(|| Box::new(Exactly { seen: Vec::new(), index, size: (index + 1) * 10 }) as Box<dyn FileCheck>)
        };
        copy_files(&fixture.from, &fixture.to, &fixture.items, &fixture.options, &check, &count).expect("copy");
        for index in 0..5 {
            let expected = contents((index + 1) * 10, index.to_le_bytes()[0]);
            assert!(std::fs::read(there(index)).expect("a file") == expected, "file {index}");
            assert_eq!(std::fs::metadata(there(index)).expect("a file").mode() & 0o7777, 0o600, "file {index}");
        }
        assert_eq!((inode(3), progress.into_inner().expect("lock")), (kept, (110, 40)));
    }
}

/// Knows what is in each file of a fixture.
struct Exactly {
    seen: Vec<u8>,
    index: usize,
    size: usize,
}

impl FileCheck for Exactly {
    fn update(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
    }

    fn finish(self: Box<Self>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let is_right = self.seen == contents(self.size, self.index.to_le_bytes()[0]);
        if is_right { Ok(()) } else { Err("other bytes".into()) }
    }
}

#[test]
fn nothing_is_removed_for_an_original_that_is_not_what_it_should_be() {
    let mut fixture = Fixture::new(&[10]);
    fixture.options.existing = Existing::KeepEqual;
    fixture.items[0].size = 11;
    std::fs::write(fixture.target.path().join("copy-0"), b"precious").expect("write");
    assert!(matches!(fixture.copy(), Err(CopyError::WrongSize { .. })));
    assert_eq!(std::fs::read(fixture.target.path().join("copy-0")).expect("read"), b"precious");
}

#[test]
fn an_absent_original_is_an_error_that_stops_the_others() {
    let mut fixture = Fixture::new(&[10; 50]);
    fixture.options.jobs = NonZeroUsize::MIN;
    fixture.items[0].from = path("absent");
    assert!(matches!(fixture.copy(), Err(CopyError::Storage(error)) if error.is_not_found()));
    assert!(names(fixture.target.path()).is_empty());
}

#[test]
fn one_failure_stops_a_big_file_within_a_buffer() {
    let mut fixture = Fixture::new(&[5_000_000, 10]);
    fixture.items[1].from = path("absent");
    let copied = AtomicU64::new(0);
    let slowly = |progress| {
        let CopyProgress::Copied(bytes) = progress else { panic!("nothing is there yet") };
        copied.fetch_add(bytes, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    };
    let error = copy_files(&fixture.from, &fixture.to, &fixture.items, &fixture.options, &|_| None, &slowly);
    assert!(matches!(error, Err(CopyError::Storage(error)) if error.is_not_found()), "the cause, not its consequence");
    assert!(copied.into_inner() < 5_000_000);
}

#[test]
fn copies_are_no_faster_than_they_may_be() {
    let mut fixture = Fixture::new(&[400_000, 400_000]);
    let limit = std::num::NonZeroU64::new(1_000_000).expect("not zero");
    fixture.options.throttle = Some(std::sync::Arc::new(Throttle::new(limit)));
    let start = std::time::Instant::now();
    fixture.copy().expect("copy");
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn a_full_disk_is_reported_as_such() {
    let fixture = Fixture::new(&[1_000_000, 10]);
    let recorder = Recorder::start(fixture.target.path());
    let to = Dir::open(fixture.target.path()).expect("open");
    // Create, first write, second write.
    recorder.fail_at(2, Errno::NOSPC.raw_os_error());
    let options = CopyOptions { jobs: NonZeroUsize::MIN, ..fixture.options };
    let error = copy_files(&fixture.from, &to, &fixture.items, &options, &|_| None, &|_| {}).expect_err("full");
    assert!(matches!(error, CopyError::Storage(error) if error.is_disk_full()));
}

#[test]
fn cancelling_stops_within_a_buffer() {
    let fixture = Fixture::new(&[5_000_000]);
    let cancel = fixture.options.cancel.clone();
    let copied = AtomicU64::new(0);
    let progress = |progress| {
        let CopyProgress::Copied(bytes) = progress else { panic!("nothing is there yet") };
        if copied.fetch_add(bytes, Ordering::Relaxed) + bytes >= 1_000_000 {
            cancel.cancel();
        }
    };
    let error = copy_files(&fixture.from, &fixture.to, &fixture.items, &fixture.options, &|_| None, &progress);
    assert!(matches!(error, Err(CopyError::Cancelled(_))));
    assert!(copied.into_inner() < 1_000_000 + 256 * 1024);
}
