//! Checksums of whole files, as a backup manifest lists them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use crate::Crc32c;
use crate::hex::Hex;

/// How the files of a backup are checksummed (`pg_checksum_type` of `common/checksum_helper.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum ChecksumAlgorithm {
    /// Not at all.
    None,
    Crc32c,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl ChecksumAlgorithm {
    /// Length of a checksum, in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32c => 4,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }
}

/// As manifests and `BASE_BACKUP` spell it: `CRC32C`.
impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In either case, as PostgreSQL reads it.
impl FromStr for ChecksumAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::None, Self::Crc32c, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownAlgorithm { name: text.to_owned() })
    }
}

/// A name that stands for no checksum algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("checksum algorithm is \"{}\", expected NONE, CRC32C, SHA224, SHA256, SHA384 or SHA512", name.escape_debug())]
pub struct UnknownAlgorithm {
    /// The name.
    pub name: String,
}

/// The checksum of one file: always as long as its algorithm makes them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    bytes: Box<[u8]>,
}

impl Checksum {
    /// A checksum that was computed elsewhere; `None` if `bytes` is not as long as `algorithm` makes them, or if it makes
    /// none.
    #[must_use]
    pub fn new(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Option<Self> {
        let fits = bytes.len() == algorithm.digest_len() && algorithm != ChecksumAlgorithm::None;
        fits.then(|| Self { algorithm, bytes: bytes.into() })
    }

    /// The checksum of everything that `hash` was given.
    pub(crate) fn sha256(hash: Sha256) -> Self {
        Self { algorithm: ChecksumAlgorithm::Sha256, bytes: hash.finalize().as_slice().into() }
    }

    /// How it was computed.
    #[must_use]
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Its number, if it is a CRC-32C; manifests print that in the order that its bytes have in the server's memory.
    #[must_use]
    pub fn as_crc32c(&self) -> Option<u32> {
        let bytes = self.bytes.first_chunk().filter(|_| self.algorithm == ChecksumAlgorithm::Crc32c)?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// Its bytes, in the order in which a manifest prints them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// In lower-case hexadecimal digits, as in a manifest.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.bytes).fmt(f)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({self})", self.algorithm)
    }
}

/// Computes the checksum of a file whose bytes come in pieces.
///
/// ```
/// use wal_format::{ChecksumAlgorithm, Hasher};
///
/// let mut hasher = Hasher::new(ChecksumAlgorithm::Crc32c);
/// hasher.update(b"15");
/// hasher.update(b"\n");
/// let checksum = hasher.finish().ok_or("no checksum")?;
/// assert_eq!(checksum.to_string(), "8a744722");
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hasher(State);

#[derive(Debug, Clone)]
enum State {
    None,
    Crc32c(Crc32c),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// Before any byte.
    #[must_use]
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        Self(match algorithm {
            ChecksumAlgorithm::None => State::None,
            ChecksumAlgorithm::Crc32c => State::Crc32c(Crc32c::new()),
            ChecksumAlgorithm::Sha224 => State::Sha224(Sha224::new()),
            ChecksumAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha384 => State::Sha384(Sha384::new()),
            ChecksumAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::None => {}
            State::Crc32c(state) => state.update(bytes),
            State::Sha224(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The checksum of all bytes so far; `None` for [`ChecksumAlgorithm::None`].
    #[must_use]
    pub fn finish(self) -> Option<Checksum> {
        match self.0 {
            State::None => None,
            // The server copies the CRC from its memory, and a backup can only be restored on the same byte order.
            State::Crc32c(state) => Checksum::new(ChecksumAlgorithm::Crc32c, &state.finish().to_ne_bytes()),
            State::Sha224(state) => Checksum::new(ChecksumAlgorithm::Sha224, &state.finalize()),
            State::Sha256(state) => Some(Checksum::sha256(state)),
            State::Sha384(state) => Checksum::new(ChecksumAlgorithm::Sha384, &state.finalize()),
            State::Sha512(state) => Checksum::new(ChecksumAlgorithm::Sha512, &state.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the empty file: the values a manifest shows for those of PostgreSQL.
    const EMPTY: [(ChecksumAlgorithm, &str); 5] = [
        (ChecksumAlgorithm::Crc32c, "00000000"),
        (ChecksumAlgorithm::Sha224, "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f"),
        (ChecksumAlgorithm::Sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (
            ChecksumAlgorithm::Sha384,
            "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
        ),
        (
            ChecksumAlgorithm::Sha512,
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
    ];

    #[test]
    fn each_algorithm_makes_its_own_checksum() {
        for (algorithm, expected) in EMPTY {
            let checksum = Hasher::new(algorithm).finish().unwrap();
            assert_eq!(checksum.to_string(), expected);
            assert_eq!((checksum.algorithm(), checksum.bytes().len()), (algorithm, algorithm.digest_len()));
        }
        assert_eq!(Hasher::new(ChecksumAlgorithm::None).finish(), None);
    }

    #[test]
    fn every_byte_and_its_place_count() {
        for (algorithm, _) in EMPTY {
            let checksum = |pieces: &[&[u8]]| {
                let mut hasher = Hasher::new(algorithm);
                pieces.iter().for_each(|piece| hasher.update(piece));
                hasher.finish()
            };
            assert_eq!(checksum(&[b"ab", b"", b"c"]), checksum(&[b"abc"]));
            assert_ne!(checksum(&[b"acb"]), checksum(&[b"abc"]));
        }
    }

    #[test]
    fn names_are_read_in_either_case() {
        for (algorithm, _) in EMPTY {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string().to_lowercase().parse(), Ok(algorithm));
        }
        assert!("MD5".parse::<ChecksumAlgorithm>().is_err());
    }

    #[test]
    fn a_checksum_has_the_length_of_its_algorithm() {
        assert!(Checksum::new(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4]).is_some());
        assert_eq!(Checksum::new(ChecksumAlgorithm::Crc32c, &[1, 2, 3]), None);
        assert_eq!(Checksum::new(ChecksumAlgorithm::None, &[]), None);
    }

    #[test]
    fn the_number_of_a_crc_is_that_of_its_bytes() {
        for (algorithm, expected) in
            [(ChecksumAlgorithm::Crc32c, Some(crate::crc32c(b"15\n"))), (ChecksumAlgorithm::Sha256, None)]
        {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"15\n");
            assert_eq!(hasher.finish().unwrap().as_crc32c(), expected);
        }
    }
}
