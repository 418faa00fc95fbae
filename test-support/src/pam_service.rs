//! A service of PAM that one server knows, and nobody else.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::OsUser;

/// A file of `/etc/pam.d`, in a directory that takes the place of `/etc/pam.d` for one server. So nothing has to be
/// changed, and removed again, for everybody.
#[derive(Debug, Clone)]
pub(crate) struct PamService {
    pub(crate) name: String,
    pub(crate) lines: String,
}

impl PamService {
    /// Writes it to the directory `pam.d` below `dir`, and returns that.
    pub(crate) fn install(&self, dir: &Path) -> PathBuf {
        let services = dir.join("pam.d");
        std::fs::create_dir(&services).unwrap_or_else(|error| panic!("{}: {error}", services.display()));
        std::fs::write(services.join(&self.name), &self.lines).expect("the directory is new");
        services
    }
}

/// Returns a command for `program` that finds `services` at `/etc/pam.d`. It keeps the process, which thus is that of
/// `program`.
///
/// Mounting takes root's rights. Anybody has these in a user namespace, but there a server must not find itself to be root.
pub(crate) fn seeing(services: &Path, program: &Path) -> Command {
    let user = OsUser::of_servers();
    let mut command = Command::new("unshare");
    command.args(if user == OsUser::current() { &["--map-root-user", "--mount"][..] } else { &["--mount"] });
    command.args(["sh", "-c", "mount --bind \"$0\" /etc/pam.d && exec \"$@\""]).arg(services);
    command.args(user.becoming()).arg(program).current_dir("/");
    command
}
