//! How far the recovery of a restored server has come, by what the server itself shows without a connection: the title of
//! its startup process, which names the segment being replayed, and `global/pg_control`.

use std::path::Path;

use barman_storage::{Dir, RelativePath};
use wal_format::{ControlFile, Lsn, SegmentName};

use crate::finish::{FinishError, NotPromoted, control_file, why_not_promoted};
use crate::restore_record::RestoreRecord;

/// How far a recovery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// What the server is doing.
    pub state: RecoveryState,
    /// Everything before this was replayed; it may be up to a segment more.
    pub replayed: Option<Lsn>,
    /// Where the restore found that recovery begins.
    pub start: Option<Lsn>,
    /// Where the plan said that it ends, if it could.
    pub end: Option<Lsn>,
    /// Whether the server is in the segment in which recovery ends: it replays the rest of it, or waits at its target.
    pub is_in_last_segment: bool,
    /// Barman's name of the server.
    pub server: Option<String>,
}

impl RecoveryProgress {
    /// Returns how many bytes of how many were replayed, if the plan knew.
    #[must_use]
    pub fn bytes(&self) -> Option<(u64, u64)> {
        let (start, end) = (self.start?.as_u64(), self.end?.as_u64());
        let total = end.saturating_sub(start);
        let done = self.replayed.map_or(0, |replayed| replayed.as_u64().saturating_sub(start));
        Some((done.min(total), total))
    }
}

/// What a server in recovery is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryState {
    /// It replays this segment.
    Replaying(SegmentName),
    /// It waits for this segment.
    Waiting(SegmentName),
    /// It is about to begin, or has just ended: its startup process names no segment.
    Between,
    /// No server runs, and recovery is not over.
    Stopped(NotPromoted),
    /// Recovery is over: the server is on its own.
    Over,
}

/// Looks how far the recovery of a restored server has come.
///
/// # Errors
/// The directory is no data directory, or cannot be read.
pub fn recovery_progress(destination: &Path) -> Result<RecoveryProgress, FinishError> {
    let data = Dir::open(destination)?;
    let control = control_file(&data)?;
    let record = RestoreRecord::read(&data)?.and_then(Result::ok).unwrap_or_default();
    let state = state(&data, &control)?;
    let replayed = replayed(state, &control);
    let is_last = |segment: SegmentName| segment.number(control.segment_size).ok();
    let last = record.end.map(|end| end.as_u64().saturating_sub(1) / control.segment_size.bytes());
    let current = match state {
        RecoveryState::Replaying(segment) | RecoveryState::Waiting(segment) => is_last(segment),
        _ => None,
    };
    Ok(RecoveryProgress {
        state,
        replayed,
        start: record.start,
        end: record.end,
        is_in_last_segment: current.zip(last).is_some_and(|(current, last)| current.get() >= last),
        server: Some(record.server).filter(|server| !server.is_empty()),
    })
}

fn state(data: &Dir, control: &ControlFile) -> Result<RecoveryState, FinishError> {
    let reason = why_not_promoted(data, control.state)?;
    let title = postmaster(data)?.and_then(startup_title);
    Ok(match (reason, title) {
        (None, _) => RecoveryState::Over,
        (Some(_), Some(title)) => doing(&title),
        (Some(reason), None) => RecoveryState::Stopped(reason),
    })
}

/// Everything before the segment at hand was replayed, and everything that `pg_control` speaks of.
fn replayed(state: RecoveryState, control: &ControlFile) -> Option<Lsn> {
    let of_title = match state {
        RecoveryState::Replaying(segment) | RecoveryState::Waiting(segment) => segment.start(control.segment_size).ok(),
        _ => None,
    };
    let minimum = control.minimum_recovery.map(|minimum| minimum.lsn);
    // Before the server has started, this is the checkpoint of the backup, which may lie behind where recovery begins.
    let checkpoint = (!matches!(state, RecoveryState::Stopped(_))).then_some(control.checkpoint.redo);
    [of_title, minimum, checkpoint].into_iter().flatten().max()
}

/// The process that `postmaster.pid` names.
fn postmaster(data: &Dir) -> Result<Option<u32>, FinishError> {
    const LIMIT: u64 = 64 << 10;
    let text = data.read(&RelativePath::literal("postmaster.pid"), LIMIT)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).lines().next().and_then(|line| line.trim().parse().ok()))
}

/// The title of the startup process among the children of a postmaster; `None` if there is none, or `/proc` does not say.
fn startup_title(postmaster: u32) -> Option<String> {
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let children = processes.filter(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        parent_of(&stat) == Some(postmaster)
    });
    let titles = children.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let titles = titles.map(|title| String::from_utf8_lossy(&title).trim_end_matches('\0').trim().to_owned());
    titles.into_iter().find(|title| is_startup(title))
}

/// The fourth field of `/proc/<pid>/stat`; the second, a name in parentheses, may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// `postgres: startup …`, with the name of the cluster in between if it has one.
fn is_startup(title: &str) -> bool {
    title.starts_with("postgres:") && title.split_whitespace().any(|word| word == "startup")
}

/// What the title says (`ps_activity` in `xlogrecovery.c` and `xlogarchive.c`).
fn doing(title: &str) -> RecoveryState {
    let words: Vec<&str> = title.split_whitespace().collect();
    let segment = words.iter().rev().find_map(|word| word.parse().ok());
    match segment {
        Some(segment) if words.contains(&"waiting") => RecoveryState::Waiting(segment),
        Some(segment) => RecoveryState::Replaying(segment),
        None => RecoveryState::Between,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_every_version_are_understood() {
        let segment: SegmentName = "00000002000000010000000A".parse().unwrap();
        for (title, expected) in [
            ("postgres: startup recovering 00000002000000010000000A", RecoveryState::Replaying(segment)),
            ("postgres: startup   recovering 00000002000000010000000A", RecoveryState::Replaying(segment)),
            ("postgres: main: startup waiting for 00000002000000010000000A", RecoveryState::Waiting(segment)),
            ("postgres: startup ", RecoveryState::Between),
        ] {
            assert!(is_startup(title), "{title}");
            assert_eq!(doing(title), expected, "{title}");
        }
        for other in ["postgres: checkpointer ", "postgres: walreceiver streaming 0/3000000", "less startup.log"] {
            assert!(!is_startup(other), "{other}");
        }
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("12 (a b) c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_of(""), None);
    }

    #[test]
    fn bytes_stay_within_what_the_plan_said() {
        let progress = |replayed, end: Option<u64>| RecoveryProgress {
            state: RecoveryState::Between,
            replayed: Some(Lsn::new(replayed)),
            start: Some(Lsn::new(100)),
            end: end.map(Lsn::new),
            is_in_last_segment: false,
            server: None,
        };
        assert_eq!(progress(150, Some(300)).bytes(), Some((50, 200)));
        assert_eq!(progress(50, Some(300)).bytes(), Some((0, 200)));
        assert_eq!(progress(350, Some(300)).bytes(), Some((200, 200)));
        assert_eq!(progress(150, None).bytes(), None);
    }
}
