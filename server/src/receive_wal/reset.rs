//! Aligning `streaming/` with the server, so that a receiver which lost WAL goes on all the same.

use crate::{Error, Server};
use barman_backup::ReceiveError;
use barman_catalog::Lock;
use barman_config::Command;
use barman_storage::{Dir, RelativePath};
use std::path::PathBuf;
use wal_format::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};

/// What aligning did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// Receiving goes on where the server keeps WAL from anyway.
    Aligned,
    /// Receiving goes on with the WAL that the server keeps.
    Done {
        /// A file that held nothing and is gone.
        removed: Option<PathBuf>,
        /// The file from which the next receiver, ours or Barman's, finds where to go on.
        created: PathBuf,
    },
}

impl Server {
    /// Makes the next receiver go on with the WAL that the slot keeps, or without a slot with that of now, whatever was
    /// received before. WAL in between that the server still has is not received then.
    ///
    /// # Errors
    /// A receiver runs, the server cannot be reached, the slot is missing, or `streaming/` is ahead of the server.
    pub async fn reset_receive_wal(&self) -> Result<Reset, Error> {
        self.refuse_unsupported(Command::ReceiveWal)?;
        if !self.config().streaming_archiver {
            return Err(Error::StreamingOff);
        }
        self.catalog().create_directories()?;
        let _lock = self.lock("receive-wal", Lock::ReceiveWal)?;
        let kept = self.kept_wal().await?;
        let dir = self.catalog().streaming_dir()?;
        let newest = newest(&dir)?;
        if kept.is_aligned(newest, &self.catalog().newest_archived_segments()?) {
            return Ok(Reset::Aligned);
        }
        match newest {
            Some(name) if segment(&name) > Some(kept.current()) => {
                Err(Error::ReceiverAhead { newest: name, current: kept.current() })
            }
            newest => put_marker(&dir, newest, kept.first()),
        }
    }

    async fn kept_wal(&self) -> Result<KeptWal, Error> {
        let timeline = self.identify_wal_system().await?.timeline;
        let mut sql = self.connect_for_wal().await?;
        let (size, current) = (sql.segment_size().await?, sql.current_lsn().await?);
        let restart = match self.config().slot_name.as_deref() {
            Some(slot) => match sql.slot(slot).await? {
                Some(slot) => slot.restart_lsn.unwrap_or(current),
                None => return Err(ReceiveError::SlotMissing { slot: slot.to_owned(), from: None }.into()),
            },
            None => current,
        };
        Ok(KeptWal { timeline, size, restart, current })
    }
}

/// What the server keeps.
struct KeptWal {
    timeline: TimelineId,
    size: SegmentSize,
    restart: Lsn,
    current: Lsn,
}

impl KeptWal {
    fn first(&self) -> SegmentName {
        SegmentNumber::containing(self.restart, self.size).name(self.timeline, self.size)
    }

    fn current(&self) -> SegmentName {
        SegmentNumber::containing(self.current, self.size).name(self.timeline, self.size)
    }

    /// Where nothing is in `streaming/`, receiving goes on from the archive, and begins by itself where that is empty.
    fn is_aligned(&self, newest: Option<WalFileName>, archived: &[SegmentName]) -> bool {
        let archived = archived.iter().find(|segment| segment.timeline == self.timeline);
        let reaches =
            |segment: &SegmentName| segment.number(self.size).is_ok_and(|number| number.end(self.size) >= self.restart);
        match (newest, archived) {
            (Some(name), _) => segment(&name) == Some(self.first()),
            (None, archived) => archived.is_none_or(reaches),
        }
    }
}

/// Returns the last segment file in the order of timelines and segments.
fn newest(dir: &Dir) -> Result<Option<WalFileName>, Error> {
    let names = dir.entries()?.into_iter().filter_map(|entry| entry.name.to_str()?.parse().ok());
    Ok(names.filter(|name| segment(name).is_some()).max_by_key(segment))
}

fn segment(name: &WalFileName) -> Option<SegmentName> {
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => Some(*segment),
        WalFileName::BackupLabel { .. } | WalFileName::History(_) => None,
    }
}

/// Makes an empty file where receiving is to go on. The newest `.partial` goes if it is empty, too; one with WAL in it stays
/// until it is archived, which it is now that it is no longer the newest.
fn put_marker(dir: &Dir, newest: Option<WalFileName>, first: SegmentName) -> Result<Reset, Error> {
    /// pg_receivewal's mode for what it writes (`pg_file_create_mode`).
    const MODE: u32 = 0o600;
    let mut removed = None;
    if let Some(partial) = newest.filter(|name| matches!(name, WalFileName::Partial(_))).map(path_of)
        && dir.stat(&partial)?.is_some_and(|stat| stat.size == 0)
    {
        dir.remove_file(&partial)?;
        removed = Some(dir.path().join(partial));
    }
    let created = path_of(WalFileName::Partial(first));
    drop(dir.create_file(&created, MODE)?);
    dir.sync()?;
    Ok(Reset::Done { removed, created: dir.path().join(created) })
}

#[allow(clippy::expect_used, reason = "digits and dots are a plain file name")]
fn path_of(name: WalFileName) -> RelativePath {
    RelativePath::new(name.to_string()).expect("digits and dots are a plain file name")
}
