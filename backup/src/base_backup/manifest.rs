//! Compares what was written with the server's backup manifest, while that arrives.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;

use wal_format::{Checksum, ManifestFile, ManifestItem, ManifestReader};

use super::received_files::{Comparison, FileIndex};

/// Why a backup does not agree with its manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest is none, or was damaged on its way.
    #[error("the backup manifest that arrived is damaged")]
    Damaged(#[from] wal_format::ManifestError),
    /// The manifest has another checksum for a file than was asked for.
    #[error("file {path:?} of the backup manifest has no CRC-32C")]
    NoCrc {
        /// The file, relative to the data directory.
        path: String,
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
/// it names. `store` is given every byte.
///
/// # Errors
/// The manifest is damaged or none, or what was written is not what it says. A file that it does not name is the one
/// difference not found here: see [`FileIndex::is_exhausted`].
pub(super) fn check<E: From<ManifestError>>(
    mut stream: impl Read,
    files: &mut FileIndex,
    mut store: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut buffer = vec![0; 128 * 1024];
    let mut check = Check { files, reader: ManifestReader::new(), count: 0 };
    while let Some(text) = read_some(&mut stream, &mut buffer)? {
        check.take(text)?;
        store(text)?;
    }
    Ok(check.finish()?)
}

/// Reads what is there; `None` at the end.
fn read_some<'a>(stream: &mut impl Read, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, ManifestError> {
    let len = loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.map_err(ManifestError::Stream)?,
        }
    };
    Ok(buffer.get(..len).filter(|text| !text.is_empty()))
}

struct Check<'a> {
    files: &'a mut FileIndex,
    reader: ManifestReader,
    count: u64,
}

impl Check<'_> {
    fn take(&mut self, mut text: &[u8]) -> Result<(), ManifestError> {
        while let Some(item) = self.reader.next(&mut text)? {
            if let ManifestItem::File(file) = item {
                self.compare(&file)?;
            }
        }
        Ok(())
    }

    fn compare(&mut self, file: &ManifestFile) -> Result<(), ManifestError> {
        let path = file.path.as_os_str().as_bytes();
        let name = || String::from_utf8_lossy(path).into_owned();
        let crc = file.checksum.as_ref().and_then(Checksum::as_crc32c);
        let crc = crc.ok_or_else(|| ManifestError::NoCrc { path: name() })?;
        self.count += 1;
        match self.files.compare(path, file.size, crc) {
            Comparison::Equal => Ok(()),
            Comparison::Missing => Err(ManifestError::Missing { path: name() }),
            Comparison::Repeated => Err(ManifestError::Repeated { path: name() }),
            Comparison::Size(found) => Err(ManifestError::Size { path: name(), expected: file.size, found }),
            Comparison::Checksum(found) => Err(ManifestError::FileChecksum { path: name(), expected: crc, found }),
        }
    }

    fn finish(self) -> Result<u64, ManifestError> {
        self.reader.finish()?;
        Ok(self.count)
    }
}

#[cfg(test)]
mod tests;
