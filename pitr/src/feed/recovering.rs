//! The server that asks: whether it runs, and whether it still recovers.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use barman_storage::{Dir, RelativePath};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};
use wal_format::{ControlFile, PgMajor, SegmentSize, TimelineHistory, TimelineId, WalFileName};

/// Longer than any `postmaster.pid`, `PG_VERSION` and history file, in bytes.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The data directory of a server that runs `restore_command`: PostgreSQL does so in that directory, with a path relative
/// to it.
#[derive(Clone, Debug)]
pub struct RecoveringServer {
    pub(super) data: Dir,
}

impl RecoveringServer {
    /// Returns the server that wants something at `destination`, if the current directory is that of a running server; none
    /// where `pg_rewind` or a person asks.
    #[must_use]
    pub fn find(destination: &Path) -> Option<Self> {
        let server = Self { data: Dir::open(Path::new(".")).ok()? };
        (destination.is_relative() && server.postmaster().is_some()).then_some(server)
    }

    /// Whether it follows another server, and tries again by itself what fails: with both signal files it does.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.has("standby.signal")
    }

    /// Whether it recovers from an archive: at the end of that PostgreSQL removes the signal file.
    pub(super) fn is_recovering(&self) -> bool {
        self.has("recovery.signal") || self.is_standby()
    }

    /// Returns how long its segments are.
    pub(super) fn segment_size(&self) -> Option<SegmentSize> {
        let major: u32 = std::str::from_utf8(&self.read("PG_VERSION")?).ok()?.trim().parse().ok()?;
        let major = PgMajor::from_version_num(major.checked_mul(10_000)?).ok()?;
        Some(ControlFile::parse(&self.read("global/pg_control")?, major).ok()?.segment_size)
    }

    /// Returns the newest history that it has in `pg_wal`, for a helper that begins in the middle of a recovery.
    pub(super) fn history(&self) -> Option<TimelineHistory> {
        // `pg_wal` may be a link, which opening by path follows.
        let wal = Dir::open(&self.data.path().join("pg_wal")).ok()?;
        let timeline = |name: &str| match name.parse() {
            Ok(WalFileName::History(timeline)) => Some(timeline),
            _ => None,
        };
        let entries = wal.entries().ok()?;
        let newest: TimelineId = entries.iter().filter_map(|entry| timeline(entry.name.to_str()?)).max()?;
        let path = RelativePath::new(WalFileName::History(newest).to_string()).ok()?;
        TimelineHistory::parse(newest, &wal.read(&path, LONGEST_FILE).ok()??).ok()
    }

    /// Returns the process that is the server, by what it wrote into its lock file (`CreateLockFile` in miscinit.c).
    pub(super) fn postmaster(&self) -> Option<Pid> {
        let text = self.read("postmaster.pid")?;
        let line = text.split(|&byte| byte == b'\n').next()?;
        let number: i32 = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
        Pid::from_raw(number).filter(|&pid| is_running(pid))
    }

    fn has(&self, name: &'static str) -> bool {
        // Only that it is not there ends anything.
        !matches!(self.data.stat(&RelativePath::literal(name)), Ok(None))
    }

    fn read(&self, name: &'static str) -> Option<Vec<u8>> {
        self.data.read(&RelativePath::literal(name), LONGEST_FILE).ok()?
    }
}

/// The process of a server, which is watched.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    /// Tells its end at once, on kernels that have it (Linux 5.3).
    handle: Option<OwnedFd>,
}

impl Postmaster {
    /// Watches the process that is the server now.
    pub(super) fn of(server: &RecoveringServer) -> Option<Self> {
        let pid = server.postmaster()?;
        Some(Self { pid, handle: rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok() })
    }

    /// Returns a descriptor that is readable when it has ended.
    pub(super) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether it still is the server: its number alone might be another process by now.
    pub(super) fn serves(&self, server: &RecoveringServer) -> bool {
        !self.has_ended() && server.postmaster() == Some(self.pid)
    }

    /// Also if nobody has waited for it yet.
    fn has_ended(&self) -> bool {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Some(handle) = &self.handle else { return false };
        poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&AT_ONCE)).is_ok_and(|ready| ready > 0)
    }
}

fn is_running(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}
