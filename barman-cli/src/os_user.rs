//! Barman runs as the one operating-system user that owns its files: `barman_user`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

/// This process cannot become the configured user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("the configured user '{name}' does not exists")]
    Unknown { name: String },
    #[error("please run barman as '{name}' user")]
    NotPermitted { name: String },
    #[error("nobody knows to whom {} belongs", path.display())]
    Owner { path: PathBuf, source: std::io::Error },
}

/// Becomes `name`, with all its groups, unless this process runs as that user already.
///
/// Must run before any thread starts, so that all of them have the same rights.
///
/// # Errors
/// There is no such user, or this process may not change its own.
pub(crate) fn become_user(name: &str) -> Result<User, UserError> {
    let user = User::from_name(name).ok().flatten().ok_or_else(|| UserError::Unknown { name: name.to_owned() })?;
    if user.uid != geteuid() {
        switch_to(&user).map_err(|_| UserError::NotPermitted { name: name.to_owned() })?;
    }
    Ok(user)
}

/// Becomes the user to whom a file belongs; who is not root stays who they are.
///
/// # Errors
/// The file is not there, or belongs to nobody who is known.
pub(crate) fn become_owner_of(path: &Path) -> Result<(), UserError> {
    if geteuid() != Uid::from_raw(0) {
        return Ok(());
    }
    let owner = std::fs::metadata(path).map_err(|source| UserError::Owner { path: path.to_owned(), source })?.uid();
    let unknown = || UserError::Unknown { name: owner.to_string() };
    let user = User::from_uid(Uid::from_raw(owner)).ok().flatten().ok_or_else(unknown)?;
    if user.uid == geteuid() {
        Ok(())
    } else {
        switch_to(&user).map_err(|_| UserError::NotPermitted { name: user.name })
    }
}

/// Whether this process runs as `name`.
pub(crate) fn is_user(name: &str) -> bool {
    User::from_name(name).ok().flatten().is_some_and(|user| user.uid == geteuid())
}

fn switch_to(user: &User) -> nix::Result<()> {
    if geteuid() != Uid::from_raw(0) {
        return Err(nix::Error::EPERM);
    }
    let name = std::ffi::CString::new(user.name.as_bytes()).map_err(|_| nix::Error::EINVAL)?;
    // Groups first: after setuid there is no right left to change them.
    initgroups(&name, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn becoming_the_present_user_changes_nothing() {
        let me = User::from_uid(geteuid()).expect("the user database can be read").expect("it names this user");
        assert_eq!(become_user(&me.name).expect("no change is needed").uid, me.uid);
    }

    #[test]
    fn an_unknown_user_is_refused_by_name() {
        let error = become_user("no_such_user_here").expect_err("there is no such user");
        assert_eq!(error.to_string(), "the configured user 'no_such_user_here' does not exists");
    }
}
