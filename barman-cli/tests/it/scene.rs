//! What most tests start from: a server, a home, and WAL streaming into it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use test_support::{Barman, BarmanHome, CommandExt, Finished, Postgres, PostgresBuilder};

/// How long something that is on its way may take: two cores may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A PostgreSQL server and a home in which it is called `main`.
pub(crate) struct Scene {
    pub(crate) server: Postgres,
    pub(crate) home: BarmanHome,
}

impl Scene {
    /// A server with small segments whose WAL is being streamed into the home through a slot.
    pub(crate) fn streaming() -> Self {
        let scene = Self::of(Postgres::builder().initdb_option("--wal-segsize=1"));
        scene.start_streaming();
        scene
    }

    /// A server made by `builder` and a home that is configured for it; nothing runs yet.
    pub(crate) fn of(builder: PostgresBuilder) -> Self {
        let server = builder.setting("track_commit_timestamp", "on").start();
        let scene = Self { server, home: BarmanHome::new() };
        scene.configure(&scene.server, &[]);
        scene
    }

    /// Writes the section `main` for `server`, with more or other options.
    pub(crate) fn configure(&self, server: &Postgres, more: &[(&str, &str)]) {
        let conninfo = server.conninfo();
        let mut options = vec![
            ("conninfo", conninfo.as_str()),
            ("streaming_conninfo", conninfo.as_str()),
            ("backup_method", "postgres"),
            ("streaming_archiver", "on"),
            ("slot_name", "barman"),
        ];
        options.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
        options.extend(more);
        self.home.server("main", &options);
    }

    /// Makes the slot and starts the receiver as `cron` does.
    pub(crate) fn start_streaming(&self) {
        self.succeed(&["receive-wal", "--create-slot", "main"]);
        self.succeed(&["cron"]);
        self.wait_until_streaming();
    }

    pub(crate) fn wait_until_streaming(&self) {
        let streaming = "select count(*) from pg_replication_slots where active and slot_name = 'barman'";
        wait_until("the receiver streams", || self.server.psql(streaming) == "1");
    }

    /// Closes the current segment and archives everything up to it.
    pub(crate) fn archive_everything(&self) {
        self.server.psql("select pg_logical_emit_message(false, 'test', 'x')");
        self.succeed(&["switch-wal", "--archive", "--archive-timeout", "60", "main"]);
    }

    /// Keeps WAL from being archived until what is returned is dropped.
    pub(crate) fn keep_archivers_away(&self) -> File {
        let lock = File::create(self.home.path().join(".main-archive-wal.lock")).expect("the home is ours");
        lock.lock().expect("whoever archives comes to an end");
        lock
    }

    /// Restores into a fresh directory below the home and returns it.
    pub(crate) fn restore(&self, backup: &str, options: &[&str]) -> PathBuf {
        let destination = self.destination();
        let mut arguments = vec!["restore"];
        arguments.extend(options);
        arguments.extend(["main", backup, destination.to_str().expect("the path is text")]);
        self.succeed(&arguments);
        destination
    }

    /// Returns a path for a restore where there is nothing yet.
    pub(crate) fn destination(&self) -> PathBuf {
        let parent = self.home.path().with_file_name("restored");
        std::fs::create_dir_all(&parent).expect("the home can be written");
        let taken = std::fs::read_dir(&parent).expect("it was just made").count();
        parent.join(taken.to_string())
    }

    /// Returns our program on this home. It finds no other program: it needs neither PostgreSQL's nor anybody else's.
    pub(crate) fn command(&self) -> Command {
        let mut command = ours().command(&self.home);
        command.env("PATH", "/nonexistent");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.command().args(arguments).finish()
    }

    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        let log = || std::fs::read_to_string(self.home.log_file()).unwrap_or_default();
        assert_eq!(finished.code, Some(0), "barman {arguments:?}: {finished:?}\n{}", log());
        finished.stdout
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The receiver that `cron` started would otherwise outlive the test.
        let _ = self.run(&["receive-wal", "--stop", "main"]);
    }
}

/// Returns the program that this workspace builds.
pub(crate) fn ours() -> Barman {
    Barman::at(env!("CARGO_BIN_EXE_barman"))
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
