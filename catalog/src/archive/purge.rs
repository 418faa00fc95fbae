//! Removing WAL that no backup needs.

use std::collections::BTreeSet;

use wal_format::{SegmentName, WalFileName};

use crate::archive::for_each_archived;
use crate::catalog::{FILE_MODE, existing, read_text};
use crate::{BackupId, BackupInfo, Catalog, Error, Status, layout};

/// Which WAL is removed, and because of which backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgePlan {
    /// The oldest backup.
    pub backup_id: BackupId,
    /// The first segment that it needs.
    pub begin_wal: SegmentName,
    /// What goes, in the order of the names.
    pub files: Vec<WalFileName>,
}

impl Catalog {
    /// Says which WAL lies before the oldest backup: all files with a name less than the first that it needs, except
    /// history files. Nothing if `id` is not the oldest backup whose data is complete, or does not say what it needs.
    ///
    /// The archive itself is looked through and not its index alone, so that what an interrupted purge left goes with the
    /// one that finishes it.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn plan_purge(&self, id: &BackupId) -> Result<Option<PurgePlan>, Error> {
        let Some(begin_wal) = self.purge_limit(id)? else { return Ok(None) };
        let mut names = BTreeSet::new();
        self.xlog_db()?.scan(|line| {
            names.extend(line.name().parse().ok().and_then(|name| older(name, &begin_wal)));
            Ok::<_, Error>(())
        })?;
        for_each_archived(&self.wals_dir()?, |file| {
            names.extend(older(file.name, &begin_wal));
            Ok::<_, Error>(())
        })?;
        let files = names.into_iter().map(|(_, name)| name).collect();
        Ok(Some(PurgePlan { backup_id: *id, begin_wal, files }))
    }

    /// Removes what a plan says; `removed` is told of each file. Call it with the server's [`Lock::Backup`](crate::Lock)
    /// held, so that no backup begins or vanishes meanwhile.
    ///
    /// # Errors
    /// The plan is no longer right, or a file cannot be removed. What was removed stays removed.
    pub fn purge(&self, plan: &PurgePlan, mut removed: impl FnMut(&WalFileName)) -> Result<(), Error> {
        // Invariant 6: a plan that was made for another state of the catalog removes nothing.
        if self.purge_limit(&plan.backup_id)? != Some(plan.begin_wal) {
            return Err(Error::PlanOutdated { server: self.layout().server.clone(), id: plan.backup_id });
        }
        let names: BTreeSet<String> = plan.files.iter().map(ToString::to_string).collect();
        // The lock is held to the end: an archiver must not put a file into a directory that is about to be removed.
        let mut db = self.xlog_db()?;
        // Invariant 3: the record goes before what it speaks of.
        db.retain(|line| !names.contains(line.name()))?;
        let wals = self.wals_dir()?;
        for name in &plan.files {
            wals.remove_file(&layout::archived(name))?;
            removed(name);
        }
        let directories: BTreeSet<_> = plan.files.iter().filter_map(layout::hash_directory).collect();
        for directory in directories {
            if wals.stat(&directory)?.is_none() {
                continue;
            }
            let files = wals.subdir(&directory)?;
            if files.entries()?.is_empty() {
                wals.remove_tree(&directory)?;
                wals.sync()?;
            } else {
                // What came back after a crash would be in the way of the same names, and nobody would look for it.
                files.sync()?;
            }
        }
        self.forget_facts(&db, &plan.files)
    }

    /// Notes durably that WAL before backup `id` is to go when the backup counts, if no other one does by now. Whatever stops
    /// the purge on its way, [`finish_purge`](Self::finish_purge) goes on. Without the mark nothing would tell what a purge
    /// left from files that Barman archived and was killed before it recorded them, or from an archive whose index was
    /// damaged.
    ///
    /// # Errors
    /// The catalog cannot be read, or the mark not written.
    pub fn mark_purge(&self, id: &BackupId) -> Result<(), Error> {
        if self.backups()?.iter().any(|info| info.status.is_copied()) {
            return Ok(());
        }
        Ok(self.backup_dir()?.replace(&layout::purge_mark(), FILE_MODE, format!("{id}\n").as_bytes())?)
    }

    /// Carries out the purge that was noted, if one was (invariant 7). Call it with the server's
    /// [`Lock::Backup`](crate::Lock) held. Nothing is removed if the backup was deleted meanwhile, or never counted.
    ///
    /// While WAL that the backup needs is on its way, so may be what the server wrote before: the note stays for the next
    /// call. Servers deliver WAL in its order.
    ///
    /// # Errors
    /// The catalog cannot be read, or a file not removed.
    pub fn finish_purge(&self) -> Result<(), Error> {
        let Some(dir) = existing(&self.layout().backup_directory)? else { return Ok(()) };
        let Some(text) = read_text(&dir, &layout::purge_mark())? else { return Ok(()) };
        if let Ok(id) = text.trim_end().parse()
            && let Some(plan) = self.plan_purge(&id)?
        {
            self.purge(&plan, |_| {})?;
            if self.backup(&id)?.status == Status::WaitingForWals {
                return Ok(());
            }
        }
        dir.remove_file(&layout::purge_mark())?;
        Ok(dir.sync()?)
    }

    /// The first segment that backup `id` needs, if no WAL before that is of any use.
    fn purge_limit(&self, id: &BackupId) -> Result<Option<SegmentName>, Error> {
        let backups = self.backups()?;
        let oldest = backups.iter().find(|info| info.status.is_copied());
        Ok(oldest.filter(|info| info.backup_id == *id).and_then(|info: &BackupInfo| info.begin_wal))
    }
}

/// The name with its text, which orders files as Barman does, if it is less than that of `begin_wal`.
fn older(name: WalFileName, begin_wal: &SegmentName) -> Option<(String, WalFileName)> {
    let text = name.to_string();
    let is_history = matches!(name, WalFileName::History(_));
    (!is_history && text < begin_wal.to_string()).then_some((text, name))
}
