//! What a program does, noted call by call, and what is done to it.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use nix::libc::{self, user_regs_struct};
use nix::unistd::Pid;

use crate::change::Change;
use crate::watched::{Intervention, Watch};

use super::{CallKind, FailingCalls, Fault, Noted, NotedCall};

/// The longest message that is noted whole: what matters is shorter.
const LONGEST_MESSAGE: u64 = 1 << 16;

const TO_OTHERS: [i64; 4] = [libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_write, libc::SYS_writev];
/// Where `struct msghdr` has the address of its vectors, and behind that their number.
const IOVECS_IN_MSGHDR: u64 = 16;

#[derive(Debug)]
pub(super) struct Notes {
    pid: Pid,
    below: PathBuf,
    fault: Fault,
    noted: Noted,
    /// What threads do that matters when it has ended.
    pending: HashMap<Pid, Change>,
    /// How many calls there were that change something behind the first one that failed.
    behind: usize,
    /// The number of the call that it was killed at.
    pub(super) killed_at: Option<u64>,
}

impl Watch for Notes {
    fn enter(&mut self, thread: Pid, registers: &user_regs_struct) -> Intervention {
        let below = &self.below;
        let change = Change::of(thread, registers).filter(|change| change.path().starts_with(below));
        let counts = change.is_some() || self.is_to_others(registers);
        let kills = match self.fault {
            Fault::Kill(nth) => counts && self.count() == nth,
            Fault::Fail(_, nth) => counts && self.count_behind() == nth && nth > 0,
        };
        if kills {
            self.killed_at = Some(registers.orig_rax);
            return Intervention::Kill;
        }
        match self.fault.clone() {
            Fault::Kill(_) => Intervention::None,
            Fault::Fail(failing, _) => self.note_and_fail(thread, &failing, change, registers),
        }
    }

    fn leave(&mut self, thread: Pid, result: i64) {
        let Some(change) = self.pending.remove(&thread) else { return };
        let path = change.path().to_owned();
        self.note(if change.is_sync() { NotedCall::Synced(path, result == 0) } else { NotedCall::Failed(path) });
    }
}

impl Notes {
    pub(super) fn new(pid: Pid, below: PathBuf, fault: Fault, noted: Noted) -> Self {
        Self { pid, below, fault, noted, pending: HashMap::new(), behind: 0, killed_at: None }
    }

    fn note_and_fail(
        &mut self,
        thread: Pid,
        failing: &FailingCalls,
        change: Option<Change>,
        registers: &user_regs_struct,
    ) -> Intervention {
        if self.is_to_others(registers) {
            self.note(NotedCall::Sent(self.message(registers)));
        }
        let Some(change) = change else { return Intervention::None };
        if change.creates() {
            self.note(NotedCall::Created(change.path().to_owned()));
        }
        let is_of_kind = match failing.kind {
            CallKind::Sync => change.is_sync(),
            CallKind::Write => change.is_write(),
        };
        let fails = is_of_kind && failing.which.contains(&self.count());
        if fails || change.is_sync() {
            self.pending.insert(thread, change);
        }
        if !fails {
            return Intervention::None;
        }
        self.noted.failed.fetch_add(1, Ordering::SeqCst);
        Intervention::Fail(failing.errno)
    }

    /// Counts a call, and returns its number.
    fn count(&self) -> usize {
        self.noted.counted.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Counts a call behind one that failed, and returns its number; 0 where none has failed yet.
    fn count_behind(&mut self) -> usize {
        self.behind += usize::from(self.noted.failed.load(Ordering::SeqCst) > 0);
        self.behind
    }

    fn note(&self, call: NotedCall) {
        self.noted.calls.lock().expect("nobody panics meanwhile").push(call);
    }

    /// Returns whether the call sends something through a socket.
    fn is_to_others(&self, registers: &user_regs_struct) -> bool {
        let path_of = |file: u64| std::fs::read_link(format!("/proc/{}/fd/{file}", self.pid)).ok();
        TO_OTHERS.contains(&registers.orig_rax.cast_signed())
            && path_of(registers.rdi).is_some_and(|path| path.to_string_lossy().starts_with("socket:"))
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
}
