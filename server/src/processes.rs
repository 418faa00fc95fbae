//! What other processes do for a server, as its lock files tell, and how they are ended.

use crate::{Error, Server};
use barman_catalog::Lock;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// What a process can be busy with, and the lock that it holds meanwhile.
const TASKS: [(&str, Lock); 4] = [
    ("cron", Lock::Cron),
    ("backup", Lock::Backup),
    ("archive-wal", Lock::ArchiveWal),
    ("receive-wal", Lock::ReceiveWal),
];

/// A process that works on a server, ours or Barman's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// What it does: the command that does nothing else.
    pub task: &'static str,
    /// Its number.
    pub pid: u32,
}

impl Server {
    /// Returns the processes that work on this server.
    ///
    /// # Errors
    /// A lock file cannot be opened.
    pub fn processes(&self) -> Result<Vec<Process>, Error> {
        let mut processes = Vec::new();
        for (task, lock) in TASKS {
            processes.extend(self.catalog().lock_holder(lock)?.map(|pid| Process { task, pid }));
        }
        Ok(processes)
    }

    /// Asks the process that is busy with `task` to end, waits until it has, and returns which it was.
    ///
    /// # Errors
    /// There is none, it may not be signalled, or it does not end within ten seconds.
    pub fn terminate(&self, task: &str) -> Result<Process, Error> {
        const PATIENCE: Duration = Duration::from_secs(10);
        const POLL: Duration = Duration::from_millis(50);
        let not_running = || Error::NotRunning { task: task.to_owned(), server: self.name().to_owned() };
        let (task, lock) = TASKS.into_iter().find(|(name, _)| *name == task).ok_or_else(not_running)?;
        let holder = || self.catalog().lock_holder(lock);
        let pid = holder()?.ok_or_else(not_running)?;
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(not_running)?;
        kill_process(process, Signal::INT).map_err(|error| Error::Signal { pid, source: error.into() })?;
        let started = Instant::now();
        // Another one may have taken its place, as `cron` sees to it.
        while holder()? == Some(pid) {
            if started.elapsed() > PATIENCE {
                return Err(Error::DoesNotStop { task, pid });
            }
            std::thread::sleep(POLL);
        }
        Ok(Process { task, pid })
    }
}
