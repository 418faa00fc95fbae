//! How a stored file is wrapped, told by how it begins.

use std::fs::File;
use std::io::{self, Read as _};

use barman_storage::{Dir, Operation, RelativePath};

use crate::layout;

/// More than [`Encoding::detect`] looks at.
const HEAD_BYTES: u64 = 32;

/// What has to be undone before a file is what PostgreSQL wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Nothing.
    Plain,
    /// Compression, by the name Barman gives it.
    Compressed(&'static str),
    /// Encryption by gpg; what is inside cannot be seen.
    Encrypted,
}

/// How files of each compression begin, as `file` and Barman know them.
const COMPRESSIONS: [(&[u8], &str); 6] = [
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
];

impl Encoding {
    /// Tells by the first bytes of a file how it is wrapped.
    ///
    /// No segment, history file or backup label begins like any of these: a segment begins with the magic number of its
    /// version, `0xD...` in either byte order, and the others with text.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        match COMPRESSIONS.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, name)) => Self::Compressed(name),
            None if is_pgp_message(head) => Self::Encrypted,
            None => Self::Plain,
        }
    }

    /// Tells how a file is wrapped.
    pub(crate) fn of_file(dir: &Dir, path: &RelativePath) -> Result<Self, barman_storage::Error> {
        let unreadable = |source| barman_storage::Error::new(Operation::Read, layout::shown(dir, path), source);
        Self::of_opened(&dir.open_file(path)?).map_err(unreadable)
    }

    /// Tells how a file is wrapped that was just opened.
    pub(crate) fn of_opened(file: &File) -> io::Result<Self> {
        let mut head = Vec::new();
        file.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(Self::detect(&head))
    }

    /// Returns Barman's name of the compression.
    #[must_use]
    pub fn compression(self) -> Option<&'static str> {
        match self {
            Self::Compressed(name) => Some(name),
            Self::Plain | Self::Encrypted => None,
        }
    }

    /// Returns Barman's name of the encryption.
    #[must_use]
    pub fn encryption(self) -> Option<&'static str> {
        (self == Self::Encrypted).then_some("gpg")
    }
}

/// Tells whether a file begins with an OpenPGP packet that holds a session key (RFC 9580, 5.1 and 5.3), or with the armour
/// of a message.
fn is_pgp_message(head: &[u8]) -> bool {
    const PUBLIC_KEY: u8 = 1;
    const SYMMETRIC_KEY: u8 = 3;
    let session_key = |tag: u8, version: Option<&u8>| match tag {
        PUBLIC_KEY => version == Some(&3) || version == Some(&6),
        SYMMETRIC_KEY => matches!(version, Some(4..=6)),
        _ => false,
    };
    match *head {
        // Old format: the tag, and how many bytes of length follow.
        [first @ 0x80..=0xBF, ..] if first & 3 < 3 => session_key(first >> 2 & 0xF, head.get(1 + (1 << (first & 3)))),
        // New format: the first byte of the length says how many there are.
        [first @ 0xC0..=0xFF, length, ..] => {
            let length_bytes = match length {
                0..192 => 1,
                192..224 => 2,
                _ => 5,
            };
            session_key(first & 0x3F, head.get(1 + length_bytes))
        }
        _ => head.starts_with(b"-----BEGIN PGP MESSAGE-----"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_compression_has_its_name() {
        for (magic, name) in COMPRESSIONS {
            assert_eq!(Encoding::detect(magic).compression(), Some(name));
            assert_eq!(Encoding::detect(&magic[..magic.len() - 1]), Encoding::Plain);
        }
    }

    #[test]
    fn gpg_messages_are_encrypted() {
        for head in [
            b"\x85\x01\x0c\x03\x01\x02".as_slice(),
            b"\x84\x5e\x03\x01\x02",
            b"\x8c\x0d\x04\x09\x03",
            b"\xc1\xc0\x4c\x03",
            b"-----BEGIN PGP MESSAGE-----\n",
        ] {
            assert_eq!(Encoding::detect(head), Encoding::Encrypted, "{}", head.escape_ascii());
            assert_eq!(Encoding::detect(head).encryption(), Some("gpg"));
        }
    }

    #[test]
    fn what_postgresql_writes_is_plain() {
        for head in [
            b"\x10\xd1\x06\x00\x01\x00\x00\x00".as_slice(),
            b"\xd1\x10\x00\x06\x00\x00\x00\x01",
            b"1\t0/3000000\tno recovery target specified\n",
            b"START WAL LOCATION: 0/4000028",
            b"\0\0\0\0\0\0\0\0",
            b"",
        ] {
            assert_eq!(Encoding::detect(head), Encoding::Plain, "{}", head.escape_ascii());
        }
    }
}
