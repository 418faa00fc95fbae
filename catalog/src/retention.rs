//! What decisions about retention need to know of a catalog.

use std::collections::BTreeMap;

use barman_retention::{ArchivedWal, Backup, Candidate, Stage, State};
use wal_format::{TimelineHistory, TimelineId, Timestamp};

use crate::{BackupId, BackupInfo, Catalog, Error, Status};

impl Catalog {
    /// Returns what retention asks of each of `backups`, in their order; they are all the backups of the server, ascending
    /// by id, as [`Catalog::backups`] returns them. One whose data is gone counts like one that never was complete; its WAL
    /// stays all the same, since its directory may only not be mounted.
    ///
    /// # Errors
    /// An annotation cannot be read, or the directory of the backups not listed.
    pub fn retention_backups(&self, backups: &[BackupInfo]) -> Result<Vec<Backup<BackupId>>, Error> {
        let parents: BTreeMap<_, _> = backups.iter().map(|info| (info.backup_id, info.parent_backup_id)).collect();
        let orphans = self.orphans(backups)?.records;
        let (keeps, marked) = (self.keeps(backups)?, self.marked_for_deletion()?);
        let judged = |info: &BackupInfo| {
            let id = info.backup_id;
            let state = if orphans.contains(&id) { State::Other } else { state(info) };
            let candidate = Candidate { id, state, keep: keeps.get(&id).copied(), root: root(info, &parents) };
            Backup {
                candidate,
                stage: stage(info.status),
                timeline: info.timeline,
                begin_wal: info.begin_wal,
                end_wal: info.end_wal,
                end_lsn: info.end_xlog,
                size: info.deduplicated_size.or(info.size).unwrap_or(0),
                marked: marked.contains(&id),
                in_use: false,
            }
        };
        Ok(backups.iter().map(judged).collect())
    }

    /// Notes of backups whether another process works with them at this moment.
    ///
    /// # Errors
    /// A lock file cannot be opened.
    pub fn note_use<'a>(&self, backups: impl IntoIterator<Item = &'a mut Backup<BackupId>>) -> Result<(), Error> {
        for backup in backups {
            backup.in_use = self.lock_unless_busy(&backup.candidate.id)?.is_none();
        }
        Ok(())
    }

    /// Tells whether nobody works with any of these backups at this moment.
    pub(crate) fn are_idle<'a>(&self, ids: impl IntoIterator<Item = &'a BackupId>) -> Result<bool, Error> {
        for id in ids {
            if self.lock_unless_busy(id)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns every archived file that the index names, in its order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn archived_wal(&self) -> Result<Vec<ArchivedWal>, Error> {
        let mut wal = Vec::new();
        self.xlog_snapshot()?.scan(|line| {
            // What is not named like WAL is nobody's business here: it neither counts nor goes.
            wal.extend(line.name().parse().ok().map(|name| ArchivedWal {
                name,
                size: line.size,
                modified: line.modified().map_or(Timestamp::from_pg_micros(i64::MAX), from_seconds),
            }));
            Ok::<_, Error>(())
        })?;
        Ok(wal)
    }

    /// Returns the histories of all archived timelines that have one and whose history can be read. Of the others nothing
    /// is known, so that nothing is promised on them.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn timeline_histories(&self) -> Result<Vec<TimelineHistory>, Error> {
        let mut histories = Vec::new();
        for timeline in self.archived_timelines()?.into_iter().filter(|timeline| *timeline > TimelineId::FIRST) {
            match self.timeline_history(timeline) {
                Ok(history) => histories.extend(history),
                Err(error @ (Error::Encoded { .. } | Error::History { .. })) => {
                    tracing::warn!(%timeline, %error, "the history of a timeline cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(histories)
    }
}

fn state(info: &BackupInfo) -> State {
    match (info.status, info.end_time) {
        (Status::Done, Some(end)) => State::Done { end_time: end.instant() },
        _ => State::Other,
    }
}

fn stage(status: Status) -> Stage {
    match status {
        Status::Empty => Stage::Empty,
        Status::Started => Stage::Started,
        Status::WaitingForWals => Stage::WaitingForWals,
        Status::Done => Stage::Done,
        Status::Syncing => Stage::Syncing,
        Status::Failed => Stage::Failed,
    }
}

/// The full backup that an incremental one builds on, through however many others.
fn root(info: &BackupInfo, parents: &BTreeMap<BackupId, Option<BackupId>>) -> Option<BackupId> {
    let mut root = info.parent_backup_id?;
    // A parent is older than its child, so this ends; a record that says otherwise is not followed.
    while let Some(parent) = parents.get(&root).copied().flatten().filter(|parent| *parent < root) {
        root = parent;
    }
    Some(root)
}

/// Of seconds since 1970, rounded to microseconds.
#[allow(clippy::cast_possible_truncation, reason = "a conversion that saturates")]
fn from_seconds(seconds: f64) -> Timestamp {
    Timestamp::from_unix_micros((seconds * 1e6).round() as i64)
}
