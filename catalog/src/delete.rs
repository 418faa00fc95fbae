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

use std::collections::{BTreeMap, BTreeSet};

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
            let mut begun = Round::new(self, self.retention_backups(&records)?, options.now);
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
        records.extend(interrupted.iter().map(|deleting| deleting.info.clone()));
        records.sort_by_key(|info| info.backup_id);
        let mut round = Round::new(self, self.retention_backups(&records)?, options.now);
        (round.begun, round.is_finishing) = (interrupted, true);
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
    occasion: Occasion,
    _lock: LockFile,
}

/// Backups that are deleted together.
struct Round<'a> {
    catalog: &'a Catalog,
    /// All of the server, with those that are deleted.
    backups: Vec<Backup<BackupId>>,
    now: Timestamp,
    begun: Vec<Deleting>,
    /// Whether an interrupted run began it, and may have left WAL that the index does not name any more.
    is_finishing: bool,
}

impl<'a> Round<'a> {
    fn new(catalog: &'a Catalog, backups: Vec<Backup<BackupId>>, now: Timestamp) -> Self {
        Self { catalog, backups, now, begun: Vec::new(), is_finishing: false }
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
        self.begun.push(Deleting { info, occasion, _lock: lock });
        Ok(())
    }

    /// Removes what belongs to the backups that have vanished.
    fn carry_out(mut self, options: &DeleteOptions<'_>, events: &mut dyn FnMut(DeleteEvent<'_>)) -> Result<(), Error> {
        if self.begun.is_empty() {
            return Ok(());
        }
        let (freed, with_wal) = self.free_wal()?;
        for deleting in self.begun {
            let id = deleting.info.backup_id;
            events(DeleteEvent::Begun(&deleting.info));
            let names = freed.of(&id);
            if with_wal.contains(&id) {
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

    /// Takes the WAL that goes with them out of the index; also returns with which of them any may go.
    ///
    /// WAL behind a backup that is kept for itself alone stays while somebody works with that: a restore may be on the way to
    /// any point behind it (invariant 6). If one begins meanwhile, it is found out anew.
    fn free_wal(&mut self) -> Result<(wal::FreedWal, BTreeSet<BackupId>), Error> {
        loop {
            let mut alone: Vec<_> = self.backups.iter_mut().filter(|backup| is_alone(backup, self.now)).collect();
            self.catalog.note_use(alone.iter_mut().map(|backup| &mut **backup))?;
            let idle: Vec<_> = alone.iter().filter(|backup| !backup.in_use).map(|backup| backup.candidate.id).collect();
            let (freed, with_wal) = self.freed();
            if let Some(taken) = wal::FreedWal::take(self.catalog, &freed, &idle, self.is_finishing)? {
                return Ok((taken, with_wal));
            }
        }
    }

    /// Which WAL goes, and with which backups any may go.
    fn freed(&self) -> (Freed<BackupId>, BTreeSet<BackupId>) {
        let mut remaining = Remaining::new(&self.backups, self.now);
        let (mut freed, mut with_wal) = (Freed::default(), BTreeSet::new());
        // Barman's own mark of a deletion says nothing of the WAL.
        let says_what_goes = |deleting: &&Deleting| !self.is_finishing || deleting.info.begin_wal.is_some();
        for deleting in self.begun.iter().filter(says_what_goes) {
            let id = deleting.info.backup_id;
            if let Some(removal) = remaining.delete(&id, deleting.occasion) {
                freed.add(&id, removal);
                with_wal.insert(id);
            }
        }
        (freed, with_wal)
    }
}
