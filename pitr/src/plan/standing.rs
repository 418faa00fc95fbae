//! What stands at the destination, and whether a restore may go over it.

use std::path::{Path, PathBuf};

use barman_catalog::BackupInfo;
use barman_storage::{Dir, RelativePath};
use wal_format::{ControlFile, PgMajor, SystemId};

use super::postmaster::check_stopped;
use crate::marker::Marker;
use crate::plan_error::PlanError;

/// A bound for files that have one line, or 8 KiB.
const LONGEST_FILE_BYTES: u64 = 16 << 10;

/// What a restore finds at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, or an empty directory.
    Free,
    /// What the same restore left when it was interrupted. It goes on from there.
    Interrupted {
        /// Whether a sync failed then, so that nothing of what is there is believed.
        distrusted: bool,
    },
    /// A data directory, which becomes that of the backup (`--delta-restore`).
    Cluster,
}

/// What is going to be restored, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restoring<'a> {
    pub(crate) server: &'a str,
    pub(crate) backup: &'a BackupInfo,
    pub(crate) destination: &'a Path,
    /// Whether another data directory may be restored over.
    pub(crate) delta: bool,
}

impl Restoring<'_> {
    /// Returns the marker of this restore.
    pub(crate) fn marker(&self) -> Marker {
        let (server, destination) = (self.server.to_owned(), self.destination.to_owned());
        Marker { server, backup: self.backup.backup_id, destination, distrusted: false }
    }

    /// Looks at the destination, and refuses what must not be restored over.
    pub(crate) fn look(&self) -> Result<Standing, PlanError> {
        let Some(dir) = open_if_taken(self.destination)? else { return Ok(Standing::Free) };
        let path = || self.destination.to_owned();
        if Marker::read(&dir)?.is_none() && Marker::is_alone(&dir)? {
            return Ok(Standing::Interrupted { distrusted: false });
        }
        let standing = match (self.interrupted(&dir)?, self.delta) {
            (Some(marker), _) if marker.is_of(&self.marker()) => {
                Standing::Interrupted { distrusted: marker.distrusted }
            }
            (Some(Marker { server, backup, .. }), false) => {
                return Err(PlanError::OtherRestore { path: path(), server, backup });
            }
            (Some(_), true) => Standing::Cluster,
            (None, false) => return Err(PlanError::DestinationNotEmpty { path: path() }),
            (None, true) if dir.stat(&RelativePath::literal("PG_VERSION"))?.is_none() => {
                return Err(PlanError::NoDataDirectory { path: path() });
            }
            (None, true) => Standing::Cluster,
        };
        check_stopped(&dir)?;
        self.check_cluster(&dir)?;
        Ok(standing)
    }

    /// Returns the marker of a restore that has not been finished. Where `global/pg_control` is, it has been.
    fn interrupted(&self, dir: &Dir) -> Result<Option<Marker>, PlanError> {
        let is_finished = dir.stat(&RelativePath::literal("global/pg_control"))?.is_some();
        let path = || self.destination.to_owned();
        match Marker::read(dir)?.filter(|_| !is_finished).transpose() {
            Ok(marker) => Ok(marker),
            // Whoever allows any data directory does not depend on what the marker says.
            Err(_) if self.delta => Ok(None),
            Err(source) => Err(PlanError::Marker { path: path(), source }),
        }
    }

    /// The data directory of another cluster is hardly what was meant, and there may be no other copy of it.
    fn check_cluster(&self, dir: &Dir) -> Result<(), PlanError> {
        let Some((found, expected)) = system_id(dir)?.zip(self.backup.systemid) else { return Ok(()) };
        if found == expected {
            return Ok(());
        }
        Err(PlanError::ForeignCluster { path: self.destination.to_owned(), found, expected })
    }

    /// Returns whether what is in a directory is this restore's to change: of the restore that goes on there, or of the
    /// tablespace of the data directory that is restored over.
    pub(crate) fn owns(&self, place: &Dir, oid: Option<u32>) -> Result<bool, PlanError> {
        if Marker::read(place)?.is_some_and(|marker| marker.is_ok_and(|marker| marker.is_of(&self.marker()))) {
            return Ok(true);
        }
        if Marker::read(place)?.is_none() && Marker::is_alone(place)? {
            return Ok(true);
        }
        let link = oid.map(|oid| self.destination.join("pg_tblspc").join(oid.to_string()));
        let canonical = |path: &Path| path.canonicalize().ok();
        Ok(link.and_then(|link| canonical(&link)).is_some_and(|old| canonical(place.path()) == Some(old)))
    }
}

/// Opens a directory that has something in it; `None` if it has nothing, or is not there.
pub(crate) fn open_if_taken(path: &Path) -> Result<Option<Dir>, PlanError> {
    match Dir::open(path) {
        Ok(dir) => Ok((!dir.entries()?.is_empty()).then_some(dir)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The identifier of the cluster that a directory is of, as far as that can be read.
fn system_id(dir: &Dir) -> Result<Option<SystemId>, PlanError> {
    let read = |name| dir.read(&RelativePath::literal(name), LONGEST_FILE_BYTES);
    let Some((version, control)) = read("PG_VERSION")?.zip(read("global/pg_control")?) else { return Ok(None) };
    let version: Option<u32> = String::from_utf8_lossy(&version).trim().parse().ok();
    let major = version.and_then(|major| PgMajor::from_version_num(major.checked_mul(10_000)?).ok());
    Ok(major.and_then(|major| ControlFile::parse(&control, major).ok()).map(|control| control.system_id))
}

/// The first existing directory on the way to a place, in which the rest would be made.
pub(crate) fn nearest_existing(place: &Path) -> PathBuf {
    place.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}
