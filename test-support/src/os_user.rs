//! The operating system user that servers run as.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// An operating system user, with what is needed to become it and to give it files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsUser {
    name: String,
    uid: u32,
    gid: u32,
}

impl OsUser {
    /// Returns the user of this process.
    #[must_use]
    pub fn current() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self::find(|user| user.uid == uid).unwrap_or_else(|| panic!("user id {uid} has no entry in /etc/passwd"))
    }

    /// Returns the user that servers run as: this process's, or `TEST_USER` (default `postgres`) when that is root.
    #[must_use]
    pub fn of_servers() -> Self {
        if !is_root() {
            return Self::current();
        }
        let name = std::env::var("TEST_USER").unwrap_or_else(|_| "postgres".to_owned());
        Self::find(|user| user.name == name).unwrap_or_else(|| {
            panic!("PostgreSQL does not run as root and there is no user {name}: install postgresql or set TEST_USER")
        })
    }

    /// Returns the user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes `command` run as this user, from the root directory, which every user can read.
    pub fn run(&self, command: &mut Command) {
        command.current_dir("/");
        if is_root() && self.uid != 0 {
            // `uid` of the standard library also drops root's supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Returns the command that becomes this user and runs what follows: from root or, where this process is not root, from
    /// root in a user namespace.
    pub(crate) fn becoming(&self) -> Vec<String> {
        if !is_root() {
            return self.becoming_in_namespace();
        }
        let (uid, gid) = (self.uid, self.gid);
        vec!["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]
    }

    /// The same from root in a user namespace, which only this user can have made.
    pub(crate) fn becoming_in_namespace(&self) -> Vec<String> {
        let (uid, gid) = (self.uid, self.gid);
        vec!["unshare".to_owned(), "--user".to_owned(), format!("--map-user={uid}"), format!("--map-group={gid}")]
    }

    /// Gives `path` and everything below it to this user. Does nothing unless this process is root.
    pub fn own_tree(&self, path: &Path) {
        if is_root() {
            assert!(path.exists(), "{} is not there", path.display());
            self.own_entry(path);
        }
    }

    /// Passes over what vanishes meanwhile, as the files of a helper do that is about to end.
    fn own_entry(&self, path: &Path) {
        if let Err(error) = self.own_what_is_there(path) {
            let vanished = error.kind() == std::io::ErrorKind::NotFound;
            assert!(vanished, "cannot give {} to {}: {error}", path.display(), self.name);
        }
    }

    fn own_what_is_there(&self, path: &Path) -> std::io::Result<()> {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))?;
        if path.symlink_metadata()?.is_dir() {
            for entry in std::fs::read_dir(path)? {
                self.own_entry(&entry?.path());
            }
        }
        Ok(())
    }

    fn find(wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        passwd.lines().filter_map(Self::from_passwd).find(wanted)
    }

    /// Reads one line of passwd(5).
    fn from_passwd(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let mut ids = fields.skip(1).map(str::parse);
        Some(Self { name, uid: ids.next()?.ok()?, gid: ids.next()?.ok()? })
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
