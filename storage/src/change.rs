//! The gate through which every change to a file system passes.
//!
//! In a normal build the gate is empty: it calls what it is given. With the feature `testing` it also tells the
//! recorder of the directory, if there is one, so that a test can replay the changes (see `testing`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(feature = "testing")]
use crate::testing::Journal;
#[cfg(feature = "testing")]
use std::sync::Arc;

/// One change, as it is about to be made. Paths are those of the [`Dir`](crate::Dir) that makes it.
#[derive(Debug)]
#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only a recorder reads what a change consists of"))]
pub(crate) enum Change<'a> {
    CreateFile {
        path: PathBuf,
        mode: u32,
    },
    CreateDirectory {
        path: PathBuf,
        mode: u32,
    },
    CreateLink {
        path: PathBuf,
        target: &'a Path,
    },
    AddName {
        existing: PathBuf,
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        /// Whether what has the new name gives way.
        replaces: bool,
    },
    Remove {
        path: PathBuf,
    },
    Write {
        node: NodeId,
        offset: u64,
        bytes: &'a [u8],
    },
    /// Cuts the file, or continues it with zeros.
    SetLength {
        node: NodeId,
        length: u64,
    },
    SetMode {
        node: NodeId,
        mode: u32,
    },
    SetModified {
        node: NodeId,
        modified: SystemTime,
    },
    /// Of a file: its contents and length, and unless `contents_only` its mode and time. Of a directory: its names.
    Sync {
        node: NodeId,
        contents_only: bool,
    },
}

#[cfg(feature = "testing")]
impl Change<'_> {
    /// Whether it cannot be made as things are: its new name is taken, or there is nothing to remove.
    pub(crate) fn is_vain(&self) -> bool {
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        match self {
            Self::CreateFile { path, .. }
            | Self::CreateDirectory { path, .. }
            | Self::CreateLink { path, .. }
            | Self::AddName { path, .. }
            | Self::Rename { to: path, replaces: false, .. } => exists(path),
            Self::Remove { path } => !exists(path),
            _ => false,
        }
    }
}

/// A file or directory as the recorder knows it, whatever its name is by now. Always 0 where nothing is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// The recorder of a directory, if the build has recorders and the directory has one.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    #[cfg(feature = "testing")]
    journal: Option<Arc<Journal>>,
}

#[cfg(not(feature = "testing"))]
#[allow(clippy::unused_self, reason = "the same calls as with recorders")]
impl Gate {
    pub(crate) fn of_directory(_path: &Path) -> Self {
        Self {}
    }

    pub(crate) fn directory(&self, _path: &Path) -> NodeId {
        NodeId::default()
    }

    pub(crate) fn file(&self, _path: &Path) -> NodeId {
        NodeId::default()
    }

    pub(crate) fn pass<'a, T, E: Into<io::Error>>(
        &self,
        _describe: impl FnOnce() -> Change<'a>,
        act: impl FnOnce() -> Result<T, E>,
    ) -> io::Result<T> {
        act().map_err(Into::into)
    }
}

#[cfg(feature = "testing")]
impl Gate {
    /// Finds the recorder that was started at this directory or above it.
    pub(crate) fn of_directory(path: &Path) -> Self {
        Self { journal: Journal::covering(path) }
    }

    /// Returns the node of the directory at this path.
    pub(crate) fn directory(&self, path: &Path) -> NodeId {
        self.journal.as_ref().map_or_else(NodeId::default, |journal| journal.directory(path))
    }

    /// Returns the node that has this name, which is not followed if it is a symbolic link.
    pub(crate) fn file(&self, path: &Path) -> NodeId {
        self.journal.as_ref().map_or_else(NodeId::default, |journal| journal.file(path))
    }

    /// Makes a change, and records it if it succeeds.
    pub(crate) fn pass<'a, T, E: Into<io::Error>>(
        &self,
        describe: impl FnOnce() -> Change<'a>,
        act: impl FnOnce() -> Result<T, E>,
    ) -> io::Result<T> {
        match &self.journal {
            None => act().map_err(Into::into),
            Some(journal) => journal.make(&describe(), || act().map_err(Into::into)),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the recorder itself, which may hold all that was ever written.
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
