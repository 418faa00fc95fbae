//! A manifest as PostgreSQL writes it, with its checksum (`backup/backup_manifest.c`).

use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use sha2::{Digest as _, Sha256};

use super::{Manifest, ManifestFile, ManifestVersion, WalRange};
use crate::Checksum;
use crate::hex::Hex;

/// The text that [`Manifest::parse`] reads, byte for byte as PostgreSQL 13 to 18 write it.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut covered = Covered { out: f, hash: Sha256::new() };
        write_content(self, &mut covered)?;
        let checksum = Checksum::sha256(covered.hash);
        writeln!(f, "\"Manifest-Checksum\": \"{checksum}\"}}")
    }
}

/// Passes text on and hashes it: what the manifest's own checksum covers.
struct Covered<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    hash: Sha256,
}

impl Write for Covered<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hash.update(text);
        self.out.write_str(text)
    }
}

fn write_content(manifest: &Manifest, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "{{ \"PostgreSQL-Backup-Manifest-Version\": {},", manifest.version)?;
    if let Some(system_id) = manifest.system_id {
        writeln!(out, "\"System-Identifier\": {system_id},")?;
    }
    write_array("Files", &manifest.files, write_file, out)?;
    // Barman's manifests have none, and PostgreSQL's always some.
    if manifest.wal_ranges.is_empty() {
        return Ok(());
    }
    write_array("WAL-Ranges", &manifest.wal_ranges, write_wal_range, out)
}

fn write_array<T, W: Write>(
    name: &str,
    entries: &[T],
    write_entry: impl Fn(&T, &mut W) -> fmt::Result,
    out: &mut W,
) -> fmt::Result {
    write!(out, "\"{name}\": [")?;
    for (index, entry) in entries.iter().enumerate() {
        out.write_str(if index == 0 { "\n" } else { ",\n" })?;
        write_entry(entry, out)?;
    }
    out.write_str("\n],\n")
}

fn write_file(file: &ManifestFile, out: &mut impl Write) -> fmt::Result {
    match file.path.to_str() {
        Some(path) => write!(out, "{{ \"Path\": {}", Json(path))?,
        None => write!(out, "{{ \"Encoded-Path\": \"{}\"", Hex(file.path.as_os_str().as_bytes()))?,
    }
    write!(out, ", \"Size\": {}, \"Last-Modified\": {}", file.size, Json(&file.modified))?;
    if let Some(checksum) = &file.checksum {
        write!(out, ", \"Checksum-Algorithm\": \"{}\", \"Checksum\": \"{checksum}\"", checksum.algorithm())?;
    }
    out.write_str(" }")
}

fn write_wal_range(range: &WalRange, out: &mut impl Write) -> fmt::Result {
    let WalRange { timeline, start, end } = range;
    write!(out, "{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{end}\" }}")
}

impl fmt::Display for ManifestVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
        })
    }
}

/// A string between quotes, with what JSON wants escaped.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}
