//! The `backup_manifest` of a base backup: which files it has, with their checksums, and the WAL it needs.
//!
//! A cluster may have millions of files, and its manifest hundreds of megabytes. So there is one reader, which takes the
//! text in pieces and keeps only the entry that it is in, and one writer, which forgets each entry once it is written; a
//! [`Manifest`] is what they read and write as a whole.

mod entry;
mod outline;
mod pieces;
mod reader;
mod stream;
mod writer;

use std::fmt;
use std::path::PathBuf;

pub use reader::ManifestReader;
pub use stream::ManifestItems;
pub use writer::ManifestWriter;

use crate::{Checksum, Lsn, SyntaxError, SystemId, TimelineId};

/// A backup manifest, version 1 (PostgreSQL 13 to 16, and Barman's rsync backups) or 2 (17 and later), as a whole.
///
/// Each file takes some hundred bytes of memory: for manifests of any size there are [`ManifestReader`] and
/// [`ManifestWriter`]. Its paths are what the file says: a reader that opens them has to refuse those that leave the
/// backup's directory.
///
/// ```
/// use wal_format::{Hasher, Manifest};
/// # let text = include_bytes!("../testdata/15/backup_manifest");
/// # let label = include_bytes!("../testdata/15/backup_label");
///
/// let manifest = Manifest::parse(text)?;
/// let listed = manifest.files.iter().find(|file| file.path.as_os_str() == "backup_label").ok_or("no label")?;
/// let expected = listed.checksum.as_ref().ok_or("no checksum")?;
///
/// let mut hasher = Hasher::new(expected.algorithm());
/// hasher.update(label);
/// assert_eq!(hasher.finish().as_ref(), Some(expected));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Manifest {
    /// The format.
    pub version: ManifestVersion,
    /// The cluster that was backed up; every manifest of version 2 names it.
    pub system_id: Option<SystemId>,
    /// The files, in the order of the text.
    pub files: Vec<ManifestFile>,
    /// The WAL that the backup needs to become consistent, oldest timeline first; empty where Barman wrote the manifest.
    pub wal_ranges: Vec<WalRange>,
}

/// The format of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManifestVersion {
    /// Of PostgreSQL 13 to 16.
    V1,
    /// Of PostgreSQL 17 and later: names the cluster.
    V2,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ManifestFile {
    /// Where it lies, relative to the data directory: as the file says, not checked.
    #[cfg_attr(feature = "serde", serde(with = "crate::serialized::path"))]
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last changed, as text: `2026-11-20 18:47:03 GMT` by PostgreSQL, without zone by Barman.
    pub modified: String,
    /// Its checksum; `None` if the backup was taken without.
    pub checksum: Option<Checksum>,
}

/// A piece of WAL on one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// Its first byte.
    pub start: Lsn,
    /// The byte after its last.
    pub end: Lsn,
}

/// What a manifest consists of, in the order in which a [`ManifestReader`] comes across it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestItem {
    /// The format: always first.
    Version(ManifestVersion),
    /// The cluster that was backed up.
    SystemId(SystemId),
    /// A file.
    File(ManifestFile),
    /// A piece of WAL that the backup needs.
    WalRange(WalRange),
}

impl Manifest {
    /// Reads a manifest and checks its own checksum, which covers the text byte by byte.
    ///
    /// # Errors
    /// The text is cut short or changed, of another version, or not what PostgreSQL or Barman write.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        ManifestItems::new(text).collect()
    }
}

/// Puts together what a [`ManifestItems`] yields.
impl FromIterator<ManifestItem> for Manifest {
    fn from_iter<I: IntoIterator<Item = ManifestItem>>(items: I) -> Self {
        let mut manifest =
            Self { version: ManifestVersion::V1, system_id: None, files: Vec::new(), wal_ranges: Vec::new() };
        for item in items {
            match item {
                ManifestItem::Version(version) => manifest.version = version,
                ManifestItem::SystemId(system_id) => manifest.system_id = Some(system_id),
                ManifestItem::File(file) => manifest.files.push(file),
                ManifestItem::WalRange(range) => manifest.wal_ranges.push(range),
            }
        }
        manifest
    }
}

/// The text that [`Manifest::parse`] reads, byte for byte as PostgreSQL 13 to 18 write it.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writer::write(self, writer::Utf8(f)).map_err(|_| fmt::Error)
    }
}

/// Its number.
impl fmt::Display for ManifestVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
        })
    }
}

/// Why a text is no intact backup manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It does not begin like one.
    #[error("not a backup manifest")]
    Beginning(#[source] SyntaxError),
    /// A format that this crate does not know.
    #[error("backup manifest has version {version}, expected 1 or 2")]
    Version {
        /// The version it has.
        version: u64,
    },
    /// It does not end like one: probably cut short.
    #[error("backup manifest does not end with its checksum")]
    NoChecksum(#[source] SyntaxError),
    /// It was changed after it was written.
    #[error("backup manifest has checksum {found}, computed {computed}")]
    Checksum {
        /// The checksum it has.
        found: Checksum,
        /// The checksum of its bytes.
        computed: Checksum,
    },
    /// It is not what a manifest consists of.
    #[error("line {line} of the backup manifest cannot be read")]
    Content {
        /// Counted from one.
        line: u64,
        /// What is wrong, by its distance from the beginning of the manifest.
        #[source]
        source: SyntaxError,
    },
    /// A file or a piece of WAL is described by something else than PostgreSQL or Barman write.
    #[error("expected a file or a range of WAL in line {line} of the backup manifest: {reason}")]
    Entry {
        /// Counted from one.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// One of its entries, or something else in it, has more bytes than a path of 4096 bytes can explain.
    #[error("line {line} of the backup manifest is longer than {limit} bytes")]
    TooLong {
        /// Counted from one.
        line: u64,
        /// How long it may be.
        limit: usize,
    },
    /// It has version 2 and does not name its cluster.
    #[error("backup manifest of version 2 has no System-Identifier")]
    NoSystemId,
    /// Where it comes from failed.
    #[error("backup manifest cannot be read")]
    Read(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
