//! Whether this host has a server that can run what is restored.

use std::path::Path;

use wal_format::PgMajor;

/// The host has programs of PostgreSQL, or none at all, but not of the major version that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingServer {
    /// The major version of the backup.
    pub needed: u32,
    /// The versions that were found where packages put them.
    pub found: Vec<u32>,
}

/// Where the packages of Debian and of the PostgreSQL project put `postgres`, before and behind the major version.
const PLACES: [(&str, &str); 2] = [("usr/lib/postgresql/", "/bin/postgres"), ("usr/pgsql-", "/bin/postgres")];

/// Looks for the programs of `needed` below `root`. A server that was installed elsewhere is not found: this is a warning.
pub(super) fn missing_server(root: &Path, needed: PgMajor) -> Option<MissingServer> {
    let is_there =
        |major: u32| PLACES.iter().any(|(before, behind)| root.join(format!("{before}{major}{behind}")).is_file());
    let needed = needed.number();
    if is_there(needed) {
        return None;
    }
    let found = PgMajor::ALL.into_iter().map(PgMajor::number).filter(|major| is_there(*major)).collect();
    Some(MissingServer { needed, found })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files as others leave them")]
mod tests {
    use super::*;

    #[test]
    fn only_the_backups_own_version_will_do() {
        let root = tempfile::tempdir().unwrap();
        let missing = |needed| missing_server(root.path(), needed);
        assert_eq!(missing(PgMajor::V15), Some(MissingServer { needed: 15, found: vec![] }));
        for path in ["usr/pgsql-17/bin", "usr/lib/postgresql/14/bin"] {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
            std::fs::write(root.path().join(path).join("postgres"), "").unwrap();
        }
        assert_eq!(missing(PgMajor::V15), Some(MissingServer { needed: 15, found: vec![14, 17] }));
        assert_eq!(missing(PgMajor::V17), None);
        assert_eq!(missing(PgMajor::V14), None);
    }
}
