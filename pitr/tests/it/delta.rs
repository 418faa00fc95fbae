//! Restores into directories that have something in them already.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;

use barman_pitr::{PlanError, RestoreError, RestoreEvent, RestoreRequest, Standing, StopPoint};
use barman_storage::testing::Recorder;
use rustix::io::Errno;

use crate::fixture::{BACKUP, Fixture, TABLESPACE, listing, options, segment_bytes, tablespace, write_file};

/// Carries a restore out; returns how many bytes were copied, and how many were there.
fn restored(fixture: &Fixture, request: &RestoreRequest) -> (u64, u64) {
    let plan = fixture.plan(request).expect("a plan");
    let bytes = Mutex::new((0, 0));
    let count = |event| match event {
        RestoreEvent::Copied { bytes: copied } => bytes.lock().expect("lock").0 += copied,
        RestoreEvent::Kept { bytes: kept } => bytes.lock().expect("lock").1 += kept,
        _ => {}
    };
    barman_pitr::restore(&fixture.catalog, &plan, &options(), &count).expect("a restore");
    let (copied, kept) = bytes.into_inner().expect("lock");
    assert_eq!(copied + kept, plan.data_bytes() + plan.wal_bytes(), "all bytes are accounted for");
    (copied, kept)
}

fn delta(fixture: &Fixture) -> RestoreRequest {
    RestoreRequest { delta: true, ..fixture.request() }
}

/// What an error and its causes say.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Starts a restore that is stopped when everything but the control file has been copied.
fn interrupted(fixture: &Fixture, request: &RestoreRequest) {
    let plan = fixture.plan(request).expect("a plan");
    let options = options();
    let stop = |event| {
        if event == RestoreEvent::Syncing {
            options.cancel.cancel();
        }
    };
    let stopped = barman_pitr::restore(&fixture.catalog, &plan, &options, &stop);
    assert!(matches!(stopped, Err(RestoreError::Cancelled(_))), "{stopped:?}");
}

#[test]
fn a_delta_restore_writes_only_what_differs_and_removes_what_the_backup_does_not_have() {
    let fixture = Fixture::with_backup();
    fixture.restored(&fixture.request());
    let destination = fixture.destination();
    let expected = listing(&destination);
    write_file(&destination.join("base/5/16384"), b"A table");
    write_file(&destination.join("base/7/deeper/1"), b"a database");
    write_file(&destination.join("pg_wal/000000010000000000000009"), b"later WAL");
    write_file(&destination.join("pg_wal/archive_status/000000010000000000000009.ready"), b"");
    write_file(&destination.join("log/postgresql.log"), b"today's log");
    write_file(&destination.join("postmaster.opts"), b"");
    let inode = |path: &str| std::fs::metadata(destination.join(path)).expect("a file").ino();
    std::fs::set_permissions(destination.join("pg_hba.conf"), std::fs::Permissions::from_mode(0o600)).expect("mode");
    let kept = (inode("pg_hba.conf"), inode("pg_wal/000000010000000000000006"));

    let (copied, _) = restored(&fixture, &delta(&fixture));
    let configuration = std::fs::metadata(fixture.data_of(BACKUP).join("postgresql.conf")).expect("a file").len();
    let control_file = b"the control file".len() as u64;
    assert_eq!(copied, 7 + configuration + control_file, "the table, and what every restore writes anew");
    assert_eq!((inode("pg_hba.conf"), inode("pg_wal/000000010000000000000006")), kept);
    assert_eq!(std::fs::metadata(destination.join("pg_hba.conf")).expect("a file").mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_to_string(destination.join("base/5/16384")).expect("a file"), "a table");
    let mut expected = expected;
    expected.iter_mut().filter(|path| *path == "log/").for_each(|path| "log/postgresql.log".clone_into(path));
    assert_eq!(listing(&destination), expected);
}

/// Without a manifest contents are compared: neither a length nor a time would tell.
#[test]
fn files_without_checksums_are_compared_with_the_backup() {
    let fixture = Fixture::with_backup();
    std::fs::remove_file(fixture.data_of(BACKUP).join("backup_manifest")).expect("a file");
    fixture.restored(&fixture.request());
    let table = fixture.destination().join("base/5/16384");
    let modified = std::fs::metadata(&table).and_then(|metadata| metadata.modified()).expect("a time");
    std::fs::write(&table, b"A table").expect("a file");
    std::fs::File::options().write(true).open(&table).and_then(|file| file.set_modified(modified)).expect("a time");
    restored(&fixture, &delta(&fixture));
    assert_eq!(std::fs::read(&table).expect("a file"), b"a table");
}

#[test]
fn wal_that_was_staged_already_stays() {
    let fixture = Fixture::with_backup();
    let request = fixture.request_to(StopPoint::Immediate);
    fixture.restored(&request);
    let staging = fixture.destination().join("barman_wal");
    std::fs::write(staging.join("000000010000000000000005"), segment_bytes(6)).expect("a file");
    std::fs::write(staging.join("000000010000000000000009"), segment_bytes(6)).expect("a file");
    let inode = || std::fs::metadata(staging.join("000000010000000000000004")).expect("a file").ino();
    let kept = inode();
    restored(&fixture, &RestoreRequest { delta: true, ..request });
    let segments = ["000000010000000000000004", "000000010000000000000005", "000000010000000000000006"];
    assert_eq!(listing(&staging), segments);
    assert_eq!(std::fs::read(staging.join("000000010000000000000005")).expect("WAL"), segment_bytes(5));
    assert_eq!(inode(), kept);
}

#[test]
fn an_interrupted_restore_goes_on_without_copying_what_is_there() {
    let fixture = Fixture::with_backup();
    let request = fixture.request();
    interrupted(&fixture, &request);
    let plan = fixture.plan(&request).expect("a plan");
    assert_eq!(plan.standing, Standing::Interrupted { distrusted: false });
    let (copied, kept) = restored(&fixture, &request);
    assert!(kept > 4 * crate::fixture::SIZE_BYTES && copied < 1000, "{copied} {kept}");
    assert!(fixture.destination().join("global/pg_control").exists());
    assert!(matches!(fixture.plan(&request), Err(PlanError::DestinationNotEmpty { .. })), "it is finished");
}

/// Invariant 2: what can be read back from the cache may not be on the disk.
#[test]
fn after_a_failed_sync_everything_is_written_anew() {
    let fixture = Fixture::with_backup();
    let request = fixture.request();
    let recorder = Recorder::start(&fixture.target());
    fixture.restored(&request);
    let recording = recorder.recording();
    drop(recorder);
    std::fs::remove_dir_all(fixture.destination()).expect("a directory");
    // The last one before the control file, so that the order in which threads sync does not matter.
    let of_data = |position: &usize| recording.synced(*position).is_some_and(|path| path.ends_with("base/5"));
    let position = recording.syncs().into_iter().rfind(of_data).expect("the directory is synced");
    let plan = fixture.plan(&request).expect("a plan");
    let recorder = Recorder::start(&fixture.target());
    recorder.fail_at(position, Errno::IO.raw_os_error());
    fixture.restore(&plan).expect_err("a sync failed");
    drop(recorder);
    let plan = fixture.plan(&request).expect("a plan");
    assert_eq!(plan.standing, Standing::Interrupted { distrusted: true });
    let (_, kept) = restored(&fixture, &request);
    assert_eq!(kept, 0);
}

#[test]
fn what_another_restore_left_is_not_taken_for_ones_own() {
    let fixture = Fixture::with_backup();
    let request = fixture.request();
    interrupted(&fixture, &request);
    let other = "20261121T164417";
    fixture.add_backup(other, |_| {});
    let choice = barman_pitr::BackupChoice::Id(other.parse().expect("an id"));
    let error = fixture.plan(&RestoreRequest { backup: choice, ..fixture.request() }).expect_err("another backup");
    assert!(matches!(&error, PlanError::OtherRestore { backup, .. } if backup.to_string() == BACKUP), "{error}");
    let over = RestoreRequest { backup: choice, ..delta(&fixture) };
    assert_eq!(fixture.plan(&over).expect("a plan").standing, Standing::Cluster);
    std::fs::write(fixture.destination().join(".barman-restore"), b"barman-restore 2\n").expect("a file");
    assert!(matches!(fixture.plan(&request), Err(PlanError::Marker { .. })));
}

#[test]
fn a_directory_that_is_no_data_directory_is_not_restored_over() {
    let fixture = Fixture::with_backup();
    write_file(&fixture.destination().join("letters/1"), b"dear");
    let error = fixture.plan(&delta(&fixture)).expect_err("no data directory");
    assert!(matches!(error, PlanError::NoDataDirectory { .. }), "{error}");
    assert_eq!(listing(&fixture.destination()), ["letters/1"]);
    assert!(matches!(fixture.plan(&fixture.request()), Err(PlanError::DestinationNotEmpty { .. })));
}

#[test]
fn another_cluster_is_not_restored_over() {
    let fixture = Fixture::with_backup();
    fixture.restored(&fixture.request());
    let control_file = fixture.destination().join("global/pg_control");
    std::fs::write(&control_file, include_bytes!("../../../wal-format/testdata/15/pg_control")).expect("a file");
    let before = listing(&fixture.destination());
    let error = fixture.plan(&delta(&fixture)).expect_err("another cluster's");
    assert!(
        matches!(&error, PlanError::ForeignCluster { found, expected, .. }
            if (found.as_u64(), expected.as_u64()) == (7_710_347_760_721_180_532, 7_710_327_062_147_215_790)),
        "{error}"
    );
    assert_eq!(listing(&fixture.destination()), before);
}

/// Invariant 7. The disk that fills up at any moment of it is one that has room again later.
#[test]
fn a_full_disk_is_named_and_the_restore_goes_on_when_there_is_room() {
    let fixture = Fixture::with_backup();
    fixture.restored(&fixture.request());
    write_file(&fixture.destination().join("base/5/16384"), b"A table");
    let expected = listing(&fixture.destination());
    // Of the many changes of a restore every seventh is another kind.
    for position in (0..).step_by(7) {
        write_file(&fixture.destination().join("base/5/9"), b"a later table");
        let recorder = Recorder::start(&fixture.target());
        recorder.fail_at(position, Errno::NOSPC.raw_os_error());
        let outcome = fixture.restore(&fixture.plan(&delta(&fixture)).expect("a plan"));
        let was_made = recorder.recording().len() > position;
        drop(recorder);
        if outcome.is_ok() {
            // The last ones remove the marker, or there were no more.
            assert!(position > 20 && fixture.destination().join("global/pg_control").exists());
            if was_made {
                continue;
            }
            break;
        }
        let error = outcome.expect_err("the disk is full");
        let text = with_causes(&error);
        assert!(text.contains("No space left on device") && text.contains("restored"), "{position}: {text}");
        restored(&fixture, &delta(&fixture));
        assert_eq!(listing(&fixture.destination()), expected, "{position}");
    }
}

/// WAL that is in the index, and gone from the archive since the restore was planned.
#[test]
fn wal_that_vanishes_during_a_restore_is_named() {
    let fixture = Fixture::with_backup();
    let request = fixture.request();
    let plan = fixture.plan(&request).expect("a plan");
    let name = "000000010000000000000006";
    let archived = fixture.catalog.layout().wals_directory.join("0000000100000000").join(name);
    let contents = std::fs::read(&archived).expect("a segment");
    std::fs::remove_file(&archived).expect("a segment");
    let error = fixture.restore(&plan).expect_err("it is gone");
    assert!(with_causes(&error).contains(name), "{error}");
    assert!(!fixture.destination().join("global/pg_control").exists());
    std::fs::write(&archived, contents).expect("a segment");
    restored(&fixture, &request);
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").spawn().expect("a process"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_directory_in_which_a_server_runs_is_not_restored_over() {
    let fixture = Fixture::with_backup();
    fixture.restored(&fixture.request());
    let server = Running::start();
    let lock_file = fixture.destination().join("postmaster.pid");
    for line in [format!("{}\n", server.0.id()), format!("-{}\n/srv\n", server.0.id())] {
        write_file(&lock_file, line.as_bytes());
        let error = fixture.plan(&delta(&fixture)).expect_err("a server runs");
        assert!(matches!(&error, PlanError::ServerRunning { process, .. } if process.unsigned_abs() == server.0.id()));
    }
    write_file(&lock_file, b"");
    assert!(matches!(fixture.plan(&delta(&fixture)), Err(PlanError::UnclearLockFile { .. })));
    let gone = { Running::start().0.id() };
    write_file(&lock_file, format!("{gone}\n").as_bytes());
    let plan = fixture.plan(&delta(&fixture)).expect("a plan: that process is gone");

    // Started after the plan was made.
    write_file(&lock_file, format!("{}\n", server.0.id()).as_bytes());
    let error = fixture.restore(&plan).expect_err("a server runs");
    let is_running =
        matches!(&error, RestoreError::Destination(error) if matches!(**error, PlanError::ServerRunning { .. }));
    assert!(is_running, "{error:?}");
    assert!(fixture.destination().join("global/pg_control").exists(), "nothing was touched");
}

#[test]
fn a_tablespace_goes_only_over_the_same_tablespace() {
    let fixture = Fixture::new();
    let location = fixture.target().join("tbs1");
    fixture.add_backup(BACKUP, |info| info.tablespaces = Some(vec![tablespace(&location)]));
    fixture.add_wal(1, 4..=5);
    fixture.restored(&fixture.request());
    write_file(&location.join("PG_15_202209061/5/9"), b"a later table");
    write_file(&location.join("PG_14_202107181/5/9"), b"of the server before its upgrade");
    restored(&fixture, &delta(&fixture));
    assert_eq!(listing(&location), ["PG_14_202107181/5/9", "PG_15_202209061/5/16390"]);

    let link = fixture.destination().join("pg_tblspc").join(TABLESPACE.to_string());
    std::fs::remove_file(&link).expect("a link");
    symlink(Path::new("/nowhere"), &link).expect("a link");
    let error = fixture.plan(&delta(&fixture)).expect_err("another cluster's");
    assert!(matches!(error, PlanError::TablespaceNotEmpty { .. }), "{error}");
    assert_eq!(listing(&location), ["PG_14_202107181/5/9", "PG_15_202209061/5/16390"]);
}

#[test]
fn what_is_there_counts_as_room() {
    const BYTES: u64 = 256 << 20;
    let fixture = Fixture::with_backup();
    fixture.restored(&fixture.request());
    let before = fixture.plan(&delta(&fixture)).expect("a plan").space[0].clone();
    let file = std::fs::File::create(fixture.destination().join("base/5/9")).expect("a file");
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, BYTES).expect("room");
    let after = fixture.plan(&delta(&fixture)).expect("a plan").space[0].clone();
    assert_eq!(before.needed, after.needed);
    // Others use the disk meanwhile, but hardly so much.
    assert!(before.free.abs_diff(after.free) < BYTES / 2, "{before:?} {after:?}");
}
