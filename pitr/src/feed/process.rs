//! How the helper becomes a process of its own, and how it ends.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Starts this program once more with the same arguments and `option`, in the background and with none of this process's
/// standard streams. There it has to [begin as a helper](HelperProcess::begin) first of all.
///
/// # Errors
/// The program cannot be started.
pub fn start_helper(option: &str) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg(option);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// This process, as the helper that [`start_helper`] started.
#[derive(Debug)]
pub struct HelperProcess {
    /// Readable when the process is to end.
    signals: SignalFd,
}

impl HelperProcess {
    /// Leaves the session of the server that called, whose signals are meant for its own processes, and closes every
    /// descriptor that it left open: the pipe of its logger, which ends only when nobody can write to it any more; its
    /// sockets; data files. From here on a signal to end is an orderly one. To be called before this process has opened
    /// anything, and before it has threads.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn begin() -> io::Result<Self> {
        const STANDARD: i32 = 2;
        // This fails only for the leader of a process group, which has left already.
        let _ = rustix::process::setsid();
        for descriptor in open_descriptors().into_iter().filter(|&descriptor| descriptor > STANDARD) {
            // One that is not open, such as that of the list itself, is none of the server's.
            let _ = nix::unistd::close(descriptor);
        }
        let ends = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
        // Threads and programs that are started from here on inherit it; `Command` undoes it for the latter.
        ends.thread_block()?;
        let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals })
    }

    /// Returns a descriptor that is readable when the process is to end.
    pub(super) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Whether the process was told to end.
    pub(super) fn is_to_end(&self) -> bool {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(&AT_ONCE)).is_ok_and(|ready| ready > 0)
    }

    /// Ends the programs through which it fetches: one that hangs would outlive the server.
    pub(super) fn end_children(&self) {
        if rustix::process::getpgrp() == rustix::process::getpid() {
            // It reaches this process, too, which does not die of it.
            let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TERM);
        }
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
