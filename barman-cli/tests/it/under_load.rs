//! Everything at once: a receiver, an archiver, backups and deletions, and ten readers, on one home and a busy server.
//!
//! `BARMAN_LOAD_SECONDS` says for how long: 8 by default, 60 in `scripts/crash`.

use crate::crash::{archiving_scene, assert_archive_equals};
use crate::scene::{Scene, ours};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use test_support::{Barman, CommandExt, Finished, PgbenchLoad};

fn duration() -> Duration {
    let seconds = std::env::var("BARMAN_LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

#[test]
fn readers_see_a_consistent_home_whatever_goes_on() {
    let (scene, kept) = archiving_scene();
    scene.start_streaming();
    PgbenchLoad::initialise(&scene.server, 1);
    let load = PgbenchLoad::start(&scene.server, 2);
    scene.succeed(&["backup", "--immediate-checkpoint", "--wait", "main"]);
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let backups = std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (scene, done, reads) = (&scene, &done, &reads);
            scope.spawn(move || {
                let _done = DoneWhenDropped(done);
                while !done.load(Ordering::Relaxed) {
                    read(scene, reader);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let _done = DoneWhenDropped(&done);
            while !done.load(Ordering::Relaxed) {
                archive(&scene);
            }
        });
        let _done = DoneWhenDropped(&done);
        back_up_and_delete(&scene, &done)
    });
    load.stop();
    println!("{backups} backups and {} reads", reads.load(Ordering::Relaxed));
    assert!(backups >= 2 && reads.load(Ordering::Relaxed) >= READERS, "{backups} backups, {reads:?} reads");
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
    let verified = scene.run(&["verify-archive", "--all", "main"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let (ours, theirs) = (list(&ours(), &scene), list(&Barman::reference(), &scene));
    assert_eq!(ours.stdout, theirs.stdout);
}

const READERS: usize = 10;

/// Where one thread ends, with a panic for example, the others do.
struct DoneWhenDropped<'a>(&'a AtomicBool);

impl Drop for DoneWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn list(tool: &Barman, scene: &Scene) -> Finished {
    tool.run(&scene.home, &["list-backups", "--minimal", "main"])
}

/// Each reader asks something else; one of them is Barman.
fn read(scene: &Scene, reader: usize) {
    match reader {
        0 => assert_ids_descend(&list(&Barman::reference(), scene)),
        1 | 2 => assert_ids_descend(&list(&ours(), scene)),
        3 | 4 => assert_every_record_is_shown(scene),
        5..8 => assert_newest_wal_is_whole(scene),
        8 => drop(json(scene, &["list-backups", "main"])),
        _ => drop(json(scene, &["recovery-window", "main"])),
    }
}

fn assert_ids_descend(listed: &Finished) {
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let ids: Vec<&str> = listed.stdout.lines().collect();
    assert!(ids.iter().all(|id| id.len() == 15) && ids.is_sorted_by(|one, other| one > other), "{listed:?}");
}

/// A backup that is listed can be shown, unless it is deleted by then.
fn assert_every_record_is_shown(scene: &Scene) {
    for id in list(&ours(), scene).stdout.lines() {
        let shown = scene.run(&["show-backup", "main", id]);
        let is_gone = || !list(&ours(), scene).stdout.contains(id);
        assert!(shown.code == Some(0) || is_gone(), "{shown:?}");
        assert!(shown.code != Some(0) || shown.stdout.starts_with(&format!("Backup {id}:\n")), "{shown:?}");
    }
}

/// What the index ends with can be fetched, and is a segment.
fn assert_newest_wal_is_whole(scene: &Scene) {
    const MIB: usize = 1 << 20;
    let index = std::fs::read_to_string(scene.home.path().join("main/wals/main-xlog.db")).unwrap_or_default();
    // Without the lock, the last line may be half a line.
    let whole = index.rfind('\n').map_or("", |end| &index[..end]);
    let Some(name) = whole.lines().filter_map(|line| line.split('\t').next()).rfind(|name| name.len() == 24) else {
        return;
    };
    let fetched = scene.command().args(["get-wal", "main", name]).output().expect("our program can be started");
    assert!(fetched.status.success() && fetched.stdout.len() == MIB, "{name}: {:?}", fetched.status);
}

fn json(scene: &Scene, arguments: &[&str]) -> serde_json::Value {
    let text = scene.command().args(["-f", "json"]).args(arguments).succeed();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The receiver archives as well: whoever comes second is told so.
fn archive(scene: &Scene) {
    let archived = scene.run(&["archive-wal", "main"]);
    let is_busy = archived.stderr.contains("already running");
    assert!(archived.code == Some(0) || is_busy, "{archived:?}");
}

/// Takes backups, and keeps the two newest; returns how many it took.
fn back_up_and_delete(scene: &Scene, done: &AtomicBool) -> usize {
    let (started, mut taken) = (Instant::now(), 0);
    while started.elapsed() < duration() && !done.load(Ordering::Relaxed) {
        scene.succeed(&["backup", "--immediate-checkpoint", "main"]);
        taken += 1;
        while list(&ours(), scene).stdout.lines().count() > 2 {
            scene.succeed(&["delete", "main", "oldest"]);
        }
    }
    taken
}
