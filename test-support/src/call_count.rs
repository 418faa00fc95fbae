//! How many system calls a program makes: what it costs, told by a number that a busy machine does not change.

use std::process::{Command, Stdio};

use nix::libc::user_regs_struct;
use nix::unistd::Pid;

use crate::watched::{Intervention, Watch, Watched};

/// Runs a program, whose input is empty and whose output goes nowhere, and returns how many system calls all its threads
/// make.
///
/// # Panics
/// It cannot be started or traced.
#[must_use]
pub fn system_calls(command: &Command) -> usize {
    let (Counter(calls), _) = Watched::start(command, Stdio::null(), |_| Counter(0)).wait();
    calls
}

struct Counter(usize);

impl Watch for Counter {
    fn enter(&mut self, _thread: Pid, _registers: &user_regs_struct) -> Intervention {
        self.0 += 1;
        Intervention::None
    }

    fn leave(&mut self, _thread: Pid, _result: i64) {}
}
