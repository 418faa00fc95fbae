//! Whether a server runs in a data directory, as PostgreSQL judges it before it starts one there (`CreateLockFile` in
//! `miscinit.c`).

use std::path::Path;

use rustix::process::{Pid, getpid, getppid, test_kill_process};

use crate::host::LockFacts;
use crate::plan_error::PlanError;

pub(crate) const LOCK_FILE: &str = "postmaster.pid";

/// Longer than any lock file.
pub(crate) const LONGEST_BYTES: u64 = 64 << 10;

/// The line of the lock file with the key and the number of the shared memory (`LOCK_FILE_LINE_SHMEM_KEY`), from 0.
const SHARED_MEMORY_LINE: usize = 6;

/// Refuses a data directory in which a server runs, or its processes still do.
pub(crate) fn check_stopped(data: &Path, lock: Option<&LockFacts>) -> Result<(), PlanError> {
    let Some(LockFacts { text, is_alive, shared_memory }) = lock else { return Ok(()) };
    let path = || data.to_owned();
    let Some(process) = process_of(text) else { return Err(PlanError::UnclearLockFile { path: path() }) };
    if *is_alive || holds_memory(text, process, shared_memory) {
        return Err(PlanError::ServerRunning { path: path(), process: process.as_raw_nonzero().get() });
    }
    Ok(())
}

/// Whether the process that a lock file names is there, on this host.
pub(crate) fn is_alive(lock_file: &str) -> bool {
    process_of(lock_file).is_some_and(|process| {
        // The number may have been given to another process since; PostgreSQL makes the same exceptions, and only these.
        let is_our_own = process == getpid() || Some(process) == getppid();
        !is_our_own && test_kill_process(process).is_ok()
    })
}

/// The process that made the file. The number is negative for a server in single-user mode.
fn process_of(lock_file: &str) -> Option<Pid> {
    let number: i32 = lock_file.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(number.checked_abs()?)
}

/// Whether processes of a postmaster that is gone are still at the shared memory that it made.
fn holds_memory(lock_file: &str, postmaster: Pid, table: &str) -> bool {
    let line = lock_file.lines().nth(SHARED_MEMORY_LINE);
    let Some(memory) = line.and_then(|line| line.split_whitespace().nth(1)) else { return false };
    is_attached(table, memory, &postmaster.as_raw_nonzero().to_string())
}

/// Looks for memory with this number and maker in the kernel's table. Columns: key, number, permissions, size, maker, last
/// process, processes that use it, and more.
fn is_attached(table: &str, memory: &str, maker: &str) -> bool {
    table.lines().any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let column = |index| columns.get(index).copied();
        (column(1), column(4)) == (Some(memory), Some(maker)) && column(6).is_some_and(|users| users != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_process() {
        let number = |text| process_of(text).map(|pid| pid.as_raw_nonzero().get());
        assert_eq!(number("4711\n/srv/data\n"), Some(4711));
        assert_eq!(number("-4711\n"), Some(4711));
        for text in ["", "\n4711\n", "0\n", "data\n", "-2147483648\n"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn memory_counts_while_somebody_uses_it_and_the_postmaster_made_it() {
        let table = "       key      shmid perms                  size  cpid  lpid nattch   uid\n\
                     \x20   987654         32   600                    56  4711  4720      3   104\n\
                     \x20   987655         33   600                    56  4712  4720      0   104\n";
        assert!(is_attached(table, "32", "4711"));
        assert!(!is_attached(table, "32", "4712"), "after a restart of the host the number is another server's");
        assert!(!is_attached(table, "33", "4712"), "nobody uses it any more");
        assert!(!is_attached("", "32", "4711"));
    }
}
