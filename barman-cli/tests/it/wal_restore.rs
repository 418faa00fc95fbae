//! `barman-wal-restore` beside Barman's own client, and as what feeds a server in recovery. Their ssh is a program that runs
//! here what it is to run there.

use crate::feed::{Fed, SEGMENTS, all_rows, assert_gone, rows};
use crate::scene::ours;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_support::{Barman, BarmanHome, CommandExt, Finished, Postgres, TempDir};

/// Directories with an `ssh` and a `barman` that works on a home.
struct OtherHost {
    bin: PathBuf,
}

impl OtherHost {
    fn of(home: &BarmanHome) -> Self {
        let bin = home.path().with_file_name("bin");
        std::fs::create_dir_all(&bin).expect("directory");
        let program = env!("CARGO_BIN_EXE_barman");
        script(&bin.join("barman"), &format!("exec {program} -c {} \"$@\"", home.config_file().display()));
        let host = Self { bin };
        host.connects();
        host
    }

    /// What comes behind the options and the host is a command for the shell there.
    fn connects(&self) {
        self.ssh("");
    }

    /// First does something else, which may end it.
    fn ssh(&self, first: &str) {
        let options = "while :; do case $1 in -p|-o) shift 2;; -*) shift;; *) break;; esac; done";
        let run = format!("{options}\nshift\nremote=\"$*\"\n{first}\nexec sh -c \"$remote\"");
        script(&self.bin.join("ssh"), &run);
    }

    fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.bin.display())
    }
}

fn script(path: &Path, text: &str) {
    // A server may be about to run the old one.
    let beside = path.with_extension("new");
    std::fs::write(&beside, format!("#!/bin/sh\n{text}\n")).expect("script");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).expect("mode");
    std::fs::rename(&beside, path).expect("rename");
}

fn our_client() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_barman-wal-restore"))
}

/// A home with three archived segments, and their names.
fn home() -> (BarmanHome, Vec<(String, Vec<u8>)>) {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = BarmanHome::new();
    let nowhere = ("conninfo", "host=/nonexistent");
    let streaming = ("streaming_conninfo", "host=/nonexistent");
    home.server(
        "main",
        &[nowhere, streaming, ("archiver", "on"), ("backup_method", "postgres"), ("compression", "gzip")],
    );
    std::fs::create_dir_all(home.path().join("main/incoming")).expect("directory");
    let archived = (0..3).map(|_| {
        let name = server.switch_wal();
        let bytes = std::fs::read(server.data_dir().join("pg_wal").join(&name)).expect("a segment");
        std::fs::write(home.path().join("main/incoming").join(&name), &bytes).expect("delivered");
        (name, bytes)
    });
    let segments = archived.collect();
    let archived = ours().command(&home).args(["archive-wal", "main"]).finish();
    assert_eq!(archived.code, Some(0), "{archived:?}");
    (home, segments)
}

fn call(client: &Path, host: &OtherHost, directory: &Path, arguments: &[&str]) -> Finished {
    Command::new(client).env("PATH", host.path()).current_dir(directory).args(arguments).finish()
}

#[test]
fn it_does_what_barmans_client_does_and_says_so_in_its_words() {
    let (home, segments) = home();
    let host = OtherHost::of(&home);
    let reference = Barman::reference().beside("barman-wal-restore");
    let first = segments[0].0.as_str();
    let fine: [&[&str]; 6] =
        [&[], &["-z"], &["--bzip2"], &["--keep-compression"], &["-P", "-U", "joe", "--port", "22"], &["-s", "0"]];
    let wrong: [(&[&str], &str); 5] = [
        (&["h", "main", "0000000100000000000000F0", "file"], ""),
        (&["h", "nobody", first, "file"], ""),
        (&["h", "main", first, "/tmp"], ""),
        (&["h", "main", first, "file"], "exit 255"),
        (&["h", "main", first, "file"], "exit 7"),
    ];
    for options in fine {
        let both = [&reference, &our_client()].map(|client| {
            let directory = TempDir::new();
            let called = call(client, &host, directory.path(), &[options, &["h", "main", first, "file"]].concat());
            let file = std::fs::read(directory.path().join("file")).expect("the file");
            assert!(file == segments[0].1, "{options:?}: {called:?}");
            (called.code, called.stdout, called.stderr)
        });
        assert_eq!(both[0], both[1], "{options:?}");
        assert_eq!(both[0].0, Some(0));
    }
    for (arguments, ssh) in wrong {
        host.ssh(ssh);
        let both = [&reference, &our_client()].map(|client| {
            let directory = TempDir::new();
            let called = call(client, &host, directory.path(), arguments);
            // Barman leaves an empty file, or whatever had come until then.
            let left = std::fs::read_dir(directory.path()).expect("directory").count();
            assert!(client == &reference || left == 0, "{arguments:?} left {left} files");
            (called.code, called.stdout, called.stderr)
        });
        assert_eq!(both[0], both[1], "{arguments:?} {ssh}");
        assert_ne!(both[0].0, Some(0), "{arguments:?} {ssh}");
    }
    host.connects();
    for server in ["main", "nobody"] {
        let both = [&reference, &our_client()].map(|client| {
            let called = call(client, &host, home.path().as_path(), &["-t", "h", server, "x", "y"]);
            (called.code, called.stdout)
        });
        assert_eq!(both[0], both[1]);
    }
}

#[test]
fn files_that_were_fetched_ahead_wait_in_the_spool() {
    let (home, segments) = home();
    let host = OtherHost::of(&home);
    let (directory, spool) = (TempDir::new(), TempDir::new());
    let spool_dir = spool.path().join("spool");
    let options = ["-p", "3", "--spool-dir", spool_dir.to_str().expect("text"), "h", "main"];
    let fetch = |name: &str| call(&our_client(), &host, directory.path(), &[&options[..], &[name, "file"]].concat());
    let delivered = || std::fs::read(directory.path().join("file")).expect("the file");
    assert_eq!(fetch(&segments[0].0).code, Some(0));
    assert!(delivered() == segments[0].1, "another file");
    // Nobody is asked for what waits.
    host.ssh("exit 255");
    for (name, bytes) in &segments[1..] {
        assert_eq!(fetch(name).code, Some(0));
        assert!(&delivered() == bytes, "another file");
    }
    assert_eq!(std::fs::read_dir(&spool_dir).expect("spool").count(), 0);
    assert_eq!(fetch(&segments[1].0).code, Some(2));
    host.connects();
    let missing = fetch("0000000100000000000000F0");
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("The required file is not available: 0000000100000000000000F0"), "{missing:?}");
}

#[test]
fn a_server_that_is_fed_over_ssh_stops_when_it_is_cut_and_goes_on() {
    let fed = Fed::write();
    let host = OtherHost::of(&fed.scene.home);
    test_support::OsUser::of_servers().own_tree(&host.bin);
    let data = fed.restored(&[]);
    let client = our_client();
    let command = format!("PATH={} {} --feed --feed-patience 0 -P h main %f %p", host.path(), client.display());
    for segment in [1, SEGMENTS / 2, SEGMENTS - 1].map(|index| &fed.segments[index as usize]) {
        host.ssh(&format!("case \"$remote\" in *{segment}*) echo part; exit 255;; esac"));
        let status = fed.launch(&data, &command).wait_exit();
        assert!(!status.success(), "{segment}: {status}");
        assert!(data.join("recovery.signal").exists(), "{segment}: recovery has ended");
        assert_gone(&data);
    }
    host.connects();
    let mut server = fed.launch(&data, &command);
    server.wait_until_recovered();
    assert_eq!(rows(&server), all_rows());
    assert_gone(&data);
}
