//! How a stored file is wrapped, told by how it begins.

use barman_storage::codec::Format;

/// What has to be undone before a file is what PostgreSQL wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Nothing.
    Plain,
    /// Compression.
    Compressed(Format),
    /// Compression by a program of the user's.
    Custom,
    /// Encryption by gpg; what is inside cannot be seen.
    Encrypted,
}

impl Encoding {
    /// More than [`Encoding::detect`] looks at.
    pub const HEAD_LEN: usize = 32;

    /// Tells by the first bytes of a file how it is wrapped.
    ///
    /// No segment, history file or backup label begins like any of these: a segment begins with the magic number of its
    /// version, `0xD...` in either byte order, and the others with text.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        match Format::detect(head) {
            Some(format) => Self::Compressed(format),
            None if is_pgp_message(head) => Self::Encrypted,
            None => Self::Plain,
        }
    }

    /// Returns Barman's name of the compression.
    #[must_use]
    pub fn compression(self) -> Option<&'static str> {
        match self {
            Self::Compressed(format) => Some(format.name()),
            Self::Custom => Some("custom"),
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
        for format in Format::ALL {
            assert_eq!(Encoding::detect(format.magic()), Encoding::Compressed(format));
            assert_eq!(Encoding::detect(format.magic()).compression(), Some(format.name()));
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
