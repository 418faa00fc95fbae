//! How a traced program begins: stopped, so that nothing happens before it is traced.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The same program, which stops itself before it begins, in a process group of its own.
pub(crate) fn stopping(command: &Command, input: Stdio) -> Command {
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
pub(crate) fn seize(pid: Pid) {
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("a child can be waited for");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("a child can be traced");
    kill(pid, Signal::SIGCONT).expect("a child can be signalled");
}
