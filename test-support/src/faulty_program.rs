//! Killing a program in front of a system call of choice, or failing such calls, counted over all its threads.

mod notes;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;

use crate::watched::Watched;

use notes::Notes;

/// A program whose system calls have an end of their own.
#[derive(Debug)]
pub struct FaultyProgram {
    program: Watched<Notes>,
    noted: Noted,
}

/// Which system calls fail. Those are counted that concern files below a directory.
#[derive(Debug, Clone)]
pub struct FailingCalls {
    /// Their kind.
    pub kind: CallKind,
    /// Their numbers among those of the kind, the first being 1.
    pub which: Range<usize>,
    /// What they return, such as 5 for EIO.
    pub errno: i32,
}

/// Kinds of system calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// `fsync`, `fdatasync` and the like.
    Sync,
    /// Writing to a file, and asking for the room to do so.
    Write,
}

/// What a program did, in order. What it sends is noted before it leaves, and a sync when it has ended: what is promised in a
/// message can only rest on what is noted before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotedCall {
    /// Created this file, or opened it where it was there.
    Created(PathBuf),
    /// A sync of this file or directory, and whether it succeeded.
    Synced(PathBuf, bool),
    /// A call of [`FailingCalls`] failed that is no sync.
    Failed(PathBuf),
    /// These bytes went to another program.
    Sent(Vec<u8>),
}

/// What is known of a program, also while it runs.
#[derive(Debug, Clone, Default)]
struct Noted {
    /// How many calls there were of the kind that matters.
    counted: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    calls: Arc<Mutex<Vec<NotedCall>>>,
}

/// What is done to a program.
#[derive(Debug, Clone)]
enum Fault {
    /// It is killed in front of this one of the calls by which it changes something; 0 is none.
    Kill(usize),
    /// Calls fail, and behind the first one that did it may be killed, too: in front of this one of the calls by which it
    /// changes something; 0 is none.
    Fail(FailingCalls, usize),
}

impl FaultyProgram {
    /// Starts a program that is killed with SIGKILL in front of the `nth` of the system calls by which it changes files below
    /// a directory, or sends something to somebody, the first being 1; 0 only counts. Neither that call nor any behind it
    /// happens.
    ///
    /// # Panics
    /// The program cannot be started or traced.
    #[must_use]
    pub fn killed_at(command: &Command, below: &Path, nth: usize) -> Self {
        Self::start(command, below, Fault::Kill(nth))
    }

    /// Starts a program of which some system calls for files below a directory fail without happening.
    ///
    /// # Panics
    /// The program cannot be started or traced.
    #[must_use]
    pub fn failing(command: &Command, below: &Path, calls: FailingCalls) -> Self {
        Self::start(command, below, Fault::Fail(calls, 0))
    }

    /// Starts a program of which some system calls fail, and that is killed soon after: in front of the `nth` call of
    /// [`killed_at`](Self::killed_at)'s behind the first one that failed.
    ///
    /// # Panics
    /// The program cannot be started or traced.
    #[must_use]
    pub fn failing_then_killed(command: &Command, below: &Path, calls: FailingCalls, nth: usize) -> Self {
        Self::start(command, below, Fault::Fail(calls, nth))
    }

    fn start(command: &Command, below: &Path, fault: Fault) -> Self {
        let noted = Noted::default();
        let (below, shared) = (below.to_owned(), noted.clone());
        let program = Watched::start(command, Stdio::null(), move |pid| Notes::new(pid, below, fault, shared));
        Self { program, noted }
    }

    /// Returns how many calls there were that count.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.noted.counted.load(Ordering::SeqCst)
    }

    /// Returns how many calls failed because they were to.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.noted.failed.load(Ordering::SeqCst)
    }

    /// Returns what it has done so far. Of a program that is to be killed nothing is noted.
    ///
    /// # Panics
    /// Tracing failed.
    #[must_use]
    pub fn calls(&self) -> Vec<NotedCall> {
        self.noted.calls.lock().expect("tracing goes on").clone()
    }

    /// Returns whether it has ended, in whatever way.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.program.has_ended()
    }

    /// Asks it to end with SIGINT.
    pub fn interrupt(&self) {
        self.program.signal(Signal::SIGINT);
    }

    /// Waits until it has ended. Returns the number of the system call in front of which it was killed, or `None` if it
    /// ended by itself.
    ///
    /// # Panics
    /// Tracing failed.
    pub fn wait(self) -> Option<u64> {
        self.program.wait().0.killed_at
    }
}
