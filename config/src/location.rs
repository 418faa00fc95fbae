//! Where the main configuration file is.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::Files;

/// What the surroundings of the program say, read once at its edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `BARMAN_CONFIG_FILE`.
    pub config_file: Option<PathBuf>,
}

/// Returns the configuration file: `named` on the command line, else `BARMAN_CONFIG_FILE`, else the first that exists of
/// `~/.barman.conf`, `/etc/barman.conf` and `/etc/barman/barman.conf`.
///
/// # Errors
/// [`Error::Missing`] if a named file is not there, [`Error::NotFound`] if no default file is.
pub fn find(named: Option<&Path>, environment: &Environment, files: &impl Files) -> Result<PathBuf, Error> {
    let empty = |path: &&Path| !path.as_os_str().is_empty();
    if let Some(path) = named.or(environment.config_file.as_deref()).filter(empty) {
        let path = expand_home(path, environment);
        return if files.exists(&path) { Ok(path) } else { Err(Error::Missing { path }) };
    }
    let places: Vec<_> = ["~/.barman.conf", "/etc/barman.conf", "/etc/barman/barman.conf"]
        .iter()
        .map(|place| expand_home(Path::new(place), environment))
        .collect();
    places.iter().find(|path| files.exists(path)).cloned().ok_or(Error::NotFound { places })
}

fn expand_home(path: &Path, environment: &Environment) -> PathBuf {
    match (path.strip_prefix("~"), &environment.home) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}
