//! Servers that recover through `get-wal --feed`: they get all of it, trouble does not end recovery early, and the helper
//! leaves with them.

use crate::made_home;
use crate::recovery::give_home_to_servers;
use crate::scene::{Scene, ours, wait_until};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use test_support::{CommandExt, Finished, OsUser, Postgres, PostgresBuilder, StopMode, TempDir};

/// Segments after the backup, each with a row in it.
const SEGMENTS: u32 = 8;

/// A home that a server can be restored from, and the command that feeds it.
pub(crate) struct Fed {
    pub(crate) scene: Scene,
    pub(crate) command: String,
    /// The segments that a row was written into, in their order.
    pub(crate) segments: Vec<String>,
}

impl Fed {
    /// One for all tests that leave its archive as it is. It goes with the last of them that run at the same time.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Fed>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let fed = Arc::new(Self::write());
            *shared = Arc::downgrade(&fed);
            fed
        })
    }

    fn write() -> Self {
        Self::of(Postgres::builder())
    }

    fn of(builder: PostgresBuilder) -> Self {
        let scene = Scene::of(builder.initdb_option("--wal-segsize=1"));
        scene.start_streaming();
        scene.server.psql("create table t (row int)");
        scene.succeed(&["backup", "--wait", "main"]);
        let row = |row: u32| {
            format!(
                "insert into t values ({row}); select pg_create_restore_point('row {row}'); \
                 select pg_walfile_name(pg_switch_wal());"
            )
        };
        let said = scene.server.psql(&(1..=SEGMENTS).map(row).collect::<String>());
        // Restore points are positions.
        let segments = said.lines().filter(|line| !line.contains('/')).map(str::to_owned).collect();
        scene.server.psql("select pg_create_restore_point('end')");
        scene.archive_everything();
        let command = give_home_to_servers(&scene).replace("get-wal -P main %f > %p", "get-wal --feed %p -P main %f");
        Self { scene, command, segments }
    }

    /// Restores, to be recovered to the end of the archive or to a pause at the end of what was written.
    pub(crate) fn restored(&self, options: &[&str]) -> PathBuf {
        static ONE_BY_ONE: Mutex<()> = Mutex::new(());
        let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        self.scene.restore("latest", &[&["--get-wal"], options].concat())
    }

    /// A server whose logger writes: it ends only when nobody holds its pipe any more.
    fn builder(&self, command: &str) -> PostgresBuilder {
        let builder = Postgres::builder().major(self.scene.server.major());
        builder.setting("restore_command", command).setting("logging_collector", "on")
    }

    pub(crate) fn launch(&self, data: &Path, command: &str) -> Postgres {
        self.builder(command).launch_existing(data)
    }

    /// Starts a server that cannot get all of its WAL, and waits until it has stopped in the middle of its recovery.
    pub(crate) fn assert_stops(&self, data: &Path, command: &str, what: &str) {
        let status = self.launch(data, command).wait_exit();
        assert!(!status.success(), "{what}: {status}");
        assert!(data.join("recovery.signal").exists(), "{what}: recovery has ended");
        assert_gone(data);
    }

    /// Starts a server that stands still at the end of what was written, with a helper beside it.
    pub(crate) fn paused(&self, command: &str) -> Postgres {
        let data = self.restored(&["--target-name", "end", "--target-action", "pause"]);
        let mut server = self.launch(&data, command);
        server.wait_until_paused();
        assert_eq!(helpers(&data).len(), 1);
        server
    }

    fn archived(&self, segment: &str) -> PathBuf {
        self.scene.home.path().join("main/wals").join(&segment[..16]).join(segment)
    }
}

pub(crate) fn all_rows() -> String {
    (1..=SEGMENTS).map(|row| row.to_string()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn rows(server: &Postgres) -> String {
    server.psql("select string_agg(row::text, ' ' order by row) from t")
}

/// The processes that work in a data directory, by their command lines.
pub(crate) fn processes(data: &Path) -> Vec<(PathBuf, String)> {
    let directories = std::fs::read_dir("/proc").expect("the list of processes");
    let of = |directory: PathBuf| {
        (std::fs::read_link(directory.join("cwd")).ok()? == data).then_some(())?;
        let line = std::fs::read(directory.join("cmdline")).ok()?;
        Some((directory, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    directories.filter_map(|entry| of(entry.ok()?.path())).collect()
}

pub(crate) fn helpers(data: &Path) -> Vec<PathBuf> {
    processes(data).into_iter().filter(|(_, line)| line.contains("--feed-helper")).map(|(path, _)| path).collect()
}

pub(crate) fn nest(data: &Path) -> PathBuf {
    data.join("pgsql_tmp_barman_feed")
}

/// Sends a signal to a process, which may have ended by itself.
pub(crate) fn signal(process: &Path, signal: rustix::process::Signal) {
    let number = process.file_name().and_then(|name| name.to_str()?.parse().ok());
    let pid = number.and_then(rustix::process::Pid::from_raw).expect("a process");
    let _ = rustix::process::kill_process(pid, signal);
}

/// The helper has ended and has taken its files along.
pub(crate) fn assert_gone(data: &Path) {
    wait_until("the helper leaves", || helpers(data).is_empty() && !nest(data).exists());
}

#[test]
fn every_row_is_reached_and_nothing_is_left_when_recovery_ends() {
    for major in test_support::majors() {
        let fed = if major == 15 { Fed::shared() } else { Arc::new(Fed::of(Postgres::builder().major(major))) };
        let data = fed.restored(&[]);
        let mut server = fed.launch(&data, &fed.command);
        server.wait_until_recovered();
        assert_eq!(rows(&server), all_rows());
        assert_gone(&data);
        server.stop(StopMode::Fast);
        // The logger is the last, a moment behind the postmaster: it would stay if anybody held its pipe.
        wait_until("every process of the server ends", || processes(&data).is_empty());
    }
}

#[test]
fn a_helper_keeps_nothing_of_the_server_and_ends_with_it_or_with_recovery() {
    let fed = Fed::shared();
    let mut server = fed.paused(&fed.command);
    let data = server.data_dir().to_owned();
    let helper = helpers(&data).pop().expect("one helper");
    for descriptor in std::fs::read_dir(helper.join("fd")).expect("its descriptors") {
        let open = std::fs::read_link(descriptor.expect("a descriptor").path()).unwrap_or_default();
        let is_foreign = open.starts_with(&data) && open != data && !open.starts_with(nest(&data));
        assert!(!is_foreign && !open.to_string_lossy().starts_with("pipe:"), "it holds {}", open.display());
    }
    let session = |process: &Path| {
        let status = std::fs::read_to_string(process.join("stat")).expect("its state");
        status.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3)).map(str::to_owned)
    };
    assert_eq!(session(&helper).as_deref(), helper.file_name().and_then(OsStr::to_str));

    for mode in [StopMode::Fast, StopMode::Immediate] {
        server.stop(mode);
        assert_gone(&data);
        wait_until("every process of the server ends, its logger too", || processes(&data).is_empty());
        server = fed.launch(&data, &fed.command);
        server.wait_until_paused();
        wait_until("another helper is there", || helpers(&data).len() == 1);
    }
    // The postmaster alone: the rest of the server, and the helper, notice by themselves.
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).expect("the server runs");
    let postmaster = Path::new("/proc").join(lock.lines().next().expect("a number").trim());
    signal(&postmaster, rustix::process::Signal::KILL);
    server.wait_exit();
    assert_gone(&data);
    wait_until("the rest of the server ends", || processes(&data).is_empty());
    // As after a crash of the helper: its files are those of nobody.
    std::fs::create_dir_all(nest(&data)).expect("directory");
    std::fs::write(nest(&data).join(".000000010000000000000001.tmp"), "left").expect("file");
    let mut server = fed.launch(&data, &fed.command);
    server.wait_until_paused();
    server.promote();
    assert_eq!(rows(&server), all_rows());
    assert_gone(&data);
}

#[test]
fn trouble_at_any_segment_stops_recovery_instead_of_ending_it_and_is_waited_for_if_it_passes() {
    let fed = Fed::write();
    let data = fed.restored(&[]);
    let home = fed.scene.home.path().join("main");
    let impatient = fed.command.replace("--feed %p", "--feed %p --feed-patience 0");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
    let move_away = |path: &Path| std::fs::rename(path, path.with_extension("away")).expect("rename");
    let move_back = |path: &Path| std::fs::rename(path.with_extension("away"), path).expect("rename");
    // No compression notices it.
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).expect("a segment");
        bytes[600_000] ^= 1;
        std::fs::write(path, bytes).expect("damage");
    };
    for (number, segment) in fed.segments.iter().enumerate() {
        let path = fed.archived(segment);
        match number % 3 {
            0 => damage(&path),
            1 => move_away(&path),
            _ => mode(&path, 0o000),
        }
        fed.assert_stops(&data, &impatient, &format!("{segment}, in one way of three"));
        match number % 3 {
            0 => damage(&path),
            1 => move_back(&path),
            _ => mode(&path, 0o600),
        }
    }
    let path = fed.archived(&fed.segments[4]);
    move_away(&home.join("ledger"));
    damage(&path);
    fed.assert_stops(&data, &impatient, "damage that only the records show");
    damage(&path);
    move_back(&home.join("ledger"));
    move_away(&home.join("wals"));
    fed.assert_stops(&data, &impatient, "an archive that is not mounted");
    move_back(&home.join("wals"));

    mode(&path, 0o000);
    let mut server = fed.launch(&data, &fed.command);
    wait_until("the segment is asked for", || {
        let log = data.join("log");
        let text = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.ok()?.path()).ok();
        std::fs::read_dir(log).is_ok_and(|logs| logs.filter_map(text).any(|text| text.contains("; trying again")))
    });
    mode(&path, 0o600);
    server.wait_until_recovered();
    assert_eq!(rows(&server), all_rows());
}

#[test]
fn a_helper_that_is_killed_again_and_again_is_not_missed() {
    let fed = Fed::shared();
    let data = fed.restored(&[]);
    let mut server = fed.launch(&data, &fed.command);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                helpers(&data).iter().for_each(|helper| signal(helper, rustix::process::Signal::KILL));
                std::thread::sleep(std::time::Duration::from_millis(7));
            }
        });
        server.wait_until_recovered();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(rows(&server), all_rows());
}

/// Beside `pg_wal` there may be less room than in it.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_helper_whose_disk_is_full_is_not_missed() {
    use test_support::{CallEffect, SystemCallFault};
    let fed = Fed::shared();
    let data = fed.restored(&[]);
    // The first call waits for a helper that is not its own.
    let waiting = format!("touch asked; while [ ! -e gate ]; do sleep 0.05; done; {}", fed.command);
    let mut server = fed.launch(&data, &waiting);
    wait_until("the server asks", || data.join("asked").exists());
    let mut helper = Command::new("/bin/sh");
    helper.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(&data).arg(env!("CARGO_BIN_EXE_barman"));
    helper.arg("-c").arg(fed.scene.home.config_file());
    helper.args(["get-wal", "--feed", "pg_wal/RECOVERYXLOG", "--feed-helper", "main", &fed.segments[0]]);
    let traced = SystemCallFault::at(&nest(&data), 1, CallEffect::FullDisk).from(".tmp").start(&helper);
    wait_until("the helper listens", || nest(&data).join("socket").exists());
    std::fs::write(data.join("gate"), "").expect("the gate opens");
    server.wait_until_recovered();
    assert_eq!(rows(&server), all_rows());
    let ended = traced.wait();
    assert!(ended.counted > SEGMENTS as usize, "{ended:?}");
    assert_gone(&data);
}

#[test]
fn a_standby_is_fed_and_goes_on_by_streaming_also_where_the_archive_cannot_be_asked() {
    let fed = Fed::shared();
    let data = fed.restored(&["--standby-mode"]);
    let primary = &fed.scene.server;
    let nowhere = fed.command.replace("--feed %p", "--feed %p --feed-patience 0").replace(" -c ", " -c /nonexistent");
    for (row, command) in [(100, &fed.command), (101, &nowhere)] {
        let builder = fed.builder(command).setting("primary_conninfo", &primary.conninfo());
        let standby = builder.start_existing(&data);
        standby.wait_until(&format!("select max(row) >= {SEGMENTS} from t"));
        primary.psql(&format!("insert into t values ({row})"));
        standby.wait_until(&format!("select max(row) = {row} from t"));
        assert_eq!(standby.psql("select pg_is_in_recovery()"), "t");
        drop(standby);
        assert_gone(&data);
    }
}

#[test]
fn a_change_of_timeline_is_followed_and_the_other_branch_is_not() {
    let fed = Fed::write();
    let mut promoted = fed.paused(&fed.command);
    promoted.promote();
    promoted.psql("insert into t values (100)");
    let segment = promoted.switch_wal();
    assert!(segment.starts_with("00000002"), "{segment}");
    // What the promoted server would archive, beside what the old one did: `archive_command` is off in restored servers.
    let wals = fed.scene.home.path().join("main/incoming");
    for name in ["00000002.history", &segment] {
        std::fs::copy(promoted.data_dir().join("pg_wal").join(name), wals.join(name)).expect("WAL");
    }
    fed.scene.server.psql("insert into t values (200)");
    OsUser::of_servers().own_tree(&fed.scene.home.path());
    let data = fed.restored(&["--target-tli", "latest"]);
    let mut server = fed.launch(&data, &fed.command);
    server.wait_until_recovered();
    assert_eq!(rows(&server), format!("{} 100", all_rows()));
    assert_eq!(server.psql("select timeline_id from pg_control_checkpoint()"), "3");
    assert_gone(&data);
}

/// Calls without a server in recovery, as `pg_rewind` makes them.
#[test]
fn the_exit_status_is_1_only_if_the_archive_is_known_not_to_have_it() {
    let home = made_home::home(&[], &made_home::THREE_BACKUPS);
    let place = TempDir::new();
    let call = |server: &str, name: &str| -> Finished {
        let mut command: Command = ours().command(&home);
        command.current_dir(place.path()).args(["get-wal", "--feed", "file", "--feed-patience", "0", server, name]);
        command.finish()
    };
    let missing = call("main", "00000001000000000000000A");
    assert_eq!(missing.code, Some(1), "{missing:?}");
    // Retention has removed it, from under a server that recovers.
    let purged = call("main", "000000010000000000000000");
    assert_eq!(purged.code, Some(255), "{purged:?}");
    assert!(purged.stderr.contains("has been removed from the archive of server 'main'"), "{purged:?}");
    // What the home has is no WAL: it holds three letters.
    for (server, name) in
        [("main", "000000010000000000000005"), ("other", "00000001000000000000000A"), ("main", "nonsense")]
    {
        let refused = call(server, name);
        assert_eq!(refused.code, Some(255), "{server} {name}: {refused:?}");
    }
    std::fs::write(home.path().join("main/wals/00000002.history"), "1\t0/3000000\tx\n").expect("history");
    assert_eq!(call("main", "00000002.history").code, Some(0));
    assert_eq!(std::fs::read(place.path().join("file")).expect("delivered"), b"1\t0/3000000\tx\n");
    std::fs::remove_file(home.path().join("main/wals/main-xlog.db")).expect("index");
    assert_eq!(call("main", "00000001000000000000000A").code, Some(255));
    // Nothing is left beside what was delivered.
    assert_eq!(std::fs::read_dir(place.path()).expect("directory").count(), 1);
}
