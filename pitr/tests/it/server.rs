//! Restores that a real server recovers from: the last judge of what a plan says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use barman_catalog::LocalZone;
use barman_catalog::{BackupInfo, BackupMode, BackupTime, Status, Tablespace};
use barman_pitr::{
    PlanError, RecoveryTarget, RestoreEvent, RestoreRequest, StopPoint, TargetAction, TargetTime, TimelineChoice,
};
use test_support::{CommandExt as _, OsUser, Postgres, StopMode, TempDir, pg_tool};
use wal_format::{BackupLabel, Manifest, PgMajor, SegmentNumber, SegmentSize, Timestamp, WalFileName};

use crate::fixture::{BACKUP, Fixture, SIZE_BYTES, TABLESPACE, timeline};

const MAJOR: u32 = 15;

/// A moment of the original server's life, in every form in which it can be a target.
#[derive(Debug)]
struct Moment {
    time: String,
    /// The transaction that added the last row.
    xid: String,
    lsn: String,
    name: String,
}

/// A server that was backed up when its table had row 1, and then got rows 2 to 4.
struct Story {
    fixture: Fixture,
    place: TempDir,
    /// Directories of restored tablespaces differ, since a server removes nothing from them.
    restores: u32,
    moments: Vec<Moment>,
}

impl Story {
    fn tell() -> Self {
        let place = TempDir::new();
        for name in ["archive", "tbs1"] {
            std::fs::create_dir(place.path().join(name)).expect("directory");
            OsUser::of_servers().own_tree(&place.path().join(name));
        }
        let mut story = Self { fixture: Fixture::new(), place, restores: 0, moments: Vec::new() };
        let mut server = story.archiving(Postgres::builder().major(MAJOR).initdb_option("--wal-segsize=1")).start();
        let location = story.place.path().join("tbs1");
        server.psql(&format!("create tablespace tbs1 location '{}'", location.display()));
        server.psql("create table t (i int) tablespace tbs1; insert into t values (1)");
        story.back_up(&server, &location);
        for row in 2..=4 {
            story.moments.push(add_row(&server, row));
        }
        let last = server.switch_wal();
        story.archive(&server, &last);
        server.stop(StopMode::Fast);
        story
    }

    fn archiving(&self, builder: test_support::PostgresBuilder) -> test_support::PostgresBuilder {
        let command = format!("cp %p {}/%f", self.place.path().join("archive").display());
        builder.setting("archive_mode", "on").setting("archive_command", &command).setting("wal_level", "replica")
    }

    /// Takes a backup with PostgreSQL's own program, as Barman lays it out.
    fn back_up(&self, server: &Postgres, tablespace: &Path) {
        let data = self.fixture.data_of(BACKUP);
        let copy = data.with_file_name(TABLESPACE.to_string());
        std::fs::create_dir_all(data.parent().expect("a parent")).expect("directory");
        let mut command = Command::new(pg_tool(MAJOR, "pg_basebackup"));
        command
            .args(["--no-sync", "--wal-method=none", "--checkpoint=fast", "-d", &server.conninfo(), "-D"])
            .arg(&data);
        command.arg("-T").arg(format!("{}={}", tablespace.display(), copy.display()));
        command.succeed();
        // The directory is named for the tablespace, whose number is known only now.
        let oid: u32 = server.psql("select oid from pg_tablespace where spcname = 'tbs1'").parse().expect("a number");
        std::fs::rename(&copy, data.with_file_name(oid.to_string())).expect("directory");
        let tablespaces = vec![Tablespace { name: "tbs1".to_owned(), oid, location: tablespace.display().to_string() }];
        self.record(&data, tablespaces);
    }

    fn record(&self, data: &Path, tablespaces: Vec<Tablespace>) {
        let size = SegmentSize::new(SIZE_BYTES).expect("a segment size");
        let label = std::fs::read_to_string(data.join("backup_label")).expect("a label");
        let label = BackupLabel::parse(&label).expect("a label");
        let manifest = Manifest::parse(&std::fs::read(data.join("backup_manifest")).expect("a manifest"));
        let end = manifest.expect("a manifest").wal_ranges.last().expect("a range").end;
        let mut info = BackupInfo::new(BACKUP.parse().expect("an id"), "main");
        info.status = Status::Done;
        info.mode = Some(BackupMode::Postgres);
        info.version = Some(150_000);
        info.timeline = Some(label.start_timeline);
        info.xlog_segment_size = size;
        info.begin_wal = Some(label.start_wal);
        info.begin_xlog = Some(label.start_lsn);
        info.end_wal = Some(SegmentNumber::containing(end, size).name(label.start_timeline, size));
        info.end_xlog = Some(end);
        info.end_time = Some(BackupTime::utc(now()));
        info.tablespaces = Some(tablespaces);
        self.fixture.catalog.save(&info).expect("a record");
    }

    /// Waits until a segment was archived, and files all that were.
    fn archive(&self, server: &Postgres, last: &str) {
        server.wait_until(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver"));
        let archive = self.place.path().join("archive");
        for entry in std::fs::read_dir(&archive).expect("directory") {
            let path = entry.expect("entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            let wal: WalFileName = name.parse().expect("a WAL file");
            let filed = wal.hash_directory().map_or(name.clone(), |directory| format!("{directory}/{name}"));
            self.fixture.add_archived(&filed, &std::fs::read(&path).expect("WAL"));
        }
    }

    /// Restores into a new place, and returns it.
    fn restore(&mut self, target: RecoveryTarget) -> PathBuf {
        self.restores += 1;
        let request = self.request(self.restores, target);
        self.carry_out(&request);
        request.destination
    }

    fn request(&self, number: u32, target: RecoveryTarget) -> RestoreRequest {
        let destination = self.place.path().join(format!("restored {number}"));
        let location = self.place.path().join(format!("tbs1-{number}"));
        let relocations = vec![format!("tbs1:{}", location.display()).parse().expect("a rule")];
        RestoreRequest { destination, target, relocations, ..self.fixture.request() }
    }

    fn carry_out(&self, request: &RestoreRequest) {
        self.fixture.restored(request);
        OsUser::of_servers().own_tree(&request.relocations[0].location);
    }

    /// Restores, lets a server recover to its target, and returns its rows.
    fn rows(&mut self, target: RecoveryTarget) -> String {
        let pauses = target.stop.is_some();
        let data = self.restore(target);
        let mut server = Postgres::builder().major(MAJOR).start_existing(&data);
        if pauses {
            server.wait_until_paused();
        } else {
            server.wait_until_recovered();
        }
        rows(&server)
    }
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    Timestamp::from_unix_micros(i64::try_from(since_1970.as_micros()).expect("this century"))
}

fn add_row(server: &Postgres, row: u32) -> Moment {
    let name = format!("rp{row}");
    let xid = server.psql(&format!("insert into t values ({row}) returning pg_current_xact_id()"));
    // A commit within the same microsecond would make the time ambiguous.
    let time = server.psql("select pg_sleep(0.01); select clock_timestamp(); select pg_sleep(0.01)");
    let lsn = server.psql("select pg_current_wal_lsn()");
    server.psql(&format!("select pg_create_restore_point('{name}')"));
    Moment { time: time.trim().to_owned(), xid, lsn, name }
}

fn rows(server: &Postgres) -> String {
    server.psql("select string_agg(i::text, ' ' order by i) from t")
}

fn stop(stop: StopPoint) -> RecoveryTarget {
    RecoveryTarget { stop: Some(stop), ..RecoveryTarget::default() }
}

fn exclusive(target: RecoveryTarget) -> RecoveryTarget {
    RecoveryTarget { exclusive: true, ..target }
}

#[test]
fn a_server_recovers_to_every_kind_of_target() {
    assert_eq!(PgMajor::from_version_num(150_000).map(PgMajor::number), Ok(MAJOR));
    let mut story = Story::tell();
    let at_3 = &story.moments[1];
    let time = stop(StopPoint::Time(TargetTime::parse(&at_3.time, &LocalZone::UTC).expect("a time")));
    let xid = stop(StopPoint::Xid(at_3.xid.parse().expect("a number")));
    let lsn = stop(StopPoint::Lsn(at_3.lsn.parse().expect("an LSN")));
    let name = stop(StopPoint::Name(at_3.name.parse().expect("a name")));

    assert_eq!(story.rows(time.clone()), "1 2 3");
    assert_eq!(story.rows(exclusive(time)), "1 2 3");
    assert_eq!(story.rows(xid.clone()), "1 2 3");
    assert_eq!(story.rows(exclusive(xid)), "1 2");
    assert_eq!(story.rows(lsn.clone()), "1 2 3");
    assert_eq!(story.rows(exclusive(lsn)), "1 2 3");
    assert_eq!(story.rows(name), "1 2 3");
    assert_eq!(story.rows(stop(StopPoint::Immediate)), "1");
    assert_eq!(story.rows(RecoveryTarget::default()), "1 2 3 4");
}

#[test]
fn a_server_recovers_across_timelines() {
    let mut story = Story::tell();
    // The first recovery ends before row 4, and goes on as timeline 2.
    let name = StopPoint::Name(story.moments[1].name.parse().expect("a name"));
    let data = story.restore(RecoveryTarget { action: Some(TargetAction::Promote), ..stop(name) });
    assert!(data.join("barman_wal").exists());
    let mut promoted = story.archiving(Postgres::builder().major(MAJOR)).start_existing(&data);
    promoted.wait_until_recovered();
    // Recovery has removed what the restore left for it.
    assert!(!data.join("barman_wal").exists());
    let moment = add_row(&promoted, 5);
    let last = promoted.switch_wal();
    story.archive(&promoted, &last);
    promoted.stop(StopMode::Fast);

    let name = StopPoint::Name(moment.name.parse().expect("a name"));
    assert_eq!(story.rows(stop(name)), "1 2 3 5");
    let along = |timeline| RecoveryTarget { timeline: Some(timeline), ..RecoveryTarget::default() };
    assert_eq!(story.rows(along(TimelineChoice::Latest)), "1 2 3 5");
    assert_eq!(story.rows(along(TimelineChoice::Current)), "1 2 3 4");
    assert_eq!(story.rows(along(TimelineChoice::Number(timeline(1)))), "1 2 3 4");
}

#[test]
fn no_server_starts_from_an_interrupted_restore() {
    let mut story = Story::tell();
    let data = story.restore(RecoveryTarget::default());
    std::fs::remove_file(data.join("global/pg_control")).expect("file");
    let mut server = Postgres::builder().major(MAJOR).launch_existing(&data);
    assert!(!server.wait_exit().success());
}

#[test]
fn a_server_recovers_in_a_directory_that_was_restored_over() {
    let mut story = Story::tell();
    let name = StopPoint::Name(story.moments[0].name.parse().expect("a name"));
    let data = story.restore(RecoveryTarget { action: Some(TargetAction::Promote), ..stop(name) });
    let mut server = Postgres::builder().major(MAJOR).start_existing(&data);
    server.wait_until_recovered();
    server.psql("create database later");
    server
        .psql("create table u tablespace tbs1 as select generate_series(1, 10000); update t set i = -i; vacuum full t");
    server.psql("checkpoint");
    let over = |target| RestoreRequest { delta: true, ..story.request(1, target) };
    let error = story.fixture.plan(&over(RecoveryTarget::default())).expect_err("the server runs");
    assert!(matches!(error, PlanError::ServerRunning { .. }), "{error}");
    server.stop(StopMode::Fast);
    drop(server);

    // Killed in the middle: no server starts, and the second attempt needs no more than the first.
    let request = over(stop(StopPoint::Name(story.moments[1].name.parse().expect("a name"))));
    let plan = story.fixture.plan(&request).expect("a plan");
    let options = crate::fixture::options();
    let stop_it = |event| {
        if matches!(event, RestoreEvent::Copied { .. }) {
            options.cancel.cancel();
        }
    };
    barman_pitr::restore(&story.fixture.catalog, &plan, &options, &stop_it).expect_err("stopped");
    assert!(!Postgres::builder().major(MAJOR).launch_existing(&data).wait_exit().success());

    story.carry_out(&RestoreRequest { delta: false, ..request });
    let mut server = Postgres::builder().major(MAJOR).start_existing(&data);
    server.wait_until_paused();
    assert_eq!(rows(&server), "1 2 3");
    assert_eq!(server.psql("select count(*) from pg_database where datname = 'later'"), "0");
    assert_eq!(server.psql("select count(*) from pg_class where relname = 'u'"), "0");
}
