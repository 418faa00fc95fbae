//! The directories of a server, and servers that get in each other's way.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::Files;
use crate::server::ServerConfig;

/// Two options, of one server or of two, that name the same directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathConflict {
    /// The server that comes second.
    pub server: String,
    /// Its option.
    pub option: &'static str,
    /// The directory as configured.
    pub path: PathBuf,
    /// The directory without links, where that differs.
    pub real_path: Option<PathBuf>,
    /// The server that comes first.
    pub other_server: String,
    /// Its option.
    pub other_option: &'static str,
}

impl fmt::Display for PathConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conflicting path: {}={}", self.option, self.path.display())?;
        if let Some(real) = &self.real_path {
            write!(f, " (symlink to: {})", real.display())?;
        }
        if self.server == self.other_server {
            return write!(f, " conflicts with '{}' for server '{}'", self.other_option, self.server);
        }
        write!(
            f,
            " for server '{}' conflicts with '{}' for server '{}'",
            self.server, self.other_option, self.other_server
        )
    }
}

/// Every directory that is named twice, servers in order of their names.
pub(crate) fn conflicts<'a>(servers: impl Iterator<Item = &'a ServerConfig>, files: &impl Files) -> Vec<PathConflict> {
    let mut owners: BTreeMap<PathBuf, (&str, &'static str)> = BTreeMap::new();
    let mut found = Vec::new();
    for server in servers {
        for (option, path) in exclusive(server) {
            let real = files.real_path(path);
            match owners.get(&real) {
                None => drop(owners.insert(real, (&server.name, option))),
                Some((other_server, other_option)) => found.push(PathConflict {
                    server: server.name.clone(),
                    option,
                    path: path.to_owned(),
                    real_path: (real.as_os_str() != path.as_os_str()).then_some(real),
                    other_server: (*other_server).to_owned(),
                    other_option,
                }),
            }
        }
    }
    found
}

/// The directories that nothing else may use, in the order in which Barman compares them.
fn exclusive(server: &ServerConfig) -> [(&'static str, &Path); 6] {
    [
        ("backup_directory", &server.backup_directory),
        ("basebackups_directory", &server.basebackups_directory),
        ("errors_directory", &server.errors_directory),
        ("incoming_wals_directory", &server.incoming_wals_directory),
        ("streaming_wals_directory", &server.streaming_wals_directory),
        ("wals_directory", &server.wals_directory),
    ]
}
