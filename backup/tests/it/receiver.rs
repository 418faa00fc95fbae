//! WAL received from real servers, compared with what `archive_command = cp` kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use barman_backup::{ReceiveError, ReceiverEvent, ReceiverOptions, Reconnect, Synchronous};
use barman_catalog::{Catalog, LocalZone, ServerLayout};
use barman_storage::testing::{Recorder, Recording};
use replication_client::ErrorKind;
use test_support::{OsUser, PgbenchLoad, Postgres, PostgresBuilder, StopMode, TempDir, pg_tool};
use wal_format::{SegmentName, SegmentSize, SystemId, TimelineId, WalFileName};

use crate::receiving::Receiving;

const MIB: u64 = 1 << 20;

pub(crate) fn options() -> ReceiverOptions {
    let mut options = ReceiverOptions::default();
    options.slot = Some("barman".to_owned());
    options
}

/// A server with small segments that keeps a copy of each, and a slot for us.
pub(crate) struct Ground {
    pub(crate) server: Postgres,
    pub(crate) archive: PathBuf,
    pub(crate) streaming: PathBuf,
    dir: TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::of(archiving)
    }

    /// With a server of which the directory is given that its segments are copied to.
    pub(crate) fn of(builder: impl FnOnce(&Path) -> PostgresBuilder) -> Self {
        let (dir, archive) = archive();
        let server = builder(&archive).start();
        server.psql("select pg_create_physical_replication_slot('barman', true)");
        Self { server, archive, streaming: dir.path().join("streaming"), dir }
    }

    fn receive(&self) -> Receiving {
        Receiving::start(&self.server, &self.streaming, options())
    }

    /// Waits until the server has the segment's copy.
    pub(crate) fn wait_archived(&self, segment: &str) {
        self.server.wait_until(&format!("select last_archived_wal >= '{segment}' from pg_stat_archiver"));
    }

    fn segments(&self) -> Vec<String> {
        segments(&self.streaming)
    }

    /// Compares each complete segment that was received with the server's own copy.
    pub(crate) fn assert_equal_to_archive(&self) {
        for segment in self.segments() {
            let received = std::fs::read(self.streaming.join(&segment)).unwrap();
            assert!(received == std::fs::read(self.archive.join(&segment)).unwrap(), "{segment} differs");
        }
    }
}

fn archive() -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    let archive = dir.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    OsUser::of_servers().own_tree(&archive);
    (dir, archive)
}

pub(crate) fn archiving(archive: &Path) -> PostgresBuilder {
    Postgres::builder()
        .initdb_option("--wal-segsize=1")
        .setting("archive_mode", "on")
        .setting("archive_command", &format!("cp %p {}/%f", archive.display()))
}

/// The complete segments in a directory, in order.
pub(crate) fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut segments: Vec<_> = names.filter(|name| matches!(name.parse(), Ok(WalFileName::Segment(_)))).collect();
    segments.sort();
    segments
}

fn partial(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".partial")).max()
}

#[test]
fn what_is_received_under_load_equals_what_the_server_archived() {
    let ground = Ground::new();
    let receiving = ground.receive();
    PgbenchLoad::initialise(&ground.server, 1);
    let load = PgbenchLoad::start(&ground.server, 4);
    ground.server.wait_until("select pg_current_wal_lsn() > '0/2400000'");
    load.stop();
    let last = ground.server.switch_wal();
    receiving.wait_for(&format!("SegmentFinished {{ segment: {}", debug_name(&last)));
    ground.wait_archived(&last);
    let received = receiving.stop();

    assert!(ground.segments().len() > 10, "{:?}", ground.segments());
    assert_eq!(ground.segments().last(), Some(&last));
    ground.assert_equal_to_archive();
    // What is left is as large as pg_receivewal wants it.
    if let Some(partial) = partial(&ground.streaming) {
        assert_eq!(std::fs::metadata(ground.streaming.join(partial)).unwrap().len(), MIB);
    }
    // The slot stands where we stopped: not a byte of WAL is kept for nothing, and none is gone that we need.
    let flushed = received.durable.unwrap().lsn();
    ground.server.wait_until(&format!("select restart_lsn = '{flushed}' from pg_replication_slots"));
}

#[test]
fn a_stopped_receiver_goes_on_without_a_gap() {
    let ground = Ground::new();
    for _ in 0..3 {
        let receiving = ground.receive();
        ground.server.psql("create table if not exists t as select 1; insert into t select generate_series(1, 3000)");
        let finished = ground.server.switch_wal();
        receiving.wait_for(&debug_name(&finished));
        // Some of the next segment as well.
        ground.server.psql("insert into t select generate_series(1, 1000)");
        receiving.stop();
        ground.server.psql("insert into t select generate_series(1, 20000)");
    }
    let receiving = ground.receive();
    receiving.wait_for("StreamingDirectory");
    let last = ground.server.switch_wal();
    receiving.wait_for(&debug_name(&last));
    ground.wait_archived(&last);
    receiving.stop();
    let received = ground.segments();
    let archived: Vec<_> = segments(&ground.archive).into_iter().skip_while(|name| *name < received[0]).collect();
    assert_eq!(received, archived);
    ground.assert_equal_to_archive();
}

#[test]
fn pg_receivewal_and_we_take_turns() {
    let ground = Ground::new();
    for _ in 0..2 {
        let receiving = ground.receive();
        ground.server.psql("create table if not exists t as select 1; insert into t select generate_series(1, 10000)");
        receiving.wait_for(&debug_name(&ground.server.switch_wal()));
        ground.server.psql("insert into t select generate_series(1, 100)");
        receiving.stop_when(|| partial(&ground.streaming).is_some());

        let mut theirs = Command::new(pg_tool(15, "pg_receivewal"));
        theirs.args(["--no-loop", "--slot=barman", "-d", &ground.server.conninfo(), "-D"]).arg(&ground.streaming);
        let mut theirs = theirs.stdin(Stdio::null()).spawn().unwrap();
        ground.server.wait_until("select active from pg_replication_slots");
        let finished = ground.server.switch_wal();
        ground.server.psql("insert into t select generate_series(1, 100)");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ground.streaming.join(&finished).exists() {
            assert!(Instant::now() < deadline && theirs.try_wait().unwrap().is_none(), "pg_receivewal did not go on");
            std::thread::sleep(Duration::from_millis(20));
        }
        theirs.kill().unwrap();
        theirs.wait().unwrap();
        ground.server.wait_until("select not active from pg_replication_slots");
    }
    ground.wait_archived(ground.segments().last().unwrap());
    ground.assert_equal_to_archive();
}

#[test]
fn a_promotion_is_followed_with_the_history_first() {
    let (_dir, archive) = archive();
    let primary = archiving(&archive).start();
    let mut standby = archiving(&archive).start_standby_of(&primary);
    let dir = TempDir::new();
    let streaming = dir.path().join("streaming");
    let receiving = Receiving::start(&standby, &streaming, ReceiverOptions::default());
    receiving.wait_for("ServerPosition");
    primary.psql("create table t as select generate_series(1, 10000)");
    let finished = primary.switch_wal();
    receiving.wait_for(&debug_name(&finished));

    standby.promote();
    receiving.wait_for("TimelineSwitch { from: TimelineId(1), to: TimelineId(2)");
    standby.psql("create table u as select generate_series(1, 10000)");
    let finished = standby.switch_wal();
    assert!(finished.starts_with("00000002"));
    receiving.wait_for(&debug_name(&finished));
    standby.wait_until(&format!("select last_archived_wal >= '{finished}' from pg_stat_archiver"));
    receiving.stop();

    let received = std::fs::read(streaming.join("00000002.history")).unwrap();
    assert!(received == std::fs::read(archive.join("00000002.history")).unwrap());
    for segment in segments(&streaming).iter().filter(|name| name.starts_with("00000002")) {
        let bytes = std::fs::read(streaming.join(segment)).unwrap();
        assert!(bytes == std::fs::read(archive.join(segment)).unwrap(), "{segment} differs");
    }
    // Started again on the new timeline, it goes on there.
    let receiving = Receiving::start(&standby, &streaming, ReceiverOptions::default());
    let connected = receiving.wait_for("Connected");
    assert!(connected.contains("timeline: TimelineId(2)"), "{connected}");
    receiving.stop();
}

#[test]
fn commits_that_wait_for_us_do_not_wait_long() {
    let ground = Ground::new();
    let mut synchronous = options();
    synchronous.synchronous = Synchronous::Always;
    let receiving = Receiving::start(&ground.server, &ground.streaming, synchronous);
    receiving.wait_for("Connected");
    ground.server.psql("alter system set synchronous_standby_names = 'barman_receive_wal'; select pg_reload_conf()");
    ground.server.wait_until("select sync_state = 'sync' from pg_stat_replication");
    let begun = Instant::now();
    ground.server.psql(&"create table t(i int); drop table t;".repeat(20));
    assert!(begun.elapsed() < Duration::from_secs(10), "40 commits took {:?}", begun.elapsed());
    receiving.stop();
}

#[test]
fn a_server_that_shuts_down_waits_until_all_its_wal_is_safe() {
    let mut ground = Ground::new();
    let receiving = ground.receive();
    receiving.wait_for("Connected");
    ground.server.psql("create table t as select generate_series(1, 10000)");
    ground.server.stop(StopMode::Fast);
    assert!(receiving.failed().is_transient());
    ground.server.start_again();
    // The last record that it wrote is the shutdown checkpoint.
    let checkpoint = "from pg_control_checkpoint()";
    let segment = ground.server.psql(&format!("select pg_walfile_name(checkpoint_lsn) {checkpoint}"));
    let offset =
        ground.server.psql(&format!("select checkpoint_lsn - '0/0' {checkpoint}")).parse::<u64>().unwrap() % MIB;
    let record = |file: PathBuf| std::fs::read(file).unwrap()[offset as usize..][..64].to_vec();
    let written = record(ground.server.data_dir().join("pg_wal").join(&segment));
    assert_eq!(record(ground.streaming.join(format!("{segment}.partial"))), written);
}

fn reconnecting() -> ReceiverOptions {
    let mut options = options();
    let (first, longest) = (Duration::from_millis(100), Duration::from_millis(200));
    options.reconnect = Some(Reconnect { first, longest });
    options
}

#[test]
fn a_disk_that_stalls_for_longer_than_the_server_waits_costs_the_connection_and_no_wal() {
    let ground = Ground::new();
    ground.server.psql("alter system set wal_sender_timeout = '1s'");
    ground.server.psql("select pg_reload_conf()");
    let pause = Duration::from_millis(2500);
    let receiving = Receiving::held_up(&ground.server.conninfo(), &ground.streaming, reconnecting(), pause);
    receiving.wait_for("Connected");
    ground.server.psql("create table t as select generate_series(1, 30000)");
    ground.server.switch_wal();
    receiving.wait_for("Reconnecting");
    ground.server.psql("insert into t values (1)");
    let last = ground.server.switch_wal();
    receiving.wait_for(&debug_name(&last));
    ground.wait_archived(&last);
    receiving.stop();
    assert_no_gap(&ground);
}

#[test]
fn with_reconnecting_a_crash_of_the_server_leaves_no_gap() {
    let mut ground = Ground::new();
    let receiving = Receiving::start(&ground.server, &ground.streaming, reconnecting());
    receiving.wait_for("Connected");
    ground.server.psql("create table t as select generate_series(1, 30000)");
    ground.server.stop(StopMode::Immediate);
    receiving.wait_for("Reconnecting");
    ground.server.start_again();
    let last = ground.server.switch_wal();
    receiving.wait_for(&debug_name(&last));
    ground.wait_archived(&last);
    receiving.stop();
    assert_no_gap(&ground);
}

/// From the first segment that was received on, they are those that the server kept.
fn assert_no_gap(ground: &Ground) {
    let received = ground.segments();
    let archived: Vec<_> = segments(&ground.archive).into_iter().skip_while(|name| *name < received[0]).collect();
    assert_eq!(received, archived);
    ground.assert_equal_to_archive();
}

#[test]
fn after_a_failed_sync_the_segment_is_received_again() {
    let ground = Ground::new();
    let recorder = Recorder::start(ground.dir.path());
    let mut often = options();
    often.status_interval = Duration::from_secs(1);
    let receiving = Receiving::start(&ground.server, &ground.streaming, often);
    receiving.wait_for("Connected");
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait_for = |reached: &dyn Fn(&Recording) -> bool| {
        while !reached(&recorder.recording()) {
            assert!(Instant::now() < deadline, "{:?}", receiving.events());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // Between two ticks, so that the change after the next write is the sync of the next tick.
    let ends_with_sync = |recording: &Recording| recording.syncs().last() == Some(&recording.len().wrapping_sub(1));
    ground.server.psql("create table t (i int)");
    wait_for(&ends_with_sync);
    // The sync of the first small piece may take zeros along, which are a change of their own.
    ground.server.psql("insert into t values (1)");
    wait_for(&|recording| !ends_with_sync(recording));
    wait_for(&ends_with_sync);
    ground.server.psql("insert into t values (2)");
    wait_for(&|recording| !ends_with_sync(recording));
    recorder.fail_at(recorder.position(), 5);
    receiving.wait_for("SyncFailed");

    let finished = ground.server.switch_wal();
    receiving.wait_for(&debug_name(&finished));
    ground.wait_archived(&finished);
    receiving.stop();
    ground.assert_equal_to_archive();
}

#[test]
fn a_server_whose_commits_would_wait_for_ever_is_named() {
    let ground = Ground::new();
    ground.server.psql("alter system set synchronous_standby_names = 'FIRST 1 (other, barman_receive_wal)'");
    let named = || {
        let mut named = options();
        named.synchronous = Synchronous::IfNamed("barman_receive_wal".to_owned());
        let receiving = Receiving::start(&ground.server, &ground.streaming, named);
        // Which comes behind it.
        receiving.wait_for("Connected");
        ground.server.wait_until("select count(*) = 1 from pg_stat_replication where state = 'streaming'");
        let named = receiving.events().iter().any(|event| event == "RemoteApply { standby: \"barman_receive_wal\" }");
        receiving.stop();
        named
    };
    ground.server.psql("select pg_reload_conf()");
    assert!(!named());
    ground.server.psql("alter system set synchronous_commit = 'remote_apply'");
    ground.server.psql("select pg_reload_conf()");
    assert!(named());
}

#[test]
fn a_reload_that_has_commits_wait_for_us_is_noticed_while_wal_flows() {
    let ground = Ground::new();
    let mut watching = options();
    watching.synchronous = Synchronous::IfNamed("barman_receive_wal".to_owned());
    watching.sql = Some(crate::config(&ground.server.conninfo()));
    watching.settings_interval = Duration::from_millis(100);
    // Without the reload no sync would be due before the end of the test.
    watching.status_interval = Duration::from_secs(3600);
    let receiving = Receiving::start(&ground.server, &ground.streaming, watching);
    ground.server.wait_until("select count(*) = 1 from pg_stat_replication where state = 'streaming'");
    let set = |setting: &str, value: &str| {
        ground.server.psql(&format!("alter system set {setting} = '{value}'"));
        ground.server.psql("select pg_reload_conf()");
    };
    set("synchronous_standby_names", "barman_receive_wal");
    receiving.wait_for("SettingsChanged { synchronous: true }");
    // Which returns when it is synced here.
    ground.server.psql("create table t (i int); insert into t values (1)");
    assert!(!receiving.events().iter().any(|event| event.starts_with("RemoteApply")));
    set("synchronous_commit", "remote_apply");
    receiving.wait_for("RemoteApply { standby: \"barman_receive_wal\" }");
    set("synchronous_standby_names", "");
    receiving.wait_for("SettingsChanged { synchronous: false }");
    receiving.stop();
}

/// An archive in which these segments are the newest.
fn archive_with(home: &Path, newest: &[&str]) -> Catalog {
    for segment in newest {
        let hash = home.join("main/wals").join(&segment[..16]);
        std::fs::create_dir_all(&hash).unwrap();
        std::fs::write(hash.join(segment), "").unwrap();
    }
    Catalog::open(ServerLayout::below(home, "main"), LocalZone::UTC)
}

#[test]
fn it_starts_after_the_newest_archived_segment_where_nothing_is_streamed_yet() {
    let ground = Ground::new();
    let archived = ground.server.switch_wal();
    ground.server.switch_wal();
    let mut after = options();
    // What is archived of a timeline that the server never was on says nothing about it.
    let home = ground.dir.path().join("home");
    after.archive = Some(archive_with(&home, &[&archived, "000000070000000000000001"]));
    let receiving = Receiving::start(&ground.server, &ground.streaming, after);
    receiving.wait_for("reason: Archive");
    let next = receiving.wait_for("SegmentFinished");
    assert!(!receiving.events().iter().any(|event| event.starts_with("Gap")), "{:?}", receiving.events());
    receiving.stop();
    let next_number = u32::from_str_radix(&archived[16..], 16).unwrap() + 1;
    assert!(next.contains(&format!("segment: {next_number} ")), "{next} after {archived}");
}

#[test]
fn a_gap_is_told_before_the_first_byte() {
    let ground = Ground::new();
    let archived = ground.server.switch_wal();
    for _ in 0..3 {
        ground.server.switch_wal();
    }
    // As `receive-wal --reset` leaves it.
    let restart = ground.server.psql("select pg_walfile_name(pg_current_wal_lsn())");
    std::fs::create_dir(&ground.streaming).unwrap();
    std::fs::write(ground.streaming.join(format!("{restart}.partial")), "").unwrap();
    let mut after = options();
    after.archive = Some(archive_with(&ground.dir.path().join("home"), &[&archived]));
    let receiving = Receiving::start(&ground.server, &ground.streaming, after);
    ground.server.switch_wal();
    receiving.wait_for("SegmentFinished");
    let events = receiving.events();
    receiving.stop();
    let lsn = |name: &str| name.parse::<SegmentName>().unwrap().start(SegmentSize::new(MIB).unwrap()).unwrap();
    let (from, to) = (lsn(&archived).checked_add(MIB).unwrap(), lsn(&restart));
    let gap = ReceiverEvent::Gap { timeline: TimelineId::FIRST, from, to };
    assert_eq!(events[1], format!("{gap:?}"), "{events:?}");
}

#[test]
fn the_slot_says_where_receiving_begins_by_whichever_connection_can_read_it() {
    // Before 15 an ordinary connection has to ask.
    for major in [13, 15] {
        let server = Postgres::builder().major(major).initdb_option("--wal-segsize=1").start();
        server.psql("select pg_create_physical_replication_slot('barman', true)");
        let kept = server.psql("select pg_walfile_name(restart_lsn) from pg_replication_slots");
        server.switch_wal();
        server.switch_wal();
        let dir = TempDir::new();
        let mut with_sql = options();
        with_sql.sql = Some(crate::config(&server.conninfo()));
        let receiving = Receiving::start(&server, &dir.path().join("streaming"), with_sql);
        let connected = receiving.wait_for("reason: Slot");
        let first = receiving.wait_for("SegmentFinished");
        assert!(first.contains(&debug_name(&kept)), "{major}: {connected} {first} {kept}");
        receiving.stop();
    }
}

#[test]
fn a_missing_slot_is_created_where_that_is_wanted() {
    let ground = Ground::new();
    ground.server.psql("select pg_drop_replication_slot('barman')");
    let mut creating = options();
    creating.create_slot = true;
    let receiving = Receiving::start(&ground.server, &ground.streaming, creating);
    receiving.wait_for("SlotCreated { slot: \"barman\" }");
    receiving.wait_for("Connected");
    ground.server.wait_until("select active and restart_lsn is not null from pg_replication_slots");
    receiving.stop();
}

#[test]
fn another_cluster_is_refused_before_anything_is_written() {
    let ground = Ground::new();
    let mut foreign = options();
    foreign.system = Some(SystemId::new(4711));
    let error = Receiving::start(&ground.server, &ground.streaming, foreign).failed();
    assert!(matches!(error, ReceiveError::ForeignSystem { expected, .. } if expected == SystemId::new(4711)));
    assert_eq!(std::fs::read_dir(&ground.streaming).unwrap().count(), 0);
}

#[test]
fn a_slot_that_is_missing_or_busy_is_named() {
    let ground = Ground::new();
    let mut missing = options();
    missing.slot = Some("nobody".to_owned());
    let error = Receiving::start(&ground.server, &ground.streaming, missing).failed();
    assert!(matches!(&error, ReceiveError::SlotMissing { slot, .. } if slot == "nobody"), "{error:?}");

    let receiving = ground.receive();
    receiving.wait_for("Connected");
    ground.server.wait_until("select active from pg_replication_slots");
    let other = ground.dir.path().join("other");
    let error = Receiving::start(&ground.server, &other, options()).failed();
    let ReceiveError::Connection(error) = error else { panic!("{error:?}") };
    assert!(matches!(error.kind(), ErrorKind::SlotInUse { slot, .. } if slot == "barman"), "{error:?}");
    receiving.stop();
}

#[test]
fn wal_that_the_server_has_removed_is_named() {
    let ground = Ground::new();
    let oldest = ground.server.psql("select min(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'");
    ground.server.psql("select pg_drop_replication_slot('barman')");
    for _ in 0..4 {
        ground.server.switch_wal();
    }
    ground
        .server
        .psql("alter system set wal_keep_size = 0; alter system set min_wal_size = '2MB'; select pg_reload_conf()");
    ground.wait_archived(&oldest);
    ground.server.psql("checkpoint; select pg_switch_wal(); checkpoint");
    let mut removed = ReceiverOptions::default();
    removed.archive = Some(archive_with(&ground.dir.path().join("home"), &[&oldest]));
    let error = Receiving::start(&ground.server, &ground.streaming, removed).failed();
    let ReceiveError::WalLost { timeline: TimelineId::FIRST, from, to: None, source } = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(source.kind(), ErrorKind::WalRemoved { .. }), "{error:?}");
    let next = oldest.parse::<SegmentName>().unwrap().start(SegmentSize::new(MIB).unwrap()).unwrap();
    assert_eq!(Some(*from), next.checked_add(MIB));

    // A slot that was made later says from where on the rest is there.
    ground.server.psql("select pg_create_physical_replication_slot('barman', true)");
    let kept = ground.server.psql("select restart_lsn from pg_replication_slots");
    let mut with_slot = options();
    with_slot.archive = Some(archive_with(&ground.dir.path().join("home"), &[&oldest]));
    let error = Receiving::start(&ground.server, &ground.streaming, with_slot).failed();
    assert_eq!(error.to_string(), format!("WAL of timeline 1 from {from} to {kept} is lost"));
}

/// How an event shows a segment.
pub(crate) fn debug_name(segment: &str) -> String {
    format!("{:?}", segment.parse::<wal_format::SegmentName>().unwrap())
}
