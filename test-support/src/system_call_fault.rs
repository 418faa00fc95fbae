//! Killing a program in front of a system call of choice, or letting the call fail, counted over all its threads: each call
//! by which it changes a file, and which file that is.

mod change;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::traced_start::{seize, stopping};

use change::Change;

/// What happens at the chosen system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEffect {
    /// The program is killed with SIGKILL. Neither that call nor any behind it happens.
    Kill,
    /// The call fails with this error number, and does nothing. The next ones work.
    Fail(i32),
    /// The disk is full from then on: this call and all behind it fail with `ENOSPC`. Only those that need space are
    /// counted.
    FullDisk,
}

/// Where in a program's run something happens to it: at one of the system calls by which it changes files below a
/// directory.
#[derive(Debug, Clone)]
pub struct SystemCallFault {
    below: PathBuf,
    nth: usize,
    effect: CallEffect,
    from: Option<String>,
    input: Option<PathBuf>,
}

impl SystemCallFault {
    /// At the `nth` such call, the first being 1; 0 only counts.
    #[must_use]
    pub fn at(below: &Path, nth: usize, effect: CallEffect) -> Self {
        Self { below: below.to_owned(), nth, effect, from: None, input: None }
    }

    /// Counts from the first call on that names a file whose path contains `part`.
    #[must_use]
    pub fn from(mut self, part: &str) -> Self {
        self.from = Some(part.to_owned());
        self
    }

    /// Gives the program this file to read as its standard input.
    #[must_use]
    pub fn input(mut self, file: &Path) -> Self {
        self.input = Some(file.to_owned());
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    /// It cannot be started or traced.
    #[must_use]
    pub fn start(&self, command: &Command) -> Traced {
        let counted = Arc::new(AtomicUsize::new(0));
        let input = self.input.as_deref().map_or_else(Stdio::null, |path| {
            std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
        });
        let mut command = stopping(command, input);
        let (started, pid) = std::sync::mpsc::channel();
        let (fault, counter) = (self.clone(), Arc::clone(&counted));
        // Only the thread that traces a process may wait for it.
        #[allow(clippy::zombie_processes, reason = "the tracer waits for it")]
        let thread = std::thread::spawn(move || {
            let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
            let pid = Pid::from_raw(child.id().try_into().expect("a process number"));
            started.send(pid).expect("the other end waits");
            Tracer::new(pid, fault, counter).run()
        });
        let pid = pid.recv().expect("the program was started");
        Traced { thread: Some(thread), counted, pid }
    }
}

/// A program that was started to be disturbed.
#[derive(Debug)]
pub struct Traced {
    thread: Option<JoinHandle<Ended>>,
    counted: Arc<AtomicUsize>,
    pid: Pid,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The call at which something happened to it, in words; `None` if there were not so many.
    pub call: Option<String>,
    /// Its exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// How many calls were counted.
    pub counted: usize,
}

impl Traced {
    /// Returns how many calls were counted so far.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.counted.load(Ordering::SeqCst)
    }

    /// Returns whether it has ended, in whatever way.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// Tracing failed.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

struct Tracer {
    pid: Pid,
    fault: SystemCallFault,
    counted: Arc<AtomicUsize>,
    is_counting: bool,
    /// What it happened at.
    call: Option<String>,
    /// Threads within a system call: the next stop of theirs is its end.
    inside: HashSet<Pid>,
    /// What the calls that some of them are in return.
    failing: HashMap<Pid, i32>,
}

impl Tracer {
    fn new(pid: Pid, fault: SystemCallFault, counted: Arc<AtomicUsize>) -> Self {
        let is_counting = fault.from.is_none();
        Self { pid, fault, counted, is_counting, call: None, inside: HashSet::new(), failing: HashMap::new() }
    }

    fn run(mut self) -> Ended {
        seize(self.pid);
        loop {
            match waitpid(None, Some(of_this_thread())).expect("the program is our child") {
                WaitStatus::PtraceSyscall(thread) => {
                    if self.at_system_call(thread) == Some(CallEffect::Kill) {
                        kill(self.pid, Signal::SIGKILL).expect("it is stopped");
                        self.reap();
                        return self.ended(None);
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
                WaitStatus::Exited(pid, code) if pid == self.pid => return self.ended(Some(code)),
                WaitStatus::Signaled(pid, ..) if pid == self.pid => return self.ended(None),
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    self.inside.remove(&thread);
                    self.failing.remove(&thread);
                }
                _ => {}
            }
        }
    }

    /// Looks at a thread that enters or leaves a system call. Returns what is to happen at it.
    fn at_system_call(&mut self, thread: Pid) -> Option<CallEffect> {
        if self.inside.remove(&thread) {
            self.leave(thread);
            return None;
        }
        self.inside.insert(thread);
        // It may have been killed meanwhile.
        let registers = ptrace::getregs(thread).ok()?;
        let change = Change::of(thread, &registers)?;
        if !change.path().starts_with(&self.fault.below) {
            return None;
        }
        let part = self.fault.from.as_deref().unwrap_or_default();
        self.is_counting |= change.path().to_string_lossy().contains(part);
        // Of a full disk the other calls see nothing.
        if !self.is_counting || (self.fault.effect == CallEffect::FullDisk && !change.needs_space()) {
            return None;
        }
        let counted = self.counted.fetch_add(1, Ordering::SeqCst) + 1;
        let is_chosen = counted == self.fault.nth;
        let is_behind = self.fault.nth > 0 && counted > self.fault.nth;
        let error = match self.fault.effect {
            CallEffect::Fail(error) if is_chosen => error,
            CallEffect::FullDisk if is_chosen || is_behind => libc::ENOSPC,
            CallEffect::Kill if is_chosen => 0,
            _ => return None,
        };
        self.call.get_or_insert_with(|| change.to_string());
        if error != 0 {
            self.enter_failing(thread, registers, error);
        }
        Some(self.fault.effect)
    }

    /// Makes the call that a thread is about to enter one that does not exist.
    fn enter_failing(&mut self, thread: Pid, mut registers: libc::user_regs_struct, error: i32) {
        registers.orig_rax = u64::MAX;
        ptrace::setregs(thread, registers).expect("it is stopped");
        self.failing.insert(thread, error);
    }

    /// Tells a thread which error its call had, if it was to have one.
    fn leave(&mut self, thread: Pid) {
        let Some(error) = self.failing.remove(&thread) else { return };
        if let Ok(mut registers) = ptrace::getregs(thread) {
            registers.rax = i64::from(-error).cast_unsigned();
            ptrace::setregs(thread, registers).expect("it is stopped");
        }
    }

    fn ended(self, code: Option<i32>) -> Ended {
        Ended { call: self.call, code, counted: self.counted.load(Ordering::SeqCst) }
    }

    fn reap(&self) {
        // Until there is nothing left to wait for.
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
