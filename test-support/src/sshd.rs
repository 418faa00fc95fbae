//! Another host, as far as ssh can tell: OpenSSH's server on a port of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::port::Port;
use crate::run::CommandExt;
use crate::{OsUser, TempDir};

/// An ssh server that lets the user in whom servers run as. It runs on this host, under 127.0.0.1; stops when dropped.
#[derive(Debug)]
pub struct Sshd {
    port: Port,
    /// Keys and settings of the server and of its clients.
    dir: TempDir,
    running: Option<Daemon>,
}

impl Sshd {
    /// Starts one.
    ///
    /// # Panics
    /// `openssh-server` is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::run("", |server| server)
    }

    /// Starts one whose sessions look for programs in these directories.
    ///
    /// # Panics
    /// As [`Sshd::start`].
    #[must_use]
    pub fn with_search_path(directories: &str) -> Self {
        Self::run(&format!("SetEnv PATH={directories}\n"), |server| server)
    }

    /// Starts one for which an empty disk lies at `place` that takes so many files and directories.
    ///
    /// # Panics
    /// As [`Sshd::start`]; or the kernel gives ordinary users no namespaces of their own.
    #[must_use]
    pub fn with_small_disk(place: &Path, files: u32) -> Self {
        let script = format!("mount -t tmpfs -o mode=777,nr_inodes={} none \"$0\" && exec \"$@\"", files + 1);
        Self::run("", |server| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(place);
            // Mounting takes root's rights, and a server that is root would change to another user, of which there is none.
            command.args(OsUser::of_servers().becoming_in_namespace());
            command.arg(server.get_program()).args(server.get_args());
            command
        })
    }

    fn run(setting: &str, wrapped: impl FnOnce(Command) -> Command) -> Self {
        let mut server = Self { port: Port::reserve(), dir: TempDir::new(), running: None };
        server.write_files(setting);
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-f").arg(server.path("server"));
        // Where it separates privileges; only root may make it.
        let _ = std::fs::create_dir_all("/run/sshd");
        server.running = Some(Daemon::start(wrapped(command), &server.port));
        server
    }

    /// Returns the port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns a command that leads to this host, for `--remote-ssh-command`.
    #[must_use]
    pub fn command(&self) -> String {
        self.client() + " target"
    }

    /// Returns an `ssh` that takes every name for that of this host.
    #[must_use]
    pub fn client(&self) -> String {
        format!("/usr/bin/ssh -F {}", self.path("client").display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_files(&self, setting: &str) {
        for key in ["host_key", "id"] {
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(key)).succeed();
        }
        let (port, user) = (self.port.number(), OsUser::of_servers());
        let path = |name| self.path(name).display().to_string();
        let server = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nAllowUsers {}\n{setting}",
            path("host_key"),
            path("id.pub"),
            user.name()
        );
        let client = format!(
            "HostName 127.0.0.1\nPort {port}\nUser {}\nIdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n",
            user.name(),
            path("id"),
            path("known_hosts")
        );
        std::fs::write(self.path("server"), server).expect("the directory is new");
        std::fs::write(self.path("client"), client).expect("the directory is new");
        user.own_tree(self.dir.path());
    }
}
