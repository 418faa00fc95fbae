//! What compressed files look like.

use std::fmt;

/// A format of compressed files that is told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Members of deflated bytes, each with a CRC-32 (RFC 1952).
    Gzip,
    /// Streams of bzip2.
    Bzip2,
    /// Streams of xz.
    Xz,
    /// Frames of zstd (RFC 8878).
    Zstd,
    /// Frames of lz4.
    Lz4,
    /// Chunks of snappy, framed.
    Snappy,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Gzip, Self::Bzip2, Self::Xz, Self::Zstd, Self::Lz4, Self::Snappy];

    /// As many bytes as [`Format::detect`] looks at.
    pub const HEAD_LEN: usize = 10;

    /// Tells by its first bytes how a file is compressed.
    #[must_use]
    pub fn detect(head: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| head.starts_with(format.magic()))
    }

    /// What every file of this format begins with, as Barman knows it.
    #[must_use]
    pub const fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"\x1f\x8b\x08",
            Self::Bzip2 => b"BZh",
            Self::Xz => b"\xfd7zXZ\x00",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
            Self::Lz4 => b"\x04\x22\x4d\x18",
            Self::Snappy => b"\xff\x06\x00\x00sNaPpY",
        }
    }

    /// Barman's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }
}

/// Barman's name.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
