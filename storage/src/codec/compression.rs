//! How files are to be compressed.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::encoder::LONGEST_XZ_DICTIONARY;
use super::{Format, zstd_writer};

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// With what.
    pub algorithm: Algorithm,
    /// How much effort to spend.
    pub level: Level,
}

impl Compression {
    /// Returns the level as its algorithm counts; what lies outside its range is the nearest that lies in it, as with Barman.
    #[must_use]
    pub fn level_number(self) -> i32 {
        let [low, medium, high] = self.algorithm.named_levels();
        match self.level {
            Level::Low => low,
            Level::Medium => medium,
            Level::High => high,
            Level::Number(number) => {
                let (least, most) = self.algorithm.level_range();
                number.clamp(least, most)
            }
        }
    }
}

impl Compression {
    /// Returns about how much memory it takes to compress contents of `length` bytes: for whoever does several at a time.
    #[must_use]
    pub fn memory(self, length: u64) -> u64 {
        const MIB: u64 = 1 << 20;
        let level = self.level_number();
        match self.algorithm.format() {
            Format::Gzip => 12 * MIB * self.threads() as u64,
            Format::Bzip2 => 9 * MIB,
            // Match finders take eleven times their dictionary.
            Format::Xz => 11 * length.min(if level < 4 { 4 * MIB } else { LONGEST_XZ_DICTIONARY.into() }) + 4 * MIB,
            Format::Zstd => zstd_writer::memory(level, length),
            Format::Lz4 | Format::Snappy => MIB,
        }
    }
}

/// What compresses. Several of Barman's names may stand for one format; the name is what its index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Algorithm {
    Gzip,
    /// Another name of `Gzip`.
    PyGzip,
    /// `Gzip` on all cores, for whoever has a single stream.
    Pigz,
    Bzip2,
    /// Another name of `Bzip2`.
    PyBzip2,
    Xz,
    Zstd,
    Lz4,
    Snappy,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Gzip,
        Self::PyGzip,
        Self::Pigz,
        Self::Bzip2,
        Self::PyBzip2,
        Self::Xz,
        Self::Zstd,
        Self::Lz4,
        Self::Snappy,
    ];

    /// The format that it writes.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::Gzip | Self::PyGzip | Self::Pigz => Format::Gzip,
            Self::Bzip2 | Self::PyBzip2 => Format::Bzip2,
            Self::Xz => Format::Xz,
            Self::Zstd => Format::Zstd,
            Self::Lz4 => Format::Lz4,
            Self::Snappy => Format::Snappy,
        }
    }

    /// Barman's name, in its configuration and in its index.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PyGzip => "pygzip",
            Self::Pigz => "pigz",
            Self::PyBzip2 => "pybzip2",
            _ => self.format().name(),
        }
    }

    /// Barman's `low`, `medium` and `high`.
    const fn named_levels(self) -> [i32; 3] {
        match self.format() {
            Format::Gzip => [1, 6, 9],
            Format::Bzip2 => [1, 5, 9],
            Format::Xz => [1, 3, 5],
            Format::Zstd => [1, 4, 9],
            Format::Lz4 => [0, 6, 10],
            Format::Snappy => [0; 3],
        }
    }

    /// The least and the greatest level.
    const fn level_range(self) -> (i32, i32) {
        match self.format() {
            Format::Gzip | Format::Bzip2 | Format::Xz => (1, 9),
            Format::Zstd => (-22, 22),
            Format::Lz4 => (0, 16),
            Format::Snappy => (0, 0),
        }
    }
}

/// The algorithm that writes a format, by the format's own name.
impl From<Format> for Algorithm {
    fn from(format: Format) -> Self {
        match format {
            Format::Gzip => Self::Gzip,
            Format::Bzip2 => Self::Bzip2,
            Format::Xz => Self::Xz,
            Format::Zstd => Self::Zstd,
            Format::Lz4 => Self::Lz4,
            Format::Snappy => Self::Snappy,
        }
    }
}

/// Barman's name.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| UnknownAlgorithm { name: name.to_owned() })
    }
}

/// A name that stands for no algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression '{name}'")]
pub struct UnknownAlgorithm {
    /// The name.
    pub name: String,
}

/// How much effort to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Level {
    Low,
    #[default]
    Medium,
    High,
    /// As the algorithm counts.
    Number(i32),
}

/// As Barman's option `compression_level` is written.
impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "low" => Ok(Self::Low),
            "medium" => Ok(Self::Medium),
            "high" => Ok(Self::High),
            number => number.parse().map(Self::Number).map_err(|_| ParseLevelError { text: text.to_owned() }),
        }
    }
}

/// What is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 'low', 'medium', 'high' or an integer, found '{text}'")]
pub struct ParseLevelError {
    /// The text.
    pub text: String,
}

/// For methods that no sensible level makes fail.
pub(super) fn refused(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
