//! The end of a backup of a real server: from the manifest's name to the status of the record.

use super::{WAYS, chosen, per_way};
use crate::scene::{Scene, wait_until};
use std::path::PathBuf;
use std::process::Command;
use test_support::{Barman, CallEffect, CommandExt, Ended, OsUser, Postgres, SystemCallFault, pg_tool};

/// The first call of the end gives the manifest its name.
const FIRST: &str = "/backup_manifest";

/// In the names of the note that older WAL is to go.
const NOTE: &str = "/.purging";

const BACKUP: [&str; 3] = ["backup", "--immediate-checkpoint", "main"];

/// A server that delivers its WAL into a home.
fn delivering() -> Scene {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1").setting("archive_mode", "on"));
    scene.configure(&scene.server, &[("archiver", "on"), ("streaming_archiver", "off")]);
    // `check` makes the directories; it fails because nothing is delivered yet.
    scene.run(&["check", "--check-timeout", "1", "main"]);
    let incoming = scene.home.path().join("main/incoming");
    OsUser::of_servers().own_tree(&incoming);
    let command = format!("cp %p {0}/.%f.tmp && mv {0}/.%f.tmp {0}/%f", incoming.display());
    scene.server.psql(&format!("alter system set archive_command = '{command}'"));
    scene.server.psql("select pg_reload_conf()");
    let first = scene.server.switch_wal();
    scene.server.wait_until(&format!("select last_archived_wal >= '{first}' from pg_stat_archiver"));
    scene
}

fn back_up(scene: &Scene, nth: usize, effect: CallEffect) -> Ended {
    let mut command = scene.command();
    let fault = SystemCallFault::at(&scene.home.path(), nth, effect).from(FIRST);
    fault.start(command.args(BACKUP)).wait()
}

/// Ids and statuses, the newest first.
fn backups(scene: &Scene) -> Vec<(String, String)> {
    let listed = scene.succeed(&["list-backups", "--minimal", "main"]);
    let status = |id: &str| {
        let record = std::fs::read_to_string(scene.home.path().join(format!("main/meta/{id}-backup.info")));
        let record = record.expect("it is listed");
        record.lines().find_map(|line| Some(line.strip_prefix("status=")?.to_owned())).expect("a status")
    };
    listed.lines().map(|id| (id.to_owned(), status(id))).collect()
}

/// What counts as a backup has all its files, as PostgreSQL's own tool says.
fn assert_backups_are_whole(scene: &Scene, when: &str) {
    for (id, status) in backups(scene) {
        if status == "DONE" || status == "WAITING_FOR_WALS" {
            let data: PathBuf = scene.home.path().join(format!("main/base/{id}/data"));
            let verified = Command::new(pg_tool(15, "pg_verifybackup")).arg("--no-parse-wal").arg(&data).finish();
            assert_eq!(verified.code, Some(0), "{when}: {verified:?}");
        }
    }
}

/// Disturbs a backup at its end, and returns at which call, too. How many segments there are to archive and to remove, and so
/// how many calls, is the server's doing: where there are fewer, it is the last one.
fn disturb(scene: &Scene, mut nth: usize, effect: CallEffect, mut prepare: impl FnMut()) -> (Ended, String) {
    for _ in 0..5 {
        prepare();
        let ended = back_up(scene, nth, effect);
        match ended.call.clone() {
            Some(call) => return (ended, call),
            None => nth = ended.counted,
        }
    }
    panic!("nothing happened at call {nth}");
}

#[test]
fn the_end_of_a_backup() {
    let scene = delivering();
    // What is made once for all is there.
    scene.succeed(&BACKUP);
    let mut fired = 0;
    for (way, effect) in WAYS.into_iter().enumerate() {
        let undisturbed = back_up(&scene, 0, effect);
        let calls = undisturbed.counted;
        assert!(calls > 4 && undisturbed.code == Some(0), "{undisturbed:?} is no end of a backup");
        let points = chosen(calls, way);
        // Each takes seconds: a short run has one of each kind.
        let points = if per_way() < calls { &points[..1] } else { &points[..] };
        for &nth in points {
            let (ended, call) = disturb(&scene, nth, effect, || {});
            let when = format!("{effect:?} at call {nth} of {calls}, {call}");
            fired += 1;
            assert_backups_are_whole(&scene, &when);
            let newest = backups(&scene).first().map(|(_, status)| status.clone()).expect("a backup");
            assert!(ended.code != Some(0) || newest == "DONE" || newest == "WAITING_FOR_WALS", "{newest}: {when}");
            // The next one finishes what is left of this one, and the list is Barman's.
            scene.succeed(&BACKUP);
            let statuses = backups(&scene);
            let is_final = |status: &str| ["DONE", "FAILED", "WAITING_FOR_WALS"].contains(&status);
            assert!(statuses.iter().all(|(_, status)| is_final(status)), "{statuses:?}: {when}");
            let list = ["list-backups", "main"];
            assert_eq!(Barman::reference().succeed(&scene.home, &list), scene.succeed(&list), "{when}");
            for (id, _) in &backups(&scene)[1..] {
                scene.succeed(&["delete", "main", id]);
            }
        }
    }
    println!("the end of a backup: disturbed {fired} times");
}

/// Names of the archived segments, ascending.
fn archived(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.home.path().join("main/wals/0000000100000000")).expect("there is some WAL");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("the home is ours").file_name().into_string().expect("a name")).collect();
    names.retain(|name| name.len() == 24);
    names.sort();
    names
}

fn begin_wal(scene: &Scene, id: &str) -> String {
    let record = std::fs::read_to_string(scene.home.path().join(format!("main/meta/{id}-backup.info")));
    let record = record.expect("it is listed");
    record.lines().find_map(|line| Some(line.strip_prefix("begin_wal=")?.to_owned())).expect("it counts")
}

/// The server's WAL from before there is any backup.
fn archive_older_wal(scene: &Scene) {
    for (id, _) in backups(scene) {
        scene.succeed(&["delete", "main", &id]);
    }
    scene.server.psql("select pg_logical_emit_message(false, 'test', 'x')");
    let last = scene.server.switch_wal();
    scene.server.wait_until(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver"));
    scene.succeed(&["archive-wal", "main"]);
    assert!(archived(scene).contains(&last));
}

/// Older WAL that was archived goes with the first backup, and with nothing else: at the latest `cron` removes it.
#[test]
fn the_end_of_the_first_backup() {
    let scene = delivering();
    let mut fired = 0;
    // Each takes seconds: a short run is killed once.
    let ways = if per_way() <= 3 { &WAYS[..1] } else { &WAYS[..] };
    for (way, effect) in ways.iter().copied().enumerate() {
        archive_older_wal(&scene);
        let undisturbed = back_up(&scene, 0, effect);
        assert_eq!(undisturbed.code, Some(0));
        let calls = undisturbed.counted;
        let points = chosen(calls, way);
        let points = if per_way() < calls { &points[1..2] } else { &points[..] };
        for &nth in points {
            let (before, call) = disturb_the_first(&scene, nth, effect);
            fired += 1;
            let when = format!("{effect:?} at call {nth} of {calls}, {call}");
            // Where the backup counts, not before all of its WAL is there.
            wait_until("older WAL is removed", || {
                scene.succeed(&["cron"]);
                is_idle(&scene) && !scene.home.path().join("main/purging").exists()
            });
            let left = archived(&scene);
            match backups(&scene).first() {
                Some((id, status)) if status == "DONE" || status == "WAITING_FOR_WALS" => {
                    let begin = begin_wal(&scene, id);
                    // Also what arrives later, as the segment that the backup's start closes, unless the note that cron goes
                    // by could not be made, of which the user is warned.
                    let comes_late = |name: &String| call.contains(NOTE) && !before.contains(name);
                    let may_stay = |name: &String| *name >= begin || effect != CallEffect::Kill && comes_late(name);
                    assert!(left.iter().all(may_stay), "{left:?} before {begin}: {when}");
                    let needed = before.iter().filter(|name| **name >= begin);
                    assert!(needed.into_iter().all(|name| left.contains(name)), "{when}");
                }
                _ => assert!(before.iter().all(|name| left.contains(name)), "{when}"),
            }
        }
    }
    println!("the end of the first backup: disturbed {fired} times");
}

/// Disturbs a first backup; returns what was archived before, and at which call.
fn disturb_the_first(scene: &Scene, nth: usize, effect: CallEffect) -> (Vec<String>, String) {
    let mut before = Vec::new();
    let (_, call) = disturb(scene, nth, effect, || {
        archive_older_wal(scene);
        before = archived(scene);
    });
    (before, call)
}

/// Whether the archiver that `cron` started has ended; `cron` removes a lock that nobody holds.
fn is_idle(scene: &Scene) -> bool {
    let lock = std::fs::File::options().write(true).open(scene.home.path().join(".main-archive-wal.lock"));
    lock.map_or(true, |lock| lock.try_lock().is_ok())
}
