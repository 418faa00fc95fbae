//! A RADIUS server that knows passwords: FreeRADIUS.

use std::process::Command;

use crate::daemon::Daemon;
use crate::port::Port;
use crate::{OsUser, TempDir};

/// A RADIUS server with one user; stops when dropped.
#[derive(Debug)]
pub struct Freeradius {
    _daemon: Daemon,
    port: Port,
    /// Its settings.
    _dir: TempDir,
}

/// Passwords from a file, compared as they are. Nobody speaks TCP with it but those who want to know whether it listens,
/// and whoever is refused is told so at once.
const SETTINGS: &str = "
security {
  reject_delay = 0
}
client here {
  ipaddr = 127.0.0.1
  secret = shared
}
modules {
  pap {
  }
  files {
    filename = ${confdir}/users
  }
}
server default {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = ${port}
  }
  listen {
    type = auth
    proto = tcp
    ipaddr = 127.0.0.1
    port = ${port}
  }
  authorize {
    files
    pap
  }
  authenticate {
    pap
  }
}
";

impl Freeradius {
    /// Starts one that knows `user` by this password.
    ///
    /// # Panics
    /// `freeradius` is not installed, or does not start.
    #[must_use]
    pub fn start(user: &str, password: &str) -> Self {
        let (dir, port) = (TempDir::new(), Port::reserve());
        let path = dir.path().display();
        let own = format!("port = {}\nconfdir = {path}\nrun_dir = {path}\nlogdir = {path}\n", port.number());
        let files =
            [("radiusd.conf", own + SETTINGS), ("users", format!("{user} Cleartext-Password := \"{password}\"\n"))];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("the directory is new");
        }
        OsUser::of_servers().own_tree(dir.path());
        let mut command = Command::new("/usr/sbin/freeradius");
        command.args(["-f", "-l", "stdout", "-n", "radiusd", "-d"]).arg(dir.path());
        Self { _daemon: Daemon::start(command, &port), port, _dir: dir }
    }

    /// Returns the rest of a line of `pg_hba.conf` for users of this server.
    #[must_use]
    pub fn hba_method(&self) -> String {
        format!("radius radiusservers=127.0.0.1 radiusports={} radiussecrets=shared", self.port.number())
    }
}
