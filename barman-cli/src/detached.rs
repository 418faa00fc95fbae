//! Starting `barman` again in the background, as `cron` does for the archiver and the receiver.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

/// The hidden option that tells a child to leave the terminal's session before it does anything else.
pub(crate) const OPTION: &str = "--detached";

/// Starts this program with `arguments` in the background.
///
/// The child gets no descriptor of ours unless `keep_descriptors` leaves it standard output and error: a cron daemon
/// would otherwise wait for the child to close them.
///
/// # Errors
/// The program could not be started.
pub(crate) fn spawn<S: AsRef<OsStr>>(arguments: &[S], keep_descriptors: bool) -> io::Result<()> {
    let output = || if keep_descriptors { Stdio::inherit() } else { Stdio::null() };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(OPTION).args(arguments).stdin(Stdio::null()).stdout(output()).stderr(output());
    command.spawn().map(drop)
}

/// Leaves the session of the process that started this one, so that its end does not end us.
pub(crate) fn leave_session() {
    // This fails only for the leader of a process group, which has left already.
    let _ = rustix::process::setsid();
}
