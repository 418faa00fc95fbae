//! Removing WAL that no backup needs.

use std::collections::BTreeSet;

use wal_format::{SegmentName, WalFileName};

use crate::archive::for_each_archived;
use crate::{BackupId, BackupInfo, Catalog, Error, layout};

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
    /// next one (invariant 7), at the latest when this backup is deleted and another is the oldest.
    ///
    /// Until then it takes space and does no other harm, and nobody removes it sooner: nothing tells such files from those
    /// that Barman archived without recording them because it was killed, or from an archive whose index was damaged. A
    /// user who removed the oldest backup by hand, or keeps one elsewhere, may want them.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn plan_purge(&self, id: &BackupId) -> Result<Option<PurgePlan>, Error> {
        let Some(begin_wal) = self.purge_limit(id)? else { return Ok(None) };
        let mut names = BTreeSet::new();
        self.xlog_db()?.scan(|line| {
            names.extend(line.name.parse().ok().and_then(|name| older(name, &begin_wal)));
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
        db.retain(|line| !names.contains(line.name))?;
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
        Ok(())
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
