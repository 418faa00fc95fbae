//! All configuration files together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::assembly;
use crate::command::Command;
use crate::disabled::DisabledReason;
use crate::error::Error;
use crate::files::Files;
use crate::global::GlobalConfig;
use crate::options::{GLOBAL_SECTION, is_global_option, is_model_option, is_server_option};
use crate::paths::{PathConflict, conflicts};
use crate::resolution::remark_invalid;
use crate::sections::{Merged, Sections};
use crate::server::{ServerConfig, UnsupportedOption};
use crate::warning::{Warning, WarningKind};

/// What `barman.conf` and the files that it includes say.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Configuration {
    /// The main file.
    pub path: PathBuf,
    /// `[barman]`.
    pub global: GlobalConfig,
    /// Every server by its name.
    pub servers: BTreeMap<String, ServerConfig>,
    /// What is wrong with the files without stopping anything, in Barman's order. What concerns a server only when a
    /// command selects it is in [`ServerConfig::warnings`].
    pub warnings: Vec<Warning>,
    /// Servers that share a directory. While there are any, Barman refuses every command that looks at servers.
    pub conflicts: Vec<PathConflict>,
}

/// A server name that is reserved for "every server".
const ALL_SERVERS: &str = "all";

/// Written by `config-update`, read after everything else.
const AUTO_FILE: &str = ".barman.auto.conf";

/// Names the active model of a server, in its backup directory.
const ACTIVE_MODEL_FILE: &str = ".active-model.auto";

impl Configuration {
    /// Reads the main file at `path`, then the include directory, then `.barman.auto.conf`.
    ///
    /// # Errors
    /// A file that cannot be read or understood, named with the line and what was expected; an included file that
    /// changes `[barman]`; a required option that is missing; a server called `all`.
    pub fn load(path: &Path, files: &impl Files) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let mut sections = Sections::default();
        sections.add(path, &read(path, files)?)?;
        let home = sections.global("barman_home")?.filter(|home| !home.is_empty());
        let home = home.ok_or(Error::RequiredGlobal { path: path.to_owned(), option: "barman_home" })?;
        let included = match sections.global("configuration_files_directory")? {
            Some(directory) if !directory.is_empty() => include_directory(Path::new(&directory), files, &mut warnings)?,
            _ => Vec::new(),
        };
        let auto = Some(Path::new(&home).join(AUTO_FILE)).filter(|path| files.exists(path));
        for path in included.into_iter().chain(auto) {
            sections.include(&path, &read(&path, files)?)?;
        }
        Self::assemble(path, sections.finish()?, warnings, files)
    }

    fn assemble(
        path: &Path,
        sections: Vec<Merged>,
        mut warnings: Vec<Warning>,
        files: &impl Files,
    ) -> Result<Self, Error> {
        let (global, sections): (Vec<_>, Vec<_>) = sections.into_iter().partition(|s| s.name == GLOBAL_SECTION);
        let missing = || Error::RequiredGlobal { path: path.to_owned(), option: "barman_home" };
        let global = global.first().ok_or_else(missing)?;
        unknown_options(global, is_global_option, &mut warnings);
        let mut configuration = Self {
            path: path.to_owned(),
            global: GlobalConfig::read(global)?,
            servers: BTreeMap::new(),
            warnings,
            conflicts: Vec::new(),
        };
        let mut models = BTreeSet::new();
        for section in &sections {
            configuration.section(section, global, &mut models)?;
        }
        configuration.apply_models(&models, files)?;
        configuration.apply_conflicts(files);
        configuration.read_retention_file(files)?;
        Ok(configuration)
    }

    fn section<'a>(
        &mut self,
        section: &'a Merged,
        global: &Merged,
        models: &mut BTreeSet<&'a str>,
    ) -> Result<(), Error> {
        if section.name == ALL_SERVERS {
            return Err(Error::ReservedName);
        }
        if is_model(section)? {
            unknown_options(section, is_model_option, &mut self.warnings);
            remark_invalid(section, &mut self.warnings);
            models.insert(&section.name);
            return Ok(());
        }
        unknown_options(section, is_server_option, &mut self.warnings);
        let home = self.global.barman_home.to_string_lossy();
        let server = assembly::server(section, global, &home, &mut self.warnings)?;
        self.servers.insert(section.name.clone(), server);
        Ok(())
    }

    /// Refuses what an active model would change. Its name is kept in a file, so it survives a restart of the host and
    /// must not be forgotten here either.
    fn apply_models(&mut self, models: &BTreeSet<&str>, files: &impl Files) -> Result<(), Error> {
        for server in self.servers.values_mut() {
            let Some(model) = active_model(&server.backup_directory, files)? else { continue };
            if models.contains(model.as_str()) {
                server.unsupported.push(UnsupportedOption { option: "model", value: model, affects: Command::ALL });
            } else {
                let reason = DisabledReason::UnknownModel { model, server: server.name.clone() };
                server.disabled.push(reason.to_string());
            }
        }
        Ok(())
    }

    /// Sorts conflicts within a server, which disable it, from those between servers, which concern everything.
    fn apply_conflicts(&mut self, files: &impl Files) {
        let (own, shared): (Vec<_>, Vec<_>) =
            conflicts(self.servers.values(), files).into_iter().partition(|c| c.server == c.other_server);
        self.conflicts = shared;
        // Barman lists them before every other reason.
        for conflict in own.into_iter().rev() {
            if let Some(server) = self.servers.get_mut(&conflict.server) {
                server.disabled.insert(0, conflict.to_string());
            }
        }
    }
}

fn active_model(backup_directory: &Path, files: &impl Files) -> Result<Option<String>, Error> {
    let path = backup_directory.join(ACTIVE_MODEL_FILE);
    if !files.exists(&path) {
        return Ok(None);
    }
    let model = read(&path, files)?.trim().to_owned();
    Ok(Some(model).filter(|model| !model.is_empty()))
}

pub(crate) fn read(path: &Path, files: &impl Files) -> Result<String, Error> {
    let bytes = files.read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        Error::Encoding { path: path.to_owned(), line: 1 + valid.filter(|byte| **byte == b'\n').count() }
    })
}

/// The files of the include directory: `*.conf`, not hidden, in order of their paths.
fn include_directory(directory: &Path, files: &impl Files, warnings: &mut Vec<Warning>) -> Result<Vec<PathBuf>, Error> {
    if !files.is_dir(directory) {
        let directory = directory.display().to_string();
        warnings.push(Warning::log(WarningKind::NoIncludeDirectory { directory }));
        return Ok(Vec::new());
    }
    let names = files.names(directory).map_err(|source| Error::Read { path: directory.to_owned(), source })?;
    let matches = |name: &str| name.ends_with(".conf") && !name.starts_with('.');
    let mut included: Vec<_> =
        names.iter().filter(|name| name.to_str().is_some_and(matches)).map(|name| directory.join(name)).collect();
    included.sort();
    included.retain(|path| is_regular(path, files, warnings));
    Ok(included)
}

fn is_regular(path: &Path, files: &impl Files, warnings: &mut Vec<Warning>) -> bool {
    let regular = files.is_file(path);
    if !regular {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        warnings.push(Warning::log(WarningKind::NotAFile { name, missing: !files.exists(path) }));
    }
    regular
}

fn unknown_options(section: &Merged, known: fn(&str) -> bool, warnings: &mut Vec<Warning>) {
    let unknown = section.options.iter().filter(|setting| !known(&setting.option));
    warnings.extend(unknown.map(|setting| {
        Warning::console(WarningKind::UnknownOption { section: section.name.clone(), option: setting.option.clone() })
    }));
}

/// Whether a section describes a model instead of a server.
fn is_model(section: &Merged) -> Result<bool, Error> {
    let model = section.boolean("model")?.unwrap_or(false);
    if model && section.get("cluster").is_none() {
        return Err(Error::RequiredInModel { section: section.name.clone(), option: "cluster" });
    }
    Ok(model)
}
