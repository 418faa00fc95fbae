//! What is left of an operation that was killed, or lost its power, at any moment: nothing is lost, and running it again
//! finishes it (invariants 1, 2, 3 and 7).

use std::collections::BTreeSet;

use barman_catalog::{Status, WalSource};
use barman_storage::Cancel;
use barman_storage::codec::Algorithm;
use barman_storage::testing::{Crash, Loss, Recorder, Recording, Survivors};

use crate::compression::{contents, storing, unreadable, with};
use crate::put_wal::{put, stream};
use crate::repository::{Repository, id, name, options, segment};

const ONE: &str = "wals/0000000100000000/000000010000000000000001";
const HISTORY: &str = "00000002.history";
const ONE_BACKUP: &str = "20260101T000000";
const TWO_BACKUP: &str = "20260102T000000";
const THREE_BACKUP: &str = "20260103T000000";

const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Everything, Loss::Seed(1), Loss::Seed(2)];

/// Records `operation` on what `prepare` made, and shows every repository that a crash can leave to `check`.
pub(crate) fn after_each_crash(
    prepare: impl Fn(&Repository),
    operation: impl Fn(&Repository),
    check: impl Fn(&Repository, Crash, bool),
) -> Recording {
    let repository = Repository::new();
    prepare(&repository);
    let recorder = Recorder::start(&repository.home);
    operation(&Repository::at(&repository.home));
    let recording = recorder.recording();
    for position in 0..=recording.len() {
        for loss in LOSSES {
            let crash = Crash { position, loss };
            let left = tempfile::tempdir().expect("temporary directory");
            recording.replay(crash, left.path()).expect("replay");
            check(&Repository::at(left.path()), crash, position == recording.len());
        }
    }
    recording
}

fn ingest(repository: &Repository) {
    repository.ingest(WalSource::Incoming).expect("a run");
}

fn deliver(repository: &Repository) {
    repository.write(&format!("incoming/{}", name(1)), segment(&name(1), 7));
    repository.write(&format!("incoming/{HISTORY}"), "1\t0/3000000\treason\n");
}

#[test]
fn archiving_compressed_loses_nothing_and_runs_again() {
    let zstd = |repository: &Repository| storing(repository, with(Algorithm::Zstd));
    let run = |repository: &Repository| {
        let cancel = Cancel::new();
        zstd(repository).ingest(WalSource::Incoming, &options(&cancel), &mut |_| {}).expect("a run");
    };
    after_each_crash(deliver, run, |left, crash, returned| {
        let has = |path: &str| left.path(path).exists();
        let whole = || contents(&zstd(left), &name(1)) == segment(&name(1), 7);
        assert!(has(&format!("incoming/{}", name(1))) || whole(), "{crash:?}");
        assert!(!has(ONE) || whole(), "torn: {crash:?}");
        assert!(!returned || left.names("incoming").is_empty(), "{crash:?}");
        run(left);
        assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
        assert!(whole() && left.names("incoming").is_empty(), "{crash:?}");
        assert!(left.names("wals/0000000100000000").iter().all(|name| !name.ends_with(".tmp")), "{crash:?}");
    });
}

/// A run that finds a file archived already cannot compare the two; it knows what was archived all the same.
#[test]
fn what_nobody_here_can_read_again_is_no_other_file_after_any_crash() {
    let run = |repository: &Repository| {
        let cancel = Cancel::new();
        let catalog = storing(repository, unreadable());
        catalog.ingest(WalSource::Incoming, &options(&cancel), &mut |_| {}).expect("a run");
    };
    after_each_crash(deliver, run, |left, crash, _| {
        deliver(left);
        run(left);
        assert_eq!((left.names("incoming"), left.names("errors")), (vec![], vec![]), "{crash:?}");
        assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
        for (name, length) in [(name(1), segment(&name(1), 7).len()), (HISTORY.to_owned(), 19)] {
            assert_eq!(left.facts(&name).raw.map(|raw| raw.bytes), Some(length as u64), "{crash:?}");
        }
    });
}

#[test]
fn archiving_loses_nothing_and_runs_again() {
    after_each_crash(deliver, ingest, |left, crash, returned| {
        // A sender believes that the archive has the file when it is gone from where it was delivered.
        let has = |path: &str| left.path(path).exists();
        assert!(has(&format!("incoming/{}", name(1))) || left.read(ONE) == segment(&name(1), 7), "{crash:?}");
        assert!(has(&format!("incoming/{HISTORY}")) || has(&format!("wals/{HISTORY}")), "{crash:?}");
        assert!(!has(ONE) || left.read(ONE) == segment(&name(1), 7), "torn: {crash:?}");
        if returned {
            assert!(!has("incoming/000000010000000000000001"), "{crash:?}");
            assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
        }
        ingest(left);
        assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
        assert_eq!(left.archived(), [&name(1), HISTORY], "{crash:?}");
        assert_eq!(left.read(ONE), segment(&name(1), 7), "{crash:?}");
        assert!(left.names("incoming").is_empty() && left.names("errors").is_empty(), "{crash:?}");
    });
}

#[test]
fn what_the_index_says_is_in_the_archive_after_any_crash() {
    after_each_crash(deliver, ingest, |left, crash, _| {
        let archived: BTreeSet<_> = left.archived().into_iter().collect();
        for name in left.recorded() {
            assert!(archived.contains(&name), "{name} {crash:?}");
        }
    });
}

#[test]
fn a_duplicate_is_removed_only_when_its_twin_is_safe() {
    let prepare = |repository: &Repository| {
        deliver(repository);
        ingest(repository);
        deliver(repository);
        // As a run leaves it that was killed before it recorded the file.
        std::fs::write(repository.path("wals/main-xlog.db"), "").expect("write");
    };
    after_each_crash(prepare, ingest, |left, crash, _| {
        assert_eq!(left.read(ONE), segment(&name(1), 7), "{crash:?}");
        ingest(left);
        assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
        assert!(left.names("incoming").is_empty() && left.names("errors").is_empty(), "{crash:?}");
    });
}

#[test]
fn a_refused_file_is_in_one_place_or_the_other() {
    let prepare = |repository: &Repository| {
        repository.write(&format!("incoming/{}", name(1)), segment(&name(2), 7));
    };
    after_each_crash(prepare, ingest, |left, crash, _| {
        ingest(left);
        let files = left.names("errors");
        let refused: Vec<_> = files.iter().filter(|name| name.ends_with(".refused")).collect();
        assert_eq!(refused.len(), 1, "{crash:?} {files:?}");
        assert_eq!(left.read(&format!("errors/{}", refused[0])), segment(&name(2), 7), "{crash:?}");
        assert_eq!(
            files,
            [refused[0].clone(), format!("{}.reason", refused[0])],
            "nothing of the first run: {crash:?}"
        );
        assert!(left.archived().is_empty() && left.names("incoming").is_empty(), "{crash:?}");
    });
}

#[test]
fn rebuilding_the_index_runs_again() {
    let prepare = |repository: &Repository| {
        deliver(repository);
        ingest(repository);
        std::fs::remove_file(repository.path("wals/main-xlog.db")).expect("remove");
        repository.write("wals/xlog.db", "old");
    };
    let rebuild = |repository: &Repository| drop(repository.catalog.xlog_db().expect("index"));
    after_each_crash(prepare, rebuild, |left, crash, _| {
        assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
    });
}

#[test]
fn a_purge_runs_again_and_removes_nothing_that_is_needed() {
    let prepare = |repository: &Repository| {
        for number in 1..=3 {
            repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
        }
        ingest(repository);
        repository.backup("20260101T000000", &name(3), &name(3), Status::Done);
    };
    let purge = |repository: &Repository| {
        let plan = repository.catalog.plan_purge(&id("20260101T000000")).expect("readable").expect("a plan");
        repository.catalog.purge(&plan, |_| {}).expect("purged");
    };
    after_each_crash(prepare, purge, |left, crash, _| {
        let archived = left.archived();
        assert!(archived.contains(&name(3)), "{crash:?}");
        assert!(left.recorded().iter().all(|name| archived.contains(name)), "{crash:?}");
        purge(left);
        assert_eq!((left.archived(), left.recorded()), (vec![name(3)], vec![name(3)]), "{crash:?}");
    });
}

#[test]
fn a_record_is_the_old_one_or_the_new_one() {
    let prepare = |repository: &Repository| {
        repository.backup("20260101T000000", &name(1), &name(1), Status::WaitingForWals);
    };
    let finish = |repository: &Repository| {
        repository.backup("20260101T000000", &name(1), &name(1), Status::Done);
    };
    after_each_crash(prepare, finish, |left, crash, returned| {
        let status = left.catalog.backup(&id("20260101T000000")).expect("a record").status;
        assert!(status == Status::Done || (!returned && status == Status::WaitingForWals), "{crash:?}");
    });
}

#[test]
fn every_sync_of_archiving_is_needed() {
    // Directories that are empty, and an index that is not there yet, cost syncs once that no run needs again.
    let prepare = |repository: &Repository| {
        deliver(repository);
        ingest(repository);
        repository.backup("20260101T000000", &name(1), &name(1), Status::Done);
        repository.write("base/20260101T000000/data/PG_VERSION", "15\n");
        repository.write(&format!("incoming/{}", name(2)), segment(&name(2), 7));
    };
    let recording = after_each_crash(prepare, ingest, |_, _, _| {});
    let (path, line) = (format!("main/wals/0000000100000000/{}", name(2)), format!("{}\t", name(2)));
    // Whatever is lost, the file is delivered still, or archived and recorded; what is recorded is archived; and once the
    // run has returned, the file is not delivered any more.
    let is_safe = |position: usize, left: &Survivors| {
        let whole = |path: &str| left.file(path).is_some_and(|bytes| bytes == segment(&name(2), 7));
        let (delivered, archived) = (whole(&format!("main/incoming/{}", name(2))), whole(&path));
        let index = left.file("main/wals/main-xlog.db").unwrap_or_default();
        let recorded = index.windows(line.len()).any(|window| window == line.as_bytes());
        (delivered || recorded) && (!recorded || archived) && !(delivered && position == recording.len())
    };
    assert_eq!(recording.find_crash(8, is_safe), None);
    let syncs = recording.syncs();
    assert_eq!(syncs.len(), 4, "the file, its name, its line, and that it is delivered no more");
    // That of the file repeats what its sender did; where nobody did, storage proves that it is needed.
    for sync in syncs.into_iter().skip(1) {
        assert!(recording.without_sync(sync).find_crash(8, is_safe).is_some(), "the sync at {sync} is not needed");
    }
}

#[test]
fn a_deletion_is_finished_by_the_next_run_whenever_it_was_interrupted() {
    use barman_retention::Occasion::Policy;

    let delete = |repository: &Repository| {
        crate::delete::delete(repository, &[(ONE_BACKUP, Policy), (TWO_BACKUP, Policy)]).expect("deleted");
    };
    after_each_crash(crate::delete::three_backups, delete, |left, crash, returned| {
        let archived = left.archived();
        let backups = left.catalog.backups().expect("records");
        for info in &backups {
            // What is listed can be restored: its data is there, and all WAL from its begin on.
            let data = left.path(&format!("base/{}/data/base/1/2", info.backup_id));
            assert!(data.exists(), "{crash:?} {}", info.backup_id);
            let begin = info.begin_wal.expect("some").to_string();
            let needed = (1..=8).map(name).filter(|name| *name >= begin);
            assert!(needed.clone().all(|name| archived.contains(&name)), "{crash:?} {begin} {archived:?}");
            assert!(needed.clone().all(|name| left.recorded().contains(&name)), "{crash:?} {begin}");
        }
        assert!(left.recorded().iter().all(|name| archived.contains(name)), "{crash:?}");
        assert!(!returned || backups.len() == 1, "{crash:?}");
        // The next run: what vanished is finished, what is marked is deleted, what was not begun is deleted as well.
        crate::delete::finish(left);
        delete(left);
        assert_eq!(left.catalog.backups().expect("records").len(), 1, "{crash:?}");
        let kept = [name(6), name(7), name(8), HISTORY.to_owned()];
        assert_eq!((left.archived(), left.names("base")), (kept.to_vec(), vec![THREE_BACKUP.to_owned()]), "{crash:?}");
        assert_eq!(left.names("meta"), [format!("{THREE_BACKUP}-backup.info")], "{crash:?}");
        let mut recorded = left.recorded();
        recorded.sort();
        assert_eq!(recorded, kept, "{crash:?}");
    });
}

#[test]
fn no_order_of_a_deletion_can_be_left_out() {
    use barman_retention::Occasion::Policy;

    let delete = |repository: &Repository| {
        crate::delete::delete(repository, &[(ONE_BACKUP, Policy)]).expect("deleted");
    };
    let recording = after_each_crash(crate::delete::three_backups, delete, |_, _, _| {});
    // At any moment: what has a record has its data; and what has data has a record or a mark.
    let is_safe = |_: usize, left: &Survivors| {
        let record = left.file("main/meta/20260101T000000-backup.info").is_some();
        let mark = left.file("main/meta/20260101T000000-delete_this").is_some_and(|text| text.len() > 7);
        let data = left.file("main/base/20260101T000000/data/base/1/2").is_some();
        (!record || data) && (!data || record || mark)
    };
    assert_eq!(recording.find_crash(8, is_safe), None);
}

#[test]
fn what_a_sender_believes_to_be_stored_is_stored() {
    let bytes = segment(&name(1), 7);
    let sent = stream(&[(&name(1), &bytes)]);
    let send = |repository: &Repository| drop(put(repository, &sent).expect("taken"));
    let path = format!("incoming/{}", name(1));
    let recording = after_each_crash(
        |_| {},
        send,
        |left, crash, returned| {
            let has = left.path(&path).exists();
            assert!(has || !returned, "{crash:?}");
            assert!(!has || left.read(&path) == bytes, "torn: {crash:?}");
            send(left);
            assert_eq!(left.read(&path), bytes, "{crash:?}");
            assert_eq!(left.names("incoming"), [name(1)], "sent again, it replaces what was left: {crash:?}");
            ingest(left);
            assert_eq!((left.recorded(), left.read(ONE)), (vec![name(1)], bytes.clone()), "{crash:?}");
        },
    );
    let is_safe = |position: usize, left: &Survivors| {
        let stored = left.file(format!("main/{path}")).is_some_and(|stored| stored == bytes);
        stored || position < recording.len()
    };
    assert_eq!(recording.find_crash(8, is_safe), None);
    let syncs = recording.syncs();
    assert!(recording.without_sync(*syncs.last().expect("a sync")).find_crash(8, is_safe).is_some(), "its name");
    let file = syncs[syncs.len() - 2];
    assert!(recording.without_sync(file).find_crash(8, is_safe).is_some(), "its contents");
}

#[test]
fn a_ledger_that_was_being_rebuilt_is_rebuilt_again() {
    let prepare = |repository: &Repository| {
        deliver(repository);
        ingest(repository);
        // Not what the ledger should say of it, so that the rebuild has something to do.
        repository.write("ledger/0000000100000000", "not a journal at all, and longer than its header");
    };
    let rebuild = |repository: &Repository| {
        let cancel = Cancel::new();
        repository.catalog.rebuild_ledger(options(&cancel).now, &cancel, &mut |_| {}).expect("rebuilt");
    };
    let known = |repository: &Repository| repository.catalog.facts(&name(1).parse().expect("a name"));
    after_each_crash(prepare, rebuild, |left, crash, returned| {
        assert!(!returned || known(left).expect("readable").is_some(), "{crash:?}");
        assert_eq!(left.recorded(), [&name(1), HISTORY], "{crash:?}");
        rebuild(left);
        let facts = known(left).expect("readable").expect("known");
        assert_eq!(facts.stored.bytes, segment(&name(1), 7).len() as u64, "{crash:?}");
    });
}

/// Whatever a power failure leaves of the ledger, the next runs of the archiver find out what is missing.
#[test]
fn a_ledger_that_lost_its_end_is_completed() {
    after_each_crash(deliver, ingest, |left, crash, _| {
        ingest(left);
        for file in [name(1), HISTORY.to_owned()] {
            let facts = left.catalog.facts(&file.parse().expect("a name")).expect("readable");
            assert!(facts.is_some(), "{file} {crash:?}");
        }
    });
}
