//! What stands at the destination, and whether a restore may go over it.

use std::path::Path;

use barman_catalog::BackupInfo;

use crate::host::{Contents, DataFacts, PlaceFacts};
use crate::marker::Marker;
use crate::plan_error::PlanError;
use crate::postmaster::check_stopped;

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

    /// Says what stands at the destination, and refuses what must not be restored over.
    pub(crate) fn judge(&self, place: &PlaceFacts) -> Result<Standing, PlanError> {
        let path = || self.destination.to_owned();
        match (place.contents, &place.marker) {
            (Contents::Nothing, _) => return Ok(Standing::Free),
            (Contents::Marker, None) => return Ok(Standing::Interrupted { distrusted: false }),
            _ => {}
        }
        let standing = match (self.interrupted(place)?, self.delta) {
            (Some(marker), _) if marker.is_of(&self.marker()) => {
                Standing::Interrupted { distrusted: marker.distrusted }
            }
            (Some(Marker { server, backup, .. }), false) => {
                return Err(PlanError::OtherRestore { path: path(), server, backup });
            }
            (Some(_), true) => Standing::Cluster,
            (None, false) => return Err(PlanError::DestinationNotEmpty { path: path() }),
            (None, true) if !place.data.has_version => return Err(PlanError::NoDataDirectory { path: path() }),
            (None, true) => Standing::Cluster,
        };
        check_stopped(self.destination, place.data.lock.as_ref())?;
        self.check_cluster(&place.data)?;
        Ok(standing)
    }

    /// Returns the marker of a restore that has not been finished. Where `global/pg_control` is, it has been.
    fn interrupted(&self, place: &PlaceFacts) -> Result<Option<Marker>, PlanError> {
        let text = place.marker.as_deref().filter(|_| !place.data.has_control_file);
        match text.map(Marker::of_text).transpose() {
            Ok(marker) => Ok(marker),
            // Whoever allows any data directory does not depend on what the marker says.
            Err(_) if self.delta => Ok(None),
            Err(source) => Err(PlanError::Marker { path: self.destination.to_owned(), source }),
        }
    }

    /// The data directory of another cluster is hardly what was meant, and there may be no other copy of it.
    fn check_cluster(&self, data: &DataFacts) -> Result<(), PlanError> {
        let Some((found, expected)) = data.system_id.zip(self.backup.systemid) else { return Ok(()) };
        if found == expected {
            return Ok(());
        }
        Err(PlanError::ForeignCluster { path: self.destination.to_owned(), found, expected })
    }

    /// Returns whether what is in a place is this restore's to change: of the restore that goes on there, or of the
    /// tablespace, by its number in the data directory, that is restored over.
    pub(crate) fn owns(&self, place: &PlaceFacts, tablespace: Option<(u32, &DataFacts)>) -> bool {
        match &place.marker {
            Some(text) if Marker::of_text(text).is_ok_and(|marker| marker.is_of(&self.marker())) => return true,
            None if place.contents != Contents::Something => return true,
            _ => {}
        }
        let old = tablespace.and_then(|(oid, data)| data.tablespaces.get(&oid));
        old.is_some() && old == place.real_path.as_ref()
    }
}
