//! A path that stays below the directory it is used in.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of something below a [`Dir`](crate::Dir): one or more plain names joined by single slashes.
///
/// It is never empty, never starts at the root, and contains no `..`, no `.`, no empty component and no NUL byte, so
/// joining it to a directory cannot lead out of that directory (invariant 8). The text is used as it is given, never
/// rewritten: what cannot be used is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(PathBuf);

impl RelativePath {
    /// Takes a path that keeps to the rules of this type.
    ///
    /// # Errors
    /// [`InvalidPath`] names the rule that the path breaks.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, InvalidPath> {
        let path = path.as_ref();
        check(path.as_os_str().as_bytes()).map_err(|reason| InvalidPath { path: path.to_path_buf(), reason })?;
        Ok(Self(path.to_path_buf()))
    }

    /// Takes a name that is written in the program itself, such as `backup.info`.
    ///
    /// # Panics
    /// The name breaks a rule of this type. Use [`RelativePath::new`] for anything that comes from outside.
    #[must_use]
    pub fn literal(name: &'static str) -> Self {
        match Self::new(name) {
            Ok(path) => path,
            Err(error) => panic!("{error}"),
        }
    }

    /// Wraps a name that the kernel listed in a directory, which is always a plain name.
    pub(crate) fn listed(name: &OsStr) -> Self {
        debug_assert!(check(name.as_bytes()).is_ok());
        Self(PathBuf::from(name))
    }

    /// Returns the path as the standard library knows it.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns this path followed by `below`.
    #[must_use]
    pub fn join(&self, below: &Self) -> Self {
        Self(self.0.join(&below.0))
    }

    /// Returns the path without its last name, or `None` if it is a single name.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).map(|parent| Self(parent.to_path_buf()))
    }

    /// Returns the last name of the path.
    #[must_use]
    pub fn file_name(&self) -> &OsStr {
        // The fallback cannot be reached: the path is not empty and does not end in `..`.
        self.0.file_name().unwrap_or(self.0.as_os_str())
    }
}

/// Checks each rule of [`RelativePath`] on the bytes of a path.
fn check(bytes: &[u8]) -> Result<(), InvalidPathReason> {
    if bytes.is_empty() {
        return Err(InvalidPathReason::Empty);
    }
    if bytes.contains(&0) {
        return Err(InvalidPathReason::Nul);
    }
    if bytes.starts_with(b"/") {
        return Err(InvalidPathReason::Absolute);
    }
    bytes.split(|&byte| byte == b'/').try_for_each(|name| match name {
        b"" => Err(InvalidPathReason::EmptyName),
        b"." => Err(InvalidPathReason::CurrentDirectory),
        b".." => Err(InvalidPathReason::ParentDirectory),
        _ => Ok(()),
    })
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A path that could lead out of the directory it is meant for, or that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} {reason}")]
pub struct InvalidPath {
    /// The path as it was given.
    pub path: PathBuf,
    /// The rule that it breaks.
    pub reason: InvalidPathReason,
}

/// The rules of [`RelativePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPathReason {
    /// It has no name at all.
    #[error("is empty")]
    Empty,
    /// It contains a NUL byte, which no file name can.
    #[error("contains a NUL byte")]
    Nul,
    /// It starts at the root.
    #[error("is absolute, expected a relative path")]
    Absolute,
    /// It contains `//` or ends with `/`.
    #[error("contains an empty name")]
    EmptyName,
    /// It contains `.` as a name.
    #[error("contains \".\" as a name")]
    CurrentDirectory,
    /// It contains `..` as a name.
    #[error("contains \"..\" as a name")]
    ParentDirectory,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    fn reason(path: &str) -> InvalidPathReason {
        RelativePath::new(path).expect_err(path).reason
    }

    #[test]
    fn plain_names_are_taken_as_they_are() {
        for path in ["a", "base/1/2", ".hidden", "..a", "a..", "...", "with space/\u{e9}"] {
            assert_eq!(RelativePath::new(path).expect(path).as_path(), Path::new(path));
        }
    }

    #[test]
    fn each_rule_has_its_reason() {
        assert_eq!(reason(""), InvalidPathReason::Empty);
        assert_eq!(reason("a\0b"), InvalidPathReason::Nul);
        assert_eq!(reason("/etc/passwd"), InvalidPathReason::Absolute);
        assert_eq!(reason("a//b"), InvalidPathReason::EmptyName);
        assert_eq!(reason("a/"), InvalidPathReason::EmptyName);
        assert_eq!(reason("a/./b"), InvalidPathReason::CurrentDirectory);
        assert_eq!(reason("."), InvalidPathReason::CurrentDirectory);
        assert_eq!(reason("a/../../b"), InvalidPathReason::ParentDirectory);
        assert_eq!(reason(".."), InvalidPathReason::ParentDirectory);
    }

    #[test]
    fn parent_and_file_name_take_the_path_apart() {
        let path = RelativePath::literal("base/1/2");
        assert_eq!(path.file_name(), "2");
        assert_eq!(path.parent(), Some(RelativePath::literal("base/1")));
        assert_eq!(RelativePath::literal("base").parent(), None);
        assert_eq!(RelativePath::literal("base").join(&RelativePath::literal("1/2")), path);
    }

    #[test]
    #[should_panic(expected = "is absolute")]
    fn a_literal_that_breaks_a_rule_panics() {
        let _ = RelativePath::literal("/etc");
    }

    proptest! {
        #[test]
        fn what_is_accepted_consists_of_plain_names_only(text in "[a./\\x00]{0,12}") {
            if let Ok(path) = RelativePath::new(&text) {
                prop_assert!(path.as_path().components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(path.as_path().components().collect::<PathBuf>().into_os_string(), text.as_str());
            }
        }
    }
}
