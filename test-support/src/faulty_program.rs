//! Killing a program in front of a system call of choice, counted over all its threads.

use std::collections::HashSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A program that is killed with SIGKILL in front of one of the system calls by which it changes files below a directory, or
/// sends something to somebody. Neither that call nor any behind it happens.
#[derive(Debug)]
pub struct SystemCallKill {
    thread: Option<JoinHandle<Option<u64>>>,
    counted: Arc<AtomicUsize>,
    pid: Pid,
}

impl SystemCallKill {
    /// Starts the program. It is killed at its `nth` such call, the first being 1; 0 only counts.
    ///
    /// # Panics
    /// The program cannot be started or traced.
    #[must_use]
    pub fn start(command: &Command, below: &Path, nth: usize) -> Self {
        let counted = Arc::new(AtomicUsize::new(0));
        let (mut command, below) = (stopping(command), below.to_owned());
        let (started, pid) = std::sync::mpsc::channel();
        let counter = Arc::clone(&counted);
        // Only the thread that traces a process may wait for it.
        #[allow(clippy::zombie_processes, reason = "the tracer waits for it")]
        let thread = std::thread::spawn(move || {
            let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
            let pid = Pid::from_raw(child.id().try_into().expect("a process number"));
            started.send(pid).expect("the other end waits");
            Tracer { pid, below, nth, counted: counter, inside: HashSet::new() }.run()
        });
        let pid = pid.recv().expect("the program was started");
        Self { thread: Some(thread), counted, pid }
    }

    /// Returns how many such calls there were.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.counted.load(Ordering::SeqCst)
    }

    /// Returns whether it has ended, in whatever way.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks it to end with SIGINT.
    pub fn interrupt(&self) {
        // It may have ended.
        let _ = kill(self.pid, Signal::SIGINT);
    }

    /// Waits until it has ended. Returns the number of the system call in front of which it was killed, or `None` if it
    /// ended by itself.
    ///
    /// # Panics
    /// Tracing failed.
    pub fn wait(mut self) -> Option<u64> {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for SystemCallKill {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// The same program, which stops itself before it begins: nothing happens before it is traced.
fn stopping(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let null = std::process::Stdio::null;
    shell.stdin(null()).stdout(null()).stderr(null()).process_group(0);
    shell
}

struct Tracer {
    pid: Pid,
    below: PathBuf,
    nth: usize,
    counted: Arc<AtomicUsize>,
    /// Threads within a system call: the next stop of theirs is its end.
    inside: HashSet<Pid>,
}

impl Tracer {
    fn run(mut self) -> Option<u64> {
        let stopped = waitpid(self.pid, Some(WaitPidFlag::WUNTRACED)).expect("a child can be waited for");
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.pid, options).expect("a child can be traced");
        kill(self.pid, Signal::SIGCONT).expect("a child can be signalled");
        loop {
            // Children of other threads are not ours to wait for.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags)).expect("the program is our child") {
                WaitStatus::PtraceSyscall(thread) => {
                    if let Some(call) = self.at_system_call(thread) {
                        kill(self.pid, Signal::SIGKILL).expect("it is stopped");
                        self.reap();
                        return Some(call);
                    }
                    proceed(thread, None);
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    // What comes next is the end of the call that made it another program.
                    if event == libc::PTRACE_EVENT_EXEC {
                        self.inside = HashSet::from([thread]);
                    }
                    proceed(thread, None);
                }
                WaitStatus::Stopped(thread, signal) => proceed(thread, Some(signal)),
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == self.pid => return None,
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    self.inside.remove(&thread);
                }
                _ => {}
            }
        }
    }

    /// Returns the number of the call if it is the one to be killed at.
    fn at_system_call(&mut self, thread: Pid) -> Option<u64> {
        if self.inside.remove(&thread) {
            return None;
        }
        self.inside.insert(thread);
        // It may have been killed meanwhile.
        let registers = ptrace::getregs(thread).ok()?;
        if !self.changes_something(registers.orig_rax.cast_signed(), registers.rdi, registers.rdx) {
            return None;
        }
        let counted = self.counted.fetch_add(1, Ordering::SeqCst) + 1;
        (counted == self.nth).then_some(registers.orig_rax)
    }

    fn changes_something(&self, call: i64, first: u64, third: u64) -> bool {
        const BY_NAME: [i64; 14] = [
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_link,
            libc::SYS_linkat,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_symlinkat,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_utimensat,
            libc::SYS_truncate,
        ];
        const BY_FILE: [i64; 10] = [
            libc::SYS_write,
            libc::SYS_writev,
            libc::SYS_pwrite64,
            libc::SYS_pwritev,
            libc::SYS_ftruncate,
            libc::SYS_fallocate,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_sendfile,
            libc::SYS_copy_file_range,
        ];
        const TO_OTHERS: [i64; 2] = [libc::SYS_sendto, libc::SYS_sendmsg];
        // Of copy_file_range the third argument is the file that is written.
        let file = if call == libc::SYS_copy_file_range { third } else { first };
        match call {
            libc::SYS_openat => third & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0,
            call if BY_FILE.contains(&call) => self.is_ours(file),
            call => BY_NAME.contains(&call) || TO_OTHERS.contains(&call),
        }
    }

    fn is_ours(&self, file: u64) -> bool {
        std::fs::read_link(format!("/proc/{}/fd/{file}", self.pid)).is_ok_and(|path| path.starts_with(&self.below))
    }

    fn reap(&self) {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        // Until there is nothing left to wait for.
        while let Ok(status) = waitpid(None, Some(flags)) {
            if matches!(status, WaitStatus::Signaled(pid, ..) | WaitStatus::Exited(pid, _) if pid == self.pid) {
                return;
            }
        }
    }
}

/// Lets a thread go on to its next system call. One that was killed meanwhile is reported by its end.
fn proceed(thread: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(thread, signal);
}
