//! Deleting backups: what is in use stays, what was interrupted is finished, and archiving goes on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barman_catalog::{BackupId, DeleteEvent, DeleteOptions, Error, HookDecision, Hooks, NoHooks, Status};
use barman_retention::{Occasion, Timestamp};
use barman_storage::Cancel;

use crate::repository::{Repository, id, name};

/// Later than all backups.
const NOON: Timestamp = Timestamp::from_unix_micros(1_795_176_000_000_000);
const ONE: &str = "20260101T000000";
const TWO: &str = "20260102T000000";
const THREE: &str = "20260103T000000";

/// Three backups, at segments 2, 4 and 6 of 1 to 8.
pub(crate) fn three_backups(repository: &Repository) {
    for number in 1..=8 {
        repository.write(&format!("wals/0000000100000000/{}", name(number)), "wal");
    }
    repository.write("wals/00000002.history", "1\t0/300000\treason\n");
    for (backup, begin) in [(ONE, 2), (TWO, 4), (THREE, 6)] {
        repository.backup(backup, &name(begin), &name(begin + 1), Status::Done);
        repository.write(&format!("base/{backup}/data/base/1/2"), "data");
        repository.write(&format!("base/{backup}/16386/PG_17/1"), "data");
    }
    repository.recorded();
}

pub(crate) fn delete(repository: &Repository, wanted: &[(&str, Occasion)]) -> Result<Vec<String>, Error> {
    delete_with(repository, wanted, &NoHooks)
}

fn delete_with(repository: &Repository, wanted: &[(&str, Occasion)], hooks: &dyn Hooks) -> Result<Vec<String>, Error> {
    let wanted: Vec<(BackupId, Occasion)> = wanted.iter().map(|(text, occasion)| (id(text), *occasion)).collect();
    let (cancel, mut said) = (Cancel::new(), Vec::new());
    let options = DeleteOptions { now: NOON, hooks, cancel: &cancel };
    repository.catalog.delete_backups(&wanted, &options, &mut |event| said.push(shown(&event)))?;
    Ok(said)
}

pub(crate) fn finish(repository: &Repository) {
    let cancel = Cancel::new();
    let options = DeleteOptions { now: NOON, hooks: &NoHooks, cancel: &cancel };
    repository.catalog.finish_deletions(&options, &mut |_| {}).expect("finished");
}

fn shown(event: &DeleteEvent<'_>) -> String {
    match event {
        DeleteEvent::Begun(info) => format!("begun {}", info.backup_id),
        DeleteEvent::Wal(names) => format!("wal {}", names.len()),
        DeleteEvent::Deleted(info) => format!("deleted {}", info.backup_id),
        other => format!("{other:?}"),
    }
}

fn records(repository: &Repository) -> Vec<String> {
    repository.catalog.backups().expect("records").iter().map(|info| info.backup_id.to_string()).collect()
}

#[test]
fn a_backup_goes_with_its_wal_and_all_its_files() {
    let repository = Repository::new();
    three_backups(&repository);
    let said = delete(&repository, &[(ONE, Occasion::Policy), (TWO, Occasion::Policy)]).expect("deleted");
    assert_eq!(
        said,
        [
            format!("begun {ONE}"),
            "wal 3".to_owned(),
            format!("deleted {ONE}"),
            format!("begun {TWO}"),
            "wal 2".to_owned(),
            format!("deleted {TWO}")
        ]
    );
    assert_eq!(records(&repository), [THREE]);
    assert_eq!(repository.names("base"), [THREE]);
    assert_eq!(repository.names("meta"), [format!("{THREE}-backup.info")]);
    assert_eq!(repository.archived(), [name(6), name(7), name(8), "00000002.history".to_owned()]);
    let mut recorded = repository.recorded();
    recorded.sort();
    assert_eq!(recorded, repository.archived());
}

/// barman#200: a restore of 2.4 TB died because cron deleted the backup under it.
#[test]
fn what_is_being_restored_is_not_deleted_and_neither_is_its_wal() {
    let repository = Repository::new();
    three_backups(&repository);
    let lease = repository.catalog.lease(&id(ONE)).expect("a lease");
    let said = delete(&repository, &[(ONE, Occasion::Policy), (TWO, Occasion::Policy)]).expect("deleted");
    assert_eq!(said, [format!("InUse(BackupId({ONE}))"), format!("begun {TWO}"), format!("deleted {TWO}")]);
    assert_eq!((records(&repository), repository.archived().len()), (vec![ONE.to_owned(), THREE.to_owned()], 9));
    let refused = delete(&repository, &[(ONE, Occasion::Command)]);
    assert!(matches!(refused, Err(Error::InUse { id: busy, .. }) if busy == id(ONE)), "{refused:?}");
    drop(lease);
    delete(&repository, &[(ONE, Occasion::Policy)]).expect("deleted");
    assert_eq!((records(&repository), repository.archived().len()), (vec![THREE.to_owned()], 4));
}

#[test]
fn a_command_that_cannot_delete_everything_deletes_nothing() {
    let repository = Repository::new();
    three_backups(&repository);
    let _lease = repository.catalog.lease(&id(TWO)).expect("a lease");
    assert!(delete(&repository, &[(ONE, Occasion::Command), (TWO, Occasion::Command)]).is_err());
    assert_eq!(records(&repository), [ONE, TWO, THREE]);
}

#[test]
fn what_is_kept_since_the_plan_was_made_stays() {
    let repository = Repository::new();
    three_backups(&repository);
    repository.write(&format!("meta/{ONE}-keep"), "full");
    let said = delete(&repository, &[(ONE, Occasion::Policy)]).expect("passed over");
    assert_eq!(said, [format!("Kept(BackupId({ONE}))")]);
    assert_eq!(records(&repository), [ONE, TWO, THREE]);
}

struct Refusing;

impl Hooks for Refusing {
    fn before_delete(&self, backup: &barman_catalog::BackupInfo) -> HookDecision {
        if backup.backup_id == id(ONE) { HookDecision::Stop } else { HookDecision::Continue }
    }
}

#[test]
fn a_hook_can_keep_a_backup() {
    let repository = Repository::new();
    three_backups(&repository);
    let wanted = [(ONE, Occasion::Policy), (TWO, Occasion::Policy)];
    delete_with(&repository, &wanted, &Refusing).expect("deleted");
    assert_eq!((records(&repository), repository.archived().len()), (vec![ONE.to_owned(), THREE.to_owned()], 9));
}

#[test]
fn a_child_leaves_the_list_of_its_parent() {
    let repository = Repository::new();
    three_backups(&repository);
    let mut parent = repository.catalog.backup(&id(ONE)).expect("a record");
    parent.children_backup_ids = vec![id(TWO), id(THREE)];
    repository.catalog.save(&parent).expect("saved");
    let mut child = repository.catalog.backup(&id(TWO)).expect("a record");
    child.parent_backup_id = Some(id(ONE));
    repository.catalog.save(&child).expect("saved");
    delete(&repository, &[(TWO, Occasion::Command)]).expect("deleted");
    assert_eq!(repository.catalog.backup(&id(ONE)).expect("a record").children_backup_ids, [id(THREE)]);
}

#[test]
fn a_record_at_its_old_place_goes_too() {
    let repository = Repository::new();
    three_backups(&repository);
    let text = repository.read(&format!("meta/{ONE}-backup.info"));
    repository.write(&format!("base/{ONE}/backup.info"), text);
    delete(&repository, &[(ONE, Occasion::Policy)]).expect("deleted");
    assert_eq!(records(&repository), [TWO, THREE]);
}

#[test]
fn an_rsync_backup_that_shared_files_with_a_deleted_one_has_them_alone() {
    let repository = Repository::new();
    three_backups(&repository);
    for backup in [ONE, TWO] {
        let mut info = repository.catalog.backup(&id(backup)).expect("a record");
        info.mode = Some(barman_catalog::BackupMode::RsyncConcurrent);
        (info.size, info.deduplicated_size, info.tablespaces) = (Some(4), Some(0), None);
        repository.catalog.save(&info).expect("saved");
    }
    std::fs::remove_file(repository.path(&format!("base/{TWO}/data/base/1/2"))).expect("remove");
    let path = |backup: &str| repository.path(&format!("base/{backup}/data/base/1/2"));
    std::fs::hard_link(path(ONE), path(TWO)).expect("link");
    delete(&repository, &[(ONE, Occasion::Policy)]).expect("deleted");
    let info = repository.catalog.backup(&id(TWO)).expect("a record");
    assert_eq!((info.size, info.deduplicated_size), (Some(4), Some(4)));
}

#[test]
fn barmans_own_leftovers_are_cleared_away() {
    let repository = Repository::new();
    three_backups(&repository);
    repository.write("meta/20251231T000000-delete_this", "delete");
    repository.write("base/20251231T000000/data/1", "data");
    finish(&repository);
    assert_eq!(repository.names("base"), [ONE, TWO, THREE]);
    assert_eq!(repository.names("meta").len(), 3);
    assert_eq!(repository.archived().len(), 9);
}

/// While thousands of segments go, the index is free again and again.
#[test]
fn archiving_goes_on_while_wal_is_removed() {
    const SEGMENTS: u64 = 5_000;
    let repository = Repository::new();
    let mut index = String::new();
    for number in 1..=SEGMENTS {
        let name = name(number);
        let directory = format!("wals/{}", &name[..16]);
        if number % 4096 <= 1 {
            std::fs::create_dir_all(repository.path(&directory)).expect("directory");
        }
        std::fs::write(repository.path(&directory).join(&name), "").expect("write");
        index.push_str(&format!("{name}\t0\t1795193057.0\tNone\tNone\n"));
    }
    repository.write("wals/main-xlog.db", index);
    repository.backup(ONE, &name(2), &name(3), Status::Done);
    repository.backup(TWO, &name(SEGMENTS - 10), &name(SEGMENTS - 9), Status::Done);
    let done = AtomicBool::new(false);
    let (rounds, appended) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut rounds, mut appended) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                let mut db = repository.catalog.xlog_db().expect("the index");
                rounds += 1;
                if rounds % 2 == 0 {
                    let entry = barman_catalog::XlogEntry {
                        name: name(SEGMENTS + rounds).parse().expect("a name"),
                        size: 1,
                        modified: 0.0,
                        compression: None,
                        encryption: None,
                    };
                    db.append([&entry]).expect("appended");
                    appended.push(entry.name.to_string());
                }
                drop(db);
                std::thread::sleep(Duration::from_millis(1));
            }
            (rounds, appended)
        });
        delete(&repository, &[(ONE, Occasion::Policy)]).expect("deleted");
        done.store(true, Ordering::Relaxed);
        watch.join().expect("no panic")
    });
    // Were the index locked all the time, it would be free before and after.
    assert!(rounds > 4, "{rounds}");
    let recorded = repository.recorded();
    assert_eq!(recorded.len(), 11 + appended.len());
    assert_eq!(recorded[11..], appended, "what was archived meanwhile is in the index");
}

#[test]
fn what_is_archived_again_while_it_is_removed_stays() {
    let repository = Repository::new();
    three_backups(&repository);
    let cancel = Cancel::new();
    let options = DeleteOptions { now: NOON, hooks: &NoHooks, cancel: &cancel };
    let again = name(2);
    let mut event = |event: DeleteEvent<'_>| {
        if let DeleteEvent::Wal(_) = event {
            // The index is without it, the file is still there: a sender delivers it once more.
            let entry = barman_catalog::XlogEntry {
                name: again.parse().expect("a name"),
                size: 3,
                modified: 0.0,
                compression: None,
                encryption: None,
            };
            repository.catalog.xlog_db().and_then(|mut db| db.append([&entry])).expect("appended");
        }
    };
    let wanted = [(id(ONE), Occasion::Policy)];
    repository.catalog.delete_backups(&wanted, &options, &mut event).expect("deleted");
    assert!(repository.archived().contains(&again));
    assert!(!repository.archived().contains(&name(1)));
}
