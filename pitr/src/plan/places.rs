//! Where a restore puts things: nowhere but in free places, and where it may go over what is there.

use std::path::{Path, PathBuf};

use barman_catalog::{BackupInfo, Tablespace};
use barman_storage::{Dir, RelativePath};
use rustix::fs::Access;

use super::standing::{Restoring, Standing, nearest_existing, open_if_taken};
use crate::plan_error::PlanError;
use crate::recovery_settings::as_plain_text;
use crate::request::{RestoreRequest, WalSupply};

/// The directory for WAL in the data directory, unless another one is asked for.
const STAGING: &str = "barman_wal";

/// The directories that a restore fills.
pub(super) struct Places {
    destination: PathBuf,
    /// What is there.
    pub(super) standing: Standing,
    /// The tablespaces' own, in the order of the backup's record.
    pub(super) tablespaces: Vec<TablespacePlace>,
    /// Where WAL is copied to: `pg_wal`, or what the recovering server is told to read.
    pub(super) wal: PathBuf,
    /// The directory for WAL, if it is in the data directory and not `pg_wal`.
    pub(super) staging_in_data: Option<RelativePath>,
}

/// Where a tablespace goes.
pub(super) struct TablespacePlace {
    pub(super) tablespace: Tablespace,
    pub(super) location: PathBuf,
    /// Whether something is there that is this restore's to change.
    pub(super) is_taken: bool,
}

impl Places {
    pub(super) fn find(request: &RestoreRequest, server: &str, info: &BackupInfo) -> Result<Self, PlanError> {
        let destination = &request.destination;
        check_path(destination)?;
        if destination.as_os_str().as_encoded_bytes().contains(&b':') {
            return Err(PlanError::ColonInDestination { path: destination.clone() });
        }
        let restoring = Restoring { server, backup: info, destination, delta: request.delta };
        let standing = restoring.look()?;
        let tablespaces = tablespaces(request, &restoring)?;
        let staging = staging(request);
        staging.as_deref().map_or(Ok(()), check_path)?;
        let places = Self {
            destination: destination.clone(),
            standing,
            staging_in_data: staging.as_deref().and_then(|staging| below(staging, destination)),
            wal: staging.clone().unwrap_or_else(|| destination.join("pg_wal")),
            tablespaces,
        };
        places.check_overlap(staging.as_deref())?;
        places.check_writable()?;
        match staging.filter(|_| places.staging_in_data.is_none()) {
            Some(path) if open_if_taken(&path)?.is_some_and(|dir| !restoring.owns(&dir, None).unwrap_or(false)) => {
                Err(PlanError::StagingNotEmpty { path })
            }
            _ => Ok(places),
        }
    }

    /// Better known now than after the first files: who may not write, or is not the owner that PostgreSQL will insist on.
    fn check_writable(&self) -> Result<(), PlanError> {
        let locations = self.tablespaces.iter().map(|place| place.location.as_path());
        for place in std::iter::once(self.destination.as_path()).chain(locations) {
            let existing = nearest_existing(place);
            let access = Access::WRITE_OK | Access::EXEC_OK;
            rustix::fs::access(&existing, access)
                .map_err(|error| PlanError::NotWritable { path: existing.clone(), source: error.into() })?;
            let owner = rustix::fs::stat(&existing).map(|stat| stat.st_uid).ok();
            let user = rustix::process::geteuid();
            if existing == place && !user.is_root() && owner.is_some_and(|owner| owner != user.as_raw()) {
                let (owner, user) = (owner.unwrap_or_default(), user.as_raw());
                return Err(PlanError::WrongOwner { path: existing, owner, user });
            }
        }
        Ok(())
    }

    /// The directory for WAL in the data directory, which the end of recovery removes, may have no name that the backup uses.
    /// The usual one is an exception: what a backup has there was left by an earlier restore.
    pub(super) fn check_staging(&self, data: &Dir) -> Result<(), PlanError> {
        let Some(staging) = self.staging_in_data.as_ref().filter(|path| path.as_path() != Path::new(STAGING)) else {
            return Ok(());
        };
        match data.entries()?.iter().find(|entry| staging.as_path().starts_with(&entry.name)) {
            Some(entry) => {
                let second = self.destination.join(&entry.name);
                Err(PlanError::Overlap { first: self.wal.clone(), second })
            }
            None => Ok(()),
        }
    }

    /// No directory may lie in another one, with one exception: that for WAL in the data directory, under a name of its
    /// own. The end of recovery removes it with all that is in it.
    fn check_overlap(&self, staging: Option<&Path>) -> Result<(), PlanError> {
        let outside = staging.filter(|_| self.staging_in_data.is_none());
        let locations = self.tablespaces.iter().map(|place| place.location.as_path());
        let places: Vec<&Path> = std::iter::once(self.destination.as_path()).chain(locations).chain(outside).collect();
        for (index, first) in places.iter().enumerate() {
            let mut others = places.iter().skip(index + 1);
            if let Some(second) = others.find(|second| first.starts_with(second) || second.starts_with(first)) {
                return Err(PlanError::Overlap { first: first.to_path_buf(), second: second.to_path_buf() });
            }
        }
        Ok(())
    }
}

/// Returns the path as it can stand in a configuration file.
pub(super) fn plain_text(path: &Path) -> Result<&str, PlanError> {
    as_plain_text(path).ok_or_else(|| PlanError::UnusablePath { path: path.to_owned() })
}

fn check_path(path: &Path) -> Result<(), PlanError> {
    plain_text(path)?;
    if path.is_absolute() { Ok(()) } else { Err(PlanError::UnusablePath { path: path.to_owned() }) }
}

/// Returns where each tablespace goes: where it was, or where it is told to.
fn tablespaces(request: &RestoreRequest, restoring: &Restoring<'_>) -> Result<Vec<TablespacePlace>, PlanError> {
    let known = restoring.backup.tablespaces.as_deref().unwrap_or_default();
    for relocation in &request.relocations {
        if !known.iter().any(|tablespace| tablespace.name == relocation.name) {
            let known = known.iter().map(|tablespace| tablespace.name.clone()).collect();
            return Err(PlanError::UnknownTablespace { name: relocation.name.clone(), known });
        }
    }
    let place = |tablespace: &Tablespace| {
        let relocated = request.relocations.iter().rev().find(|relocation| relocation.name == tablespace.name);
        let location = relocated.map_or_else(|| PathBuf::from(&tablespace.location), |rule| rule.location.clone());
        check_path(&location)?;
        let taken = open_if_taken(&location)?;
        match &taken {
            // A tablespace never goes over another cluster's.
            Some(dir) if !restoring.owns(dir, Some(tablespace.oid))? => {
                Err(PlanError::TablespaceNotEmpty { name: tablespace.name.clone(), path: location })
            }
            _ => Ok(TablespacePlace { tablespace: tablespace.clone(), location, is_taken: taken.is_some() }),
        }
    };
    known.iter().map(place).collect()
}

/// Returns the directory for the WAL of a recovery to a target; `None` if WAL goes into `pg_wal`, or nowhere.
fn staging(request: &RestoreRequest) -> Option<PathBuf> {
    match &request.wal {
        WalSupply::Copy { staging, .. } if request.target.is_pitr() => {
            Some(staging.clone().unwrap_or_else(|| request.destination.join(STAGING)))
        }
        _ => None,
    }
}

fn below(path: &Path, directory: &Path) -> Option<RelativePath> {
    RelativePath::new(path.strip_prefix(directory).ok()?).ok()
}
