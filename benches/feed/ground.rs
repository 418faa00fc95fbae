//! A base backup, the WAL behind it, and servers that replay that.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::{Barman, OsUser, PgbenchLoad, Postgres, TempDir};

/// How many segments are replayed at least.
const SEGMENTS: u64 = 300;
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Of pgbench: 15 MB each.
const SCALE: u32 = 10;

/// How a server gets its WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By `cp` from a directory where it lies uncompressed.
    Copy,
    /// By our feed, from an archive on the same host.
    Feed,
    /// By our feed, from an archive that is 50 ms away.
    DistantFeed,
    /// By Barman's `get-wal`.
    Barman,
    /// By Barman's `barman-wal-restore`.
    DistantBarman,
}

/// What is replayed, below `.cache/bench`, and programs by the names that they need.
pub(crate) struct Ground {
    kept: PathBuf,
    programs: TempDir,
}

impl Ground {
    /// Opens what was made before, or makes it.
    pub(crate) fn open() -> Self {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench");
        std::fs::create_dir_all(&cache).expect("a directory can be made in .cache");
        let kept = cache.canonicalize().expect("it was just made").join("feed");
        let ground = Self { kept, programs: TempDir::new() };
        ground.configure();
        if !ground.data().exists() {
            _ = std::fs::remove_dir_all(&ground.kept);
            ground.make();
        }
        ground
    }

    /// Returns how many there are.
    pub(crate) fn segments(&self) -> usize {
        std::fs::read_dir(self.raw()).expect("it was made").count()
    }

    /// Returns how long a server takes to replay all of it.
    pub(crate) fn replay(&self, way: Way) -> Duration {
        let place = TempDir::new();
        let data = place.path().join("data");
        run(Command::new("cp").arg("-a").arg(self.data()).arg(&data));
        // What was written before is on the disk before the next one begins.
        run(&mut Command::new("sync"));
        let settings = [("restore_command", self.restore_command(way)), ("shared_buffers", "256MB".to_owned())];
        let builder = settings.iter().fold(Postgres::builder(), |builder, (name, value)| builder.setting(name, value));
        let start = Instant::now();
        let mut server = builder.launch_existing(&data);
        while !server.log().contains("database system is shut down") {
            assert!(!server.log().contains("FATAL"), "{way:?}: {}", server.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let taken = start.elapsed();
        server.wait_exit();
        assert!(server.log().contains("recovery stopping at restore point \"end\""), "{way:?}: {}", server.log());
        taken
    }

    fn restore_command(&self, way: Way) -> String {
        let (own, theirs) = (benches::our_program(), Barman::reference());
        let conf = self.configuration().display().to_string();
        let (ours, their_client) = (own.with_file_name("barman-wal-restore"), theirs.beside("barman-wal-restore"));
        let path = |program: &str| format!("PATH={}:/usr/bin:/bin", self.programs.path().join(program).display());
        let spool = self.programs.path().join("spool").display().to_string();
        let until_it_is_known = "|| exit $(($? == 1 ? 1 : 255))";
        match way {
            Way::Copy => format!("cp {}/%f %p", self.raw().display()),
            Way::Feed => format!("{} -c {conf} get-wal --feed %p -P main %f {until_it_is_known}", own.display()),
            Way::DistantFeed => {
                format!("{} {} --feed -P far main %f %p {until_it_is_known}", path("ours"), ours.display())
            }
            Way::Barman => format!("{} -c {conf} get-wal -P main %f > %p", theirs.beside("barman").display()),
            Way::DistantBarman => {
                let client = their_client.display();
                format!("{} {client} -P -p 4 --spool-dir {spool} far main %f %p", path("theirs"))
            }
        }
    }

    fn raw(&self) -> PathBuf {
        self.kept.join("raw")
    }

    fn data(&self) -> PathBuf {
        self.kept.join("data")
    }

    fn incoming(&self) -> PathBuf {
        self.kept.join("home/main/incoming")
    }

    fn configuration(&self) -> PathBuf {
        self.programs.path().join("barman.conf")
    }

    /// Writes the configuration, and the programs of the other host.
    fn configure(&self) {
        let (user, place) = (OsUser::of_servers(), self.programs.path());
        let text = format!(
            "[barman]\nbarman_home = {home}\nbarman_user = {user}\nlog_file = {log}\n[main]\ndescription = replayed\n\
             conninfo = host=/nonexistent\nstreaming_conninfo = host=/nonexistent\narchiver = on\n\
             backup_method = postgres\ncompression = zstd\n",
            home = self.kept.join("home").display(),
            user = user.name(),
            log = place.join("barman.log").display(),
        );
        std::fs::write(self.configuration(), text).expect("a file can be written");
        for (side, program) in [("ours", benches::our_program()), ("theirs", Barman::reference().beside("barman"))] {
            let directory = place.join(side);
            std::fs::create_dir(&directory).expect("the directory is new");
            symlink(std::env::current_exe().expect("this program is a file"), directory.join("ssh")).expect("a link");
            let conf = self.configuration().display().to_string();
            let script = format!("#!/bin/sh\nexec {} -c {conf} \"$@\"\n", program.display());
            std::fs::write(directory.join("barman"), script).expect("a file can be written");
            run(Command::new("chmod").arg("755").arg(directory.join("barman")));
        }
        user.own_tree(place);
    }

    fn make(&self) {
        std::fs::create_dir_all(self.incoming()).expect("a directory can be made");
        std::fs::create_dir_all(self.raw()).expect("a directory can be made");
        OsUser::of_servers().own_tree(&self.kept);
        let keep =
            format!("cp %p {raw}/%f && ln {raw}/%f {}/%f", self.incoming().display(), raw = self.raw().display());
        let server = Postgres::builder()
            .setting("archive_mode", "on")
            .setting("archive_command", "true")
            .setting("max_wal_size", "16GB")
            .setting("shared_buffers", "512MB")
            .start();
        PgbenchLoad::initialise(&server, SCALE);
        server.psql(&format!("alter system set archive_command = '{keep}'"));
        server.psql("select pg_reload_conf()");
        let conninfo = server.conninfo();
        let connected = std::fs::read_to_string(self.configuration()).expect("it was written");
        std::fs::write(self.configuration(), connected.replace("host=/nonexistent", &conninfo))
            .expect("it can be written");
        run(&mut self.ours(&["backup", "--wait", "main"]));
        let begin = server.psql("select pg_current_wal_lsn()");
        let bytes =
            || server.psql(&format!("select (pg_current_wal_lsn() - '{begin}')::bigint")).parse::<u64>().unwrap();
        for round in (0..10).cycle() {
            server.psql("checkpoint");
            server.psql(&format!("update pgbench_accounts set abalance = abalance + 1 where aid % 10 = {round}"));
            if bytes() >= SEGMENTS * SEGMENT_BYTES {
                break;
            }
        }
        server.psql("select pg_create_restore_point('end')");
        let last = server.switch_wal();
        server.wait_until(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver"));
        run(&mut self.ours(&["archive-wal", "main"]));
        let target = ["--get-wal", "--target-name", "end", "--target-action", "shutdown"];
        let unfinished = self.kept.join("unfinished");
        let destination = unfinished.to_str().expect("the path is text");
        run(&mut self.ours(&[&["restore"], &target[..], &["main", "latest", destination]].concat()));
        std::fs::rename(unfinished, self.data()).expect("the name is free");
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(benches::our_program());
        command.arg("-c").arg(self.configuration()).args(arguments);
        command
    }
}

/// Runs a program to its end, which must be a good one.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
