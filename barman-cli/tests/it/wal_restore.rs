//! `barman-wal-restore` beside Barman's own client, and as what feeds a server in recovery. Their ssh is mostly a program that
//! runs here what it is to run there.

use crate::feed::{Fed, all_rows, assert_gone, helpers, processes, rows, signal};
use crate::recovery::give_home_to_servers;
use crate::scene::{Scene, ours, wait_until};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_support::{Barman, BarmanHome, CommandExt, Finished, OsUser, Postgres, Sshd, StopMode, TempDir, write_script};

/// A directory with an `ssh` and a `barman` that works on a home.
struct OtherHost {
    bin: TempDir,
}

impl OtherHost {
    fn of(home: &BarmanHome) -> Self {
        Self::with(Path::new(env!("CARGO_BIN_EXE_barman")), home)
    }

    /// Another program is its Barman.
    fn with(program: &Path, home: &BarmanHome) -> Self {
        let host = Self { bin: TempDir::new() };
        let config = home.config_file();
        write_script(&host.path("barman"), &format!("exec {} -c {} \"$@\"", program.display(), config.display()));
        host.connects();
        host
    }

    fn connects(&self) {
        self.ssh(":");
    }

    /// What comes behind the options and the host is a command for the shell there. Before it runs, and before each question
    /// of a session is passed on, `first` may end the connection, or hold it up. `$asked` is what is asked for.
    fn ssh(&self, first: &str) {
        let text = format!(
            "while :; do case $1 in -p|-o) shift 2;; -*) shift;; *) break;; esac; done\nshift\nremote=\"$*\"\n\
             echo \"$remote\" >> {calls}\nexec 3>&1 4<&0\nfirst() {{\n{first}\n}}\n\
             case $remote in\n*--session*) ;;\n*) asked=$remote; first; exec sh -c \"$remote\";;\nesac\n\
             mkfifo $0.$$\n\
             (while read -r asked; do first; echo \"$asked\"; done <&4 >$0.$$) &\n\
             sh -c \"$remote\" <$0.$$\nstatus=$?\nkill $!\nrm $0.$$\nexit $status",
            calls = self.path("calls").display(),
        );
        write_script(&self.path("ssh"), &text);
        OsUser::of_servers().own_tree(self.bin.path());
    }

    /// How often it was called, for a session or otherwise.
    fn calls(&self) -> (usize, usize) {
        let calls = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        let sessions = calls.lines().filter(|call| call.contains("--session")).count();
        (sessions, calls.lines().count() - sessions)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bin.path().join(name)
    }

    fn search_path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.bin.path().display())
    }

    /// The `restore_command` of a server that is fed from here.
    fn feeds(&self, options: &str) -> String {
        format!("PATH={} {} --feed {options} -P h main %f %p", self.search_path(), our_client().display())
    }
}

/// Barman's host as a restored server sees it: behind a real ssh server, which leads to other hosts as well.
pub(crate) struct BarmanHost {
    host: OtherHost,
    sshd: Sshd,
}

impl BarmanHost {
    /// Its Barman works on this home, as the user of servers.
    pub(crate) fn of(home: &BarmanHome) -> Self {
        let host = OtherHost::of(home);
        let sshd = Sshd::with_search_path(&host.search_path());
        write_script(&host.path("ssh"), &format!("exec {} -o StrictHostKeyChecking=accept-new \"$@\"", sshd.client()));
        write_script(&host.path("barman-wal-restore"), &format!("exec {} \"$@\"", our_client().display()));
        OsUser::of_servers().own_tree(host.bin.path());
        Self { host, sshd }
    }

    /// What leads to another host.
    pub(crate) fn command(&self) -> String {
        self.sshd.command()
    }

    /// The `restore_command` that a restore wrote, with which both programs are found.
    pub(crate) fn restore_command(&self, data: &Path) -> String {
        let settings = std::fs::read_to_string(data.join("postgresql.auto.conf")).expect("settings");
        let written = settings.lines().find_map(|line| line.strip_prefix("restore_command = '")?.strip_suffix('\''));
        let written = written.expect("a restore_command").replace("''", "'");
        format!("export PATH={}; {written}", self.host.search_path())
    }
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
    Command::new(client).env("PATH", host.search_path()).current_dir(directory).args(arguments).finish()
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
fn a_server_is_fed_over_one_connection() {
    let fed = Fed::shared();
    let host = OtherHost::of(&fed.scene.home);
    let data = fed.restored(&[]);
    let mut server = fed.launch(&data, &host.feeds(""));
    server.wait_until_recovered();
    assert_eq!(rows(&server), all_rows());
    assert_gone(&data);
    wait_until("ssh has ended", || !processes(&data).iter().any(|(_, line)| line.contains("--session")));
    let (sessions, others) = host.calls();
    // While the helper starts, a call may ask by itself.
    assert!(sessions == 1 && others < 3, "{sessions} sessions and {others} other calls");
}

#[test]
fn a_server_that_is_fed_over_ssh_stops_where_it_is_cut_and_goes_on() {
    let fed = Fed::shared();
    let host = OtherHost::of(&fed.scene.home);
    let data = fed.restored(&[]);
    let impatient = host.feeds("--feed-patience 0");
    for segment in &fed.segments {
        host.ssh(&format!("case $asked in *{segment}*) echo part >&3; exit 255;; esac"));
        fed.assert_stops(&data, &impatient, segment);
    }
    // Each connection is cut at the next file: when that is asked for again, it is there.
    let cut =
        "name=$(echo \"${asked##* }\" | tr -d \"'\"); mkdir \"$(dirname \"$0\")/cut-$name\" 2>/dev/null || return 0";
    host.ssh(&format!("{cut}; echo part >&3; exit 255"));
    let mut server = fed.launch(&data, &host.feeds(""));
    server.wait_until_recovered();
    assert_eq!(rows(&server), all_rows());
    assert_gone(&data);
    for segment in &fed.segments {
        assert!(host.path(&format!("cut-{segment}")).exists(), "{segment} was not cut");
    }
}

#[test]
fn the_helper_leaves_when_it_is_told_to_also_while_ssh_hangs() {
    let fed = Fed::shared();
    let host = OtherHost::of(&fed.scene.home);
    let mut server = fed.paused(&host.feeds(""));
    let data = server.data_dir().to_owned();
    signal(&helpers(&data)[0], rustix::process::Signal::TERM);
    assert_gone(&data);
    server.stop(StopMode::Fast);
    let segment = &fed.segments[4];
    let asked = host.path("asked");
    host.ssh(&format!("case $asked in *{segment}*) touch {}; sleep 600;; esac", asked.display()));
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let mut server = fed.launch(&data, &host.feeds(""));
        wait_until("the segment is asked for", || asked.exists());
        server.stop(mode);
        assert_gone(&data);
        wait_until("every process of the server ends", || processes(&data).is_empty());
        std::fs::remove_file(&asked).expect("it was made");
    }
}

#[test]
fn a_server_is_fed_by_barman_itself() {
    let fed = Fed::shared();
    let host = OtherHost::with(&Barman::reference().beside("barman"), &fed.scene.home);
    let data = fed.restored(&["--target-name", "row 2", "--target-action", "promote"]);
    let mut server = fed.launch(&data, &host.feeds(""));
    server.wait_until_recovered();
    assert_eq!(rows(&server), "1 2");
    assert_gone(&data);
    let (sessions, others) = host.calls();
    // Those that fetch at the same time may each find out that it knows no sessions.
    assert!((1..=5).contains(&sessions) && others >= 3, "{sessions} sessions and {others} other calls");
}

#[test]
fn an_unfinished_segment_comes_through_a_real_ssh_server_if_it_is_asked_for() {
    let scene = Scene::streaming();
    scene.server.psql("create table t as select generate_series(1, 1000) as row");
    let segment = scene.server.psql("select pg_walfile_name(pg_current_wal_lsn())");
    let received = scene.home.path().join(format!("main/streaming/{segment}.partial"));
    wait_until("the segment is begun", || received.is_file());
    give_home_to_servers(&scene);
    let there = BarmanHost::of(&scene.home);
    let place = TempDir::new();
    let user = OsUser::of_servers();
    let fetch = |options: &[&str]| {
        let arguments = [options, &["-U", user.name(), "barman-host", "main", &segment, "fetched"]].concat();
        call(&our_client(), &there.host, place.path(), &arguments)
    };
    let finished_only = fetch(&[]);
    assert_eq!(finished_only.code, Some(1), "{finished_only:?}");
    let fetched = fetch(&["-P"]);
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    let (fetched, received) = (place.path().join("fetched"), std::fs::read(&received).expect("the received part"));
    assert!(!received.is_empty() && std::fs::read(fetched).expect("a segment").starts_with(&received));
}
