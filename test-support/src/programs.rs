//! Where PostgreSQL's programs are.

use std::path::{Path, PathBuf};

/// Returns the directory of the server programs of `major`.
///
/// # Panics
/// There are none, neither in `PG_BINDIR_<major>` nor where Debian puts them.
#[must_use]
pub fn bin_dir(major: u32) -> PathBuf {
    let variable = format!("PG_BINDIR_{major}");
    let named = std::env::var_os(&variable).map(PathBuf::from);
    let dir = named.unwrap_or_else(|| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    assert!(
        dir.join("initdb").is_file() && dir.join("postgres").is_file(),
        "no PostgreSQL {major} server in {}: run scripts/test, install Debian's postgresql-{major}, or set {variable}",
        dir.display()
    );
    dir
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
