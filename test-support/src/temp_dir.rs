//! Temporary directories that the servers' user can reach.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that vanishes when dropped and that any user may enter.
///
/// It belongs to the user of this process. Make a directory below it and call
/// [`OsUser::own_tree`](crate::OsUser::own_tree) for one that a server writes to.
#[derive(Debug)]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// Makes an empty directory with mode 0755.
    #[must_use]
    pub fn new() -> Self {
        let root = root();
        let made = tempfile::Builder::new().prefix("bt-").tempdir_in(&root);
        let dir = made.unwrap_or_else(|error| panic!("no temporary directory in {}: {error}", root.display()));
        let open_to_all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open_to_all).expect("the owner can change the mode");
        Self(dir)
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes, if needed, the directory that this user's test processes share: cluster templates and port locks.
pub(crate) fn shared() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let path = root().join(format!("barman-test-support-{uid}"));
    std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let owner = path.symlink_metadata().expect("it was just made").uid();
    assert_eq!(owner, uid, "{} belongs to somebody else", path.display());
    path
}

/// Returns the first usual temporary directory whose every parent lets other users through.
fn root() -> PathBuf {
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let reachable = candidates.iter().find(|path| path.is_dir() && path.ancestors().all(lets_others_through));
    reachable.cloned().unwrap_or_else(|| panic!("no temporary directory that other users can enter: {candidates:?}"))
}

fn lets_others_through(dir: &Path) -> bool {
    dir.metadata().is_ok_and(|metadata| metadata.mode() & 0o001 != 0)
}
