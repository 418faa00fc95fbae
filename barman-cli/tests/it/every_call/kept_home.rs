//! A home that can be put back to what it was.

use crate::encryption::{ENCRYPTED, GpgAgent, make_key_below};
use crate::scene::{ours, wait_until};
use barman_catalog::{Catalog, LocalZone, ServerLayout};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use test_support::{Barman, BarmanHome, CommandExt, Finished};

/// Contents, by paths below the home.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The home of a PostgreSQL server called `main`, which mostly is not there, and a copy of it.
pub(super) struct KeptHome {
    home: BarmanHome,
    /// The keys of a home whose WAL is encrypted. They are not in it.
    keys: Option<GpgAgent>,
}

impl KeptHome {
    /// A home with these options beside the usual ones.
    pub(super) fn new(more: &[(&str, &str)]) -> Self {
        Self::of_server("host=/nonexistent user=nobody dbname=postgres", more)
    }

    /// The same, of a server that is there.
    pub(super) fn of_server(conninfo: &str, more: &[(&str, &str)]) -> Self {
        let home = BarmanHome::new();
        let mut options = vec![
            ("conninfo", conninfo),
            ("streaming_conninfo", conninfo),
            ("archiver", "on"),
            ("backup_method", "postgres"),
        ];
        options.extend(more);
        home.server("main", &options);
        let kept = Self { home, keys: None };
        kept.catalog().create_directories().expect("the home is new");
        kept
    }

    /// A home whose WAL is encrypted, and where nobody can decrypt it who archives.
    pub(super) fn encrypted() -> Self {
        let [encryption, key, _passphrase] = ENCRYPTED;
        let mut kept = Self::new(&[encryption, key]);
        let directory = kept.path().with_file_name("keys");
        std::fs::create_dir(&directory).expect("beside the home");
        kept.keys = Some(make_key_below(&directory, ""));
        kept
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.home.path()
    }

    pub(super) fn catalog(&self) -> Catalog {
        Catalog::open(ServerLayout::below(&self.home.path(), "main"), LocalZone::UTC)
    }

    /// A path below the server's directory.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("main").join(path)
    }

    pub(super) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("below the home")).expect("the home is ours");
        std::fs::write(path, bytes).expect("the home is ours");
    }

    /// Remembers the home as it is now.
    pub(super) fn keep(&self) {
        copy(&self.home.path(), &self.kept());
    }

    /// Puts the home back to what it was.
    pub(super) fn reset(&self) {
        std::fs::remove_dir_all(self.home.path()).expect("the home is ours");
        copy(&self.kept(), &self.home.path());
        // What is said there is about this run alone.
        let _ = std::fs::remove_file(self.home.log_file());
    }

    fn kept(&self) -> PathBuf {
        self.home.path().with_file_name("kept")
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.home.log_file()).unwrap_or_default()
    }

    /// Our program on this home; it finds no other program, unless it has to encrypt.
    pub(super) fn command(&self) -> Command {
        let mut command = ours().command(&self.home);
        match &self.keys {
            Some(keys) => command.env("GNUPGHOME", keys.directory()),
            None => command.env("PATH", "/nonexistent"),
        };
        command
    }

    pub(super) fn run(&self, arguments: &[&str], input: Option<&Path>) -> Finished {
        let mut command = self.command();
        command.args(arguments);
        match input {
            None => command.finish(),
            Some(file) => {
                let file = std::fs::File::open(file).expect("the input is there");
                let output = command.stdin(file).stderr(Stdio::piped()).output().expect("our program can be started");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
            }
        }
    }

    /// Processes that `cron` started work on, and have the configuration among their arguments.
    pub(super) fn wait_for_background_processes(&self) {
        let configuration = self.home.config_file();
        let configuration = configuration.as_os_str().as_bytes();
        let has_ended = || !processes().any(|line| contains(&line, configuration));
        // Twice: while a process becomes another program it has no arguments for a moment.
        wait_until("what cron started has ended", || {
            has_ended() && {
                std::thread::sleep(Duration::from_millis(20));
                has_ended()
            }
        });
    }

    /// Everything that the home is to hold in the end: all files but locks, the ledger and what is our own record of it,
    /// by their paths. A moment in a name, or in a file with a reason, is always the same one here; and lines of the index are in
    /// order, though they are not where a file was passed over because it could not be stored. What is encrypted is other bytes
    /// each time, and what was encrypted is shown.
    pub(super) fn state(&self) -> Files {
        let files = files_below(&self.home.path()).into_iter();
        let counts = |path: &Path| !is_lock(path) && !path.starts_with("main/ledger");
        let mut state = Files::new();
        for (path, bytes) in files.filter(|(path, _)| counts(path)) {
            let bytes = match &self.keys {
                None if path.ends_with("main-xlog.db") => in_order(&bytes),
                Some(_) if path.ends_with("main-xlog.db") => in_order(&without_lengths(&bytes)),
                Some(keys) if path.starts_with("main/wals") => keys.decrypt(&self.path().join(&path)),
                _ => bytes,
            };
            let other = state.insert(without_moment(&path), bytes);
            assert_eq!(other.map(drop), None, "{} is there twice", path.display());
        }
        state
    }

    /// The home holds these files, and no others.
    pub(super) fn assert_is(&self, expected: &Files, when: &str) {
        let state = self.state();
        let differs = |path: &&PathBuf| state.get(*path) != expected.get(*path);
        let different: BTreeSet<_> = state.keys().chain(expected.keys()).filter(differs).collect();
        assert!(different.is_empty(), "{when}: {different:#?}\n{}", self.log());
    }

    /// Every byte that was delivered is where it was, in the archive or in `errors/`; every byte that was archived is
    /// archived; and every backup of which there is a record can be restored.
    pub(super) fn assert_nothing_is_lost(&self, deletes: bool, when: &str) {
        let before = files_below(&self.kept());
        let now = files_below(&self.home.path());
        for (path, bytes) in &before {
            let is_kept = now.get(path) == Some(bytes);
            if path.starts_with("main/incoming") {
                let is_refused = || now.iter().any(|(at, other)| at.starts_with("main/errors") && other == bytes);
                assert!(is_kept || self.archive_has(path, bytes) || is_refused(), "{} is lost: {when}", path.display());
            } else if path.starts_with("main/wals") && is_wal(path) && !deletes {
                assert!(is_kept || self.is_outgrown(path, &before), "{} is lost: {when}", path.display());
            }
        }
        self.assert_backups_are_whole(&before, &now, when);
    }

    /// An archived `.partial` file gives way to a longer one that was delivered.
    fn is_outgrown(&self, path: &Path, before: &Files) -> bool {
        let delivered = before.get(&Path::new("main/incoming").join(path.file_name().unwrap_or_default()));
        path.extension() == Some(OsStr::new("partial"))
            && delivered.is_some_and(|longer| self.archive_has(path, longer))
    }

    fn archive_has(&self, path: &Path, bytes: &[u8]) -> bool {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
        let Ok(name) = name.parse() else { return false };
        let Some(found) = self.catalog().find_archived(&name).expect("the archive can be read") else { return false };
        if let Some(keys) = &self.keys {
            return keys.decrypt(&found.display_path()) == bytes;
        }
        let mut contents = Vec::new();
        std::io::Read::read_to_end(&mut found.contents().expect("it is whole"), &mut contents).expect("it is whole");
        contents == bytes
    }

    fn assert_backups_are_whole(&self, before: &Files, now: &Files, when: &str) {
        for info in self.catalog().backups().expect("the records can be read") {
            let data = PathBuf::from(format!("main/base/{}", info.backup_id));
            let lost = before.iter().find(|(path, bytes)| path.starts_with(&data) && now.get(*path) != Some(bytes));
            assert_eq!(lost.map(|(path, _)| path), None, "of backup {}: {when}", info.backup_id);
            let Some(begin) = info.begin_wal else { continue };
            let is_needed = |path: &Path| {
                let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
                path.starts_with("main/wals") && is_wal(path) && name >= begin.to_string().as_str()
            };
            let lost = before.keys().find(|path| is_needed(path) && !now.contains_key(*path));
            assert_eq!(lost, None, "needed by backup {}: {when}", info.backup_id);
        }
    }

    /// What is archived is what the ledger says of it.
    pub(super) fn assert_archive_verifies(&self, when: &str) {
        let verified = self.run(&["verify-archive", "--all", "main"], None);
        assert_eq!(verified.code, Some(0), "{verified:?}: {when}");
    }

    /// Barman reads the home as we do: the list of backups, and of each its record and its files.
    pub(super) fn assert_barman_reads_the_same(&self, when: &str) {
        self.assert_both_say_the_same(&["list-backups", "main"], when);
        for backup in self.assert_both_say_the_same(&["list-backups", "--minimal", "main"], when).lines() {
            self.assert_both_say_the_same(&["show-backup", "main", backup], when);
            self.assert_both_say_the_same(&["list-files", "--target", "full", "main", backup], when);
        }
    }

    /// Barman finds nothing wrong with any backup but one that was found to have failed. It may write a status that it found out.
    pub(super) fn assert_barman_checks_all_backups(&self, when: &str) {
        for backup in self.run(&["list-backups", "--minimal", "main"], None).stdout.lines() {
            let checked = Barman::reference().run(&self.home, &["check-backup", "main", backup]);
            let has_failed = checked.stderr.contains("The validity of a failed backup cannot be checked");
            assert!(checked.code == Some(0) || has_failed, "{when}: {checked:?}");
        }
    }

    fn assert_both_say_the_same(&self, command: &[&str], when: &str) -> String {
        let (theirs, ours) = (Barman::reference().run(&self.home, command), self.run(command, None));
        assert_eq!((theirs.code, &theirs.stdout), (ours.code, &ours.stdout), "{when}\n{theirs:?}\n{ours:?}");
        ours.stdout
    }

    /// Barman's rebuild of the index names what ours names, but for `.partial` files, which it forgets.
    pub(super) fn assert_barman_rebuilds_the_same(&self) {
        let lines = || {
            let text = std::fs::read_to_string(self.at("wals/main-xlog.db")).unwrap_or_default();
            let is_known = |line: &&str| !line.contains(".partial\t");
            let mut lines: Vec<_> = text.lines().filter(is_known).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let ours = lines();
        Barman::reference().succeed(&self.home, &["rebuild-xlogdb", "main"]);
        assert_eq!(ours, lines());
    }
}

/// The command lines of all processes.
fn processes() -> impl Iterator<Item = Vec<u8>> {
    let entries = std::fs::read_dir("/proc").expect("Linux has it");
    entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// With times and modes.
fn copy(from: &Path, to: &Path) {
    Command::new("cp").arg("-a").args([from, to]).succeed();
}

/// All files, by their paths below the directory.
pub(super) fn files_below(directory: &Path) -> Files {
    let (mut files, mut pending) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending
                .extend(std::fs::read_dir(&path).expect("it is ours").map(|entry| entry.expect("it is ours").path()));
        } else {
            let below = path.strip_prefix(directory).expect("below it").to_owned();
            files.insert(below, std::fs::read(&path).expect("it is ours"));
        }
    }
    files
}

fn in_order(index: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = index.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// What is encrypted is a byte shorter now and then: leading zeros of the encrypted key are not written.
fn without_lengths(index: &[u8]) -> Vec<u8> {
    let mut column = 0;
    let is_kept = |byte: &u8| {
        column = match byte {
            b'\n' => 0,
            b'\t' => column + 1,
            _ => column,
        };
        column != 1
    };
    index.iter().copied().filter(is_kept).collect()
}

fn is_lock(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("lock"))
}

/// Neither an index nor somebody's temporary file.
fn is_wal(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    !name.starts_with('.') && !name.ends_with(".db")
}

/// `NAME.20261121T000000Z.duplicate`: the moment of the refusal is another one in each run.
fn without_moment(path: &Path) -> PathBuf {
    let is_moment = |part: &str| part.len() == 16 && part.ends_with('Z') && part.as_bytes()[8] == b'T';
    let text = path.to_str().expect("the tests' names are text");
    text.split('.').map(|part| if is_moment(part) { "MOMENT" } else { part }).collect::<Vec<_>>().join(".").into()
}
