//! After the restore: what recovery left goes, once the server is on its own.
//!
//! A restored directory has settings and files that only its recovery needs, and archives nothing. [`plan_finish`] finds out
//! whether recovery is over and what is to go; [`finish`] carries that out. Only files are read and changed: the server may
//! run, and is told afterwards to read its configuration again.

mod archive;
mod error;
mod state;
mod text;

use std::path::{Path, PathBuf};

use barman_catalog::Catalog;
use barman_storage::{Dir, RelativePath};
use wal_format::TimelineId;

pub use error::{FinishError, ForeignTimeline, NotPromoted};
pub use text::{LineAction, LineChange};

use crate::feed;
use crate::restore::{CONFIGURATION_FILES, LONGEST_FILE_BYTES, RECORD, origin};
use crate::restore_record::RestoreRecord;
use state::Promoted;
pub(crate) use state::{control_file, why_not_promoted};
use text::{Known, finish_text};

/// The usual directory for WAL in a restored directory.
const STAGING: &str = "barman_wal";

/// What is to be done to a restored directory whose recovery is over.
#[derive(Clone, Debug)]
pub struct FinishPlan {
    /// The data directory.
    pub destination: PathBuf,
    /// The timeline that the server is on.
    pub timeline: TimelineId,
    /// Barman's name of the server that was restored, if the directory says so.
    pub server: Option<String>,
    /// The configuration files that change, and those of which something is to be said.
    pub files: Vec<FinishedFile>,
    /// What is removed, relative to the data directory, and only there if it is still there.
    pub removed: Vec<RelativePath>,
    /// A directory for WAL outside the data directory that is removed, too.
    pub removed_staging: Option<PathBuf>,
    /// Whether settings remain that keep the server from archiving.
    pub archives_nothing: bool,
    /// What is kept of the record of the restore, if that changes.
    record: Option<RestoreRecord>,
}

/// A configuration file.
#[derive(Clone, Debug)]
pub struct FinishedFile {
    /// Its name, relative to the data directory.
    pub file: RelativePath,
    /// Its lines that change or are to be looked at.
    pub changes: Vec<LineChange>,
    /// What it was when the plan was made, and what it will be.
    contents: [Vec<u8>; 2],
    mode: u32,
}

impl FinishPlan {
    /// Whether there is nothing left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let unchanged = |file: &FinishedFile| !file.is_changed();
        let nothing_goes = self.removed.is_empty() && self.removed_staging.is_none() && self.record.is_none();
        self.files.iter().all(unchanged) && nothing_goes
    }

    /// Returns the lines that change or are to be looked at.
    pub fn changes(&self) -> impl Iterator<Item = &LineChange> {
        self.files.iter().flat_map(|file| &file.changes)
    }
}

impl FinishedFile {
    fn is_changed(&self) -> bool {
        let [before, after] = &self.contents;
        before != after
    }
}

/// Finds out whether recovery is over, and what is to go. Changes nothing.
///
/// With `archive` the server will archive again. That is refused unless what this catalog has of the server's timeline is
/// the server's own.
///
/// # Errors
/// Recovery is not over, the directory cannot be read, or the archive has other WAL of the same timeline.
pub fn plan_finish(destination: &Path, archive: Option<&Catalog>) -> Result<FinishPlan, FinishError> {
    let data = Dir::open(destination)?;
    let promoted = Promoted::find(&data)?;
    let record = RestoreRecord::read(&data)?.transpose().map_err(|source| FinishError::Record { source })?;
    if let Some(catalog) = archive {
        archive::check(catalog, &data, &promoted, record.as_ref())?;
    }
    let mut plan = FinishPlan {
        destination: destination.to_owned(),
        timeline: promoted.timeline,
        server: restored_server(&data, record.as_ref())?,
        files: Vec::new(),
        removed: Vec::new(),
        removed_staging: None,
        archives_nothing: false,
        record: None,
    };
    for file in configuration_files(record.as_ref()) {
        plan.take_file(&data, file, record.as_ref(), archive.is_some())?;
    }
    plan.find_staging(&data, record.as_ref())?;
    plan.remove(&data, RelativePath::literal(RECORD))?;
    match record {
        // Turning archiving on later takes to know where the restored WAL ends.
        Some(record) if plan.archives_nothing => plan.record = record.reduced(),
        _ => plan.remove(&data, RestoreRecord::path())?,
    }
    Ok(plan)
}

/// Returns Barman's name of the server that was restored into a directory, if that says so.
///
/// # Errors
/// The directory cannot be read, or its record was changed.
pub fn server_of_restore(destination: &Path) -> Result<Option<String>, FinishError> {
    let data = Dir::open(destination)?;
    let record = RestoreRecord::read(&data)?.transpose().map_err(|source| FinishError::Record { source })?;
    restored_server(&data, record.as_ref())
}

/// Barman's copy of the backup's record has it, too.
fn restored_server(data: &Dir, record: Option<&RestoreRecord>) -> Result<Option<String>, FinishError> {
    if let Some(record) = record.filter(|record| !record.server.is_empty()) {
        return Ok(Some(record.server.clone()));
    }
    let text = data.read(&RelativePath::literal(RECORD), LONGEST_FILE_BYTES)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = text.lines().find_map(|line| line.strip_prefix("server_name="));
    Ok(name.map(str::to_owned).filter(|name| !name.is_empty() && name != "None"))
}

fn configuration_files(record: Option<&RestoreRecord>) -> Vec<RelativePath> {
    let mut files = CONFIGURATION_FILES.map(RelativePath::literal).to_vec();
    let other = record.and_then(|record| RelativePath::new(&record.settings_file).ok());
    files.extend(other.filter(|other| !files.contains(other)));
    files
}

impl FinishPlan {
    fn take_file(
        &mut self,
        data: &Dir,
        file: RelativePath,
        record: Option<&RestoreRecord>,
        archive: bool,
    ) -> Result<(), FinishError> {
        let origin = origin(&file);
        let original = data.read(&origin, LONGEST_FILE_BYTES)?;
        if let Some(current) = data.read(&file, LONGEST_FILE_BYTES)? {
            let name = file.to_string();
            let known = Known {
                file: &name,
                written: record.map(|record| record.settings.as_slice()),
                is_guarded: record.is_some_and(|record| !record.guard.is_empty()),
                original: original.as_deref(),
            };
            let finished = finish_text(&current, &known, archive);
            self.archives_nothing |= finished.archives_nothing;
            let mode = data.stat(&file)?.map_or(crate::restore::FILE_MODE, |stat| stat.mode);
            let contents = [current, finished.text];
            self.files.push(FinishedFile { file, changes: finished.changes, contents, mode });
        }
        if original.is_some() {
            self.removed.push(origin);
        }
        Ok(())
    }

    /// The end of recovery removes its directories for WAL itself, unless it could not.
    fn find_staging(&mut self, data: &Dir, record: Option<&RestoreRecord>) -> Result<(), FinishError> {
        for directory in [STAGING, feed::DIRECTORY] {
            self.remove(data, RelativePath::literal(directory))?;
        }
        let Some(staging) = record.and_then(|record| record.staging.as_deref()) else { return Ok(()) };
        match staging.strip_prefix(&self.destination).ok().and_then(|below| RelativePath::new(below).ok()) {
            Some(below) if below.as_path() != Path::new(STAGING) => self.remove(data, below),
            Some(_) => Ok(()),
            None => {
                self.removed_staging = staging.is_dir().then(|| staging.to_owned());
                Ok(())
            }
        }
    }

    fn remove(&mut self, data: &Dir, path: RelativePath) -> Result<(), FinishError> {
        if data.stat(&path)?.is_some() {
            self.removed.push(path);
        }
        Ok(())
    }
}

/// Carries a plan out. When this returns, everything is durable. Killed at any point, it is planned and run again
/// (invariant 7): what a plan needs to know goes last.
///
/// # Errors
/// A file has changed since the plan was made, or cannot be written or removed.
pub fn finish(plan: &FinishPlan) -> Result<(), FinishError> {
    let data = Dir::open(&plan.destination)?;
    for file in plan.files.iter().filter(|file| file.is_changed()) {
        let [before, after] = &file.contents;
        // A server that runs may have written it anew.
        if data.read(&file.file, LONGEST_FILE_BYTES)?.as_ref() != Some(before) {
            return Err(FinishError::Changed { file: file.file.clone() });
        }
        data.replace(&file.file, file.mode, after)?;
    }
    if let Some(staging) = &plan.removed_staging {
        remove_outside(staging)?;
    }
    for path in &plan.removed {
        data.remove_tree(path)?;
        // In this order also after a power failure: the originals before the record.
        match path.parent() {
            Some(parent) => data.subdir(&parent)?.sync()?,
            None => data.sync()?,
        }
    }
    if let Some(record) = &plan.record {
        record.write(&data)?;
    }
    Ok(())
}

fn remove_outside(directory: &Path) -> Result<(), FinishError> {
    let name = directory.file_name().and_then(|name| RelativePath::new(name).ok());
    if let Some((parent, name)) = directory.parent().zip(name) {
        let parent = Dir::open(parent)?;
        parent.remove_tree(&name)?;
        parent.sync()?;
    }
    Ok(())
}
