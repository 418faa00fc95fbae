//! The directories that a restore fills, and what has to go of what is in them.

use std::path::Path;

use barman_storage::{Dir, RelativePath};

use super::{DIRECTORY_MODE, Restore, RestoreError, plain_name};
use crate::host::{Contents, Host, PlaceFacts};
use crate::marker::{self, Marker};
use crate::plan::{PlannedTree, PlannedWal, Restoring, Standing, TreeSource};
use crate::survey::{Wanted, found_below};

/// Mode of the directories above the new ones, less the umask: the server's user has to get through.
const PARENT_MODE: u32 = 0o777;

/// Directories whose contents concern nobody but who reads them: Barman leaves these alone, too. And what file systems have
/// at their top.
const LEFT_ALONE: [&str; 3] = ["log", "pg_log", "lost+found"];

/// The directories that a restore fills.
pub(super) struct Places {
    pub(super) data: Dir,
    pub(super) tablespaces: Vec<Dir>,
    /// That for WAL, if it lies outside the data directory.
    pub(super) staging: Option<Dir>,
}

impl Places {
    /// Returns all of them, the data directory last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Dir> {
        self.tablespaces.iter().chain(&self.staging).chain([&self.data])
    }
}

impl Restore<'_> {
    /// Opens the directories, and makes those that are missing. What must not be touched is refused once more.
    pub(super) fn open_places(&self) -> Result<Places, RestoreError> {
        let plan = self.plan;
        let is_free = plan.standing == Standing::Free;
        if !is_free && self.standing_here()? != plan.standing {
            return Err(RestoreError::DestinationChanged { path: plan.destination.clone() });
        }
        let data = if is_free { create_empty(&plan.destination)? } else { Dir::open(&plan.destination)? };
        let tablespaces = plan.tablespaces.iter().map(|tablespace| match tablespace.is_taken {
            true => Ok(Dir::open(&tablespace.location)?),
            false => create_empty(&tablespace.location),
        });
        let tablespaces = tablespaces.collect::<Result<_, _>>()?;
        let staging = self.staging_outside().map(|wal| self.open_staging(wal)).transpose()?;
        Ok(Places { data, tablespaces, staging })
    }

    fn standing_here(&self) -> Result<Standing, RestoreError> {
        let facts = Host::Here.look(&[&self.plan.destination])?;
        Ok(facts.places.first().map_or(Ok(Standing::Free), |place| self.restoring().judge(place))?)
    }

    pub(super) fn restoring(&self) -> Restoring<'_> {
        Restoring {
            server: &self.catalog.layout().server,
            backup: &self.plan.recovery.backup,
            destination: &self.plan.destination,
            delta: self.plan.standing == Standing::Cluster,
        }
    }

    /// The WAL of the plan, if it goes elsewhere than into the data directory.
    pub(super) fn staging_outside(&self) -> Option<&PlannedWal> {
        self.plan.wal.as_ref().filter(|wal| !wal.destination.starts_with(&self.plan.destination))
    }

    fn open_staging(&self, wal: &PlannedWal) -> Result<Dir, RestoreError> {
        let facts = Host::Here.look(&[&wal.destination])?;
        let is_owned = |place: &PlaceFacts| place.contents != Contents::Nothing && self.restoring().owns(place, None);
        match facts.places.first().is_some_and(is_owned) {
            true => Ok(Dir::open(&wal.destination)?),
            false => create_empty(&wal.destination),
        }
    }

    /// Leaves a marker in each place, by which the next attempt recognises what is its own.
    pub(super) fn mark(&self, places: &Places, distrusted: bool) -> Result<(), RestoreError> {
        let marker = Marker { distrusted, ..self.restoring().marker() };
        Ok(places.all().try_for_each(|dir| marker.write(dir))?)
    }

    /// Makes the places ready: after this, all that is in them may be a part of what is restored.
    pub(super) fn clear(&self, places: &Places) -> Result<(), RestoreError> {
        // Invariant 4: before anything else changes, the directory loses what a server could be started from.
        let control_file = &self.plan.control_file.to;
        places.data.remove_file(control_file)?;
        match control_file.parent().map(|parent| places.data.subdir(&parent)) {
            Some(Ok(directory)) => directory.sync()?,
            Some(Err(error)) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        let distrusted = self.plan.standing == Standing::Interrupted { distrusted: true };
        self.mark(places, distrusted)?;
        self.remove_unwanted(&places.data, &self.wanted_data(distrusted), false)?;
        for (tablespace, dir) in self.plan.tablespaces.iter().zip(&places.tablespaces) {
            self.remove_unwanted(dir, &wanted_tree(&tablespace.tree, distrusted), true)?;
        }
        if let (Some(dir), Some(wal)) = (&places.staging, self.staging_outside()) {
            self.remove_unwanted(dir, &wanted_staging(wal, distrusted), false)?;
        }
        for dir in places.all().filter(|_| self.plan.standing != Standing::Free) {
            dir.set_mode(DIRECTORY_MODE)?;
        }
        if distrusted { self.mark(places, false) } else { Ok(()) }
    }

    /// What there shall be in the data directory.
    pub(super) fn wanted_data(&self, distrusted: bool) -> Wanted {
        let mut wanted = wanted_tree(&self.plan.data, distrusted);
        for name in LEFT_ALONE {
            wanted.leave_alone(Path::new(name));
        }
        wanted.directory(Path::new("lost+found"));
        let archive_status = ["pg_wal", "pg_wal/archive_status"];
        archive_status.iter().for_each(|directory| wanted.directory(Path::new(directory)));
        let wal = self.plan.wal.as_ref().filter(|_| !distrusted);
        if let Some((wal, below)) = wal.zip(self.wal_in_data()) {
            below.as_path().ancestors().for_each(|directory| wanted.directory(directory));
            for (name, _) in wal.files() {
                wanted.file(below.join(&plain_name(name)).as_path(), None);
            }
        }
        wanted
    }

    /// Where WAL goes, if that is in the data directory.
    pub(super) fn wal_in_data(&self) -> Option<RelativePath> {
        let wal = self.plan.wal.as_ref()?;
        RelativePath::new(wal.destination.strip_prefix(&self.plan.destination).ok()?).ok()
    }

    /// Removes what is not wanted. In the directory of a tablespace, what lies beside the server's own is not ours: PostgreSQL
    /// has a directory there for each version (`TABLESPACE_VERSION_DIRECTORY`).
    fn remove_unwanted(&self, dir: &Dir, wanted: &Wanted, is_shared: bool) -> Result<(), RestoreError> {
        if self.plan.standing == Standing::Free {
            return Ok(());
        }
        let found = found_below(dir)?;
        for path in wanted.unwanted(&found) {
            self.options.cancel.check()?;
            if !is_shared || path.parent().is_some() {
                dir.remove_tree(path)?;
            }
        }
        Ok(())
    }
}

/// What is in the tree of a backup, and the marker. Of what cannot be believed no file is wanted.
pub(super) fn wanted_tree(tree: &PlannedTree, distrusted: bool) -> Wanted {
    let mut wanted = Wanted::default();
    tree.directories.iter().for_each(|directory| wanted.directory(directory.as_path()));
    for file in tree.files.iter().filter(|_| !distrusted) {
        wanted.file(file.to.as_path(), Some(file.size));
    }
    for file in tree.combined.iter().filter(|_| !distrusted) {
        wanted.file(file.to.as_path(), file.known_size());
    }
    if let TreeSource::Archive(archive) = &tree.source {
        for file in archive.beside.iter().filter(|_| !distrusted) {
            wanted.file(file.to.as_path(), Some(file.size));
        }
    }
    wanted.file(Path::new(marker::NAME), None);
    wanted
}

pub(super) fn wanted_staging(wal: &PlannedWal, distrusted: bool) -> Wanted {
    let mut wanted = Wanted::default();
    for (name, _) in wal.files().filter(|_| !distrusted) {
        wanted.file(plain_name(name).as_path(), None);
    }
    wanted.file(Path::new(marker::NAME), None);
    wanted
}

/// Opens a directory, which is made if it is missing, for the server alone.
fn create_empty(path: &Path) -> Result<Dir, RestoreError> {
    if let Some(parent) = path.parent() {
        Dir::create(parent, PARENT_MODE)?;
    }
    let dir = Dir::create(path, DIRECTORY_MODE)?;
    if !dir.entries()?.is_empty() {
        return Err(RestoreError::NotEmpty { path: path.to_owned() });
    }
    dir.set_mode(DIRECTORY_MODE)?;
    Ok(dir)
}
