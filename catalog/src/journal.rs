//! Files of our own: entries that are appended and never changed.
//!
//! The ledger, the record of what was verified when, and measured rates share this format. All of them can be made again
//! from the archive or by measuring again, so that losing the end of one costs time and nothing else; that is why an append
//! is not synced unless its writer asks for it ([`Journal::sync`]).
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 7 | `\x93BARMAN\n` |
//! | 8 to 11 | what the file holds, such as `WALF` |
//! | 12, 13 | the version of its entries |
//! | 14, 15 | zero |
//! | 16 to 19 | CRC-32C of the bytes before |
//!
//! and then entries: the length of the contents (4 bytes, 1 to [`LONGEST_ENTRY`]), the CRC-32C of that length and the
//! contents, the contents. All numbers are little-endian.
//!
//! # Torn tails
//! A journal ends where the first entry is not whole: cut short, with a wrong checksum, or zeros, which a power failure
//! leaves in a file whose length survived and whose contents did not. Readers take what is before that and need no lock.
//! The writer, of whom there is one at a time by a lock of the catalog's, cuts the rest off before it appends. An entry is
//! written by one system call, behind the end of what is there; nothing that was written is changed, which is all that
//! readers over NFS need. A file is only ever rewritten as a whole under its name, and whoever reads the old one reads it
//! to its end.

mod fields;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, Read};

use barman_storage::{Dir, Operation, RelativePath};
use wal_format::{Crc32c, crc32c};

use crate::catalog::FILE_MODE;
use crate::{Error, layout};

pub(crate) use fields::{FieldReader, FieldWriter};

/// The most bytes of contents that an entry has. What is read into memory ends here.
pub(crate) const LONGEST_ENTRY: usize = 4 << 20;

const MAGIC: [u8; 8] = *b"\x93BARMAN\n";
const HEADER_LEN: usize = 20;
const ENTRY_HEADER_LEN: usize = 8;

/// What a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) name: [u8; 4],
    /// The version of the entries that is written here, and the only one that is read: each journal can be made again.
    pub(crate) version: u16,
}

impl Format {
    fn header(self) -> Vec<u8> {
        let mut header = [&MAGIC[..], &self.name, &self.version.to_le_bytes(), &[0; 2]].concat();
        header.extend(crc32c(&header).to_le_bytes());
        header
    }
}

/// Why a file is not the journal that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// It does not begin like one.
    #[error("it does not begin like a journal of {expected:?}")]
    Other {
        /// What it should hold.
        expected: String,
    },
    /// Another version of this program wrote it.
    #[error("its entries are of version {found}, expected {expected}")]
    Version {
        /// The version that is understood.
        expected: u16,
        /// The version it has.
        found: u16,
    },
}

/// How far a journal could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Length of its sound part in bytes, the header included; 0 where not even that is whole.
    pub(crate) sound: u64,
    /// Length of the file.
    pub(crate) length: u64,
}

impl Extent {
    const NONE: Self = Self { sound: 0, length: 0 };

    /// Whether the file ends in something that is no entry.
    pub(crate) fn is_torn(self) -> bool {
        self.sound < self.length
    }
}

/// A journal of one directory.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    dir: Dir,
    path: RelativePath,
    format: Format,
}

impl Journal {
    /// The journal of this name, which need not exist.
    pub(crate) fn new(dir: &Dir, path: RelativePath, format: Format) -> Self {
        Self { dir: dir.clone(), path, format }
    }

    /// Shows the contents of every entry to `visit`, in order; none if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, is no journal of this format, or `visit` says so.
    pub(crate) fn read(&self, mut visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<Extent, Error> {
        const BUFFER: usize = 128 * 1024;
        let file = match self.dir.open_file(&self.path) {
            Err(error) if error.is_not_found() => return Ok(Extent::NONE),
            opened => opened?,
        };
        let length = file.metadata().map_err(|error| self.unreadable(error))?.len();
        let mut reader = BufReader::with_capacity(BUFFER, file);
        let mut extent = Extent { sound: 0, length };
        if !self.read_header(&mut reader, length)? {
            return Ok(extent);
        }
        extent.sound = HEADER_LEN as u64;
        let mut contents = Vec::new();
        while self.read_entry(&mut reader, &mut contents)? {
            visit(&contents)?;
            extent.sound += (ENTRY_HEADER_LEN + contents.len()) as u64;
        }
        Ok(extent)
    }

    /// Reads the header; `false` if a crash left only a part of it.
    fn read_header(&self, reader: &mut BufReader<File>, length: u64) -> Result<bool, Error> {
        let mut header = Vec::new();
        reader.take(HEADER_LEN as u64).read_to_end(&mut header).map_err(|error| self.unreadable(error))?;
        let expected = self.format.header();
        if header == expected {
            return Ok(true);
        }
        let same = header.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
        let is_torn = length <= HEADER_LEN as u64 || header.iter().skip(same).all(|byte| *byte == 0);
        if is_torn {
            return Ok(false);
        }
        let kind = [&MAGIC[..], &self.format.name].concat();
        let source = match header.strip_prefix(kind.as_slice()) {
            Some(&[low, high, ..]) => {
                JournalError::Version { expected: self.format.version, found: u16::from_le_bytes([low, high]) }
            }
            _ => JournalError::Other { expected: self.format.name.escape_ascii().to_string() },
        };
        Err(Error::Journal { path: layout::shown(&self.dir, &self.path), source })
    }

    /// Reads the next entry; `false` at the end of the sound part.
    fn read_entry(&self, reader: &mut BufReader<File>, contents: &mut Vec<u8>) -> Result<bool, Error> {
        let mut header = [0; ENTRY_HEADER_LEN];
        if !fill(reader, &mut header).map_err(|error| self.unreadable(error))? {
            return Ok(false);
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if !(1..=LONGEST_ENTRY).contains(&length) {
            return Ok(false);
        }
        contents.clear();
        let taken = reader.take(length as u64).read_to_end(contents).map_err(|error| self.unreadable(error))?;
        Ok(taken == length && checksum(contents) == u32::from_le_bytes([c0, c1, c2, c3]))
    }

    /// Adds entries, behind the sound part as it was read under the same lock. They are not durable yet.
    ///
    /// # Errors
    /// The file cannot be made or written; a part of the entries may be there.
    pub(crate) fn append(&self, extent: &mut Extent, entries: &[impl AsRef<[u8]>]) -> Result<(), Error> {
        let mut bytes = if extent.sound == 0 { self.format.header() } else { Vec::new() };
        entries.iter().for_each(|entry| frame(entry.as_ref(), &mut bytes));
        let mut file = match self.dir.edit_file(&self.path) {
            Err(error) if error.is_not_found() => self.dir.create_file(&self.path, FILE_MODE)?,
            opened => opened?,
        };
        if extent.is_torn() {
            file.truncate(extent.sound)?;
        }
        file.write_all_at(extent.sound, &bytes)?;
        extent.sound += bytes.len() as u64;
        extent.length = extent.sound;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// The sync failed: the file is to be written anew.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.dir.edit_file(&self.path)?.sync()?;
        Ok(self.dir.sync()?)
    }

    /// Writes the journal anew, durably, with these entries alone.
    ///
    /// # Errors
    /// The file cannot be written; then the old one is still there.
    pub(crate) fn rewrite(&self, entries: &[impl AsRef<[u8]>]) -> Result<Extent, Error> {
        let mut bytes = self.format.header();
        entries.iter().for_each(|entry| frame(entry.as_ref(), &mut bytes));
        self.dir.replace(&self.path, FILE_MODE, &bytes)?;
        Ok(Extent { sound: bytes.len() as u64, length: bytes.len() as u64 })
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        barman_storage::Error::new(Operation::Read, layout::shown(&self.dir, &self.path), source).into()
    }
}

/// Fills the buffer; `false` if the file ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(buffer) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        filled => filled.map(|()| true),
    }
}

/// Adds an entry's header and its contents. Contents that no reader would take are not written: they could only be a mistake
/// of this program, and what is behind them would be lost with them.
fn frame(contents: &[u8], bytes: &mut Vec<u8>) {
    debug_assert!((1..=LONGEST_ENTRY).contains(&contents.len()), "{} bytes", contents.len());
    if let Some(length) = u32::try_from(contents.len()).ok().filter(|_| contents.len() <= LONGEST_ENTRY) {
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum(contents).to_le_bytes());
        bytes.extend_from_slice(contents);
    }
}

/// The length is part of it, so that a wrong length is noticed without reading on.
fn checksum(contents: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(&(contents.len() as u64).to_le_bytes());
    crc.update(contents);
    crc.finish()
}
