//! Killing a program in front of a system call of choice, or letting the call fail, counted over all its threads: each call
//! by which it changes a file, and which file that is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc::{self, user_regs_struct};
use nix::unistd::Pid;

use crate::change::Change;
use crate::watched::{Intervention, Watch, Watched};

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
        let (fault, counter) = (self.clone(), Arc::clone(&counted));
        let is_counting = fault.from.is_none();
        let injector = move |_| Injector { fault, counted: counter, is_counting, call: None };
        Traced { program: Watched::start(command, input, injector), counted }
    }
}

/// A program that was started to be disturbed.
#[derive(Debug)]
pub struct Traced {
    program: Watched<Injector>,
    counted: Arc<AtomicUsize>,
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
        self.program.has_ended()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// Tracing failed.
    #[must_use]
    pub fn wait(self) -> Ended {
        let (injector, code) = self.program.wait();
        Ended { call: injector.call, code, counted: self.counted.load(Ordering::SeqCst) }
    }
}

/// Counts the calls, and lets something happen at the chosen one.
#[derive(Debug)]
struct Injector {
    fault: SystemCallFault,
    counted: Arc<AtomicUsize>,
    is_counting: bool,
    /// What it happened at.
    call: Option<String>,
}

impl Watch for Injector {
    fn enter(&mut self, thread: Pid, registers: &user_regs_struct) -> Intervention {
        let change = Change::of(thread, registers).filter(|change| change.path().starts_with(&self.fault.below));
        let Some(change) = change else { return Intervention::None };
        let part = self.fault.from.as_deref().unwrap_or_default();
        self.is_counting |= change.path().to_string_lossy().contains(part);
        // Of a full disk the other calls see nothing.
        if !self.is_counting || (self.fault.effect == CallEffect::FullDisk && !change.needs_space()) {
            return Intervention::None;
        }
        let counted = self.counted.fetch_add(1, Ordering::SeqCst) + 1;
        let is_chosen = counted == self.fault.nth;
        let is_behind = self.fault.nth > 0 && counted > self.fault.nth;
        let intervention = match self.fault.effect {
            CallEffect::Kill if is_chosen => Intervention::Kill,
            CallEffect::Fail(error) if is_chosen => Intervention::Fail(error),
            CallEffect::FullDisk if is_chosen || is_behind => Intervention::Fail(libc::ENOSPC),
            _ => return Intervention::None,
        };
        self.call.get_or_insert_with(|| change.to_string());
        intervention
    }

    fn leave(&mut self, _thread: Pid, _result: i64) {}
}
