//! A home of each side, which begins anew for each run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::{Barman, BarmanHome};
use wal_format::SegmentHeader;

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Reference,
}

/// The home of a server `main` that delivers its WAL.
pub(crate) struct Home {
    home: BarmanHome,
    program: Barman,
}

impl Home {
    pub(crate) fn new(side: Side, compression: &str) -> Self {
        let home = BarmanHome::new();
        let mut options = vec![
            ("archiver", "on"),
            ("conninfo", "host=/nowhere dbname=postgres"),
            ("backup_method", "postgres"),
            ("streaming_conninfo", "host=/nowhere"),
        ];
        if compression != "none" {
            options.push(("compression", compression));
        }
        home.server("main", &options);
        let program = match side {
            Side::Ours => Barman::at(benches::our_program()),
            Side::Reference => Barman::reference(),
        };
        let home = Self { home, program };
        home.empty();
        home
    }

    /// Delivers segments into an empty archive.
    pub(crate) fn deliver(&self, segments: &[PathBuf]) {
        self.empty();
        for segment in segments {
            let name = segment.file_name().expect("a segment");
            std::fs::copy(segment, self.main().join("incoming").join(name)).expect("delivered");
        }
        // Whoever delivers WAL has synced it.
        Command::new("sync").status().expect("coreutils are installed");
    }

    fn empty(&self) {
        _ = std::fs::remove_dir_all(self.main());
        for directory in ["incoming", "streaming", "wals", "errors", "base", "meta"] {
            std::fs::create_dir_all(self.main().join(directory)).expect("a directory can be made");
        }
    }

    /// Records which cluster the WAL is of, as is done with the first connection.
    pub(crate) fn identify(&self, segment: &Path) {
        let segment = std::fs::read(segment).expect("readable");
        let system = SegmentHeader::parse(&segment).expect("a segment").system_id;
        let identity = format!("{{\"systemid\": \"{system}\", \"version\": \"15\"}}");
        std::fs::write(self.path("identity.json"), identity).expect("written");
    }

    fn main(&self) -> PathBuf {
        self.home.path().join("main")
    }

    /// A file below the server's directory.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.main().join(path)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program.command(&self.home);
        command.args(arguments);
        command
    }

    /// Runs a command to its end, which must be a good one.
    pub(crate) fn time(&self, arguments: &[&str]) -> Duration {
        time(self.command(arguments).stdin(Stdio::null()))
    }

    /// How many bytes are stored of so many segments.
    pub(crate) fn archived_bytes(&self, expected: usize) -> u64 {
        let directories =
            std::fs::read_dir(self.main().join("wals")).expect("readable").map(|entry| entry.expect("entry").path());
        let (mut segments, mut bytes) = (0, 0);
        for directory in directories.filter(|path| path.is_dir()) {
            for entry in std::fs::read_dir(directory).expect("readable") {
                segments += 1;
                bytes += entry.expect("entry").metadata().expect("readable").len();
            }
        }
        assert_eq!(segments, expected, "the log is {}", tail(&self.home.log_file()));
        bytes
    }
}

/// Runs a program, whose output goes nowhere.
pub(crate) fn time(command: &mut Command) -> Duration {
    let started = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program can be run");
    let taken = started.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    taken
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
}
