//! A database of some 1.5 GiB, backed up by every side, and a directory to restore it into.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::{Barman, BarmanHome, PgbenchLoad, Postgres, TempDir};

/// Of pgbench: 15 MB each.
const SCALE: u32 = 100;

/// How many processes or threads every side may use.
const JOBS: &str = "2";

/// A way to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Barman,
    /// With this compression of its repository.
    PgBackRest(&'static str),
}

/// A backup that Barman and we restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backup {
    /// A directory of files, which we took.
    Plain,
    /// An archive that is compressed with zstd, which Barman took.
    Packed,
}

impl Backup {
    /// What it is called: the packed one was taken first.
    const fn word(self) -> &'static str {
        match self {
            Self::Plain => "latest",
            Self::Packed => "oldest",
        }
    }
}

pub(crate) struct Ground {
    place: TempDir,
    home: BarmanHome,
    /// Kept so that its directory is there.
    server: Postgres,
}

impl Ground {
    pub(crate) fn new(repositories: &[&'static str]) -> Self {
        let (place, home) = (TempDir::new(), BarmanHome::new());
        let incoming = home.path().join("main/incoming");
        std::fs::create_dir_all(&incoming).expect("a directory can be made");
        test_support::OsUser::of_servers().own_tree(&incoming);
        let server = Postgres::builder()
            .setting("max_wal_size", "8GB")
            .setting("fsync", "off")
            .setting("archive_mode", "on")
            .setting("archive_command", "true")
            .start();
        PgbenchLoad::initialise(&server, SCALE);
        server.psql("checkpoint");
        server.psql(&format!("alter system set archive_command = 'cp %p {}/%f'", incoming.display()));
        server.psql("select pg_reload_conf()");
        let conninfo = server.conninfo();
        let options = [
            ("archiver", "on"),
            ("backup_method", "postgres"),
            ("conninfo", conninfo.as_str()),
            ("streaming_conninfo", conninfo.as_str()),
        ];
        let ground = Self { place, home, server };
        ground.back_up_packed(&options);
        ground.home.server("main", &options);
        run(ground.barman(Side::Ours, &["backup", "--wait", "main"]));
        for repository in repositories {
            ground.back_up_with_pgbackrest(repository);
        }
        ground
    }

    /// Has Barman take a backup, for which some WAL must be archived.
    fn back_up_packed(&self, options: &[(&str, &str)]) {
        let packed = [("backup_compression", "zstd"), ("backup_compression_format", "tar")];
        self.home.server("main", &[options, &packed].concat());
        let last = self.server.switch_wal();
        self.server.wait_until(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver"));
        run(self.barman(Side::Barman, &["archive-wal", "main"]));
        run(self.barman(Side::Barman, &["backup", "--wait", "main"]));
    }

    fn back_up_with_pgbackrest(&self, compression: &str) {
        let server = &self.server;
        let path = |name: &str| self.place.path().join(name).display().to_string();
        let repository = path(compression);
        std::fs::create_dir(&repository).expect("a directory can be made");
        let configuration = format!(
            "[global]\nrepo1-path={repository}\ncompress-type={compression}\nprocess-max={JOBS}\nlog-path={log}\n\
             lock-path={log}\nstart-fast=y\narchive-check=n\nrepo1-retention-full=1\n[main]\npg1-path={data}\n\
             pg1-port={port}\npg1-socket-path={socket}\npg1-user=postgres\n",
            log = path(""),
            data = server.data_dir().display(),
            port = server.port(),
            socket = server.socket_dir().display(),
        );
        std::fs::write(path(&format!("{compression}.conf")), configuration).expect("a file can be written");
        run(self.pgbackrest(compression, &["stanza-create"]));
        run(self.pgbackrest(compression, &["--type=full", "backup"]));
    }

    fn pgbackrest(&self, compression: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("pgbackrest");
        let configuration = self.place.path().join(format!("{compression}.conf"));
        command.arg(format!("--config={}", configuration.display())).arg("--stanza=main").args(arguments);
        command
    }

    fn barman(&self, side: Side, arguments: &[&str]) -> Command {
        let program = if side == Side::Ours { Barman::at(benches::our_program()) } else { Barman::reference() };
        let mut command = program.command(&self.home);
        command.args(arguments);
        command
    }

    /// Where every side restores to.
    fn destination(&self) -> PathBuf {
        self.place.path().join("restored")
    }

    /// Restores into an empty directory.
    pub(crate) fn full(&self, side: Side, backup: Backup) -> Duration {
        let destination = self.destination();
        _ = std::fs::remove_dir_all(&destination);
        std::fs::create_dir(&destination).expect("a directory can be made");
        settle();
        self.restore(side, backup, &destination, &[])
    }

    /// Restores over what the same side restored before, to which nothing has happened.
    pub(crate) fn delta(&self, side: Side) -> Duration {
        let destination = self.place.path().join(format!("delta-{side:?}").replace(['"', '(', ')'], ""));
        if !destination.exists() {
            std::fs::create_dir(&destination).expect("a directory can be made");
            self.restore(side, Backup::Plain, &destination, &[]);
        }
        settle();
        self.restore(
            side,
            Backup::Plain,
            &destination,
            &[if side == Side::Ours { "--delta-restore" } else { "--delta" }],
        )
    }

    fn restore(&self, side: Side, backup: Backup, destination: &Path, options: &[&str]) -> Duration {
        let destination = destination.to_str().expect("the path is text");
        let command = match side {
            Side::PgBackRest(compression) => {
                let place = format!("--pg1-path={destination}");
                self.pgbackrest(compression, &[options, &[&place, "--type=none", "restore"]].concat())
            }
            side => {
                let words = ["main", backup.word(), destination];
                self.barman(side, &[&["restore", "--jobs", JOBS], options, &words].concat())
            }
        };
        let start = Instant::now();
        run(command);
        start.elapsed()
    }
}

/// Runs a program to its end, which must be a good one.
fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What was written before is on the disk before the next side begins.
fn settle() {
    Command::new("sync").status().expect("coreutils are installed");
}
