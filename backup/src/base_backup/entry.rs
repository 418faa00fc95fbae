//! One entry of a server's tar stream, taken only as PostgreSQL writes it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use barman_storage::RelativePath;
use tar::{EntryType, Header};

use super::error::ArchiveName;

/// No file of PostgreSQL is larger: a relation has at most 2^32 blocks of 32 KiB.
const MAX_FILE_SIZE: u64 = 1 << 47;

/// A file, directory or tablespace link to be placed (PostgreSQL: `basebackup.c`, `tarCreateHeader`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: RelativePath,
    pub(super) kind: EntryKind,
    /// Permission bits; set-user-id and its like are dropped.
    pub(super) mode: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File {
        size: u64,
    },
    Directory,
    /// `pg_tblspc/<oid>` of the data directory; where it points on the server is not our concern.
    TablespaceLink {
        oid: u32,
    },
}

/// Why an entry of a tar stream was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Absolute, empty, or with `..` in it: it could lead out of the backup's directory.
    #[error("expected a path below the archive's root")]
    Path(#[source] barman_storage::InvalidPath),
    /// A link, a device, a long name: something PostgreSQL never sends.
    #[error("expected a file, a directory or a tablespace link, found tar type {found:?}")]
    Type {
        /// The type byte of the header.
        found: char,
    },
    /// A symbolic link elsewhere than `pg_tblspc/<oid>` of the data directory.
    #[error("expected a symbolic link only at pg_tblspc/<oid>")]
    Link,
    /// The size or the mode is no number.
    #[error("expected numbers in the header")]
    Header(#[source] io::Error),
    /// A size that no file of PostgreSQL has; directories and links have none at all.
    #[error("expected a size of at most {limit} bytes, found {found}")]
    Size {
        /// The largest size there is for this kind of entry.
        limit: u64,
        /// The size in the header.
        found: u64,
    },
    /// The name came before.
    #[error("expected each name once, found it again")]
    Duplicate,
    /// The archive ended inside the file.
    #[error("expected {expected} bytes, the archive ended after {found}")]
    Truncated {
        /// The size in the header.
        expected: u64,
        /// The bytes that came.
        found: u64,
    },
}

impl Entry {
    /// Reads a header that PostgreSQL wrote.
    pub(super) fn from_header(header: &Header, archive: ArchiveName) -> Result<Self, EntryError> {
        let path = relative_path(&header.path_bytes())?;
        let size = header.entry_size().map_err(EntryError::Header)?;
        let kind = match header.entry_type() {
            EntryType::Regular => EntryKind::File { size },
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::TablespaceLink { oid: linked_tablespace(archive, &path)? },
            other => return Err(EntryError::Type { found: char::from(other.as_byte()) }),
        };
        let limit = if matches!(kind, EntryKind::File { .. }) { MAX_FILE_SIZE } else { 0 };
        if size > limit {
            return Err(EntryError::Size { limit, found: size });
        }
        let mode = header.mode().map_err(EntryError::Header)? & 0o777;
        Ok(Self { path, kind, mode })
    }
}

/// PostgreSQL ends the names of directories and links with a slash, and writes `./pg_wal/archive_status`.
fn relative_path(name: &[u8]) -> Result<RelativePath, EntryError> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let name = name.strip_suffix(b"/").unwrap_or(name);
    RelativePath::new(OsStr::from_bytes(name)).map_err(EntryError::Path)
}

/// Only the data directory links to tablespaces, and PostgreSQL sends no other links.
fn linked_tablespace(archive: ArchiveName, path: &RelativePath) -> Result<u32, EntryError> {
    let oid = |path: &Path| path.strip_prefix("pg_tblspc").ok()?.to_str()?.parse().ok();
    match archive {
        ArchiveName::Main => oid(path.as_path()).ok_or(EntryError::Link),
        ArchiveName::Tablespace(_) => Err(EntryError::Link),
    }
}
