//! A program of which each system call is looked at, over all its threads: before it happens, and when it has ended.

use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Who looks at the calls.
pub(crate) trait Watch: Send + 'static {
    /// A thread is about to make a call. Says what becomes of it.
    fn enter(&mut self, thread: Pid, registers: &user_regs_struct) -> Intervention;

    /// The call that the thread had made has ended with this result; below zero, it is an error number.
    fn leave(&mut self, thread: Pid, result: i64);
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intervention {
    /// It happens.
    None,
    /// The program is killed with SIGKILL. Neither this call nor any behind it happens.
    Kill,
    /// It does nothing, and fails with this error number.
    Fail(i32),
}

/// A program that is watched; killed when dropped.
#[derive(Debug)]
pub(crate) struct Watched<W> {
    thread: Option<JoinHandle<(W, Option<i32>)>>,
    pid: Pid,
}

impl<W: Watch> Watched<W> {
    /// Starts a program, in a process group of its own.
    ///
    /// # Panics
    /// It cannot be started or traced.
    pub(crate) fn start(command: &Command, input: Stdio, watch: impl FnOnce(Pid) -> W + Send + 'static) -> Self {
        let mut command = stopping(command, input);
        let (started, pid) = std::sync::mpsc::channel();
        // Only the thread that traces a process may wait for it.
        #[allow(clippy::zombie_processes, reason = "the tracer waits for it")]
        let thread = std::thread::spawn(move || {
            let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
            let pid = Pid::from_raw(child.id().try_into().expect("a process number"));
            started.send(pid).expect("the other end waits");
            seize(pid);
            Tracer { pid, watch: watch(pid), inside: HashMap::new() }.run()
        });
        let pid = pid.recv().expect("the program was started");
        Self { thread: Some(thread), pid }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends it a signal. It may have ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(self.pid, signal);
    }

    /// Waits until it has ended. Returns who watched it, and its exit code; `None` if it was killed.
    ///
    /// # Panics
    /// Tracing failed.
    pub(crate) fn wait(mut self) -> (W, Option<i32>) {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<W> Drop for Watched<W> {
    fn drop(&mut self) {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// The same program, which stops itself before it begins, so that nothing happens before it is traced.
fn stopping(command: &Command, input: Stdio) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell
}

/// Waits until it has stopped itself, traces it with all threads that it will have, and lets it go on.
fn seize(pid: Pid) {
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("a child can be waited for");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("a child can be traced");
    kill(pid, Signal::SIGCONT).expect("a child can be signalled");
}

struct Tracer<W> {
    pid: Pid,
    watch: W,
    /// Threads within a system call, whose next stop is its end, and the error that it is to end with.
    inside: HashMap<Pid, Option<i32>>,
}

impl<W: Watch> Tracer<W> {
    fn run(mut self) -> (W, Option<i32>) {
        loop {
            match waitpid(None, Some(of_this_thread())).expect("the program is our child") {
                WaitStatus::PtraceSyscall(thread) => {
                    if self.at_system_call(thread) == Intervention::Kill {
                        kill(self.pid, Signal::SIGKILL).expect("it is stopped");
                        self.reap();
                        return (self.watch, None);
                    }
                    proceed(thread, None);
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    // What comes next is the end of the call that made it another program.
                    if event == libc::PTRACE_EVENT_EXEC {
                        self.inside = HashMap::from([(thread, None)]);
                    }
                    proceed(thread, None);
                }
                WaitStatus::Stopped(thread, signal) => proceed(thread, Some(signal)),
                WaitStatus::Exited(pid, code) if pid == self.pid => return (self.watch, Some(code)),
                WaitStatus::Signaled(pid, ..) if pid == self.pid => return (self.watch, None),
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    self.inside.remove(&thread);
                }
                _ => {}
            }
        }
    }

    /// A thread enters or leaves a system call. It may have been killed meanwhile: then its registers cannot be read.
    fn at_system_call(&mut self, thread: Pid) -> Intervention {
        let registers = ptrace::getregs(thread).ok();
        if let Some(failing) = self.inside.remove(&thread) {
            if let Some(registers) = registers {
                self.leave(thread, registers, failing);
            }
            return Intervention::None;
        }
        let intervention = registers.map_or(Intervention::None, |registers| self.watch.enter(thread, &registers));
        let failing = match (intervention, registers) {
            (Intervention::Fail(error), Some(mut registers)) => {
                // No call has this number, so nothing happens but its end.
                registers.orig_rax = u64::MAX;
                ptrace::setregs(thread, registers).expect("it is stopped");
                Some(error)
            }
            _ => None,
        };
        self.inside.insert(thread, failing);
        intervention
    }

    fn leave(&mut self, thread: Pid, mut registers: user_regs_struct, failing: Option<i32>) {
        if let Some(error) = failing {
            registers.rax = i64::from(-error).cast_unsigned();
            ptrace::setregs(thread, registers).expect("it is stopped");
        }
        self.watch.leave(thread, registers.rax.cast_signed());
    }

    /// Waits until there is nothing left to wait for.
    fn reap(&self) {
        while let Ok(status) = waitpid(None, Some(of_this_thread())) {
            if matches!(status, WaitStatus::Signaled(pid, ..) | WaitStatus::Exited(pid, _) if pid == self.pid) {
                return;
            }
        }
    }
}

/// Children of other threads are not ours to wait for.
fn of_this_thread() -> WaitPidFlag {
    WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD
}

/// Lets a thread go on to its next system call. One that was killed meanwhile is reported by its end.
fn proceed(thread: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(thread, signal);
}
