//! Records of backups in the repository.

use std::os::unix::fs::PermissionsExt;

use barman_catalog::{
    BackupInfo, BackupMode, BackupTime, Catalog, Error, Identity, LocalZone, ResolveError, ServerLayout, Status,
    next_backup, previous_backup,
};
use barman_retention::{Keep, State};
use wal_format::{SystemId, Timestamp};

use crate::repository::{Repository, SYSTEM, backup, id};

const ONE: &str = "000000010000000000000001";

#[test]
fn what_is_saved_is_read() {
    let repository = Repository::new();
    let mut info = repository.backup("20261120T164416", ONE, ONE, Status::Started);
    info.status = Status::Done;
    repository.catalog.save(&info).expect("save");
    assert_eq!(repository.catalog.backup(&info.backup_id).expect("a record"), info);
    assert_eq!(repository.names("meta"), ["20261120T164416-backup.info"]);
    assert_eq!(repository.text("meta/20261120T164416-backup.info"), info.to_text());
}

#[test]
fn records_where_older_versions_put_them_are_found() {
    let repository = Repository::new();
    let old = backup("20240101T000000", ONE, ONE, Status::Done);
    repository.write("base/20240101T000000/backup.info", old.to_text());
    repository.write("base/20240102T000000/data/PG_VERSION", "15\n");
    repository.backup("20240103T000000", ONE, ONE, Status::Done);
    let ids = |catalog: &Catalog| -> Vec<String> {
        catalog.backups().expect("records").iter().map(|info| info.backup_id.to_string()).collect()
    };
    assert_eq!(ids(&repository.catalog), ["20240101T000000", "20240103T000000"]);

    // A record in the new place wins; the old file stays.
    let mut newer = old.clone();
    newer.status = Status::Failed;
    repository.catalog.save(&newer).expect("save");
    assert_eq!(repository.catalog.backup(&old.backup_id).expect("a record").status, Status::Failed);
    assert_eq!(repository.text("base/20240101T000000/backup.info"), old.to_text());
    assert_eq!(ids(&repository.catalog), ["20240101T000000", "20240103T000000"]);
}

#[test]
fn a_record_that_makes_no_sense_is_an_error_and_not_left_out() {
    let repository = Repository::new();
    repository.write("meta/20240101T000000-backup.info", "size=many\n");
    let error = repository.catalog.backups().expect_err("invalid");
    assert!(matches!(&error, Error::BackupInfo { path, .. } if path.ends_with("meta/20240101T000000-backup.info")));
    repository.write("meta/20240101T000000-backup.info", b"error=\xff\n");
    assert!(matches!(repository.catalog.backups(), Err(Error::NotText { .. })));
}

#[test]
fn words_mean_backups() {
    let repository = Repository::new();
    repository.backup("20240101T000000", ONE, ONE, Status::Done);
    let resolve = |word: &str| repository.catalog.resolve(word);
    assert_eq!(resolve("latest").expect("one").backup_id, id("20240101T000000"));
    let error = resolve("l").expect_err("no shortcut");
    assert!(matches!(error, ResolveError::Unknown { .. }));
    assert_eq!(error.to_string(), "unknown backup 'l' for server 'main'");
}

#[test]
fn neighbours_are_complete_backups() {
    let list: Vec<_> = [("01", Status::Done), ("02", Status::Failed), ("03", Status::WaitingForWals)]
        .map(|(day, status)| backup(&format!("202401{day}T000000"), ONE, ONE, status))
        .into();
    let day = |info: Option<&barman_catalog::BackupInfo>| info.map(|info| info.backup_id);
    assert_eq!(day(next_backup(&list, &id("20240101T000000"))), Some(id("20240103T000000")));
    assert_eq!(day(previous_backup(&list, &id("20240103T000000"))), Some(id("20240101T000000")));
    assert_eq!(day(next_backup(&list, &id("20240103T000000"))), None);
    assert_eq!(day(previous_backup(&list, &id("20240101T000000"))), None);
}

#[test]
fn ids_are_never_given_twice_and_never_go_back() {
    let repository = Repository::new();
    let rome = LocalZone::named("Europe/Rome").expect("zone database");
    let layout = ServerLayout::below(&repository.home, "main");
    let catalog = Catalog::open(layout, rome);
    // 2026-10-25 02:59:59 summer time; a second later it is 02:00:00 again.
    let mut now = Timestamp::from_unix_micros(1_792_889_999_000_000);
    let mut given = Vec::new();
    for _ in 0..3 {
        let next = catalog.next_backup_id(now).expect("an id");
        catalog.save(&BackupInfo::new(next, "main")).expect("save");
        given.push(next.to_string());
        now = Timestamp::from_unix_micros(now.unix_micros() + 1_000_000);
    }
    assert_eq!(given[0], "20261025T025959");
    assert!(given.is_sorted() && given[1] == "20261025T030000", "{given:?}");

    // A backup from a far future does not push all others there.
    repository.backup("20990101T000000", ONE, ONE, Status::Done);
    let later = Timestamp::from_unix_micros(now.unix_micros() + 86_400_000_000);
    assert_eq!(catalog.next_backup_id(later).expect("an id").as_str(), "20261026T020002");
}

#[test]
fn a_taken_id_is_never_given() {
    let repository = Repository::new();
    let catalog = &repository.catalog;
    // 2026-11-20 16:44:17; the clock was put back by exactly as much as ids look ahead, and then more backups were taken.
    let now = Timestamp::from_unix_micros(1_795_193_057_000_000);
    for taken in ["20261120T194417", "20261120T194419"] {
        repository.backup(taken, ONE, ONE, Status::Done);
    }
    assert_eq!(catalog.next_backup_id(now).expect("an id").as_str(), "20261120T194418");
    // Files whose record is gone are not given to another backup, which would remove them.
    repository.write("base/20261120T194418/data/PG_VERSION", "15\n");
    assert_eq!(catalog.next_backup_id(now).expect("an id").as_str(), "20261120T194420");
}

#[test]
fn the_first_record_of_a_backup_replaces_none() {
    let repository = Repository::new();
    let info = repository.backup("20261120T164416", ONE, ONE, Status::Done);
    let old = backup("20240101T000000", ONE, ONE, Status::Done);
    repository.write("base/20240101T000000/backup.info", old.to_text());
    for taken in [&info, &old] {
        let first = BackupInfo::new(taken.backup_id, "main");
        assert!(matches!(repository.catalog.save(&first), Err(Error::Conflict { .. })));
        assert_eq!(&repository.catalog.backup(&taken.backup_id).expect("a record"), taken);
    }
    let first = BackupInfo::new(id("20261120T164417"), "main");
    repository.catalog.save(&first).expect("free");
    assert!(matches!(repository.catalog.save(&first), Err(Error::Conflict { .. })));
}

#[test]
fn the_cluster_is_recorded_once() {
    let repository = Repository::new();
    assert_eq!(repository.catalog.identity().expect("readable"), None);
    let identity = Identity { system_id: SYSTEM, version: "15".to_owned() };
    repository.catalog.write_identity(&identity).expect("written");
    let written = repository.text("identity.json");
    let newer = Identity { version: "16".to_owned(), ..identity.clone() };
    repository.catalog.write_identity(&newer).expect("the same cluster");
    assert_eq!(repository.text("identity.json"), written);
    assert_eq!(repository.catalog.identity().expect("readable"), Some(identity.clone()));
    let other = Identity { system_id: SystemId::new(1), ..identity };
    assert!(matches!(repository.catalog.write_identity(&other), Err(Error::ForeignSystem { .. })));
}

#[test]
fn keep_annotations_are_found_in_both_places() {
    let repository = Repository::new();
    let keep = |day: &str| repository.catalog.keep(&id(&format!("202401{day}T000000")));
    repository.write("meta/20240101T000000-keep", "full");
    repository.write("base/20240102T000000/annotations/keep", "standalone");
    repository.write("meta/20240103T000000-keep", "for ever");
    repository.write("base/20240105T000000/annotations/keep", "full");
    repository.write("meta/20240105T000000-keep", "standalone");
    assert_eq!(keep("01").expect("readable"), Some(Keep::FULL));
    assert_eq!(keep("02").expect("readable"), Some(Keep::STANDALONE));
    assert!(matches!(keep("03"), Err(Error::Keep { .. })));
    assert_eq!(keep("04").expect("readable"), None);
    assert_eq!(keep("05").expect("readable"), Some(Keep::FULL), "Barman moves the old one over the new one");

    // Retention looks at all of them at once.
    for day in ["01", "02", "04", "05"] {
        repository.backup(&format!("202401{day}T000000"), ONE, ONE, Status::Done);
    }
    let kept = || {
        let backups = repository.catalog.retention_backups(&repository.catalog.backups()?)?;
        Ok::<Vec<_>, Error>(backups.into_iter().map(|backup| backup.candidate.keep).collect())
    };
    assert_eq!(kept().expect("readable"), [Some(Keep::FULL), Some(Keep::STANDALONE), None, Some(Keep::FULL)]);
    repository.backup("20240103T000000", ONE, ONE, Status::Done);
    assert!(matches!(kept(), Err(Error::Keep { .. })));
}

#[test]
fn the_directories_of_a_new_backup_are_private_and_empty() {
    let repository = Repository::new();
    let info = {
        let mut info = repository.backup("20261120T164416", ONE, ONE, Status::Started);
        let space = barman_catalog::Tablespace { name: "t".to_owned(), oid: 16386, location: "/srv/t".to_owned() };
        info.tablespaces = Some(vec![space]);
        info
    };
    repository.write("base/20261120T164416/data/left/behind", "by a failed attempt");
    repository.catalog.create_backup_data(&info.backup_id, &[16386]).expect("directories");
    for directory in ["data", "16386"] {
        let path = repository.path("base/20261120T164416").join(directory);
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!(path.read_dir().expect("readable").count(), 0);
    }
    repository.write("base/20261120T164416/data/base/1/2606", "12345");
    repository.write("base/20261120T164416/data/PG_VERSION", "15\n");
    repository.write("base/20261120T164416/16386/PG_15/1", "123");
    let data = repository.catalog.backup_data(&info).expect("directories");
    let paths = |files: Vec<barman_catalog::BackupFile>| -> Vec<String> {
        files.iter().map(|file| file.path.to_string()).collect()
    };
    assert_eq!(paths(data.data_files().expect("files")), ["PG_VERSION", "base", "base/1", "base/1/2606"]);
    assert_eq!(paths(data.tablespace_files(16386).expect("files")), ["PG_15", "PG_15/1"]);
    assert_eq!(data.size().expect("a size"), 11);
}

#[test]
fn a_deep_tree_is_walked_on_a_small_stack() {
    const DEPTH: usize = 400;
    const STACK_BYTES: usize = 64 * 1024;
    let repository = Repository::new();
    let info = repository.backup("20261120T164416", ONE, ONE, Status::Done);
    repository.write(&format!("base/20261120T164416/data/{}file", "d/".repeat(DEPTH)), "12345");
    let walk = move || repository.catalog.backup_data(&info).expect("directories").data_files().expect("files").len();
    let walker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(walk).expect("a thread");
    assert_eq!(walker.join().expect("no panic"), DEPTH + 1);
}

#[test]
fn the_oldest_layout_is_found() {
    let repository = Repository::new();
    let mut info = repository.backup("20120101T000000", ONE, ONE, Status::Done);
    let space = barman_catalog::Tablespace { name: "t".to_owned(), oid: 16386, location: "/srv/t".to_owned() };
    info.tablespaces = Some(vec![space]);
    repository.write("base/20120101T000000/pgdata/PG_VERSION", "9.1\n");
    repository.write("base/20120101T000000/pgdata/pg_tblspc/16386/PG_9.1/1", "123");
    let data = repository.catalog.backup_data(&info).expect("directories");
    assert!(data.data.path().ends_with("20120101T000000/pgdata"));
    assert_eq!(data.tablespace_files(16386).expect("files").len(), 2);
}

#[test]
fn a_backup_without_data_does_not_count_and_data_without_a_record_is_found() {
    let [bare, empty, lost, whole, snapshot, begun, unrecorded, deleting] = [
        "20251230T000000",
        "20251231T000000",
        "20260101T000000",
        "20260102T000000",
        "20260103T000000",
        "20260104T000000",
        "20260105T000000",
        "20260106T000000",
    ];
    let repository = Repository::new();
    for (backup, status, mode) in [
        (bare, Status::Done, BackupMode::Postgres),
        (empty, Status::Done, BackupMode::Postgres),
        (lost, Status::Done, BackupMode::Postgres),
        (whole, Status::Done, BackupMode::Postgres),
        (snapshot, Status::Done, BackupMode::Other("snapshot-concurrent".to_owned())),
        (begun, Status::Started, BackupMode::Postgres),
    ] {
        let mut info = repository.backup(backup, ONE, ONE, status);
        info.mode = Some(mode);
        info.end_time = Some(BackupTime::utc(Timestamp::from_unix_micros(1_795_193_059_000_000)));
        repository.catalog.save(&info).expect("saved");
    }
    for backup in [whole, unrecorded, deleting] {
        repository.write(&format!("base/{backup}/data/PG_VERSION"), "15\n");
    }
    repository.write(&format!("meta/{deleting}-delete_this"), "delete");
    // As Barman before 3.13.2 left it when a deletion was interrupted.
    let record = format!("meta/{bare}-backup.info");
    repository.write(&format!("base/{bare}/backup.info"), repository.read(&record));
    std::fs::remove_file(repository.path(&record)).expect("it is ours");
    std::fs::create_dir(repository.path(&format!("base/{empty}"))).expect("it is ours");
    let backups = repository.catalog.backups().expect("records");
    let orphans = repository.catalog.orphans(&backups).expect("readable");
    assert_eq!((orphans.records, orphans.data), ([bare, empty, lost].map(id).into(), [id(unrecorded)].into()));
    let counting = repository.catalog.retention_backups(&backups).expect("readable").into_iter();
    let counting = counting.filter(|backup| backup.candidate.state != State::Other).map(|backup| backup.candidate.id);
    assert_eq!(counting.collect::<Vec<_>>(), [id(whole), id(snapshot)]);
}
