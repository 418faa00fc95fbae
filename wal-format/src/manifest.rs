//! The `backup_manifest` of a base backup: which files it has, with their checksums, and the WAL it needs.

mod document;
mod print;
mod seal;

use std::path::PathBuf;

use crate::{Checksum, Lsn, SyntaxError, SystemId, TimelineId};

/// A backup manifest, version 1 (PostgreSQL 13 to 16, and Barman's rsync backups) or 2 (17 and later).
///
/// Its paths are what the file says: a reader that opens them has to refuse those that leave the backup's directory.
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
pub struct ManifestFile {
    /// Where it lies, relative to the data directory: as the file says, not checked.
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
pub struct WalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// Its first byte.
    pub start: Lsn,
    /// The byte after its last.
    pub end: Lsn,
}

impl Manifest {
    /// Reads a manifest and checks its own checksum, which covers the text byte by byte.
    ///
    /// # Errors
    /// The text is cut short or changed, of another version, or not what PostgreSQL or Barman write.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let version = document::version(text)?;
        seal::check(text)?;
        let manifest = document::parse(version, text)?;
        if version == ManifestVersion::V2 && manifest.system_id.is_none() {
            return Err(ManifestError::NoSystemId);
        }
        Ok(manifest)
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
    /// It is not what a manifest consists of, though its checksum is right.
    #[error("backup manifest cannot be read")]
    Content(#[source] serde_json::Error),
    /// It has version 2 and does not name its cluster.
    #[error("backup manifest of version 2 has no System-Identifier")]
    NoSystemId,
}

#[cfg(test)]
mod tests;
