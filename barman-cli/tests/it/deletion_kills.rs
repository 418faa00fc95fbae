//! `kill -9` in front of each system call by which `delete` and `cron`'s enforcement change something: whatever the instant,
//! what is listed can be restored, and the next run finishes.
//!
//! `BARMAN_DELETION_KILLS` says at how many calls of each: 6 by default, all in `scripts/retention-kills`.

use crate::made_home::{CHAIN, ONE, THREE, THREE_BACKUPS, TWO, files, home, with_rules};
use crate::scene::ours;
use std::collections::BTreeSet;
use std::path::Path;
use test_support::{BarmanHome, FaultyProgram};

/// Commands that delete, each on a home of its own.
struct Scene {
    what: &'static str,
    make: fn() -> BarmanHome,
    command: &'static [&'static str],
    /// The backups that are left at the end.
    left: &'static [&'static str],
}

const SCENES: [Scene; 5] = [
    Scene {
        what: "delete",
        make: || home(&[], &THREE_BACKUPS),
        command: &["delete", "main", "oldest"],
        left: &[TWO, THREE],
    },
    Scene {
        what: "delete of a tree",
        make: || home(&[], &CHAIN),
        command: &["delete", "main", ONE],
        left: &["20260104T000000"],
    },
    Scene {
        what: "a redundancy",
        make: || with_rules("REDUNDANCY 1", &THREE_BACKUPS),
        command: &["cron"],
        left: &[THREE],
    },
    Scene {
        what: "a window for WAL",
        make: || with_rules("REDUNDANCY 3 WAL FOR 1 DAYS", &THREE_BACKUPS),
        command: &["cron"],
        left: &[ONE, TWO, THREE],
    },
    Scene {
        what: "WAL without backups",
        make: || with_rules("REDUNDANCY 1 WAL FOR 1 DAYS", &[]),
        command: &["cron"],
        left: &[],
    },
];

fn kills() -> usize {
    std::env::var("BARMAN_DELETION_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn wherever_a_deletion_is_killed_what_is_listed_can_be_restored_and_the_next_run_finishes() {
    for scene in &SCENES {
        let undisturbed = (scene.make)();
        let (calls, _) = run_until(&undisturbed, scene, 0);
        assert!(calls > 0, "{}: nothing happened", scene.what);
        let kills = kills().min(calls);
        for nth in (1..=kills).map(|number| number * calls / kills) {
            let home = (scene.make)();
            let (_, killed) = run_until(&home, scene, nth);
            let when = format!("{}, killed at call {nth} of {calls} ({killed:?})", scene.what);
            assert!(killed.is_some(), "{when}");
            assert_listed_is_there(&home, &when);
            // Whoever deletes next finishes, whichever command it is.
            ours().succeed(&home, &["cron"]);
            if listed(&home).len() > scene.left.len() {
                ours().succeed(&home, scene.command);
            }
            assert_eq!(listed(&home), scene.left, "{when}");
            assert_listed_is_there(&home, &when);
            assert_eq!(files(&home), files(&undisturbed), "{when}");
        }
    }
}

/// Runs the command up to one of its calls, 0 for to its end; returns how many there were, and at which one it was killed.
fn run_until(home: &BarmanHome, scene: &Scene, nth: usize) -> (usize, Option<u64>) {
    // So that `cron` starts nothing in the background.
    let archiving = std::fs::File::create(home.path().join(".main-archive-wal.lock")).expect("the home is ours");
    archiving.lock().expect("nobody archives");
    let mut command = ours().command(home);
    command.args(scene.command);
    let program = FaultyProgram::killed_at(&command, &home.path(), nth);
    while !program.has_ended() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    (program.counted(), program.wait())
}

fn listed(home: &BarmanHome) -> Vec<String> {
    let list = ours().succeed(home, &["list-backups", "--minimal", "main"]);
    let mut ids: Vec<_> = list.lines().map(str::to_owned).collect();
    ids.sort();
    ids
}

/// Every backup that is listed has its data and the WAL from its begin to its end; every line of the index its file.
fn assert_listed_is_there(home: &BarmanHome, when: &str) {
    let main = home.path().join("main");
    let archived = names_in(&main.join("wals/0000000100000000"));
    let index = std::fs::read_to_string(main.join("wals/main-xlog.db")).expect("an index");
    let recorded: BTreeSet<_> = index.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect();
    assert!(recorded.is_subset(&archived), "{when}: {recorded:?} {archived:?}");
    for id in listed(home) {
        assert!(main.join(format!("base/{id}/data/PG_VERSION")).exists(), "{when}: the data of {id}");
        let record = std::fs::read_to_string(main.join(format!("meta/{id}-backup.info"))).expect("a record");
        for key in ["begin_wal=", "end_wal="] {
            let name = record.lines().find_map(|line| line.strip_prefix(key)).expect("a segment");
            assert!(recorded.contains(name), "{when}: {key}{name} of {id}");
        }
    }
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned()).collect()
}
