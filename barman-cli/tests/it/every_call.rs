//! `kill -9`, an I/O error and a full disk at every system call by which a command changes the home: nothing is lost,
//! Barman reads what is left, and running the command again finishes it (invariants 1, 2, 3 and 7).
//!
//! `BARMAN_CALLS` says at how many calls of each command, in each of four ways, spread over all of them: 3 by default, all of them in
//! `scripts/crash`. One that nothing happened at is a failure.

mod backups;
mod end_of_backup;
mod kept_home;
mod restore;
mod wal;

use kept_home::{Files, KeptHome};
use std::path::PathBuf;
use test_support::{CallEffect, Ended, Postgres, SystemCallFault};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A command, and the home that it is run on.
struct Case {
    home: KeptHome,
    command: Vec<&'static str>,
    input: Option<PathBuf>,
    /// What is run after an interruption: the command itself if there is nothing here.
    again: Vec<Vec<&'static str>>,
    /// Files of which the command is to tell that they are refused, so that it fails when all goes well.
    refuses: bool,
    /// Whether what is left of WAL in the archive, and of backups, is judged by what the records say, because the command
    /// removes both.
    deletes: bool,
}

impl Case {
    fn of(home: KeptHome, command: &[&'static str]) -> Self {
        let command = command.to_vec();
        Self { home, command, input: None, again: Vec::new(), refuses: false, deletes: false }
    }

    /// Disturbs the command at every call, or some of them, in every way.
    fn prove(&self) {
        let expected = self.undisturbed();
        let (mut fired, mut tolerated) = (0, Vec::new());
        for (way, effect) in WAYS.into_iter().enumerate() {
            let calls = self.calls(effect);
            assert!(calls > 0, "without a call there is no command");
            for nth in chosen(calls, way) {
                let mut ended = self.run(nth, effect);
                // What races with it makes it one call more or less.
                for _ in 0..if self.races() { 10 } else { 0 } {
                    if ended.call.is_none() {
                        ended = self.run(nth, effect);
                    }
                }
                let call = ended.call.clone();
                let call = call.unwrap_or_else(|| panic!("nothing happened at call {nth} of {calls}: {ended:?}"));
                fired += 1;
                let when = format!("{:?}: {effect:?} at call {nth} of {calls}, {call}", self.command);
                if effect != CallEffect::Kill && ended.code == Some(0) {
                    self.home.assert_is(&expected, &format!("told to be done, and is not: {when}"));
                    assert!(self.may_fail_unnoticed(&call), "{when}");
                    tolerated.push(call);
                }
                self.home.assert_nothing_is_lost(self.deletes, &when);
                let is_barmans_turn = fired % self.barman_each(calls) == 1;
                if is_barmans_turn {
                    self.home.assert_barman_reads_the_same(&when);
                }
                self.finish();
                self.home.assert_is(&expected, &format!("running again did not finish it: {when}"));
                self.home.assert_archive_verifies(&when);
                if is_barmans_turn {
                    self.home.assert_barman_checks_all_backups(&when);
                }
            }
        }
        tolerated.sort();
        tolerated.dedup();
        println!("{:?}: disturbed {fired} times; errors that it works around: {tolerated:#?}", self.command);
    }

    /// How many calls the command makes; where something races with it, how many at least.
    fn calls(&self, effect: CallEffect) -> usize {
        let runs = if self.races() { 5 } else { 1 };
        (0..runs).map(|_| self.run(0, effect).counted).min().unwrap_or_default()
    }

    /// Runs the command to its end, and again, and returns what is there then.
    fn undisturbed(&self) -> Files {
        let ended = self.run(0, CallEffect::Kill);
        assert_eq!(ended.code, Some(i32::from(self.refuses)), "{:?}: {}", self.command, self.home.log());
        let expected = self.home.state();
        self.finish();
        self.home.assert_is(&expected, "running it twice is running it once");
        self.home.assert_archive_verifies("undisturbed");
        self.home.assert_barman_rebuilds_the_same();
        expected
    }

    /// Runs the command on the home as it was prepared.
    fn run(&self, nth: usize, effect: CallEffect) -> Ended {
        self.home.reset();
        let mut fault = SystemCallFault::at(&self.home.path(), nth, effect);
        if let Some(input) = &self.input {
            fault = fault.input(input);
        }
        let mut command = self.home.command();
        let ended = fault.start(command.args(&self.command)).wait();
        self.wait_for_cron();
        ended
    }

    /// Runs what a user or cron runs next.
    fn finish(&self) {
        let again = if self.again.is_empty() { vec![self.command.clone()] } else { self.again.clone() };
        for command in again {
            let ended = self.home.run(&command, self.input.as_deref());
            let is_expected = ended.code == Some(0) || (self.refuses && ended.code == Some(1));
            // What they make or remove is there or gone already.
            let is_done = ["delete", "generate-manifest"].contains(&command[0]);
            assert!(is_expected || is_done, "{command:?}: {ended:?}");
        }
        self.wait_for_cron();
    }

    fn wait_for_cron(&self) {
        if self.runs_cron() {
            self.home.wait_for_background_processes();
        }
    }

    fn runs_cron(&self) -> bool {
        self.is_cron() || self.again.iter().any(|command| *command == ["cron"])
    }

    /// Whether how many calls it makes depends on another process: those that `cron` started, or `gpg`.
    fn races(&self) -> bool {
        self.is_cron() || self.home.is_encrypted()
    }

    fn is_cron(&self) -> bool {
        self.command == ["cron"]
    }

    /// Whether the command works around an error at this call. All others have to be told.
    fn may_fail_unnoticed(&self, call: &str) -> bool {
        // What the ledger lacks is found out again.
        let is_ledger = call.contains("/main/ledger");
        // The number of a process in the lock on the index is for people to read.
        let is_number = call.ends_with("-xlogdb.lock");
        // What could not be compressed ahead of its turn, with its directory, is compressed when that comes.
        let is_ahead = self.command.first() == Some(&"archive-wal") && call.contains("/main/wals/");
        is_ledger || is_number || (is_ahead && (call.ends_with(".tmp") || call.starts_with("mkdir ")))
    }

    /// Barman takes a second to start, and is asked some questions: in a short run at one call.
    fn barman_each(&self, calls: usize) -> usize {
        if per_way() >= calls { 20 } else { WAYS.len() * per_way() }
    }
}

const WAYS: [CallEffect; 4] = [CallEffect::Kill, CallEffect::Fail(ENOSPC), CallEffect::Fail(EIO), CallEffect::FullDisk];

fn per_way() -> usize {
    std::env::var("BARMAN_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// The calls to disturb, the first being 1, spread evenly; each way begins at another one.
fn chosen(calls: usize, way: usize) -> Vec<usize> {
    let wanted = per_way().clamp(1, calls);
    let step = calls as f64 / wanted as f64;
    let first = step * (way + 1) as f64 / (WAYS.len() + 1) as f64;
    (0..wanted).map(|index| ((first + step * index as f64) as usize % calls) + 1).collect()
}

#[test]
fn archive_wal() {
    wal::archiving(&[]).prove();
}

#[test]
fn archive_wal_compressed() {
    wal::archiving(&[("compression", "zstd")]).prove();
}

#[test]
fn archive_wal_encrypted() {
    wal::encrypting().prove();
}

#[test]
fn archive_wal_that_refuses() {
    wal::refusing().prove();
}

#[test]
fn archive_wal_of_a_new_cluster() {
    wal::accepting(&Postgres::start()).prove();
}

#[test]
fn put_wal() {
    wal::putting().prove();
}

#[test]
fn put_wal_of_what_is_archived_with_other_contents() {
    wal::putting_another().prove();
}

#[test]
fn rebuild_xlogdb() {
    wal::rebuilding("rebuild-xlogdb").prove();
}

#[test]
fn rebuild_ledger() {
    wal::rebuilding("rebuild-ledger").prove();
}

#[test]
fn check_backup() {
    backups::checking().prove();
}

#[test]
fn generate_manifest() {
    backups::listing().prove();
}

#[test]
fn delete() {
    backups::deleting(false).prove();
}

#[test]
fn delete_with_incremental_children() {
    backups::deleting(true).prove();
}

#[test]
fn cron_after_a_crash() {
    backups::recovering().prove();
}

#[test]
fn cron_after_a_backup_that_could_not_remove_older_wal() {
    backups::purging().prove();
}

#[test]
fn keep() {
    backups::keeping(&["keep", "--target", "standalone"], false).prove();
}

#[test]
fn keep_in_place_of_another() {
    backups::keeping(&["keep", "--target", "standalone"], true).prove();
}

#[test]
fn release() {
    backups::keeping(&["keep", "--release"], true).prove();
}
