//! What a directory says about the things in it.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use rustix::fs::FileType;

use crate::RelativePath;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, which is any bytes but NUL and `/`.
    pub name: OsString,
    /// What the name stands for.
    pub kind: Kind,
}

impl Entry {
    /// Returns the name as a path in its directory.
    #[must_use]
    pub fn path(&self) -> RelativePath {
        RelativePath::listed(&self.name)
    }
}

/// What a name in a directory stands for. A symbolic link is a kind of its own, whatever it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or named pipe.
    Other,
}

impl From<FileType> for Kind {
    fn from(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// What the file system knows of a file, directory or symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Time of the last modification: whole seconds since 1970-01-01 UTC, rounded down.
    pub modified_seconds: i64,
    /// Time of the last modification: nanoseconds after `modified_seconds`, less than 1 000 000 000.
    pub modified_nanoseconds: u32,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Number of names that the file has.
    pub links: u64,
}

impl Stat {
    /// Returns the time of the last modification.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let nanoseconds = Duration::from_nanos(self.modified_nanoseconds.into());
        let seconds = Duration::from_secs(self.modified_seconds.unsigned_abs());
        if self.modified_seconds < 0 {
            SystemTime::UNIX_EPOCH - seconds + nanoseconds
        } else {
            SystemTime::UNIX_EPOCH + seconds + nanoseconds
        }
    }
}

impl From<rustix::fs::Stat> for Stat {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_seconds: stat.st_mtime,
            modified_nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            #[allow(clippy::useless_conversion, reason = "narrower on some platforms")]
            links: stat.st_nlink.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modified_counts_from_1970_in_both_directions() {
        let stat = |modified_seconds, modified_nanoseconds| Stat {
            kind: Kind::File,
            size: 0,
            modified_seconds,
            modified_nanoseconds,
            mode: 0,
            links: 1,
        };
        assert_eq!(stat(2, 5).modified(), SystemTime::UNIX_EPOCH + Duration::new(2, 5));
        assert_eq!(stat(-1, 250_000_000).modified(), SystemTime::UNIX_EPOCH - Duration::from_millis(750));
    }
}
