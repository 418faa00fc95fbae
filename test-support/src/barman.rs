//! Barman's command line on a home of the test's own: the reference Barman, or ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{CommandExt, Finished};
use crate::{OsUser, TempDir, bin_dir};

/// A program with Barman's command line.
#[derive(Debug, Clone)]
pub struct Barman {
    program: PathBuf,
}

impl Barman {
    /// Finds Barman 3.19.1, which judges whether our files are Barman's.
    ///
    /// # Panics
    /// It is not installed.
    #[must_use]
    pub fn reference() -> Self {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(".cache/barman-3.19.1/bin/barman");
        let program = std::env::var_os("BARMAN_REFERENCE").map_or(installed, PathBuf::from);
        assert!(
            program.is_file(),
            "no reference Barman at {}: run scripts/test, which installs it, or set BARMAN_REFERENCE",
            program.display()
        );
        Self { program }
    }

    /// Uses another program, such as the one that this workspace builds.
    #[must_use]
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Returns another program of the same installation, such as `barman-wal-archive`.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.program.with_file_name(name)
    }

    /// Runs a command, such as `["list-backups", "main"]`, on `home` to its end.
    pub fn run(&self, home: &BarmanHome, arguments: &[&str]) -> Finished {
        self.command(home).args(arguments).finish()
    }

    /// Like [`run`](Self::run), and returns the standard output.
    ///
    /// # Panics
    /// The exit code is not 0.
    pub fn succeed(&self, home: &BarmanHome, arguments: &[&str]) -> String {
        self.command(home).args(arguments).succeed()
    }

    /// Returns the interpreter in which this Barman can be imported, for questions that its command line does not answer.
    ///
    /// # Panics
    /// There is none beside the program.
    #[must_use]
    pub fn python(&self) -> Command {
        let python = self.program.with_file_name("python3");
        assert!(python.exists(), "no interpreter at {}", python.display());
        Command::new(python)
    }

    /// Returns the command to run on `home`, without arguments: its configuration is named, `HOME` is the home, and the
    /// programs of PostgreSQL that the reference Barman runs are on the path.
    #[must_use]
    pub fn command(&self, home: &BarmanHome) -> Command {
        let mut command = Command::new(&self.program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bin_dir(home.pg_major).display()));
        command.env("HOME", home.path()).env_remove("BARMAN_CONFIG_FILE").arg("-c").arg(home.config_file());
        command
    }
}

/// A directory with a configuration file and everything that Barman keeps, which vanishes when dropped.
///
/// `barman_user` is the user of this process, since Barman refuses to work for anybody else.
#[derive(Debug)]
pub struct BarmanHome {
    pg_major: u32,
    dir: TempDir,
}

impl BarmanHome {
    /// Makes a home without servers.
    #[must_use]
    pub fn new() -> Self {
        let home = Self { pg_major: 15, dir: TempDir::new() };
        for directory in ["home", "conf.d"] {
            std::fs::create_dir(home.dir.path().join(directory)).expect("the directory is new");
        }
        let global = [
            ("barman_home", home.path().display().to_string()),
            ("barman_user", OsUser::current().name().to_owned()),
            ("log_file", home.log_file().display().to_string()),
            ("configuration_files_directory", home.dir.path().join("conf.d").display().to_string()),
        ];
        std::fs::write(home.config_file(), section("barman", &global)).expect("the directory is new");
        home
    }

    /// Puts the client programs of another major version than 15 on the commands' path.
    #[must_use]
    pub fn pg_major(mut self, major: u32) -> Self {
        self.pg_major = major;
        self
    }

    /// Adds a server, or replaces the one of this name. `description` is set, since Barman demands one.
    pub fn server(&self, name: &str, options: &[(&str, &str)]) {
        let mut all = vec![("description", format!("the server {name}"))];
        all.extend(options.iter().map(|(option, value)| (*option, (*value).to_owned())));
        let file = self.dir.path().join("conf.d").join(format!("{name}.conf"));
        std::fs::write(&file, section(name, &all)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Returns `barman_home`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Returns the main configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("barman.conf")
    }

    /// Returns the log file.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("barman.log")
    }
}

impl Default for BarmanHome {
    fn default() -> Self {
        Self::new()
    }
}

fn section(name: &str, options: &[(&str, String)]) -> String {
    let lines = options.iter().map(|(option, value)| format!("{option} = {value}\n"));
    std::iter::once(format!("[{name}]\n")).chain(lines).collect()
}
