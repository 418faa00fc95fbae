//! Locks between processes; `flock(1)` takes them as Barman does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use barman_storage::LockFile;

use super::{empty_directory, names, path};

/// Another process that holds a lock until it is killed.
struct Holder(Child);

impl Holder {
    fn start(kind: &str, file: &Path) -> Self {
        // The shell says when it has the lock, and then waits for its input, which never comes.
        let mut command = Command::new("flock");
        command.args([kind, "--nonblock"]).arg(file).args(["sh", "-c", "echo locked; read line"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("flock(1) of util-linux");
        let mut line = [0; 7];
        let stdout = child.stdout.as_mut().expect("its output");
        std::io::Read::read_exact(stdout, &mut line).expect("the lock is free");
        Self(child)
    }

    /// Ends the process, which releases the lock.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("wait");
    }
}

/// Whether another process gets the lock.
fn is_free(kind: &str, file: &Path) -> bool {
    let mut command = Command::new("flock");
    command.args([kind, "--nonblock"]).arg(file).arg("true").status().expect("flock(1) of util-linux").success()
}

#[test]
fn an_exclusive_lock_keeps_other_processes_out_until_it_is_dropped() {
    let (root, dir) = empty_directory();
    let file = root.path().join(".main-backup.lock");
    let lock = LockFile::try_exclusive(&dir, &path(".main-backup.lock")).expect("lock").expect("free");
    assert!(!is_free("--exclusive", &file));
    assert!(!is_free("--shared", &file));
    drop(lock);
    assert!(is_free("--exclusive", &file));
    assert_eq!(names(root.path()), [".main-backup.lock"], "the file stays");
}

#[test]
fn another_process_keeps_us_out_until_it_ends() {
    let (root, dir) = empty_directory();
    let name = path(".main-cron.lock");
    let holder = Holder::start("--exclusive", &root.path().join(".main-cron.lock"));
    assert!(LockFile::try_exclusive(&dir, &name).expect("lock").is_none());
    assert!(LockFile::try_shared(&dir, &name).expect("lock").is_none());
    holder.stop();
    assert!(LockFile::try_exclusive(&dir, &name).expect("lock").is_some());
}

#[test]
fn the_file_is_as_barman_makes_it() {
    let (root, dir) = empty_directory();
    let name = path(".main-cron.lock");
    let file = root.path().join(".main-cron.lock");
    let lock = LockFile::try_exclusive(&dir, &name).expect("lock").expect("free");
    let number = format!("{}\n", std::process::id());
    assert_eq!(fs::read_to_string(&file).expect("read"), number);
    assert_eq!(fs::metadata(&file).expect("metadata").permissions().mode() & 0o7777, 0o600);
    drop(lock);
    fs::write(&file, "a longer text that an earlier holder left\n").expect("write");
    let _lock = LockFile::try_exclusive(&dir, &name).expect("lock").expect("free");
    assert_eq!(fs::read_to_string(&file).expect("read"), number);
}

#[test]
fn two_share_a_lease_and_keep_an_exclusive_lock_out() {
    let (root, dir) = empty_directory();
    let name = path(".main-20250101T000000.lock");
    let file = root.path().join(".main-20250101T000000.lock");
    fs::write(&file, "123\n").expect("write");
    let lease = LockFile::try_shared(&dir, &name).expect("lock").expect("free");
    let second = LockFile::try_shared(&dir, &name).expect("lock").expect("free");
    assert!(is_free("--shared", &file));
    assert!(!is_free("--exclusive", &file), "Barman's delete has to be refused");
    assert!(LockFile::try_exclusive(&dir, &name).expect("lock").is_none());
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), None);
    assert_eq!(fs::read_to_string(&file).expect("read"), "123\n");
    drop((lease, second));
    assert!(is_free("--exclusive", &file));
}

#[test]
fn a_lock_can_name_another_process_than_the_one_that_has_it() {
    let (_root, dir) = empty_directory();
    let name = path(".main-receive-wal.lock");
    let lock = LockFile::try_exclusive(&dir, &name).expect("lock").expect("nobody has it");
    lock.name_process(7).expect("the lock file can be written");
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), Some(7));
    drop(lock);
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), None);
}

#[test]
fn the_holder_is_known_by_its_number_while_it_holds_the_lock() {
    let (root, dir) = empty_directory();
    let name = path(".main-receive-wal.lock");
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), None);
    assert!(names(root.path()).is_empty(), "asking makes no file");
    let lock = LockFile::try_exclusive(&dir, &name).expect("lock").expect("free");
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), Some(std::process::id()));
    fs::write(root.path().join(".main-receive-wal.lock"), "not a number\n").expect("write");
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), None);
    fs::write(root.path().join(".main-receive-wal.lock"), "99\n4321\n").expect("write");
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), Some(99), "not yet cut to its new length");
    drop(lock);
    assert_eq!(LockFile::holder(&dir, &name).expect("holder"), None);
}

#[test]
fn exclusive_waits_until_the_lock_is_free() {
    let (root, dir) = empty_directory();
    let holder = Holder::start("--exclusive", &root.path().join(".main-xlogdb.lock"));
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let lock = LockFile::exclusive(&dir, &path(".main-xlogdb.lock")).expect("lock");
        sender.send(()).expect("send");
        drop(lock);
    });
    assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "somebody has it");
    holder.stop();
    receiver.recv_timeout(Duration::from_secs(10)).expect("the lock is free now");
    waiter.join().expect("waiter");
}

#[test]
fn a_lock_file_that_was_removed_in_the_meantime_is_made_again() {
    let (root, dir) = empty_directory();
    let name = path(".main-backup.lock");
    let file = root.path().join(".main-backup.lock");
    let holder = Holder::start("--exclusive", &file);
    let waiter = thread::spawn({
        let (dir, name) = (dir.clone(), name.clone());
        move || LockFile::exclusive(&dir, &name).expect("lock")
    });
    thread::sleep(Duration::from_millis(100));
    // As Barman's lock-directory-cleanup does: removed by its holder, while another one waits for it.
    fs::remove_file(&file).expect("remove");
    holder.stop();
    let _lock = waiter.join().expect("waiter");
    assert!(!is_free("--exclusive", &file), "the lock is on the file that others find");
}

#[test]
fn a_lock_is_not_taken_through_a_link() {
    let (root, dir) = empty_directory();
    std::os::unix::fs::symlink("/tmp/elsewhere", root.path().join("link")).expect("link");
    assert!(LockFile::try_exclusive(&dir, &path("link")).is_err());
}
