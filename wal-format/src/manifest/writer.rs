//! Writing a manifest as PostgreSQL does, with its checksum (`backup/backup_manifest.c`).

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use sha2::{Digest as _, Sha256};

use super::{Manifest, ManifestFile, ManifestVersion, WalRange};
use crate::hex::Hex;
use crate::{Checksum, SystemId};

/// Writes a `backup_manifest` file by file, in memory that does not grow with their number. The text is that of
/// PostgreSQL 13 to 18, byte for byte, and every version accepts it.
///
/// Each file and each range is one call of `write_all`, so what it is written to should be buffered. Without
/// [`ManifestWriter::finish`] the text has no checksum, and no reader accepts it.
///
/// ```
/// use wal_format::{ChecksumAlgorithm, Hasher, Manifest, ManifestFile, ManifestWriter, SystemId};
///
/// let mut hasher = Hasher::new(ChecksumAlgorithm::Crc32c);
/// hasher.update(b"18\n");
/// let file = ManifestFile {
///     path: "PG_VERSION".into(),
///     size: 3,
///     modified: "2026-11-20 18:47:03 GMT".into(),
///     checksum: hasher.finish(),
/// };
///
/// let mut writer = ManifestWriter::new(Vec::new(), Some(SystemId::new(7710294594766418489)))?;
/// writer.file(&file)?;
/// let text = writer.finish(&[])?;
/// assert_eq!(Manifest::parse(&text)?.files, [file]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ManifestWriter<W> {
    covered: Covered<W>,
    files: u64,
    /// The line that is being made.
    line: String,
}

impl<W: Write> ManifestWriter<W> {
    /// Begins a manifest: of version 2 if it names the cluster, as from PostgreSQL 17 on, else of version 1.
    ///
    /// # Errors
    /// `out` fails.
    pub fn new(out: W, system_id: Option<SystemId>) -> io::Result<Self> {
        let version = if system_id.is_some() { ManifestVersion::V2 } else { ManifestVersion::V1 };
        Self::with_version(out, version, system_id)
    }

    /// Version 1 may name the cluster, though no server writes that.
    fn with_version(out: W, version: ManifestVersion, system_id: Option<SystemId>) -> io::Result<Self> {
        let mut covered = Covered { out, hash: Sha256::new() };
        writeln!(covered, "{{ \"PostgreSQL-Backup-Manifest-Version\": {version},")?;
        if let Some(system_id) = system_id {
            writeln!(covered, "\"System-Identifier\": {system_id},")?;
        }
        covered.write_all(b"\"Files\": [")?;
        Ok(Self { covered, files: 0, line: String::new() })
    }

    /// Adds a file. A path that is not UTF-8 is written as `Encoded-Path`.
    ///
    /// # Errors
    /// `out` fails.
    pub fn file(&mut self, file: &ManifestFile) -> io::Result<()> {
        self.line.clear();
        self.line.push_str(separator(self.files == 0));
        write_file(file, &mut self.line).map_err(io::Error::other)?;
        self.files += 1;
        self.covered.write_all(self.line.as_bytes())
    }

    /// Ends the files, adds the WAL that the backup needs, oldest timeline first, and seals all with its checksum. Without
    /// any WAL there is no such list, as in Barman's manifests; PostgreSQL's always have some.
    ///
    /// # Errors
    /// `out` fails, now or when it is flushed.
    pub fn finish(mut self, wal_ranges: &[WalRange]) -> io::Result<W> {
        self.covered.write_all(b"\n],\n")?;
        for (index, WalRange { timeline, start, end }) in wal_ranges.iter().enumerate() {
            let before = if index == 0 { "\"WAL-Ranges\": [" } else { "" };
            let separator = separator(index == 0);
            write!(
                self.covered,
                "{before}{separator}{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{end}\" }}"
            )?;
        }
        if !wal_ranges.is_empty() {
            self.covered.write_all(b"\n],\n")?;
        }
        let Covered { mut out, hash } = self.covered;
        writeln!(out, "\"Manifest-Checksum\": \"{}\"}}", Checksum::sha256(hash))?;
        out.flush()?;
        Ok(out)
    }
}

/// Writes a whole manifest.
pub(super) fn write(manifest: &Manifest, out: impl Write) -> io::Result<()> {
    let mut writer = ManifestWriter::with_version(out, manifest.version, manifest.system_id)?;
    manifest.files.iter().try_for_each(|file| writer.file(file))?;
    writer.finish(&manifest.wal_ranges)?;
    Ok(())
}

fn separator(is_first: bool) -> &'static str {
    if is_first { "\n" } else { ",\n" }
}

fn write_file(file: &ManifestFile, line: &mut String) -> fmt::Result {
    match file.path.to_str() {
        Some(path) => write!(line, "{{ \"Path\": {}", Json(path))?,
        None => write!(line, "{{ \"Encoded-Path\": \"{}\"", Hex(file.path.as_os_str().as_bytes()))?,
    }
    write!(line, ", \"Size\": {}, \"Last-Modified\": {}", file.size, Json(&file.modified))?;
    if let Some(checksum) = &file.checksum {
        write!(line, ", \"Checksum-Algorithm\": \"{}\", \"Checksum\": \"{checksum}\"", checksum.algorithm())?;
    }
    line.write_str(" }")
}

/// Passes text on and hashes it: what the manifest's own checksum covers.
#[derive(Debug)]
struct Covered<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Covered<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let len = self.out.write(text)?;
        self.hash.update(text.get(..len).unwrap_or(text));
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Passes on what a [`ManifestWriter`] writes, which is whole characters each time.
pub(super) struct Utf8<'a, 'f>(pub(super) &'a mut fmt::Formatter<'f>);

impl Write for Utf8<'_, '_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let valid = core::str::from_utf8(text).map_err(io::Error::other)?;
        self.0.write_str(valid).map_err(io::Error::other)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A string between quotes, with what JSON wants escaped.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}
