//! The archives of a base backup, as a server streams them and `pg_basebackup` keeps them, and their entries.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use barman_storage::RelativePath;
use tar::{EntryType, Header};

/// No file of PostgreSQL is larger: a relation has at most 2^32 blocks of 32 KiB.
const MAX_FILE_SIZE: u64 = 1 << 47;

/// A file, directory or tablespace link to be placed (PostgreSQL: `basebackup.c`, `tarCreateHeader`).
#[derive(Debug, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Where it goes, below the directory that the archive is of.
    pub path: RelativePath,
    /// What it is.
    pub kind: ArchiveEntryKind,
    /// Permission bits; set-user-id and its like are dropped.
    pub mode: u32,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub enum ArchiveEntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// `pg_tblspc/<oid>` of the data directory; where it points on the server is not our concern.
    TablespaceLink {
        /// The tablespace's object identifier.
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

impl ArchiveEntry {
    /// Reads a header that PostgreSQL wrote.
    ///
    /// # Errors
    /// It is none that PostgreSQL writes.
    pub fn from_header(header: &Header, archive: ArchiveName) -> Result<Self, EntryError> {
        let path = relative_path(&header.path_bytes())?;
        let size = header.entry_size().map_err(EntryError::Header)?;
        let kind = match header.entry_type() {
            EntryType::Regular => ArchiveEntryKind::File { size },
            EntryType::Directory => ArchiveEntryKind::Directory,
            EntryType::Symlink => ArchiveEntryKind::TablespaceLink { oid: linked_tablespace(archive, &path)? },
            other => return Err(EntryError::Type { found: char::from(other.as_byte()) }),
        };
        let limit = if matches!(kind, ArchiveEntryKind::File { .. }) { MAX_FILE_SIZE } else { 0 };
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

/// One archive of a base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveName {
    /// The data directory's.
    Main,
    /// That of the tablespace with this oid.
    Tablespace(u32),
}

impl ArchiveName {
    /// Returns what the manifest calls a file of this archive.
    #[must_use]
    pub fn manifest_path(self, path: &RelativePath) -> Vec<u8> {
        let path = path.as_path().as_os_str().as_bytes();
        match self {
            Self::Main => path.to_vec(),
            Self::Tablespace(oid) => [format!("pg_tblspc/{oid}/").as_bytes(), path].concat(),
        }
    }
}

/// The name that pg_basebackup gives the archive: `base.tar` or `16386.tar`.
impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("base.tar"),
            Self::Tablespace(oid) => write!(f, "{oid}.tar"),
        }
    }
}

/// After its last entry an archive holds zeros alone: anything else is an entry that we failed to see.
///
/// # Errors
/// There is something else, or the stream cannot be read.
pub fn expect_zeros(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let length = stream.read(buffer)?;
        match buffer.get(..length).unwrap_or_default() {
            [] => return Ok(()),
            bytes if bytes.iter().all(|byte| *byte == 0) => {}
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "data after the end of the archive")),
        }
    }
}
