//! Another host, as far as ssh can tell: OpenSSH's server on a port of its own.

use std::path::PathBuf;
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
        let mut server = Self { port: Port::reserve(), dir: TempDir::new(), running: None };
        server.write_files();
        server.run();
        server
    }

    /// Returns a command that leads to this host, for `--remote-ssh-command`.
    #[must_use]
    pub fn command(&self) -> String {
        format!("/usr/bin/ssh -F {}", self.path("client").display()) + " target"
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_files(&self) {
        for key in ["host_key", "id"] {
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(key)).succeed();
        }
        let (port, user) = (self.port.number(), OsUser::of_servers());
        let path = |name| self.path(name).display().to_string();
        let server = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nAllowUsers {}\n",
            path("host_key"),
            path("id.pub"),
            user.name()
        );
        let client = format!(
            "Host target\n HostName 127.0.0.1\n Port {port}\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n \
             UserKnownHostsFile {}\n",
            user.name(),
            path("id"),
            path("known_hosts")
        );
        std::fs::write(self.path("server"), server).expect("the directory is new");
        std::fs::write(self.path("client"), client).expect("the directory is new");
        user.own_tree(self.dir.path());
    }

    fn run(&mut self) {
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-f").arg(self.path("server"));
        // Where it separates privileges; only root may make it.
        let _ = std::fs::create_dir_all("/run/sshd");
        self.running = Some(Daemon::start(command, &self.port));
    }
}
