//! Carrying out a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use barman_catalog::{BackupId, BackupInfo, Catalog, EntryError, LockError};
use barman_storage::{
    Cancel, Cancelled, CopyError, CopyItem, CopyOptions, CopyProgress, Dir, Existing, Operation, PublishError,
    RelativePath, RemoteError, Throttle, copy_files,
};
use serde::Serialize;
use wal_format::WalFileName;

use crate::host::Host;
use crate::mangle::{DangerousSetting, SettingChange};
use crate::marker::Marker;
use crate::plan::{PlannedFile, PlannedSpace, PlannedTree, PlannedWal, RestorePlan, Standing};
use crate::plan_error::PlanError;

mod archive;
mod combination;
mod configuration;
mod destination;
mod manifest_check;
mod parcel;
mod remote;
mod staged;
mod wal;

pub(crate) use configuration::{CONFIGURATION_FILES, LONGEST_FILE_BYTES, RECORD, origin};
use destination::Places;
use manifest_check::checks;
use remote::RemoteRestore;
use staged::Staged;

/// PostgreSQL refuses a data directory that others may read more of than this.
const DIRECTORY_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;

/// The control file's name until it may have its own (invariant 4).
const CONTROL_FILE_BESIDE: &str = "global/pg_control.restoring";

/// How many syncs run at a time, at least. They wait for the disk, not for a processor, and a file system writes its journal
/// once for all that wait.
const SYNCS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// How to carry out a plan.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// How many files are copied at a time.
    pub jobs: NonZeroUsize,
    /// Looked at once per buffer.
    pub cancel: Cancel,
    /// How many bytes are written per second, at most; `None` is no limit. Those of the WAL count too.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The same for tablespaces with a limit of their own, by name; what goes there does not count for the other.
    pub tablespace_bytes_per_second: BTreeMap<String, NonZeroU64>,
    /// How often another host is tried again after the connection to it was lost.
    pub retries: u32,
    /// How long to wait before that.
    pub retry_pause: Duration,
}

/// What a restore is doing, in this order; only what the plan asks for occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreEvent {
    /// The base backup is being copied.
    CopyingData {
        /// All bytes of it.
        bytes: u64,
    },
    /// WAL is being copied.
    CopyingWal {
        /// All bytes of it.
        bytes: u64,
    },
    /// So many more bytes were copied, of the base backup or of WAL.
    Copied {
        /// Bytes since the last event.
        bytes: u64,
    },
    /// So many more bytes were there already, and are as they should be.
    Kept {
        /// Bytes since the last event.
        bytes: u64,
    },
    /// The server is kept from archiving the copied WAL again.
    WritingArchiveStatus,
    /// The recovery settings are being written.
    WritingRecoverySettings,
    /// The configuration is being made harmless.
    ReviewingConfiguration,
    /// The connection to the other host was lost; after a pause all that is not there yet is copied.
    ConnectionLost {
        /// How long it is waited.
        pause: Duration,
    },
    /// Everything is being made durable; then `global/pg_control` follows.
    Syncing,
}

/// What an operator should know after a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Settings that were changed to protect the original's WAL archive and this recovery.
    pub changes: Vec<SettingChange>,
    /// Settings that were left as they were, and that point outside the data directory.
    pub dangerous: Vec<DangerousSetting>,
    /// Configuration files that the backup does not have, because they lay outside the data directory.
    pub missing_files: Vec<String>,
}

/// Why a restore stopped. What it created stays, and no server starts from it (invariant 4).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backup is being changed or deleted.
    #[error("backup {id} is in use")]
    Lease {
        /// The backup.
        id: BackupId,
        /// Who uses it.
        #[source]
        source: LockError,
    },
    /// The backup is not what it was when the restore was planned.
    #[error("backup {id} has changed since the restore was planned")]
    BackupChanged {
        /// The backup.
        id: BackupId,
    },
    /// WAL that was to be copied was removed from the archive after the restore was planned.
    #[error("{name} was removed from the archive after the restore was planned")]
    WalRemoved {
        /// The first of it.
        name: WalFileName,
    },
    /// A directory has been filled by somebody else since the restore was planned.
    #[error("{} is no longer empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// What is in the destination must not be restored over, or not any more.
    #[error(transparent)]
    Destination(Box<PlanError>),
    /// The destination was another one when the restore was planned.
    #[error("{} has changed since the restore was planned", path.display())]
    DestinationChanged {
        /// The destination.
        path: PathBuf,
    },
    /// There is not enough room.
    #[error("{} has {free} bytes free, and the restore takes {needed}", path.display())]
    NoSpace {
        /// A directory on the file system.
        path: PathBuf,
        /// Bytes that the restore takes there.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(Cancelled),
    /// An archive of the backup cannot be read to its end.
    #[error("the archive {} cannot be read", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// An archive of the backup has an entry that PostgreSQL never makes.
    #[error("refused entry {entry:?} of archive {}", path.display())]
    ArchiveEntry {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        #[source]
        kind: EntryError,
    },
    /// An archive of the backup lacks a file that the manifest names.
    #[error("the archive {} lacks {}", archive.display(), file.display())]
    LostFile {
        /// The archive.
        archive: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// A file could not be copied, or is damaged.
    #[error(transparent)]
    Copy(CopyError),
    /// The host that is restored to cannot be reached, or a command failed there.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// `global/pg_control` could not be put in place.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] barman_catalog::Error),
}

impl From<Cancelled> for RestoreError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

impl From<PlanError> for RestoreError {
    fn from(error: PlanError) -> Self {
        Self::Destination(Box::new(error))
    }
}

impl From<CopyError> for RestoreError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            CopyError::Storage(error) => Self::Storage(error),
            error => Self::Copy(error),
        }
    }
}

/// Restores a backup as planned. When this returns, everything is durable and a server can be started.
///
/// The backup, and what it builds on, is kept from being deleted meanwhile (invariant 6). Files belong to the user who runs this, as with Barman:
/// run it as the user who will start the server.
///
/// # Errors
/// The catalog or a directory to restore into has changed since the plan was made, a file is damaged or cannot be written,
/// or the caller asked to stop. What was created until then stays, but no server can be started from it: without
/// `global/pg_control` PostgreSQL takes no directory for its own. A plan that is made anew goes on from there.
pub fn restore(
    catalog: &Catalog,
    plan: &RestorePlan,
    options: &RestoreOptions,
    events: &(dyn Fn(RestoreEvent) + Sync),
) -> Result<RestoreReport, RestoreError> {
    let leases = backups(plan).map(|info| {
        let id = info.backup_id;
        catalog.lease(&id).map_err(|source| RestoreError::Lease { id, source })
    });
    let _leases: Vec<_> = leases.collect::<Result<_, _>>()?;
    backups(plan).try_for_each(|info| check_backup(catalog, info))?;
    check_wal(catalog, plan)?;
    check_space(plan)?;
    let throttle = options.bytes_per_second.map(|rate| Arc::new(Throttle::new(rate)));
    let staged = plan.scratch.as_ref().map(Staged::create).transpose()?;
    let restore = Restore { catalog, plan, options, events, throttle, staged };
    match &plan.host {
        Host::Here => restore.fill_here(),
        Host::Remote(host) => RemoteRestore { restore: &restore, host }.fill(),
    }
}

/// After a sync that failed, what is read may not be what is on the disk.
fn is_failed_sync(error: &RestoreError) -> bool {
    match error {
        RestoreError::Storage(error) | RestoreError::Publish(PublishError::Storage(error)) => {
            error.operation() == Operation::Sync
        }
        _ => false,
    }
}

/// All that is read: the backup, and those that it builds on.
fn backups(plan: &RestorePlan) -> impl Iterator<Item = &BackupInfo> {
    std::iter::once(&plan.recovery.backup).chain(&plan.recovery.ancestors)
}

/// The plan names a backup; this is still the one.
fn check_backup(catalog: &Catalog, planned: &BackupInfo) -> Result<(), RestoreError> {
    let id = planned.backup_id;
    let now = catalog.find_backup(&id)?.ok_or(RestoreError::BackupChanged { id })?;
    // The status may have gone from WAITING_FOR_WALS to DONE meanwhile.
    let is_same = now.status.is_copied()
        && (now.systemid, now.timeline, now.begin_xlog, now.end_xlog)
            == (planned.systemid, planned.timeline, planned.begin_xlog, planned.end_xlog);
    if is_same { Ok(()) } else { Err(RestoreError::BackupChanged { id }) }
}

/// WAL may go because of its age, or with another backup. From now on what is in the index stays: whoever takes it out looks
/// whether there is a lease (invariant 6).
fn check_wal(catalog: &Catalog, plan: &RestorePlan) -> Result<(), RestoreError> {
    let mut needed: BTreeSet<String> = plan.wal.iter().flat_map(PlannedWal::archived_names).collect();
    if !needed.is_empty() {
        catalog.xlog_db()?.scan(|line| {
            needed.remove(line.name());
            Ok::<_, barman_catalog::Error>(())
        })?;
    }
    match needed.first().and_then(|name| name.parse().ok()) {
        Some(name) => Err(RestoreError::WalRemoved { name }),
        None => Ok(()),
    }
}

/// A disk that fills up hours later is no better than one that was full before.
fn check_space(plan: &RestorePlan) -> Result<(), RestoreError> {
    match plan.space.iter().find(|space| !space.suffices()) {
        Some(PlannedSpace { places, needed, free }) => {
            let path = places.first().unwrap_or(&plan.destination).clone();
            Err(RestoreError::NoSpace { path, needed: *needed, free: *free })
        }
        None => Ok(()),
    }
}

/// One restore.
struct Restore<'a> {
    catalog: &'a Catalog,
    plan: &'a RestorePlan,
    options: &'a RestoreOptions,
    events: &'a (dyn Fn(RestoreEvent) + Sync),
    throttle: Option<Arc<Throttle>>,
    /// Changed blocks of backups in archives.
    staged: Option<Staged>,
}

impl Restore<'_> {
    fn fill_here(&self) -> Result<RestoreReport, RestoreError> {
        let places = self.open_places()?;
        let restored = self.fill(&places);
        if restored.as_ref().is_err_and(is_failed_sync) {
            // Invariant 2: the next attempt believes nothing of what is there. If even this cannot be written, it may.
            let _ = self.mark(&places, true);
        }
        restored
    }

    /// Puts everything into its place.
    fn fill(&self, places: &Places) -> Result<RestoreReport, RestoreError> {
        self.clear(places)?;
        self.copy_backup(places)?;
        self.copy_wal(places)?;
        let report = self.configure(&places.data)?;
        (self.events)(RestoreEvent::Syncing);
        for dir in places.all() {
            self.options.cancel.check()?;
            dir.sync_tree(self.options.jobs.max(SYNCS))?;
        }
        // Invariant 4: only now, when all the rest is durable, can a server be started.
        self.place_control_file(&places.data)?;
        // A marker beside the control file means nothing any more, so that a crash in between does no harm.
        places.all().try_for_each(Marker::remove)?;
        Ok(report)
    }

    /// Copies everything but the control file.
    fn copy_backup(&self, places: &Places) -> Result<(), RestoreError> {
        (self.events)(RestoreEvent::CopyingData { bytes: self.plan.data_bytes() });
        self.make_directories(&self.plan.data, &places.data)?;
        for (tablespace, dir) in self.plan.tablespaces.iter().zip(&places.tablespaces) {
            self.make_directories(&tablespace.tree, dir)?;
        }
        self.unpack_here(places)?;
        self.copy_tree(&self.plan.data, &places.data, self.throttle.clone())?;
        let links = places.data.create_subdir(&RelativePath::literal("pg_tblspc"), DIRECTORY_MODE)?;
        for (tablespace, dir) in self.plan.tablespaces.iter().zip(&places.tablespaces) {
            self.copy_tree(&tablespace.tree, dir, self.throttle_of(&tablespace.name))?;
            links.symlink(&tablespace.location, &plain_name(tablespace.oid))?;
        }
        Ok(())
    }

    /// Returns the limit for a tablespace: its own, or else that of all.
    fn throttle_of(&self, tablespace: &str) -> Option<Arc<Throttle>> {
        let own = self.options.tablespace_bytes_per_second.get(tablespace);
        own.map(|rate| Arc::new(Throttle::new(*rate))).or_else(|| self.throttle.clone())
    }

    /// Makes the directories of a tree in files; those in an archive come out of it.
    fn make_directories(&self, tree: &PlannedTree, to: &Dir) -> Result<(), RestoreError> {
        for directory in tree.directories.iter().filter(|_| tree.source.directory().is_some()) {
            self.options.cancel.check()?;
            to.make_subdir(directory, DIRECTORY_MODE)?.set_mode(DIRECTORY_MODE)?;
        }
        Ok(())
    }

    fn copy_tree(&self, tree: &PlannedTree, to: &Dir, throttle: Option<Arc<Throttle>>) -> Result<(), RestoreError> {
        if let Some(source) = tree.source.directory() {
            let items: Vec<_> = tree.files.iter().map(copy_item).collect();
            self.copy_at_rate(source, to, &items, &checks(&tree.files), throttle.clone())?;
        }
        self.combine_here(tree, to, throttle.as_deref())
    }

    /// Does the same on as many threads as there are jobs, at most `most`; the first failure counts.
    fn in_parallel(
        &self,
        most: usize,
        work: &(dyn Fn() -> Result<(), RestoreError> + Sync),
    ) -> Result<(), RestoreError> {
        let failure = OnceLock::new();
        let run = || {
            if let Err(error) = work() {
                let _ = failure.set(error);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.options.jobs.get().min(most) {
                scope.spawn(run);
            }
            run();
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    fn copy(
        &self,
        from: &Dir,
        to: &Dir,
        items: &[CopyItem],
        check: manifest_check::Checks<'_>,
    ) -> Result<(), RestoreError> {
        self.copy_at_rate(from, to, items, check, self.throttle.clone())
    }

    fn copy_at_rate(
        &self,
        from: &Dir,
        to: &Dir,
        items: &[CopyItem],
        check: manifest_check::Checks<'_>,
        throttle: Option<Arc<Throttle>>,
    ) -> Result<(), RestoreError> {
        let existing = if self.plan.standing == Standing::Free { Existing::Refuse } else { Existing::KeepEqual };
        let options = CopyOptions { jobs: self.options.jobs, cancel: self.options.cancel.clone(), existing, throttle };
        let progress = |progress| match progress {
            CopyProgress::Copied(bytes) => (self.events)(RestoreEvent::Copied { bytes }),
            CopyProgress::Kept(bytes) => (self.events)(RestoreEvent::Kept { bytes }),
        };
        Ok(copy_files(from, to, items, &options, check, &progress)?)
    }

    /// Copies the control file beside its place, and gives it its name when it is whole and durable.
    fn place_control_file(&self, data: &Dir) -> Result<(), RestoreError> {
        let file = &self.plan.control_file;
        let beside = RelativePath::literal(CONTROL_FILE_BESIDE);
        // From an archive it has come already.
        if let Some(source) = self.plan.data.source.directory() {
            let item = CopyItem { to: beside.clone(), ..copy_item(file) };
            self.copy(source, data, &[item], &checks(std::slice::from_ref(file)))?;
        }
        data.rename_new(&beside, data, &file.to)?;
        Ok(())
    }
}

fn copy_item(file: &PlannedFile) -> CopyItem {
    CopyItem { from: file.from.clone(), to: file.to.clone(), size: file.size, mode: file.mode }
}

/// Returns a number or WAL file name as the name of a file.
#[allow(clippy::expect_used, reason = "those consist of digits, letters and single dots within the name")]
fn plain_name(name: impl std::fmt::Display) -> RelativePath {
    RelativePath::new(name.to_string()).expect("numbers and WAL file names are plain names")
}
