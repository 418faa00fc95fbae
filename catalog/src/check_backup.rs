//! Whether the WAL that a backup needs is archived.

use std::collections::BTreeSet;
use std::time::Duration;

use wal_format::{SegmentName, SegmentNumber, WalFileName};

use crate::{BackupId, BackupInfo, Catalog, Error, Lock, LockError, Partial, Status};

/// What the archive says about a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupValidity {
    /// All the WAL it needs is there.
    Complete,
    /// The end of the WAL it needs is not archived yet.
    Waiting,
    /// Later WAL is archived, and this segment is not, or not any more: the backup can never be restored.
    Missing(SegmentName),
    /// The record does not say which WAL the backup needs: it is not finished, or it spans two timelines.
    Unknown,
}

/// Why a backup was not checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckBackupError {
    /// It has failed, and nothing that is archived later can change that.
    #[error("the validity of a failed backup cannot be checked")]
    Failed {
        /// The backup.
        id: BackupId,
    },
    /// The backup is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The catalog cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] Error),
}

impl Catalog {
    /// Finds out whether the WAL that a backup needs is archived, and brings its status up to date: `DONE`,
    /// `WAITING_FOR_WALS`, or `FAILED` with the reason. Returns the record as it is afterwards. A backup whose data is not
    /// complete stays what it is, whatever is archived.
    ///
    /// Others that use the backup are waited for, for two seconds.
    ///
    /// # Errors
    /// The backup has failed, does not exist or is in use, or the catalog cannot be read or written.
    pub fn check_backup(&self, id: &BackupId) -> Result<BackupInfo, CheckBackupError> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let _lock = self.lock_within(PATIENCE, Lock::BackupId(*id))?;
        let mut info = self.backup(id)?;
        if info.status == Status::Failed {
            return Err(CheckBackupError::Failed { id: *id });
        }
        if !info.status.is_copied() {
            return Ok(info);
        }
        let before = (info.status, info.error.clone());
        match self.backup_validity(&info)? {
            BackupValidity::Unknown => {}
            // Invariant 1: a line of the index follows the sync of what it speaks of.
            BackupValidity::Complete => info.status = Status::Done,
            BackupValidity::Waiting => info.status = Status::WaitingForWals,
            BackupValidity::Missing(name) => {
                info.status = Status::Failed;
                info.error = Some(format!("At least one WAL file is missing. The first missing WAL file is {name}"));
            }
        }
        if before != (info.status, info.error.clone()) {
            self.save(&info)?;
        }
        Ok(info)
    }

    /// Finds out the same without changing anything.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn backup_validity(&self, info: &BackupInfo) -> Result<BackupValidity, Error> {
        let Some(needed) = Needed::by(info) else { return Ok(BackupValidity::Unknown) };
        let mut archived = Archived::default();
        self.xlog_db()?.scan(|line| {
            archived.add(line.name(), &needed);
            Ok::<_, Error>(())
        })?;
        let missing = match archived.judge(&needed) {
            // What the index lists may have been lost since.
            BackupValidity::Complete => match self.first_absent(&needed)? {
                Some(absent) => absent,
                None => return Ok(BackupValidity::Complete),
            },
            BackupValidity::Missing(missing) => missing,
            validity => return Ok(validity),
        };
        // Segments can be archived out of order, when one archiver overtakes the other.
        let on_its_way = self.find_wal(&WalFileName::Segment(missing), Partial::Exclude)?.is_some();
        Ok(if on_its_way { BackupValidity::Waiting } else { BackupValidity::Missing(missing) })
    }

    /// The first segment of which the archive has no file, whatever the index says.
    fn first_absent(&self, needed: &Needed) -> Result<Option<SegmentName>, Error> {
        let mut number = needed.first;
        while number <= needed.last {
            let name = number.name(needed.begin.timeline, needed.size);
            if self.find_archived(&WalFileName::Segment(name))?.is_none() {
                return Ok(Some(name));
            }
            number = number.next();
        }
        Ok(None)
    }
}

/// The segments that a backup needs, on one timeline.
#[derive(Debug, Clone, Copy)]
struct Needed {
    begin: SegmentName,
    first: SegmentNumber,
    last: SegmentNumber,
    size: wal_format::SegmentSize,
}

impl Needed {
    fn by(info: &BackupInfo) -> Option<Self> {
        let (begin, end, size) = (info.begin_wal?, info.end_wal?, info.xlog_segment_size);
        let (first, last) = (begin.number(size).ok()?, end.number(size).ok()?);
        (begin.timeline == end.timeline && first <= last).then_some(Self { begin, first, last, size })
    }

    fn number(&self, name: &str) -> Option<SegmentNumber> {
        let name: SegmentName = name.parse().ok()?;
        (name.timeline == self.begin.timeline).then(|| name.number(self.size).ok())?
    }
}

/// What is archived of the backup's timeline.
#[derive(Debug, Default)]
struct Archived {
    newest: Option<SegmentNumber>,
    needed: BTreeSet<SegmentNumber>,
}

impl Archived {
    fn add(&mut self, name: &str, needed: &Needed) {
        let Some(number) = needed.number(name) else { return };
        self.newest = self.newest.max(Some(number));
        if (needed.first..=needed.last).contains(&number) {
            self.needed.insert(number);
        }
    }

    fn judge(&self, needed: &Needed) -> BackupValidity {
        let Some(newest) = self.newest.filter(|newest| *newest >= needed.first) else { return BackupValidity::Waiting };
        let mut number = needed.first;
        while number <= needed.last.min(newest) {
            if !self.needed.contains(&number) {
                return BackupValidity::Missing(number.name(needed.begin.timeline, needed.size));
            }
            number = number.next();
        }
        if newest >= needed.last { BackupValidity::Complete } else { BackupValidity::Waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BackupValidity::{Complete, Missing, Unknown, Waiting};

    fn validity(begin: &str, end: &str, archived: &[&str]) -> BackupValidity {
        let mut info = BackupInfo::new("20261120T164416".parse().unwrap(), "main");
        info.begin_wal = begin.parse().ok();
        info.end_wal = end.parse().ok();
        let Some(needed) = Needed::by(&info) else { return Unknown };
        let mut seen = Archived::default();
        archived.iter().for_each(|name| seen.add(name, &needed));
        seen.judge(&needed)
    }

    const FE: &str = "0000000100000000000000FE";
    const FF: &str = "0000000100000000000000FF";
    const NEXT_LOG: &str = "000000010000000100000000";
    const AFTER: &str = "000000010000000100000001";

    #[test]
    fn follows_the_newest_segment_of_the_timeline() {
        for (archived, expected) in [
            (&[][..], Waiting),
            (&["0000000100000000000000FD"], Waiting),
            (&[FE], Waiting),
            (&[FE, FF], Waiting),
            (&[FE, FF, NEXT_LOG], Complete),
            (&[NEXT_LOG, FF, FE], Complete),
            (&[FE, FF, NEXT_LOG, AFTER], Complete),
            (&[FE, NEXT_LOG], Missing(FF.parse().unwrap())),
            (&[FF], Missing(FE.parse().unwrap())),
            (&[FE, FF, AFTER], Missing(NEXT_LOG.parse().unwrap())),
            (&["000000020000000000000003"], Waiting),
            (&[FE, FF, "000000010000000100000000.partial"], Waiting),
        ] {
            assert_eq!(validity(FE, NEXT_LOG, archived), expected, "{archived:?}");
        }
    }

    #[test]
    fn says_nothing_of_backups_that_do_not_say_what_they_need() {
        assert_eq!(validity(FE, "", &[FE]), Unknown);
        assert_eq!(validity(FE, "000000020000000100000000", &[FE]), Unknown);
        assert_eq!(validity(FF, FE, &[FE]), Unknown);
    }
}
