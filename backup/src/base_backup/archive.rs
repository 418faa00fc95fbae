//! Unpacks one archive of the stream while it arrives.

use std::collections::BTreeSet;
use std::io::{self, Read};

use barman_catalog::{ArchiveEntry, ArchiveEntryKind, ArchiveName, EntryError, expect_zeros};
use barman_storage::{Cancel, Cancelled, Dir};
use tar::{Archive, Header};
use wal_format::Crc32c;

use super::error::BaseBackupError;
use super::received_files::ReceivedFiles;

/// Large enough for the kernel, small enough for the processor's cache.
const BUFFER_SIZE: usize = 128 * 1024;

/// Places the entries of a backup's archives and remembers what it wrote.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    cancel: &'a Cancel,
    buffer: Vec<u8>,
    unpacked: Unpacked,
}

/// What all archives of a backup held.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) files: ReceivedFiles,
    /// The sum of the sizes of all files.
    pub(super) bytes: u64,
    /// The tablespaces that the data directory links to.
    pub(super) links: BTreeSet<u32>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(cancel: &'a Cancel) -> Self {
        let unpacked = Unpacked { files: ReceivedFiles::new(), bytes: 0, links: BTreeSet::new() };
        Self { cancel, buffer: vec![0; BUFFER_SIZE], unpacked }
    }

    /// Unpacks one archive into `root`, which is empty.
    ///
    /// Links are only noted here: they are made when no entry can come any more, so that none is written through one.
    ///
    /// # Errors
    /// The stream is no tar archive or breaks off, an entry is none that PostgreSQL sends, a file cannot be written.
    pub(super) fn unpack(
        &mut self,
        archive: ArchiveName,
        root: &Dir,
        stream: &mut impl Read,
    ) -> Result<(), BaseBackupError> {
        let broken = |source| BaseBackupError::Archive { archive, source };
        let mut tar = Archive::new(&mut *stream);
        // Raw: an extension header stays an entry of its own, to be refused, and changes no later name or size.
        for entry in tar.entries().map_err(broken)?.raw(true) {
            self.cancel.check()?;
            let mut entry = entry.map_err(broken)?;
            self.place(archive, root, &mut entry).map_err(|failure| failure.at(archive, entry.header()))?;
        }
        expect_zeros(stream, &mut self.buffer).map_err(broken)
    }

    /// Returns what was unpacked.
    pub(super) fn finish(self) -> Unpacked {
        self.unpacked
    }

    fn place(&mut self, archive: ArchiveName, root: &Dir, tar: &mut tar::Entry<'_, impl Read>) -> Result<(), Failure> {
        let entry = ArchiveEntry::from_header(tar.header(), archive)?;
        match entry.kind {
            ArchiveEntryKind::TablespaceLink { oid } if self.unpacked.links.insert(oid) => Ok(()),
            ArchiveEntryKind::TablespaceLink { .. } => Err(EntryError::Duplicate.into()),
            ArchiveEntryKind::Directory if root.stat(&entry.path)?.is_some() => Err(EntryError::Duplicate.into()),
            // Nothing is relied on before the whole tree is synced.
            ArchiveEntryKind::Directory => Ok(root.make_subdir(&entry.path, entry.mode)?.set_mode(entry.mode)?),
            ArchiveEntryKind::File { size } => {
                let crc = self.write_file(root, &entry, size, tar)?;
                self.unpacked.bytes += size;
                self.unpacked.files.add(&archive.manifest_path(&entry.path), size, crc);
                Ok(())
            }
        }
    }

    /// Writes one file and returns the CRC-32C of what was written.
    fn write_file(
        &mut self,
        root: &Dir,
        entry: &ArchiveEntry,
        size: u64,
        content: &mut impl Read,
    ) -> Result<u32, Failure> {
        let mut file = match root.create_file(&entry.path, entry.mode) {
            Err(error) if error.is_already_exists() => return Err(EntryError::Duplicate.into()),
            created => created?,
        };
        // The umask may have taken what a cluster with group access needs.
        file.set_mode(entry.mode)?;
        let mut crc = Crc32c::new();
        let mut written = 0;
        while written < size {
            self.cancel.check()?;
            let bytes = read_piece(content, &mut self.buffer).map_err(Failure::Broken)?;
            if bytes.is_empty() {
                return Err(EntryError::Truncated { expected: size, found: written }.into());
            }
            crc.update(bytes);
            file.write_all(bytes)?;
            written += bytes.len() as u64;
        }
        Ok(crc.finish())
    }
}

/// Why an entry was not placed, before the archive and the entry's name are added.
#[derive(Debug)]
enum Failure {
    Refused(EntryError),
    Broken(io::Error),
    Other(BaseBackupError),
}

impl Failure {
    fn at(self, archive: ArchiveName, header: &Header) -> BaseBackupError {
        match self {
            Self::Refused(kind) => {
                let entry = String::from_utf8_lossy(&header.path_bytes()).into_owned();
                BaseBackupError::Entry { archive, entry, kind }
            }
            Self::Broken(source) => BaseBackupError::Archive { archive, source },
            Self::Other(error) => error,
        }
    }
}

impl From<EntryError> for Failure {
    fn from(kind: EntryError) -> Self {
        Self::Refused(kind)
    }
}

impl From<barman_storage::Error> for Failure {
    fn from(error: barman_storage::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<Cancelled> for Failure {
    fn from(cancelled: Cancelled) -> Self {
        Self::Other(cancelled.into())
    }
}

/// Reads what comes next into `buffer`; at the end that is nothing.
#[allow(clippy::indexing_slicing, reason = "no reader reads more than there is room for")]
fn read_piece<'a>(stream: &mut impl Read, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = stream.read(buffer)?;
    Ok(&buffer[..length])
}

#[cfg(test)]
mod tests;
