//! Deleting backups, and the WAL that goes with them.
//!
//! A deletion is marked first, with a copy of the record in the mark. Then the record goes, and with it the backup is
//! gone for everybody; then the lines of its WAL in the index, the WAL, the data, and last the mark. Whatever stops this
//! on the way, [`Catalog::finish_deletions`] finds the mark and goes on (invariants 3 and 7). WAL that goes because of its
//! age has a mark of its own.

mod mark;
mod old_wal;
mod tree;
mod wal;

use std::collections::BTreeMap;

use barman_retention::{Backup, Freed, Occasion, Remaining, Target};
use barman_storage::{Cancel, LockFile};
use wal_format::{Timestamp, WalFileName};

use crate::archive::{HookDecision, Hooks};
use crate::catalog::existing;
use crate::{BackupId, BackupInfo, Catalog, Error, Lock, LockError, layout};

pub use tree::deletion_order;

/// How backups are deleted.
#[derive(Clone, Copy)]
pub struct DeleteOptions<'a> {
    /// The present: what is kept until a moment behind it stays.
    pub now: Timestamp,
    /// Scripts to run around each deletion.
    pub hooks: &'a dyn Hooks,
    /// Looked at before each backup and each batch of WAL. What is begun is finished by the next run.
    pub cancel: &'a Cancel,
}

/// What a deletion tells on its way; of each backup in this order.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeleteEvent<'a> {
    /// Another process works with the backup, which therefore stays. Only where the policy asked for it: a command ends
    /// with [`Error::InUse`].
    InUse(BackupId),
    /// Somebody has asked to keep the backup since it was decided to delete it: it stays.
    Kept(BackupId),
    /// A hook script asked not to delete the backup: it stays.
    Stopped(BackupId),
    /// The backup is gone for everybody, and is now removed.
    Begun(&'a BackupInfo),
    /// This WAL goes with it, possibly none; by directories, each in the order of the index. Not told where an older
    /// backup needs it all.
    Wal(&'a [WalFileName]),
    /// This WAL goes because of its age.
    OldWal(&'a [WalFileName]),
    /// It is gone with all that belonged to it.
    Deleted(&'a BackupInfo),
}

/// What deleting one backup would remove.
#[derive(Debug, Clone)]
pub struct PlannedDeletion {
    /// The backup.
    pub info: BackupInfo,
    /// The WAL that goes with it; by directories, each in the order of the index.
    pub wal: Vec<WalFileName>,
    /// The length of that WAL as stored, in bytes.
    pub wal_bytes: u64,
}

/// How many backups are deleted at a time: each holds its lock, which is an open file, until the end.
const ROUND: usize = 100;

impl Catalog {
    /// Says what deleting these backups in this order now would remove, and removes nothing.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn plan_deletion(
        &self,
        wanted: &[(BackupId, Occasion)],
        now: Timestamp,
    ) -> Result<Vec<PlannedDeletion>, Error> {
        let records = self.backups()?;
        let backups = self.retention_backups(&records)?;
        let mut remaining = Remaining::new(&backups, now);
        let mut freed = Freed::default();
        for (id, occasion) in wanted {
            remaining.delete(id, *occasion).into_iter().for_each(|removal| freed.add(id, removal));
        }
        let mut files: BTreeMap<BackupId, (Vec<WalFileName>, u64)> = BTreeMap::new();
        for wal in self.archived_wal()? {
            if let Some(id) = freed.why(&wal.name) {
                let (names, bytes) = files.entry(*id).or_default();
                names.push(wal.name);
                *bytes = bytes.saturating_add(wal.size);
            }
        }
        let planned = wanted.iter().filter_map(|(id, _)| {
            let info = records.iter().find(|info| info.backup_id == *id)?.clone();
            let (names, wal_bytes) = files.remove(id).unwrap_or_default();
            Some(PlannedDeletion { info, wal: wal::by_directory(names), wal_bytes })
        });
        Ok(planned.collect())
    }

    /// Deletes backups in this order, and the WAL that goes with each; those that are gone already are passed over.
    ///
    /// The index is rewritten once for many backups, and its lock is held for moments only: WAL is archived meanwhile.
    ///
    /// # Errors
    /// A backup that a command asks to delete is in use, and nothing was done; or something could not be read or removed:
    /// what is begun is finished by [`finish_deletions`](Self::finish_deletions).
    pub fn delete_backups(
        &self,
        wanted: &[(BackupId, Occasion)],
        options: &DeleteOptions<'_>,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        for round in wanted.chunks(ROUND) {
            let locked = self.lock_for_deletion(round, events)?;
            let records = self.backups()?;
            let mut backups = self.retention_backups(&records)?;
            self.note_use(backups.iter_mut().filter(|backup| is_alone(backup, options.now)))?;
            let mut begun = Round::new(self, &backups, options.now);
            // What is begun is carried out even if beginning another one fails.
            let began = locked.into_iter().try_for_each(|locked| begun.begin(locked, options, events));
            begun.carry_out(options, events)?;
            began?;
        }
        Ok(())
    }

    /// Finishes deletions that were interrupted after their backup was gone. Those interrupted before are the retention
    /// plan's to decide on: the backup is still there, with a mark.
    ///
    /// # Errors
    /// Something cannot be read or removed.
    pub fn finish_deletions(
        &self,
        options: &DeleteOptions<'_>,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        self.finish_removing_old_wal(options.cancel, events)?;
        let marked = self.marked_for_deletion()?;
        let mut interrupted = Vec::new();
        for id in marked {
            if self.find_backup(&id)?.is_none()
                && let Some(lock) = self.lock_unless_busy(&id)?
            {
                interrupted.extend(self.interrupted_deletion(id, lock)?);
            }
        }
        if interrupted.is_empty() {
            return Ok(());
        }
        // In the calculation they are there once more, as they were before.
        let mut records = self.backups()?;
        records.extend(interrupted.iter().map(|(deleting, _)| deleting.info.clone()));
        records.sort_by_key(|info| info.backup_id);
        let backups = self.retention_backups(&records)?;
        let mut round = Round::new(self, &backups, options.now);
        round.looks_for_unrecorded = true;
        for (deleting, occasion) in interrupted {
            // Barman's own mark says nothing of the WAL.
            match deleting.info.begin_wal {
                Some(_) => round.add(deleting, occasion),
                None => round.begun.push(deleting),
            }
        }
        round.carry_out(options, events)
    }

    /// Takes the locks of the backups that are to be deleted.
    fn lock_for_deletion(
        &self,
        wanted: &[(BackupId, Occasion)],
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<Vec<Locked>, Error> {
        let mut locked = Vec::new();
        for (id, occasion) in wanted {
            match (self.lock_unless_busy(id)?, occasion) {
                (Some(lock), occasion) => locked.push(Locked { id: *id, occasion: *occasion, lock }),
                (None, Occasion::Policy) => events(DeleteEvent::InUse(*id)),
                (None, Occasion::Command) => {
                    return Err(Error::InUse { server: self.layout().server.clone(), id: *id });
                }
            }
        }
        Ok(locked)
    }

    pub(crate) fn lock_unless_busy(&self, id: &BackupId) -> Result<Option<LockFile>, Error> {
        match self.lock(Lock::BackupId(*id)) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Busy { .. }) => Ok(None),
            Err(LockError::Catalog(error)) => Err(error),
        }
    }

    /// Removes the record of a backup, first where it was before Barman 3.13.2: the other one wins where both are there.
    fn remove_record(&self, id: &BackupId) -> Result<(), Error> {
        if let Some(dir) = existing(&self.layout().basebackups_directory)?
            && dir.stat(&layout::old_backup_info(id))?.is_some()
        {
            dir.remove_file(&layout::old_backup_info(id))?;
            dir.subdir(&layout::backup(id))?.sync()?;
        }
        let meta = self.meta_dir()?;
        meta.remove_file(&layout::backup_info(id))?;
        Ok(meta.sync()?)
    }

    /// Takes a backup out of its parent's list of children. Barman's cron stops working where a child in that list is gone.
    fn leave_parent(&self, info: &BackupInfo) -> Result<(), Error> {
        let Some(mut parent) = info.parent_backup_id.map(|id| self.find_backup(&id)).transpose()?.flatten() else {
            return Ok(());
        };
        let before = parent.children_backup_ids.len();
        parent.children_backup_ids.retain(|child| *child != info.backup_id);
        if parent.children_backup_ids.len() < before { self.save(&parent) } else { Ok(()) }
    }

    /// Removes the data of a backup, and then the mark that it is being deleted.
    fn remove_data(&self, id: &BackupId) -> Result<(), Error> {
        if let Some(backups) = existing(&self.layout().basebackups_directory)? {
            backups.remove_tree(&layout::backup(id))?;
            backups.sync()?;
        }
        let locks = self.lock_dir()?;
        locks.remove_file(&self.layout().sync_backup_lock(id)?)?;
        self.unmark_deletion(id)
    }

    /// Counts anew the bytes that an rsync backup shares with no other, now that the one before it is gone.
    fn recount_next(&self, records: &[BackupInfo], deleted: &BackupId) -> Result<(), Error> {
        let next = crate::next_backup(records, deleted).map(|info| info.backup_id);
        let Some(mut next) = next.map(|id| self.find_backup(&id)).transpose()?.flatten() else { return Ok(()) };
        if next.backup_type() != Some(crate::BackupType::Rsync) {
            return Ok(());
        }
        let (size, own) = match self.backup_data(&next).and_then(|data| data.sizes()) {
            // A backup without its data is `check`'s to report, not a reason to leave another one half deleted.
            Err(Error::Storage(error)) if error.is_not_found() => return Ok(()),
            sizes => sizes?,
        };
        (next.size, next.deduplicated_size) = (Some(size), Some(own));
        self.save(&next)
    }
}

/// Whether the WAL behind a backup may go although the backup stays.
fn is_alone(backup: &Backup<BackupId>, now: Timestamp) -> bool {
    backup.candidate.keep.is_some_and(|keep| keep.target == Target::Standalone && keep.holds(now))
}

/// A backup that is to be deleted, and that nobody else works with.
struct Locked {
    id: BackupId,
    occasion: Occasion,
    lock: LockFile,
}

/// A backup whose record is gone.
struct Deleting {
    info: BackupInfo,
    /// Whether WAL may go with it; there need not be any.
    frees_wal: bool,
    _lock: LockFile,
}

/// Backups that are deleted together.
struct Round<'a> {
    catalog: &'a Catalog,
    remaining: Remaining<'a, BackupId>,
    freed: Freed<BackupId>,
    begun: Vec<Deleting>,
    /// Whether WAL that the index does not name may have been left by an interrupted run.
    looks_for_unrecorded: bool,
}

impl<'a> Round<'a> {
    fn new(catalog: &'a Catalog, backups: &'a [Backup<BackupId>], now: Timestamp) -> Self {
        let remaining = Remaining::new(backups, now);
        Self { catalog, remaining, freed: Freed::default(), begun: Vec::new(), looks_for_unrecorded: false }
    }

    /// Makes a backup vanish.
    fn begin(
        &mut self,
        locked: Locked,
        options: &DeleteOptions<'_>,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        options.cancel.check()?;
        let Locked { id, occasion, lock } = locked;
        let Some(info) = self.catalog.find_backup(&id)? else { return Ok(()) };
        if self.catalog.keep(&id)?.is_some_and(|keep| keep.holds(options.now)) {
            events(DeleteEvent::Kept(id));
            return Ok(());
        }
        if options.hooks.before_delete(&info) == HookDecision::Stop {
            events(DeleteEvent::Stopped(id));
            return Ok(());
        }
        self.catalog.mark_deletion(&info, occasion)?;
        self.catalog.leave_parent(&info)?;
        // Invariant 3: the record goes before what it speaks of.
        self.catalog.remove_record(&id)?;
        self.add(Deleting { info, frees_wal: false, _lock: lock }, occasion);
        Ok(())
    }

    fn add(&mut self, mut deleting: Deleting, occasion: Occasion) {
        let id = deleting.info.backup_id;
        let removal = self.remaining.delete(&id, occasion);
        deleting.frees_wal = removal.is_some();
        removal.into_iter().for_each(|removal| self.freed.add(&id, removal));
        self.begun.push(deleting);
    }

    /// Removes what belongs to the backups that have vanished.
    fn carry_out(self, options: &DeleteOptions<'_>, events: &mut dyn FnMut(DeleteEvent<'_>)) -> Result<(), Error> {
        if self.begun.is_empty() {
            return Ok(());
        }
        let freed = wal::FreedWal::take(self.catalog, &self.freed, self.looks_for_unrecorded)?;
        for deleting in self.begun {
            let id = deleting.info.backup_id;
            events(DeleteEvent::Begun(&deleting.info));
            let names = freed.of(&id);
            if deleting.frees_wal {
                events(DeleteEvent::Wal(names));
                wal::remove(self.catalog, &freed.index, names, options.cancel)?;
            }
            self.catalog.remove_data(&id)?;
            self.catalog.recount_next(&self.catalog.backups()?, &id)?;
            options.hooks.after_delete(&deleting.info);
            events(DeleteEvent::Deleted(&deleting.info));
        }
        Ok(())
    }
}
