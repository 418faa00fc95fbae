//! How the helper becomes a process of its own.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts this program once more with the same arguments and `option`, in the background and with none of this process's
/// standard streams. There it has to call [`leave_server`] first of all.
///
/// # Errors
/// The program cannot be started.
pub fn start_helper(option: &str) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg(option);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(drop)
}

/// Leaves the session of the server that called, whose signals are meant for its own processes, and closes every descriptor
/// that it left open: the pipe of its logger, which ends only when nobody can write to it any more; its sockets; data files.
/// To be called before this process has opened anything.
pub fn leave_server() {
    const STANDARD: i32 = 2;
    // This fails only for the leader of a process group, which has left already.
    let _ = rustix::process::setsid();
    for descriptor in open_descriptors().into_iter().filter(|&descriptor| descriptor > STANDARD) {
        // One that is not open, such as that of the list itself, is none of the server's.
        let _ = nix::unistd::close(descriptor);
    }
}

fn open_descriptors() -> Vec<i32> {
    /// Where there is no `/proc`: PostgreSQL opens data files up to `max_files_per_process`.
    const HIGHEST: i32 = 4096;
    match std::fs::read_dir(Path::new("/proc/self/fd")) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (0..HIGHEST).collect(),
    }
}
