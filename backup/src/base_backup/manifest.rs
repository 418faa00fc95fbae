//! Compares what was written with the server's backup manifest, while that arrives.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;
use wal_format::{ChecksumAlgorithm, Hasher};

use super::received_files::{Comparison, FileIndex};

/// No line of a manifest is longer: a path has at most 4 KiB, and escapes make it six times as long.
const MAX_LINE: u64 = 64 * 1024;

/// Why a backup does not agree with its manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest is not what PostgreSQL writes.
    #[error("expected {expected} in line {line} of the backup manifest")]
    Syntax {
        /// What should stand there.
        expected: &'static str,
        /// Counted from one.
        line: u64,
        /// What is wrong.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The manifest was damaged on its way.
    #[error("expected the backup manifest to have checksum {expected}, computed {found}")]
    Checksum {
        /// What its last line says, in hexadecimal digits.
        expected: String,
        /// What its other lines amount to.
        found: String,
    },
    /// The stream broke off.
    #[error("cannot receive the backup manifest")]
    Stream(#[source] io::Error),
    /// The manifest names a file that did not arrive.
    #[error("file {path:?} of the backup manifest did not arrive")]
    Missing {
        /// The file, relative to the data directory.
        path: String,
    },
    /// The manifest names a file twice.
    #[error("the backup manifest names file {path:?} twice")]
    Repeated {
        /// The file, relative to the data directory.
        path: String,
    },
    /// A file arrived that the manifest does not name.
    #[error("file {path:?} arrived and is not in the backup manifest")]
    Extra {
        /// The file, relative to the data directory.
        path: String,
    },
    /// A file arrived shorter or longer.
    #[error("expected file {path:?} to have {expected} bytes, found {found}")]
    Size {
        /// The file, relative to the data directory.
        path: String,
        /// The size in the manifest.
        expected: u64,
        /// The size of what was written.
        found: u64,
    },
    /// A file arrived with other contents.
    #[error("expected file {path:?} to have CRC-32C {expected:08X}, computed {found:08X}")]
    FileChecksum {
        /// The file, relative to the data directory.
        path: String,
        /// The checksum in the manifest.
        expected: u32,
        /// The checksum of what was written.
        found: u32,
    },
}

/// Reads a manifest up to the end of `stream`, compares each file it names with what was written, and returns how many
/// it names.
///
/// It is read line by line, as PostgreSQL writes it (`backup_manifest.c`), because that of a million files would take
/// hundreds of megabytes as one text. `store` is given every byte.
///
/// # Errors
/// The manifest is damaged or none, or what was written is not what it says. A file that it does not name is the one
/// difference not found here: see [`FileIndex::is_exhausted`].
pub(super) fn check<E: From<ManifestError>>(
    stream: impl Read,
    files: &mut FileIndex,
    mut store: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut stream = BufReader::with_capacity(128 * 1024, stream);
    let mut check =
        Check { files, section: Section::Beginning, hasher: Hasher::new(ChecksumAlgorithm::Sha256), line: 0, count: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(ManifestError::Stream)?;
        if length == 0 {
            return Ok(check.finish()?);
        }
        check.take(&line)?;
        store(&line)?;
    }
}

/// Where in the manifest the next line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Beginning,
    Header,
    Files,
    Trailer,
    End,
}

struct Check<'a> {
    files: &'a mut FileIndex,
    section: Section,
    /// Of all lines before the one with the checksum.
    hasher: Hasher,
    line: u64,
    count: u64,
}

impl Check<'_> {
    fn take(&mut self, line: &[u8]) -> Result<(), ManifestError> {
        self.line += 1;
        let text = line.strip_suffix(b"\n").ok_or_else(|| self.expected("a line end"))?;
        self.section = match (self.section, text) {
            (Section::Beginning, _) => self.take_version(text)?,
            (Section::Header, b"\"Files\": [") => Section::Files,
            (Section::Header, _) => Section::Header,
            (Section::Files, b"],") => Section::Trailer,
            (Section::Files, b"") if self.count == 0 => Section::Files,
            (Section::Files, _) => self.take_file(text)?,
            (Section::Trailer, _) if text.starts_with(b"\"Manifest-Checksum\"") => return self.take_checksum(text),
            (Section::Trailer, _) => Section::Trailer,
            (Section::End, _) => return Err(self.expected("the end")),
        };
        self.hasher.update(line);
        Ok(())
    }

    fn take_version(&self, text: &[u8]) -> Result<Section, ManifestError> {
        let version = text.strip_prefix(b"{ \"PostgreSQL-Backup-Manifest-Version\": ");
        match version {
            Some(b"1," | b"2,") => Ok(Section::Header),
            _ => Err(self.expected("a backup manifest of version 1 or 2")),
        }
    }

    fn take_file(&mut self, text: &[u8]) -> Result<Section, ManifestError> {
        let text = text.strip_suffix(b",").unwrap_or(text);
        let invalid = |line, source| ManifestError::Syntax { expected: "a file", line, source };
        let entry: FileEntry<'_> = serde_json::from_slice(text).map_err(|error| invalid(self.line, Some(error)))?;
        let (path, crc) = entry.path().zip(entry.crc()).ok_or_else(|| self.expected("a path and a CRC-32C"))?;
        let name = || String::from_utf8_lossy(&path).into_owned();
        self.count += 1;
        match self.files.compare(&path, entry.size, crc) {
            Comparison::Equal => Ok(Section::Files),
            Comparison::Missing => Err(ManifestError::Missing { path: name() }),
            Comparison::Repeated => Err(ManifestError::Repeated { path: name() }),
            Comparison::Size(found) => Err(ManifestError::Size { path: name(), expected: entry.size, found }),
            Comparison::Checksum(found) => Err(ManifestError::FileChecksum { path: name(), expected: crc, found }),
        }
    }

    fn take_checksum(&mut self, text: &[u8]) -> Result<(), ManifestError> {
        let computed = std::mem::replace(&mut self.hasher, Hasher::new(ChecksumAlgorithm::None)).finish();
        let found = computed.map(|checksum| to_hex(checksum.bytes())).unwrap_or_default();
        let expected = text.strip_prefix(b"\"Manifest-Checksum\": \"").and_then(|rest| rest.strip_suffix(b"\"}"));
        let expected = expected.ok_or_else(|| self.expected("the manifest's checksum"))?;
        if expected != found.as_bytes() {
            return Err(ManifestError::Checksum { expected: String::from_utf8_lossy(expected).into_owned(), found });
        }
        self.section = Section::End;
        Ok(())
    }

    fn finish(self) -> Result<u64, ManifestError> {
        if self.section == Section::End { Ok(self.count) } else { Err(self.expected("another line")) }
    }

    fn expected(&self, expected: &'static str) -> ManifestError {
        ManifestError::Syntax { expected, line: self.line, source: None }
    }
}

/// One line of the list of files.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FileEntry<'a> {
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    /// Instead of `path` where that is not UTF-8: hexadecimal digits.
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: String,
    checksum: String,
}

impl FileEntry<'_> {
    fn path(&self) -> Option<Vec<u8>> {
        match (&self.path, &self.encoded_path) {
            (Some(path), None) => Some(path.as_bytes().to_vec()),
            (None, Some(encoded)) => from_hex(encoded),
            _ => None,
        }
    }

    /// PostgreSQL prints the bytes of a CRC-32C in the order that they have in its memory.
    fn crc(&self) -> Option<u32> {
        let bytes = from_hex(&self.checksum).filter(|_| self.algorithm == "CRC32C")?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
