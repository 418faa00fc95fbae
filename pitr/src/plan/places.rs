//! Where a restore puts things: nowhere but in free places, and where it may go over what is there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use barman_catalog::{BackupInfo, Tablespace};
use barman_storage::RelativePath;

use super::standing::{Restoring, Standing};
use crate::host::{Contents, HostFacts, PlaceFacts};
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
    /// What is known of the host: of these places, the data directory first, and in the same order.
    pub(super) facts: HostFacts,
}

/// The number of the user who may do everything.
const ROOT: u32 = 0;

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
        let tablespaces = located_tablespaces(request, info)?;
        let staging = staging(request);
        staging.as_deref().map_or(Ok(()), check_path)?;
        let staging_in_data = staging.as_deref().and_then(|staging| below(staging, destination));
        let staging_outside = staging.as_deref().filter(|_| staging_in_data.is_none());
        check_overlap(destination, &tablespaces, staging_outside)?;

        let locations = tablespaces.iter().map(|(_, location)| location.as_path());
        let asked: Vec<&Path> =
            std::iter::once(destination.as_path()).chain(locations).chain(staging_outside).collect();
        let facts = request.host.look(&asked)?;
        let restoring = Restoring { server, backup: info, destination, delta: request.delta };
        let (data, others) = facts.places.split_first().ok_or(PlanError::UnclearAnswer { field: 0 })?;
        let standing = restoring.judge(data)?;
        let mut places = Vec::new();
        for ((tablespace, location), facts) in tablespaces.into_iter().zip(others) {
            let is_taken = facts.contents != Contents::Nothing;
            if is_taken && !restoring.owns(facts, Some((tablespace.oid, &data.data))) {
                // A tablespace never goes over another cluster's.
                return Err(PlanError::TablespaceNotEmpty { name: tablespace.name, path: location });
            }
            places.push(TablespacePlace { tablespace, location, is_taken });
        }
        match (staging_outside, others.get(places.len())) {
            (Some(path), Some(facts)) if !restoring.owns(facts, None) => {
                return Err(PlanError::StagingNotEmpty { path: path.to_owned() });
            }
            _ => {}
        }
        facts.places.iter().try_for_each(check_writable)?;
        // WAL may be anybody's.
        let without_staging = places.len() + 1;
        facts.places.iter().take(without_staging).try_for_each(|place| check_owner(place, facts.user))?;
        Ok(Self {
            destination: destination.clone(),
            standing,
            wal: staging.unwrap_or_else(|| destination.join("pg_wal")),
            staging_in_data,
            tablespaces: places,
            facts,
        })
    }

    /// The directory for WAL in the data directory, which the end of recovery removes, may have no name that the backup uses.
    /// The usual one is an exception: what a backup has there was left by an earlier restore.
    pub(super) fn check_staging(&self, mut names: impl Iterator<Item = OsString>) -> Result<(), PlanError> {
        let Some(staging) = self.staging_in_data.as_ref().filter(|path| path.as_path() != Path::new(STAGING)) else {
            return Ok(());
        };
        match names.find(|name| staging.as_path().starts_with(name)) {
            Some(name) => {
                let second = self.destination.join(name);
                Err(PlanError::Overlap { first: self.wal.clone(), second })
            }
            None => Ok(()),
        }
    }
}

/// Who may not write had better know now than after the first files.
fn check_writable(place: &PlaceFacts) -> Result<(), PlanError> {
    match &place.refusal {
        Some(refusal) => {
            let source = std::io::Error::from(refusal.kind());
            Err(PlanError::NotWritable { path: place.nearest.clone(), source })
        }
        None => Ok(()),
    }
}

/// PostgreSQL will insist on an owner.
fn check_owner(place: &PlaceFacts, user: u32) -> Result<(), PlanError> {
    if place.nearest == place.path && user != ROOT && place.owner != user {
        return Err(PlanError::WrongOwner { path: place.path.clone(), owner: place.owner, user });
    }
    Ok(())
}

/// No directory may lie in another one, with one exception: that for WAL in the data directory, under a name of its own. The
/// end of recovery removes it with all that is in it.
fn check_overlap(
    destination: &Path,
    tablespaces: &[(Tablespace, PathBuf)],
    staging_outside: Option<&Path>,
) -> Result<(), PlanError> {
    let locations = tablespaces.iter().map(|(_, location)| location.as_path());
    let places: Vec<&Path> = std::iter::once(destination).chain(locations).chain(staging_outside).collect();
    for (index, first) in places.iter().enumerate() {
        let mut others = places.iter().skip(index + 1);
        if let Some(second) = others.find(|second| first.starts_with(second) || second.starts_with(first)) {
            return Err(PlanError::Overlap { first: first.to_path_buf(), second: second.to_path_buf() });
        }
    }
    Ok(())
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
fn located_tablespaces(request: &RestoreRequest, info: &BackupInfo) -> Result<Vec<(Tablespace, PathBuf)>, PlanError> {
    let known = info.tablespaces.as_deref().unwrap_or_default();
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
        Ok((tablespace.clone(), location))
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
