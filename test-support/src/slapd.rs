//! A directory that knows passwords: OpenLDAP's server.

use std::process::Command;

use crate::daemon::Daemon;
use crate::port::Port;
use crate::{OsUser, TempDir};

/// An LDAP server with one user; stops when dropped.
#[derive(Debug)]
pub struct Slapd {
    _daemon: Daemon,
    port: Port,
    /// Its settings and its directory.
    _dir: TempDir,
}

impl Slapd {
    /// Starts one that lets `cn=USER,dc=test` bind with this password.
    ///
    /// # Panics
    /// `slapd` is not installed, or does not start.
    #[must_use]
    pub fn start(user: &str, password: &str) -> Self {
        let (dir, port) = (TempDir::new(), Port::reserve());
        let settings = dir.path().join("slapd.conf");
        // Whoever administers a directory needs no entry in it.
        let text = format!(
            "include /etc/ldap/schema/core.schema\ndatabase ldif\ndirectory {}\nsuffix dc=test\nrootdn cn={user},dc=test\nrootpw {password}\n",
            dir.path().display()
        );
        std::fs::write(&settings, text).expect("the directory is new");
        OsUser::of_servers().own_tree(dir.path());
        let mut command = Command::new("/usr/sbin/slapd");
        // In the foreground, because that is where it can be told what to show for debugging.
        command.args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{}", port.number()), "-f"]).arg(settings);
        Self { _daemon: Daemon::start(command, &port), port, _dir: dir }
    }

    /// Returns the rest of a line of `pg_hba.conf` for users of this directory.
    #[must_use]
    pub fn hba_method(&self) -> String {
        format!(r#"ldap ldapserver=127.0.0.1 ldapport={} ldapprefix="cn=" ldapsuffix=",dc=test""#, self.port.number())
    }
}
