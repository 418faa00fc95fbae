//! The thread that traces a program and interferes with its system calls.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::traced_start::seize;

use super::{CallKind, Fault, Noted, NotedCall};

/// The longest message that is noted whole: what matters is shorter.
const LONGEST_MESSAGE: u64 = 1 << 16;

const TO_OTHERS: [i64; 4] = [libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_write, libc::SYS_writev];
/// Where `struct msghdr` has the address of its vectors, and behind that their number.
const IOVECS_IN_MSGHDR: u64 = 16;
const SYNCS: [i64; 4] = [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_syncfs];
const WRITES: [i64; 6] = [
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
];

pub(super) struct Tracer {
    pid: Pid,
    below: PathBuf,
    fault: Fault,
    noted: Noted,
    /// Threads within a system call, the next stop of which is its end, and what that end is good for.
    inside: HashMap<Pid, Pending>,
}

/// What is to be done at the end of a system call.
enum Pending {
    Nothing,
    /// It returns this, and was a sync of the file or not.
    Fail {
        errno: i32,
        path: PathBuf,
        is_sync: bool,
    },
    /// Whether it succeeded is noted.
    Sync(PathBuf),
}

impl Tracer {
    pub(super) fn new(pid: Pid, below: PathBuf, fault: Fault, noted: Noted) -> Self {
        Self { pid, below, fault, noted, inside: HashMap::new() }
    }

    /// Runs the program to its end. Returns the number of the call that it was killed at, if it was.
    pub(super) fn run(mut self) -> Option<u64> {
        seize(self.pid);
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
                        self.inside = HashMap::from([(thread, Pending::Nothing)]);
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
        if let Some(pending) = self.inside.remove(&thread) {
            self.at_end(thread, pending);
            return None;
        }
        // It may have been killed meanwhile.
        let registers = ptrace::getregs(thread).ok();
        let is_fatal = registers.is_some_and(|registers| self.is_fatal(&registers));
        let pending = registers.map_or(Pending::Nothing, |registers| self.at_beginning(thread, registers));
        self.inside.insert(thread, pending);
        registers.filter(|_| is_fatal).map(|registers| registers.orig_rax)
    }

    fn is_fatal(&self, registers: &user_regs_struct) -> bool {
        let Fault::Kill(nth) = self.fault else { return false };
        self.changes_something(registers.orig_rax.cast_signed(), registers.rdi, registers.rdx)
            && self.noted.counted.fetch_add(1, Ordering::SeqCst) + 1 == nth
    }

    /// Notes the call, and has it fail if it is to.
    fn at_beginning(&self, thread: Pid, mut registers: user_regs_struct) -> Pending {
        let Fault::Fail(fault) = &self.fault else { return Pending::Nothing };
        let call = registers.orig_rax.cast_signed();
        if self.is_to_others(call, registers.rdi) {
            self.note(NotedCall::Sent(self.message(&registers)));
        }
        if call == libc::SYS_openat && registers.rdx & libc::O_CREAT as u64 != 0 {
            let name = self.memory(registers.rsi, libc::PATH_MAX as u64);
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            self.note(NotedCall::Created(String::from_utf8_lossy(name).into_owned().into()));
        }
        let (is_sync, is_write) = (SYNCS.contains(&call), WRITES.contains(&call));
        let Some(path) = self.file_below(registers.rdi).filter(|_| is_sync || is_write) else {
            return Pending::Nothing;
        };
        if is_sync == (fault.kind == CallKind::Sync) {
            let counted = self.noted.counted.fetch_add(1, Ordering::SeqCst) + 1;
            if fault.which.contains(&counted) {
                // No call has this number, so nothing happens but its end.
                registers.orig_rax = u64::MAX;
                ptrace::setregs(thread, registers).expect("it is stopped");
                return Pending::Fail { errno: fault.errno, path, is_sync };
            }
        }
        if is_sync { Pending::Sync(path) } else { Pending::Nothing }
    }

    fn at_end(&self, thread: Pid, pending: Pending) {
        match pending {
            Pending::Nothing => {}
            Pending::Sync(path) => {
                let succeeded = ptrace::getregs(thread).is_ok_and(|registers| registers.rax == 0);
                self.note(NotedCall::Synced(path, succeeded));
            }
            Pending::Fail { errno, path, is_sync } => {
                // It may have been killed meanwhile.
                let Ok(mut registers) = ptrace::getregs(thread) else { return };
                registers.rax = i64::from(-errno).cast_unsigned();
                ptrace::setregs(thread, registers).expect("it is stopped");
                self.note(if is_sync { NotedCall::Synced(path, false) } else { NotedCall::Failed(path) });
                self.noted.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn note(&self, call: NotedCall) {
        self.noted.calls.lock().expect("nobody panics meanwhile").push(call);
    }

    /// Returns a part of the program's memory, as far as it can be read.
    fn memory(&self, address: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Ok(mut memory) = std::fs::File::open(format!("/proc/{}/mem", self.pid)) else { return bytes };
        if memory.seek(SeekFrom::Start(address)).is_ok() {
            // It ends where the next page is nobody's.
            let _ = memory.take(length.min(LONGEST_MESSAGE)).read_to_end(&mut bytes);
        }
        bytes
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
        // Of copy_file_range the third argument is the file that is written.
        let file = if call == libc::SYS_copy_file_range { third } else { first };
        match call {
            libc::SYS_openat => third & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0,
            call if BY_FILE.contains(&call) && self.is_ours(file) => true,
            call => BY_NAME.contains(&call) || self.is_to_others(call, first),
        }
    }

    /// Returns whether the call sends something through a socket.
    fn is_to_others(&self, call: i64, file: u64) -> bool {
        TO_OTHERS.contains(&call)
            && self.path_of(file).is_some_and(|path| path.to_string_lossy().starts_with("socket:"))
    }

    /// Returns what a call sends.
    fn message(&self, registers: &user_regs_struct) -> Vec<u8> {
        let (first, second) = (registers.rsi, registers.rdx);
        match registers.orig_rax.cast_signed() {
            libc::SYS_writev => self.gathered(first, second),
            libc::SYS_sendmsg => match &self.words(first + IOVECS_IN_MSGHDR, 2)[..] {
                [address, count] => self.gathered(*address, *count),
                _ => Vec::new(),
            },
            _ => self.memory(first, second),
        }
    }

    /// Returns what an array of `iovec` refers to.
    fn gathered(&self, address: u64, count: u64) -> Vec<u8> {
        let vectors = self.words(address, count.saturating_mul(2));
        vectors.chunks_exact(2).flat_map(|vector| self.memory(vector[0], vector[1])).collect()
    }

    fn words(&self, address: u64, count: u64) -> Vec<u64> {
        let bytes = self.memory(address, count.saturating_mul(8));
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect()
    }

    fn is_ours(&self, file: u64) -> bool {
        self.file_below(file).is_some()
    }

    /// Returns the path of an open file, if it is below the directory.
    fn file_below(&self, file: u64) -> Option<PathBuf> {
        self.path_of(file).filter(|path| path.starts_with(&self.below))
    }

    fn path_of(&self, file: u64) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/fd/{file}", self.pid)).ok()
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
