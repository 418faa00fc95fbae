//! What happens to servers and disks: each incident ends in recovery without a hand, or in an error that says what is lost.

use crate::crash::{archiving_scene, archiving_to, assert_archive_equals, start};
use crate::scene::{Scene, wait_until};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use test_support::{FaultProxy, OsUser, Postgres, StopMode, TempDir};

/// A receiver in the foreground, killed when dropped.
struct Receiver(Child);

impl Receiver {
    fn start(scene: &Scene) -> Self {
        Self(start(scene, &["receive-wal", "main"]))
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().expect("a child can be waited for").is_none()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log(scene: &Scene) -> String {
    std::fs::read_to_string(scene.home.log_file()).unwrap_or_default()
}

fn fill(server: &Postgres) {
    server.psql("create table if not exists t as select 1 as row, 'a' as text");
    server.psql("insert into t select row, md5(row::text) from generate_series(1, 20000) row");
}

#[test]
fn restarts_and_crashes_of_the_server_are_outlived() {
    let (mut scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let mut receiver = Receiver::start(&scene);
    scene.wait_until_streaming();
    for mode in [StopMode::Fast, StopMode::Immediate] {
        fill(&scene.server);
        scene.server.stop(mode);
        scene.server.start_again();
        scene.wait_until_streaming();
    }
    assert!(receiver.runs());
    fill(&scene.server);
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn a_failover_to_a_standby_that_was_behind_is_followed() {
    let primary = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let kept = TempDir::new();
    OsUser::of_servers().own_tree(kept.path());
    let mut standby = archiving_to(kept.path()).start_standby_of(&primary);
    let address = FaultProxy::start(primary.port());
    let mut scene = Scene { server: primary, home: test_support::BarmanHome::new() };
    let conninfo = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", address.port());
    let options = [("conninfo", conninfo.as_str()), ("streaming_conninfo", &conninfo), ("create_slot", "auto")];
    scene.configure(&scene.server, &options);
    let mut receiver = Receiver::start(&scene);
    scene.wait_until_streaming();
    fill(&scene.server);
    let flushed = scene.server.psql("select pg_current_wal_flush_lsn()");
    standby.wait_until(&format!("select pg_last_wal_receive_lsn() >= '{flushed}'"));
    // What comes now is received by us alone.
    fall_behind(&standby);
    fill(&scene.server);
    let surplus = scene.server.switch_wal();
    let streaming = scene.home.path().join("main/streaming");
    let archived = scene.home.path().join("main/wals").join(&surplus[..16]).join(&surplus);
    wait_until("the surplus is received", || archived.exists());
    // And a part of the segment under way.
    scene.server.psql("select pg_logical_emit_message(true, 'test', 'only here')");
    let under_way = scene.server.psql("select pg_walfile_name(pg_current_wal_flush_lsn())");
    let partial = format!("{under_way}.partial");
    let has_surplus = |directory: &Path| {
        let bytes = std::fs::read(directory.join(&partial)).unwrap_or_default();
        bytes.windows(9).any(|bytes| bytes == b"only here")
    };
    wait_until("the rest is received, too", || has_surplus(&streaming));
    scene.server.stop(StopMode::Immediate);
    standby.promote();
    address.retarget(standby.port());

    wait_until("the new timeline is received", || log(&scene).contains("the server left timeline 1 at"));
    standby.wait_until("select count(*) = 1 from pg_replication_slots where active");
    fill(&standby);
    let told = format!("what was received beyond is in streaming/{partial}, the archive up to {surplus}");
    wait_until("the surplus is named", || log(&scene).contains(&told));
    // The archiver files it under that name when it has the next segment.
    let hash_directory = scene.home.path().join("main/wals").join(&under_way[..16]);
    assert!(has_surplus(&streaming) || has_surplus(&hash_directory));
    let segment = standby.switch_wal();
    assert!(segment.starts_with("00000002"), "{segment}");
    let wals = scene.home.path().join("main/wals");
    wait_until("the new timeline is archived", || wals.join(&segment[..16]).join(&segment).exists());
    assert!(receiver.runs());
    assert_same_as_kept(&wals, kept.path(), &segment);
    drop(receiver);
    // So that the scene can be taken down.
    scene.server.start_again();
}

/// Cuts a standby off from its primary.
pub(crate) fn fall_behind(standby: &Postgres) {
    standby.psql("alter system set primary_conninfo = 'host=/nowhere'");
    standby.psql("select pg_reload_conf()");
    standby.wait_until("select count(*) = 0 from pg_stat_wal_receiver");
}

/// Every segment of the timeline that the server archived up to `last` is in our archive with the same bytes.
fn assert_same_as_kept(wals: &Path, kept: &Path, last: &str) {
    wait_until("the server has archived it, too", || kept.join(last).exists());
    let names = std::fs::read_dir(kept).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("text"));
    let names: Vec<_> =
        names.filter(|name| name.len() == 24 && name[..8] == last[..8] && name.as_str() <= last).collect();
    assert!(!names.is_empty());
    for name in names {
        let ours = std::fs::read(wals.join(&name[..16]).join(&name)).unwrap_or_default();
        wait_until("both copies are equal", || std::fs::read(kept.join(&name)).is_ok_and(|theirs| theirs == ours));
    }
}

#[test]
fn a_slot_that_is_dropped_is_named_or_made_anew() {
    let (scene, kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let drop_slot = || {
        let terminate = "select pg_terminate_backend(active_pid) from pg_replication_slots where active";
        let drop = "select pg_drop_replication_slot('barman') from pg_replication_slots where not active";
        wait_until("the slot is gone", || {
            let _ = scene.server.try_psql(&format!("{terminate}; select pg_sleep(0.1); {drop}"));
            scene.server.psql("select count(*) from pg_replication_slots") == "0"
        });
    };
    let mut receiver = Receiver::start(&scene);
    scene.wait_until_streaming();
    fill(&scene.server);
    drop_slot();
    wait_until("it ends", || !receiver.runs());
    assert!(log(&scene).contains("replication slot"), "{}", log(&scene));
    assert!(log(&scene).contains("does not exist: nothing keeps the WAL from"), "{}", log(&scene));

    scene.configure(&scene.server, &[("create_slot", "auto")]);
    let mut receiver = Receiver::start(&scene);
    scene.wait_until_streaming();
    drop_slot();
    scene.wait_until_streaming();
    assert!(receiver.runs());
    fill(&scene.server);
    scene.archive_everything();
    assert_archive_equals(&scene, kept.path());
}

#[test]
fn what_the_server_did_not_keep_is_named_and_a_reset_goes_on_behind_it() {
    let (scene, _kept) = archiving_scene();
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let receiver = Receiver::start(&scene);
    scene.wait_until_streaming();
    scene.archive_everything();
    drop(receiver);
    scene.server.psql("alter system set max_slot_wal_keep_size = '1MB'");
    scene.server.psql("alter system set min_wal_size = '2MB'");
    scene.server.psql("select pg_reload_conf()");
    wait_until("the slot is given up", || {
        fill(&scene.server);
        scene.server.psql("select pg_switch_wal(); checkpoint");
        scene.server.psql("select wal_status from pg_replication_slots") == "lost"
    });
    let finished = scene.run(&["receive-wal", "main"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("WAL of timeline 1 from 0/"), "{finished:?}");
    assert!(finished.stderr.contains(" on is lost"), "{finished:?}");
    assert!(finished.stderr.contains("receive-wal --reset"), "{finished:?}");

    scene.succeed(&["receive-wal", "--drop-slot", "main"]);
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    scene.succeed(&["receive-wal", "--reset", "main"]);
    let _receiver = Receiver::start(&scene);
    scene.wait_until_streaming();
    wait_until("the gap is told", || log(&scene).contains("is missing: nothing can be recovered across this gap"));
    scene.archive_everything();
}

#[test]
fn a_full_disk_that_has_room_again_ends_in_an_archive_without_a_gap() {
    let (scene, kept) = archiving_scene();
    let place = TempDir::new();
    let streaming = place.path().join("streaming");
    scene.configure(&scene.server, &[("streaming_wals_directory", streaming.to_str().expect("text"))]);
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    let mut receiver = Receiver(start_with_small_disk(&scene, place.path()));
    scene.wait_until_streaming();
    fill(&scene.server);
    // The disk, as the receiver sees it.
    let small = format!("/proc/{}/root{}", receiver.0.id(), place.path().display());
    let filler = Path::new(&small).join("filler");
    wait_until("the disk is full", || {
        // Each time, because archiving makes room.
        fill_up(&filler);
        fill(&scene.server);
        log(&scene).contains("No space left on device")
    });
    assert!(receiver.runs());
    std::fs::remove_file(&filler).expect("it is ours");
    scene.wait_until_streaming();
    scene.archive_everything();
    assert!(receiver.runs());
    assert_archive_equals(&scene, kept.path());
    drop(receiver);
}

/// Adds to a file until there is no room left.
fn fill_up(path: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).expect("it can be opened");
    let more_than_there_is = vec![1; 6 << 20];
    std::io::Write::write_all(&mut file, &more_than_there_is).expect_err("the disk is full");
}

/// Starts a receiver for which a file system of 6 MiB is mounted at `place`. Nobody else sees it, and it goes with the
/// receiver.
///
/// Mounting takes root's rights. Anybody has these in a user namespace, but the receiver must find itself to be its user.
fn start_with_small_disk(scene: &Scene, place: &Path) -> Child {
    const MOUNT: &str = "mount -t tmpfs -o size=6m,mode=0777 tmpfs \"$0\" && exec \"$@\"";
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let receive = scene.command();
    let mut command = Command::new("unshare");
    command.args(if user == 0 { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
    command.args(["sh", "-c", MOUNT]).arg(place);
    if user != 0 {
        command.args(["unshare", "--user", &format!("--map-user={user}"), &format!("--map-group={group}")]);
    }
    command.arg(receive.get_program()).args(receive.get_args()).args(["receive-wal", "main"]);
    let variables = receive.get_envs().filter(|(name, _)| *name != "PATH");
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("unshare is there")
}
