//! Telling the new server how to recover, and keeping it from harm.

use std::path::Path;

use barman_storage::{Dir, RelativePath};

use super::{FILE_MODE, Restore, RestoreError, RestoreEvent, RestoreReport};
use crate::mangle::mangle;
use crate::plan::{PlannedConfiguration, guard};
use crate::restore_record::RestoreRecord;

/// The files that can have settings which must not survive. PostgreSQL reads the second after the first.
pub(crate) const CONFIGURATION_FILES: [&str; 2] = ["postgresql.conf", "postgresql.auto.conf"];

/// The files without which PostgreSQL does not start, or not with the settings it had.
const NEEDED: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];

/// Longer than any configuration file; a bound for what is read.
pub(crate) const LONGEST_FILE_BYTES: u64 = 64 << 20;

/// Where recovery begins.
const LABEL: &str = "backup_label";

/// A copy of the backup's record, by which Barman recognises a directory that it restored.
pub(crate) const RECORD: &str = ".barman-recover.info";

/// A file that a restore makes.
pub(super) struct WrittenFile {
    pub(super) path: RelativePath,
    /// Its permission bits.
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
}

/// What tells the new server how to recover.
#[derive(Default)]
pub(super) struct Configuration {
    pub(super) files: Vec<WrittenFile>,
    pub(super) report: RestoreReport,
}

/// Reads a file as it was in the backup; with its permission bits, and `None` if it is not there.
pub(super) type ReadOriginal<'a> = &'a dyn Fn(&RelativePath) -> Result<Option<(Vec<u8>, u32)>, RestoreError>;

impl Restore<'_> {
    /// Writes the configuration of a data directory on this host, in which that of the backup is.
    pub(super) fn configure(&self, data: &Dir) -> Result<RestoreReport, RestoreError> {
        let Configuration { files, report } = self.configuration(&|path| {
            let mode = data.stat(path)?.map_or(FILE_MODE, |stat| stat.mode);
            Ok(data.read(path, LONGEST_FILE_BYTES)?.map(|bytes| (bytes, mode)))
        })?;
        for WrittenFile { path, mode, bytes } in &files {
            // Replaced rather than made: a backup of a server that was restored once has such files, too.
            data.replace(path, *mode, bytes)?;
        }
        Ok(report)
    }

    /// Returns what is to be written, given what the backup has.
    pub(super) fn configuration(&self, original: ReadOriginal<'_>) -> Result<Configuration, RestoreError> {
        // Of a backup in archives this is known only now.
        let guard =
            guard(&self.plan.recovery.backup, |file| Ok::<_, RestoreError>(original(file)?.map(|(text, _)| text)))?;
        let planned = &PlannedConfiguration { guard, ..self.plan.configuration.clone() };
        let mut configuration = Configuration::default();
        configuration.report.missing_files = self.missing_files();
        if !planned.settings.is_empty() || planned.signal.is_some() {
            (self.events)(RestoreEvent::WritingRecoverySettings);
        }
        if let Some(signal) = planned.signal {
            configuration.add(RelativePath::literal(signal.file_name()), FILE_MODE, Vec::new());
        }
        (self.events)(RestoreEvent::ReviewingConfiguration);
        if let Some((text, mode)) = self.incremental_label().map(|label| original(&label)).transpose()?.flatten() {
            configuration.add(RelativePath::literal(LABEL), mode, without_increments(&text));
        }
        for file in self.configuration_files() {
            configuration.rewrite(&file, original(&file)?, &planned.lines_for(&file));
        }
        let record = self.plan.recovery.backup.to_text().into_bytes();
        configuration.add(RelativePath::literal(RECORD), FILE_MODE, record);
        let ours = RestoreRecord::of(self.plan, planned).to_text().into_bytes();
        configuration.add(RestoreRecord::path(), FILE_MODE, ours);
        Ok(configuration)
    }

    /// The files of the backup that are not restored as they are.
    pub(super) fn rewritten_files(&self) -> Vec<RelativePath> {
        self.configuration_files().into_iter().chain(self.incremental_label()).collect()
    }

    /// The label, if it says of the backup that it is incremental.
    fn incremental_label(&self) -> Option<RelativePath> {
        (!self.plan.recovery.ancestors.is_empty()).then(|| RelativePath::literal(LABEL))
    }

    fn configuration_files(&self) -> Vec<RelativePath> {
        let mut files = CONFIGURATION_FILES.map(RelativePath::literal).to_vec();
        if !files.contains(&self.plan.configuration.file) {
            files.push(self.plan.configuration.file.clone());
        }
        files
    }

    fn missing_files(&self) -> Vec<String> {
        let is_there = |name: &str| self.plan.data.files.iter().any(|file| file.to.as_path() == Path::new(name));
        NEEDED.iter().filter(|name| !is_there(name)).map(|name| (*name).to_owned()).collect()
    }
}

impl Configuration {
    fn add(&mut self, path: RelativePath, mode: u32, bytes: Vec<u8>) {
        self.files.push(WrittenFile { path, mode, bytes });
    }

    /// Makes a configuration file harmless and adds settings to it; keeps what it was as `<file>.origin`.
    fn rewrite(&mut self, file: &RelativePath, original: Option<(Vec<u8>, u32)>, settings: &str) {
        if original.is_none() && settings.is_empty() {
            return;
        }
        let (original, mode) = original.unwrap_or_else(|| (Vec::new(), FILE_MODE));
        let mangled = mangle(&file.as_path().to_string_lossy(), &original, settings);
        self.add(origin(file), mode, original);
        self.add(file.clone(), mode, mangled.text);
        self.report.changes.extend(mangled.changes);
        self.report.dangerous.extend(mangled.dangerous);
    }
}

/// PostgreSQL starts from no directory whose label names what it builds on: here, that has been put together.
fn without_increments(label: &[u8]) -> Vec<u8> {
    let lines = label.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.starts_with(b"INCREMENTAL FROM ")).flatten().copied().collect()
}

/// What a configuration file was before the restore is kept under this name.
#[allow(clippy::expect_used, reason = "a suffix breaks no rule of relative paths")]
pub(crate) fn origin(file: &RelativePath) -> RelativePath {
    let mut name = file.as_path().as_os_str().to_owned();
    name.push(".origin");
    RelativePath::new(name).expect("a relative path with a longer last name")
}
