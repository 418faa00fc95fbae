//! Restores onto another host through a real ssh server, beside the reference Barman's.

use crate::scene::{Scene, ours};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_support::{Barman, CommandExt, Fault, FaultKind, FaultPlace, FaultProxy, OsUser, Postgres, Sshd, TempDir};

/// Another host, and a directory on it that belongs to the user of its servers.
pub(crate) struct OtherHost {
    sshd: Sshd,
    places: TempDir,
}

impl OtherHost {
    pub(crate) fn start() -> Self {
        let places = TempDir::new();
        OsUser::of_servers().own_tree(places.path());
        Self { sshd: Sshd::start(), places }
    }

    /// What leads there.
    pub(crate) fn command(&self) -> String {
        self.sshd.command()
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.places.path().join(name)
    }

    /// Restores the last backup there with a program of Barman's command line.
    pub(crate) fn restored(&self, barman: &Barman, scene: &Scene, name: &str, options: &[&str]) -> PathBuf {
        let (data, tablespace) = (self.place(name), format!("tbs1:{}", self.place(&format!("{name}.tbs1")).display()));
        let command = self.sshd.command();
        let arguments = ["restore", "--remote-ssh-command", &command, "--tablespace", &tablespace];
        let (server, destination) = (["main", "latest"], [text(&data)]);
        barman.succeed(&scene.home, &[&arguments[..], options, &server, &destination].concat());
        data
    }
}

/// A backup of a server with a tablespace, and a row that came after it.
fn scene(tablespace: &Path) -> Scene {
    let scene = Scene::streaming();
    std::fs::create_dir(tablespace).expect("directory");
    OsUser::of_servers().own_tree(tablespace);
    scene.server.psql(&format!("create tablespace tbs1 location '{}'", tablespace.display()));
    scene.server.psql("create table t (row int) tablespace tbs1; insert into t select generate_series(1, 1000)");
    scene.succeed(&["backup", "--wait", "main"]);
    scene
        .server
        .psql("insert into t values (1001); select pg_create_restore_point('here'); insert into t values (1002)");
    scene.archive_everything();
    scene
}

#[test]
fn another_host_gets_what_barman_would_restore_there() {
    let host = OtherHost::start();
    let scene = scene(&host.place("original"));
    a_server_recovers_there(&host, &scene);
    a_server_there_is_told_to_ask_this_host_for_wal(&host, &scene);
    a_host_that_cannot_be_reached_is_said_at_once(&host, &scene);
    a_connection_that_breaks_for_good_is_said_and_the_next_one_goes_on(&host, &scene);
    a_disk_that_becomes_full_there_is_said(&host, &scene);
}

fn a_server_recovers_there(host: &OtherHost, scene: &Scene) {
    let options = ["--target-name", "here", "--target-action", "promote", "--jobs", "2", "--network-compression"];
    let data = host.restored(&ours(), scene, "ours", &options);
    let theirs = host.restored(&Barman::reference(), scene, "theirs", &options);
    assert_same_but_for_our_own(&data, &theirs);
    let mut server = Postgres::builder().start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(server.psql("select count(*) from t"), "1001");
    let location = server.psql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'tbs1'");
    assert_eq!(Path::new(&location), host.place("ours.tbs1"));
}

fn a_server_there_is_told_to_ask_this_host_for_wal(host: &OtherHost, scene: &Scene) {
    let options = ["--get-wal", "--recovery-option-port", "2222"];
    let data = host.restored(&ours(), scene, "fed", &options);
    let theirs = host.restored(&Barman::reference(), scene, "fed-by-theirs", &options);
    let (name, user) = (Command::new("hostname").succeed(), OsUser::current());
    let line = |data: &Path| {
        let text = std::fs::read_to_string(data.join("postgresql.auto.conf")).expect("settings");
        text.lines().find(|line| line.starts_with("restore_command")).expect("a restore_command").to_owned()
    };
    let expected = format!("barman-wal-restore --feed -P -U {} --port 2222 {} main %f %p", user.name(), name.trim());
    assert!(line(&data).contains(&expected), "{}", line(&data));
    // Barman asks the resolver for a longer name of this host.
    let expected = format!("barman-wal-restore -P -U {} --port 2222 ", user.name());
    assert!(line(&theirs).contains(&expected), "{}", line(&theirs));
    assert!(data.join("recovery.signal").exists() && theirs.join("recovery.signal").exists());
}

fn a_host_that_cannot_be_reached_is_said_at_once(host: &OtherHost, scene: &Scene) {
    let (nowhere, destination) = (format!("{} -p 1", host.sshd.command()), host.place("nothing"));
    let arguments = ["restore", "--remote-ssh-command", &nowhere, "main", "latest", text(&destination)];
    let finished = scene.run(&arguments);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("Connection refused") && finished.stderr.contains("HINT: "), "{finished:?}");
    let local = scene.run(&["restore", "--network-compression", "main", "latest", text(&destination)]);
    assert!(local.stderr.contains("Network compression can only be used with remote recovery."), "{local:?}");
}

/// In the middle of a file, and at each attempt.
fn a_connection_that_breaks_for_good_is_said_and_the_next_one_goes_on(host: &OtherHost, scene: &Scene) {
    const SENT: u64 = 12 << 20;
    let proxy = FaultProxy::start(host.sshd.port());
    for _ in 0..3 {
        proxy.plan(Fault { place: FaultPlace::ClientByte(SENT), kind: FaultKind::Cut });
    }
    let (data, tablespace) = (host.place("broken"), format!("tbs1:{}", host.place("broken.tbs1").display()));
    let restore = |command: &str| {
        let mut restore = ours().command(&scene.home);
        restore.args(["restore", "--jobs", "1", "--retry-times", "0", "--tablespace", &tablespace]);
        restore.args(["--remote-ssh-command", command, "main", "latest", text(&data)]).finish()
    };
    let broken = restore(&format!("{} -p {}", host.sshd.command(), proxy.port()));
    assert!(broken.code == Some(1) && proxy.fired() == 1, "{broken:?}");
    assert!(broken.stderr.contains("give the same command again, which goes on from there"), "{broken:?}");
    assert!(!data.join("global/pg_control").exists(), "a server could be started");
    let sent = lengths_by_inode(&data);
    assert!(sent.values().sum::<u64>() > SENT / 2, "{sent:?}");

    let restored = restore(&host.sshd.command());
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let kept = lengths_by_inode(&data).into_iter().filter(|(inode, _)| sent.contains_key(inode));
    let kept: u64 = kept.map(|(_, length)| length).sum();
    assert!(kept > SENT / 2, "{kept} bytes were kept");
    let mut server = Postgres::builder().start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(server.psql("select count(*) from t"), "1002");
}

fn lengths_by_inode(data: &Path) -> BTreeMap<u64, u64> {
    let length = |path: &PathBuf| std::fs::metadata(data.join(path)).map(|file| (file.ino(), file.len()));
    files(data).keys().map(|path| length(path).expect("a file")).collect()
}

/// The plan cannot know: there is room for all bytes, but not for all files.
fn a_disk_that_becomes_full_there_is_said(host: &OtherHost, scene: &Scene) {
    let disk = host.place("disk");
    std::fs::create_dir(&disk).expect("directory");
    let small = Sshd::with_small_disk(&disk, 300);
    let (data, tablespace) = (disk.join("data"), format!("tbs1:{}", disk.join("tbs1").display()));
    let mut restore = ours().command(&scene.home);
    restore.args(["restore", "--tablespace", &tablespace, "--remote-ssh-command", &small.command()]);
    let full = restore.args(["main", "latest", text(&data)]).finish();
    assert!(full.code == Some(1) && full.stderr.contains("No space left on device"), "{full:?}");
    assert!(full.stderr.contains("mend the cause on that host and give the same command again"), "{full:?}");
}

/// Compares two restored directories: names, and contents of all but what has the directory's own name in it.
pub(crate) fn assert_same_but_for_our_own(ours: &Path, theirs: &Path) {
    let (mut ours, theirs) = (files(ours), files(theirs));
    assert!(ours.remove(Path::new(".barman-restored")).is_some(), "our record of the restore");
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (path, contents) in &ours {
        let theirs = theirs[path].replace("theirs", "ours");
        assert!(*contents == theirs, "{}:\n{contents}\n--- Barman:\n{theirs}", path.display());
    }
}

fn files(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("directory").map(|entry| entry.expect("entry").path()));
        } else {
            let contents = String::from_utf8_lossy(&std::fs::read(&path).expect("file")).into_owned();
            found.insert(path.strip_prefix(top).expect("below").to_owned(), contents);
        }
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
