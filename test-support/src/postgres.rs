//! A running PostgreSQL server.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::data_directory::make_private_directory;
use crate::port::Port;
use crate::run::CommandExt;
use crate::{Issued, OsUser, PostgresBuilder, TempDir, bin_dir, pam_service, pg_tool};

/// How long a server may take for anything before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// How to stop a server, as `pg_ctl stop -m` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for clients to leave.
    Smart,
    /// Throws clients out, then writes a shutdown checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// A PostgreSQL server of this test's own, stopped when dropped.
///
/// It listens on 127.0.0.1 and on a Unix socket. Its superuser is `postgres`, trusted from everywhere.
#[derive(Debug)]
pub struct Postgres {
    major: u32,
    data: PathBuf,
    options: Vec<String>,
    /// The directory that is `/etc/pam.d` to it, where that is not everybody's.
    pam_services: Option<PathBuf>,
    port: Port,
    process: Option<Child>,
    /// Holds the sockets, the log and, unless it was there before, the data directory. Last: it goes after the server.
    dir: TempDir,
}

impl Postgres {
    /// Describes a server to start.
    #[must_use]
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::new()
    }

    /// Starts a server with default settings on a new cluster.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts a server without waiting for it. `dir` gets its sockets and its log.
    pub(crate) fn launch(
        major: u32,
        dir: TempDir,
        data: PathBuf,
        options: Vec<String>,
        pam_services: Option<PathBuf>,
    ) -> Self {
        make_private_directory(&dir.path().join("s"), &OsUser::of_servers());
        let mut server = Self { major, data, options, pam_services, port: Port::reserve(), process: None, dir };
        server.spawn();
        server
    }

    /// Returns the major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Returns a connection string for the superuser over TCP.
    #[must_use]
    pub fn conninfo(&self) -> String {
        self.conninfo_as("postgres")
    }

    /// Returns a connection string for `user` over TCP.
    #[must_use]
    pub fn conninfo_as(&self, user: &str) -> String {
        format!("host=127.0.0.1 port={} user={user} dbname=postgres", self.port())
    }

    /// Returns the port on 127.0.0.1, which stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the directory of the Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Returns all that the server logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Runs SQL through psql, each statement in a transaction of its own, and returns the rows without headings,
    /// columns separated by `|`, without the last line break.
    ///
    /// # Panics
    /// A statement fails.
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|message| panic!("psql: {message}"))
    }

    /// Like [`psql`](Self::psql), for SQL that may fail.
    ///
    /// # Errors
    /// What psql said.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let mut command = Command::new(pg_tool(self.major, "psql"));
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo(), "-f", "-"]);
        let finished = command.finish_with(sql);
        match finished.code {
            Some(0) => Ok(finished.stdout.trim_end_matches('\n').to_owned()),
            _ => Err(finished.stderr),
        }
    }

    /// Ends the current WAL segment, which gets at least one record, and returns its file name.
    pub fn switch_wal(&self) -> String {
        // Right after a switch, as at the end of a base backup, another one does nothing unless there is new WAL.
        self.psql("select pg_logical_emit_message(false, 'test', 'x')");
        self.psql("select pg_walfile_name(pg_switch_wal())")
    }

    /// Stops the server and waits until it is gone.
    pub fn stop(&mut self, mode: StopMode) {
        self.signal(mode.signal());
        self.wait_exit();
    }

    /// Starts the server again, after [`stop`](Self::stop) or [`kill9`](Self::kill9).
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server in {} was not stopped", self.data.display());
        self.spawn();
        self.wait_until_accepting();
    }

    /// Stops the server in fast mode and starts it again.
    pub fn restart(&mut self) {
        self.stop(StopMode::Fast);
        self.start_again();
    }

    /// Has the server use another certificate, which takes a restart.
    pub fn use_certificate(&mut self, certificate: &Issued) {
        certificate.install(&self.data);
        self.stop(StopMode::Immediate);
        self.start_again();
    }

    /// Kills every process of the server with SIGKILL, as a crash of the machine would, and waits until none is left.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit();
        let deadline = Instant::now() + PATIENCE;
        // The others would notice that the postmaster is gone, but each in its own time.
        while let pids = processes_in(&self.data)
            && !pids.is_empty()
        {
            for pid in pids {
                // It may be gone by now.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            self.wait_a_little(deadline, "its processes do not die");
        }
    }

    /// Ends recovery and waits until the server accepts writes.
    pub fn promote(&mut self) {
        self.psql("select pg_promote()");
        self.wait_until_recovered();
    }

    /// Waits until recovery is over and the server accepts writes.
    pub fn wait_until_recovered(&mut self) {
        self.wait_until_accepting();
        self.wait_until("select not pg_is_in_recovery()");
    }

    /// Waits until recovery stands still at its target (`recovery_target_action = 'pause'`).
    pub fn wait_until_paused(&mut self) {
        self.wait_until_accepting();
        self.wait_until("select pg_is_wal_replay_paused()");
    }

    /// Waits until recovery stands still at its target, and tells whether it did; otherwise the server has ended.
    pub fn try_until_paused(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.exit_status().is_none() {
            let paused = self.try_psql("select pg_is_wal_replay_paused()");
            if paused.is_ok_and(|paused| paused == "t") {
                return true;
            }
            self.wait_a_little(deadline, "it neither pauses nor ends");
        }
        self.process = None;
        false
    }

    /// Waits until `query` returns true.
    pub fn wait_until(&self, query: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.psql(query) != "t" {
            self.wait_a_little(deadline, query);
        }
    }

    /// Waits until the server accepts connections, read-only ones while it recovers.
    pub fn wait_until_accepting(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.status().as_deref() != Some("ready") {
            if let Some(status) = self.exit_status() {
                self.process = None;
                panic!("the server in {} ended with {status}\n{}", self.data.display(), self.log_tail());
            }
            self.wait_a_little(deadline, "it does not get ready");
        }
    }

    /// Waits until the server has ended by itself, as it does at a target with `recovery_target_action = 'shutdown'`
    /// or when it cannot start.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.exit_status() {
                self.process = None;
                return status;
            }
            self.wait_a_little(deadline, "it does not end");
        }
    }

    fn spawn(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let log = log.unwrap_or_else(|error| panic!("{}: {error}", self.log_path().display()));
        let also_log = log.try_clone().expect("a file handle can be duplicated");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log).stderr(also_log);
        self.process = Some(command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")));
    }

    /// Where it listens is on the command line, so that a backup of it does not carry this to a restored server.
    fn command(&self) -> Command {
        let mut command = self.program();
        command.arg("-D").arg(&self.data);
        let sockets = self.socket_dir();
        let own = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port()),
            format!("unix_socket_directories={}", sockets.display()),
        ];
        for option in own.iter().chain(&self.options) {
            command.args(["-c", option]);
        }
        command
    }

    fn program(&self) -> Command {
        let program = bin_dir(self.major).join("postgres");
        if let Some(services) = &self.pam_services {
            return pam_service::seeing(services, &program);
        }
        let mut command = Command::new(program);
        OsUser::of_servers().run(&mut command);
        command
    }

    fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().unwrap_or_else(|| panic!("no server runs in {}", self.data.display()));
        let pid = Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        let child = self.process.as_mut().unwrap_or_else(|| panic!("no server runs in {}", self.data.display()));
        child.try_wait().expect("a child can be waited for")
    }

    /// Returns what the last line of `postmaster.pid` says (`PM_STATUS_READY` and others in pidfile.h), once the file is
    /// this postmaster's. A hot standby that accepts read-only connections is ready, too.
    fn status(&self) -> Option<String> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let mut lines = file.lines();
        let pid: u32 = lines.next()?.parse().ok()?;
        (pid == self.process.as_ref()?.id()).then(|| lines.nth(6).map(|status| status.trim().to_owned()))?
    }

    fn wait_a_little(&self, deadline: Instant, what: &str) {
        assert!(Instant::now() < deadline, "the server in {}, after {PATIENCE:?}: {what}", self.data.display());
        std::thread::sleep(POLL);
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(30)..];
        format!("end of the server's log:\n{}", tail.join("\n"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            if std::thread::panicking() {
                eprintln!("{}", self.log_tail());
            }
            // Nobody will start it again: no reason to wait for a checkpoint. It may have ended already.
            let _ = rustix::process::kill_process(Pid::from_child(&child), Signal::QUIT);
            let _ = child.wait();
        }
    }
}

impl StopMode {
    fn signal(self) -> Signal {
        match self {
            Self::Smart => Signal::TERM,
            Self::Fast => Signal::INT,
            Self::Immediate => Signal::QUIT,
        }
    }
}

/// Returns the processes that work in `dir`, as each process of a server does in its data directory.
fn processes_in(dir: &Path) -> Vec<Pid> {
    let dir = dir.canonicalize().expect("a data directory exists");
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted").filter_map(Result::ok);
    let inside = processes.filter(|process| process.path().join("cwd").read_link().is_ok_and(|cwd| cwd == dir));
    inside.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}
