//! What can go wrong with files.

use std::io;
use std::path::{Path, PathBuf};

/// A system call that failed: what was being done, to which file, and what the system said.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct Error {
    path: PathBuf,
    operation: Operation,
    source: io::Error,
}

impl Error {
    /// Describes a failure; also for callers that read from a file which [`Dir`](crate::Dir) opened for them.
    pub fn new(operation: Operation, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { path: path.into(), operation, source: source.into() }
    }

    /// Returns the file or directory concerned.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what was being done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Returns what kind of error the system reported.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns whether the file system, or the quota of its user, is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Returns whether the file, or a directory on the way to it, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// Returns whether something of that name is already there.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.kind() == io::ErrorKind::AlreadyExists
    }
}

/// What was being done when an [`Error`] occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant is the verb that its text spells out")]
pub enum Operation {
    #[error("open")]
    Open,
    #[error("create")]
    Create,
    #[error("create directory")]
    CreateDirectory,
    #[error("create symbolic link")]
    CreateLink,
    #[error("list directory")]
    List,
    #[error("look up")]
    LookUp,
    #[error("read")]
    Read,
    #[error("write")]
    Write,
    #[error("set the length of")]
    SetLength,
    #[error("set the permissions of")]
    SetMode,
    #[error("set the modification time of")]
    SetModified,
    #[error("sync")]
    Sync,
    #[error("move a file to")]
    Rename,
    #[error("remove")]
    Remove,
    #[error("lock")]
    Lock,
    #[error("find the free space of")]
    FreeSpace,
}

/// Why a file did not get its final name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A file with other contents has the name already. It is left as it is (invariant 2).
    #[error("{} already exists with different contents", path.display())]
    Conflict {
        /// The name that is taken.
        path: PathBuf,
    },
    /// A system call failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Returns an error and all its causes in one line, for logs and for protocols of lines.
#[must_use]
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Transparent wrappers repeat the message of what they wrap.
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_message_names_the_operation_and_the_path_and_leaves_the_cause_to_the_source() {
        let error = Error::new(Operation::Sync, "wals/xlog.db", Errno::IO);
        assert_eq!(error.to_string(), "cannot sync wals/xlog.db");
        let source = std::error::Error::source(&error).expect("a source");
        assert!(source.to_string().contains("os error 5"), "{source}");
    }

    #[test]
    fn a_full_disk_and_an_exhausted_quota_are_both_disk_full() {
        assert!(Error::new(Operation::Write, "a", Errno::NOSPC).is_disk_full());
        assert!(Error::new(Operation::Write, "a", Errno::DQUOT).is_disk_full());
        assert!(!Error::new(Operation::Write, "a", Errno::IO).is_disk_full());
    }
}
