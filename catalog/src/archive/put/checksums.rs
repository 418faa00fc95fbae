//! The checksums that come with the files of a stream.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read};

use barman_storage::{Dir, Operation};
use md5::{Digest as _, Md5};
use wal_format::{ChecksumAlgorithm, Hasher};

use super::incoming::Stored;
use super::{PutWalError, PutWalNote};
use crate::{Error, layout};

/// More than the checksums of thousands of files need.
const LONGEST_LIST: u64 = 1 << 20;

/// How the files of a stream are summed up. The senders of old systems have nothing better than MD5; it is no defence, and
/// need not be: it finds what the way did to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    /// Tells whether a file of this name is a list of checksums.
    pub(super) fn of_list(name: &str) -> Option<Self> {
        match name {
            "SHA256SUMS" => Some(Self::Sha256),
            "MD5SUMS" => Some(Self::Md5),
            _ => None,
        }
    }

    /// The checksum of all that can be read, as hexadecimal digits.
    pub(super) fn sum(self, mut source: impl Read) -> io::Result<String> {
        const BUFFER: usize = 256 * 1024;
        let (mut sum, mut buffer) = (Sum::new(self), vec![0; BUFFER]);
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(sum.finish()),
                length => sum.update(buffer.get(..length).unwrap_or_default()),
            }
        }
    }
}

/// A checksum of bytes that come in pieces.
pub(super) enum Sum {
    Sha256(Hasher),
    Md5(Md5),
}

impl Sum {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Hasher::new(ChecksumAlgorithm::Sha256)),
            Algorithm::Md5 => Self::Md5(Md5::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(sha) => sha.update(bytes),
            Self::Md5(md5) => md5.update(bytes),
        }
    }

    /// As hexadecimal digits.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(sha) => sha.finish().map(|sum| hex(sum.bytes())).unwrap_or_default(),
            Self::Md5(md5) => hex(&md5.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the lists of a stream say.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    /// MD5 once a list of such came: it then stands for the whole stream.
    md5: bool,
    expected: BTreeMap<String, String>,
}

impl Checksums {
    /// Reads a list: a line a file, of the checksum, a blank, and the name behind an asterisk.
    pub(super) fn read(
        &mut self,
        algorithm: Algorithm,
        list: &mut impl Read,
        note: &mut dyn FnMut(PutWalNote),
    ) -> Result<(), PutWalError> {
        self.md5 |= algorithm == Algorithm::Md5;
        let mut text = Vec::new();
        list.take(LONGEST_LIST).read_to_end(&mut text).map_err(PutWalError::Stream)?;
        for line in String::from_utf8_lossy(&text).lines().map(str::trim_end) {
            match line.split_once(" *") {
                Some((sum, file)) => drop(self.expected.insert(file.to_owned(), sum.to_owned())),
                None => note(PutWalNote::BadChecksumLine(line.to_owned())),
            }
        }
        Ok(())
    }

    /// Compares a file with its checksum.
    pub(super) fn check(&mut self, incoming: &Dir, file: &Stored) -> Result<(), PutWalError> {
        let name = || file.name.clone();
        let expected = self.expected.remove(&file.name).ok_or_else(|| PutWalError::MissingChecksum { file: name() })?;
        let found = if self.md5 { sum_of(incoming, file, Algorithm::Md5)? } else { file.sha256.clone() };
        match found.eq_ignore_ascii_case(&expected) {
            true => Ok(()),
            false => Err(PutWalError::BadChecksum { file: name(), expected, found }),
        }
    }

    /// Says that all files were compared.
    pub(super) fn finish(mut self) -> Result<(), PutWalError> {
        match self.expected.pop_first() {
            Some((file, _)) => Err(PutWalError::MissingFile { file }),
            None => Ok(()),
        }
    }
}

/// The checksum of a file that is stored.
fn sum_of(incoming: &Dir, file: &Stored, algorithm: Algorithm) -> Result<String, Error> {
    let path = file.temporary();
    let unreadable = |error| barman_storage::Error::new(Operation::Read, layout::shown(incoming, &path), error);
    Ok(algorithm.sum(incoming.open_file(&path)?).map_err(unreadable)?)
}
