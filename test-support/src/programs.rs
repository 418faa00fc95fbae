//! Where PostgreSQL's programs are.

use std::path::{Path, PathBuf};

/// Returns the major versions to test with: those that `PG_MAJORS` names, such as `13 15 19`, or 15 alone.
///
/// # Panics
/// It names something else.
#[must_use]
pub fn majors() -> Vec<u32> {
    let named = std::env::var("PG_MAJORS").unwrap_or_else(|_| "15".to_owned());
    let major = |word: &str| word.parse().unwrap_or_else(|_| panic!("PG_MAJORS names `{word}`, which is no version"));
    named.split_whitespace().map(major).collect()
}

/// Returns the directory of the server programs of `major`.
///
/// # Panics
/// There are none: neither in `PG_BINDIR_<major>`, nor where `scripts/postgres` or Debian puts them.
#[must_use]
pub fn bin_dir(major: u32) -> PathBuf {
    let variable = format!("PG_BINDIR_{major}");
    let named = std::env::var_os(&variable).map(PathBuf::from);
    let dir = named.unwrap_or_else(|| installed(major));
    assert!(
        dir.join("initdb").is_file() && dir.join("postgres").is_file(),
        "no PostgreSQL {major} server in {}: run scripts/postgres {major}, or set {variable}",
        dir.display()
    );
    dir
}

fn installed(major: u32) -> PathBuf {
    let ours = PathBuf::from(format!("{}/../.cache/postgres/{major}/programs", env!("CARGO_MANIFEST_DIR")));
    if ours.is_dir() { ours } else { PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")) }
}

/// Returns a PostgreSQL program of `major`, such as `pg_verifybackup`, `pg_waldump` or `pgbench`.
///
/// A version that came without client tools borrows those of the nearest later version that Debian installed: they
/// talk to older servers.
///
/// # Panics
/// Neither has it.
#[must_use]
pub fn pg_tool(major: u32, name: &str) -> PathBuf {
    let own = bin_dir(major);
    let later = (major + 1..=major + 10).map(|later| PathBuf::from(format!("/usr/lib/postgresql/{later}/bin")));
    let found = std::iter::once(own.clone()).chain(later).map(|dir| dir.join(name)).find(|path| is_program(path));
    found.unwrap_or_else(|| panic!("no {name} for PostgreSQL {major} in {} or of a later version", own.display()))
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
