//! What `list-backups` and `show-backup` tell: records, WAL numbers and verdicts put together.

use crate::{Error, Server};
use barman_catalog::{BackupId, BackupInfo, BackupType, CopyStats, WalStats, next_backup, previous_backup};
use barman_config::Command;
use barman_retention::Status as Verdict;
use std::collections::BTreeMap;
use wal_format::{SegmentName, TimelineId, Timestamp};

/// One backup in a list.
#[derive(Clone, Debug)]
pub struct BackupSummary {
    /// Its record.
    pub info: BackupInfo,
    /// The WAL that belongs to it.
    pub wal: WalStats,
    /// What the retention policy says of it; `None` where there is no policy.
    pub retention: Option<Verdict>,
}

impl BackupSummary {
    /// Returns its size and that of the WAL that it needs, in bytes.
    #[must_use]
    pub fn size_with_wal(&self) -> u64 {
        self.info.size.unwrap_or(0).saturating_add(self.wal.wal_size)
    }

    /// Returns the verdict where a list mentions it: that a backup is valid goes without saying.
    #[must_use]
    pub fn noteworthy_retention(&self) -> Option<&'static str> {
        self.retention.filter(|verdict| !matches!(verdict, Verdict::Valid | Verdict::None)).map(Verdict::as_str)
    }
}

/// Everything about one backup.
#[derive(Clone, Debug)]
pub struct BackupDetail {
    /// What a list says of it.
    pub summary: BackupSummary,
    /// Later timelines that a recovery from it can follow.
    pub reachable_timelines: Vec<TimelineId>,
    /// The one before it whose data is complete.
    pub previous: Option<BackupId>,
    /// The one after it whose data is complete.
    pub next: Option<BackupId>,
    /// What it builds on, if it is incremental.
    pub chain: Option<BackupChain>,
}

/// The backups that an incremental one is restored with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupChain {
    /// The oldest that there is, which is the full one unless that is gone.
    pub root: BackupId,
    /// The one that it was taken from, be it there or not.
    pub parent: BackupId,
    /// How many there are, itself included.
    pub size: usize,
}

impl BackupChain {
    fn of(info: &BackupInfo, backups: &[BackupInfo]) -> Option<Self> {
        let parent_of = |info: &BackupInfo| {
            let parent = info.parent_backup_id?;
            backups.iter().find(|other| other.backup_id == parent)
        };
        let mut chain = Self { root: info.backup_id, parent: info.parent_backup_id?, size: 1 };
        let mut next = parent_of(info);
        // A circle, which only a spoilt record can make, has no more than all of them.
        while let Some(ancestor) = next.filter(|_| chain.size < backups.len()) {
            chain.root = ancestor.backup_id;
            chain.size += 1;
            next = parent_of(ancestor);
        }
        Some(chain)
    }
}

impl BackupDetail {
    /// Returns its record.
    #[must_use]
    pub fn info(&self) -> &BackupInfo {
        &self.summary.info
    }

    /// Returns how many workers copied it.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.info().copy_stats.as_ref().and_then(CopyStats::number_of_workers).unwrap_or(1)
    }

    /// Returns the rate of the copy in bytes per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn throughput(&self) -> Option<f64> {
        let seconds = self.info().copy_stats.as_ref()?.copy_seconds().filter(|seconds| *seconds > 0.0)?;
        Some(self.own_size() as f64 / seconds)
    }

    /// Returns the bytes that it alone takes: what hard links share with other backups does not count.
    #[must_use]
    pub fn own_size(&self) -> u64 {
        self.info().deduplicated_size.or(self.info().size).unwrap_or(0)
    }

    /// Returns what an rsync backup saved by hard links to older ones, and an incremental one by what it leaves out: bytes, and
    /// percent. As with Barman, the bytes are that part of the whole cluster, which is a little more than was copied.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn resources_saved(&self) -> Option<(u64, f64)> {
        let info = self.info();
        let whole = match info.backup_type()? {
            BackupType::Rsync => info.size,
            BackupType::Incremental => info.cluster_size,
            _ => None,
        };
        let whole = whole.filter(|size| *size > 0)?;
        let ratio = 1.0 - self.own_size() as f64 / whole as f64;
        let cluster = info.cluster_size.unwrap_or(whole) as f64;
        (ratio >= 0.0).then_some(((cluster * ratio) as u64, ratio * 100.0))
    }

    /// Returns what part of the WAL that it needs compression saved, 0.0 to 1.0; `None` where it saved nothing.
    #[must_use]
    pub fn wal_compression_ratio(&self) -> Option<f64> {
        let ratio = self.summary.wal.compression_ratio(self.info().xlog_segment_size);
        (ratio != 0.0).then_some(ratio)
    }

    /// Returns the same for the WAL after it.
    #[must_use]
    pub fn later_wal_compression_ratio(&self) -> Option<f64> {
        let ratio = self.summary.wal.until_next_compression_ratio(self.info().xlog_segment_size);
        (ratio != 0.0).then_some(ratio)
    }

    /// Returns the last segment that belongs to it, or after it to no other.
    #[must_use]
    pub fn last_wal(&self) -> Option<SegmentName> {
        self.summary.wal.last
    }

    /// Returns the verdict in words.
    #[must_use]
    pub fn retention_text(&self) -> &'static str {
        self.summary.retention.map_or("not enforced", Verdict::as_str)
    }
}

impl Server {
    /// Returns every backup, the newest first.
    ///
    /// # Errors
    /// The catalog cannot be read, or an option asks for another way to read it.
    pub fn list_backups(&self, now: Timestamp) -> Result<Vec<BackupSummary>, Error> {
        self.refuse_unsupported(Command::Show)?;
        let backups = self.catalog().backups()?;
        let mut wal = self.catalog().wal_stats(&backups)?;
        let retention = self.retention(&backups, now)?;
        let summary = |info: BackupInfo| BackupSummary {
            wal: wal.remove(&info.backup_id).unwrap_or_default(),
            retention: retention.get(&info.backup_id).copied(),
            info,
        };
        Ok(backups.into_iter().rev().map(summary).collect())
    }

    /// Returns everything about the backup that a user means by `word`.
    ///
    /// # Errors
    /// The word means none or several, the catalog cannot be read, or an option asks for another way to read it.
    pub fn show_backup(&self, word: &str, now: Timestamp) -> Result<BackupDetail, Error> {
        self.refuse_unsupported(Command::Show)?;
        let backups = self.catalog().backups()?;
        let info = self.catalog().resolve_among(&backups, word)?.clone();
        let id = &info.backup_id;
        let mut wal = self.catalog().wal_stats(&backups)?;
        let retention = self.retention(&backups, now)?;
        Ok(BackupDetail {
            reachable_timelines: self.catalog().reachable_timelines(&info)?,
            previous: previous_backup(&backups, id).map(|info| info.backup_id),
            next: next_backup(&backups, id).map(|info| info.backup_id),
            chain: BackupChain::of(&info, &backups),
            summary: BackupSummary {
                wal: wal.remove(id).unwrap_or_default(),
                retention: retention.get(id).copied(),
                info,
            },
        })
    }

    fn retention(&self, backups: &[BackupInfo], now: Timestamp) -> Result<BTreeMap<BackupId, Verdict>, Error> {
        let Some(rules) = self.retention_rules() else { return Ok(BTreeMap::new()) };
        let verdicts = self.judge_backups(&rules, backups, now)?;
        Ok(verdicts.into_iter().map(|verdict| (verdict.id, verdict.status)).collect())
    }
}
