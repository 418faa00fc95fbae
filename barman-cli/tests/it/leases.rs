//! What is in use is not deleted: by a command, by our `cron`, or by a real Barman's beside us.

use crate::made_home::{ONE, THREE, THREE_BACKUPS, files, segment, with_rules};
use crate::scene::{Scene, ours, wait_until};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use test_support::{Barman, BarmanHome, CommandExt};

/// A restore that was stopped while it holds its lease; killed when dropped.
struct Restoring(Child);

impl Restoring {
    /// Begins one restore after the other until one is stopped in the middle: a small backup is restored in no time.
    fn begin(scene: &Scene, id: &str) -> Self {
        loop {
            let destination = scene.destination();
            let mut command = scene.command();
            command.args(["restore", "main", id]).arg(&destination).stdout(Stdio::null()).stderr(Stdio::null());
            let child = Self(command.spawn().expect("our program"));
            wait_until("the restore has begun", || destination.join("base").exists());
            child.signal("STOP");
            if is_leased(&scene.home.path().join(format!(".main-{id}.lock"))) {
                return child;
            }
        }
    }

    fn signal(&self, signal: &str) {
        Command::new("kill").args([format!("-{signal}"), self.0.id().to_string()]).succeed();
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody shares the lock.
fn is_leased(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    taken && file.try_lock_shared().is_ok()
}

/// Two backups of a real server; the policy does not need the older one, whose id is returned.
fn two_backups() -> (Scene, String) {
    let scene = Scene::streaming();
    scene.succeed(&["backup", "--wait", "main"]);
    scene.archive_everything();
    scene.succeed(&["backup", "--wait", "main"]);
    let older = scene.succeed(&["list-backups", "--minimal", "main"]).lines().last().expect("two").to_owned();
    (scene, older)
}

fn enforce(scene: &Scene) {
    scene.configure(&scene.server, &[("retention_policy", "REDUNDANCY 1")]);
}

fn is_listed(scene: &Scene, id: &str) -> bool {
    scene.succeed(&["list-backups", "--minimal", "main"]).lines().any(|line| line == id)
}

/// barman#200: a restore of 2.4 TB died since `cron` had deleted the backup below it.
#[test]
fn a_backup_that_is_being_restored_is_deleted_by_nobody() {
    let (scene, older) = two_backups();
    let mut restoring = Restoring::begin(&scene, &older);
    enforce(&scene);
    for barman in [Barman::reference(), ours()] {
        let deleted = barman.run(&scene.home, &["delete", "main", &older]);
        let said = format!("Another process is holding the lock for backup {older}");
        assert!(deleted.code == Some(1) && deleted.stderr.contains(&said), "{deleted:?}");
        let cron = barman.run(&scene.home, &["cron"]);
        assert!(cron.stderr.contains(&format!("Another action is in progress for the backup {older}")), "{cron:?}");
        assert!(is_listed(&scene, &older));
    }
    restoring.signal("CONT");
    // It holds the lease to its end, and nothing that it needed has gone.
    assert!(restoring.0.wait().expect("it ends").success());
    scene.succeed(&["cron"]);
    assert!(!is_listed(&scene, &older));
}

#[test]
fn the_lease_of_a_killed_restore_is_gone() {
    let (scene, older) = two_backups();
    let restoring = Restoring::begin(&scene, &older);
    enforce(&scene);
    drop(restoring);
    Barman::reference().succeed(&scene.home, &["cron"]);
    assert!(!is_listed(&scene, &older));
}

/// Nor does anybody look at a backup that is being deleted.
#[test]
fn a_backup_that_is_compared_with_its_manifest_is_leased() {
    let home = with_rules("REDUNDANCY 3", &THREE_BACKUPS);
    let lock = File::create(home.path().join(format!(".main-{ONE}.lock"))).expect("the home is ours");
    lock.lock().expect("nobody else uses it");
    for command in ["verify-backup", "generate-manifest"] {
        let finished = ours().run(&home, &[command, "main", ONE]);
        let said = format!("backup {ONE} of server main is in use by another process");
        assert!(finished.code == Some(1) && finished.stderr.contains(&said), "{finished:?}");
    }
    lock.unlock().expect("it is ours");
    lock.lock_shared().expect("nobody else uses it");
    ours().succeed(&home, &["generate-manifest", "main", ONE]);
    ours().succeed(&home, &["verify-backup", "main", ONE]);
}

/// Holds the lease of the oldest backup as a restore does, runs `cron`, gives the lease back and runs `cron` again; returns
/// which segments there are after each.
fn segments_with_and_without_lease(home: &BarmanHome) -> [Vec<u32>; 2] {
    let lock = File::create(home.path().join(format!(".main-{ONE}.lock"))).expect("the home is ours");
    lock.lock_shared().expect("nobody else uses it");
    let left = || {
        ours().succeed(home, &["cron"]);
        let files = files(home);
        let has = |number: &u32| files.contains(&format!("main/wals/0000000100000000/{}", segment(*number)));
        (1..=9).filter(has).collect()
    };
    let leased = left();
    drop(lock);
    [leased, left()]
}

/// Who restores a backup may be on the way to any point behind it.
#[test]
fn wal_behind_a_backup_in_use_is_not_cut_by_a_window() {
    let home = with_rules("REDUNDANCY 3 WAL FOR 1 DAYS", &[(ONE, 2, &[]), (THREE, 6, &[])]);
    let [leased, free] = segments_with_and_without_lease(&home);
    assert_eq!(leased, [2, 3, 4, 5, 6, 7, 8, 9], "only what is before it goes");
    assert_eq!(free, [2, 3, 6, 7, 8, 9]);
}

#[test]
fn wal_behind_a_standalone_backup_in_use_does_not_go_with_the_next_one() {
    let home = with_rules("REDUNDANCY 1", &THREE_BACKUPS);
    ours().succeed(&home, &["keep", "--target", "standalone", "main", ONE]);
    let [leased, free] = segments_with_and_without_lease(&home);
    assert_eq!(leased, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // What went with no backup goes with none later; recovery from the standalone one still ends where it can.
    assert_eq!(free, leased);
}
