//! Telling the new server how to recover, and keeping it from harm.

use std::path::Path;

use barman_storage::{Dir, RelativePath};

use super::{FILE_MODE, Restore, RestoreError, RestoreEvent, RestoreReport};
use crate::mangle::mangle;
use crate::restore_record::RestoreRecord;

/// The files that can have settings which must not survive. PostgreSQL reads the second after the first.
pub(crate) const CONFIGURATION_FILES: [&str; 2] = ["postgresql.conf", "postgresql.auto.conf"];

/// The files without which PostgreSQL does not start, or not with the settings it had.
const NEEDED: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];

/// Longer than any configuration file; a bound for what is read.
pub(crate) const LONGEST_FILE_BYTES: u64 = 64 << 20;

/// A copy of the backup's record, by which Barman recognises a directory that it restored.
pub(crate) const RECORD: &str = ".barman-recover.info";

impl Restore<'_> {
    pub(super) fn configure(&self, data: &Dir) -> Result<RestoreReport, RestoreError> {
        let mut report = RestoreReport { missing_files: self.missing_files(), ..RestoreReport::default() };
        let configuration = &self.plan.configuration;
        if !configuration.settings.is_empty() || configuration.signal.is_some() {
            (self.events)(RestoreEvent::WritingRecoverySettings);
        }
        if let Some(signal) = configuration.signal {
            data.create_file(&RelativePath::literal(signal.file_name()), FILE_MODE)?;
        }
        (self.events)(RestoreEvent::ReviewingConfiguration);
        let mut files = CONFIGURATION_FILES.map(RelativePath::literal).to_vec();
        if !files.contains(&configuration.file) {
            files.push(configuration.file.clone());
        }
        for file in &files {
            rewrite(data, file, &configuration.lines_for(file), &mut report)?;
        }
        data.replace(&RelativePath::literal(RECORD), FILE_MODE, self.plan.recovery.backup.to_text().as_bytes())?;
        RestoreRecord::of(self.plan).write(data)?;
        Ok(report)
    }

    fn missing_files(&self) -> Vec<String> {
        let is_there = |name: &str| self.plan.data.files.iter().any(|file| file.to.as_path() == Path::new(name));
        NEEDED.iter().filter(|name| !is_there(name)).map(|name| (*name).to_owned()).collect()
    }
}

/// Makes a configuration file harmless and adds settings to it; keeps what it was as `<file>.origin`.
fn rewrite(data: &Dir, file: &RelativePath, settings: &str, report: &mut RestoreReport) -> Result<(), RestoreError> {
    let original = data.read(file, LONGEST_FILE_BYTES)?;
    if original.is_none() && settings.is_empty() {
        return Ok(());
    }
    let mode = data.stat(file)?.map_or(FILE_MODE, |stat| stat.mode);
    let original = original.unwrap_or_default();
    let mangled = mangle(&file.as_path().to_string_lossy(), &original, settings);
    // Replaced rather than made: a backup of a server that was restored once has such files, too.
    data.replace(&origin(file), mode, &original)?;
    data.replace(file, mode, &mangled.text)?;
    report.changes.extend(mangled.changes);
    report.dangerous.extend(mangled.dangerous);
    Ok(())
}

/// What a configuration file was before the restore is kept under this name.
#[allow(clippy::expect_used, reason = "a suffix breaks no rule of relative paths")]
pub(crate) fn origin(file: &RelativePath) -> RelativePath {
    let mut name = file.as_path().as_os_str().to_owned();
    name.push(".origin");
    RelativePath::new(name).expect("a relative path with a longer last name")
}
