//! Writing zstd: contents that fit into memory in one piece, as it is fastest, others as they come.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use zstd::bulk::Compressor;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::{CParameter, Strategy};

/// Up to so many bytes are compressed in one piece: a segment as most servers have them. What comes as a stream goes through
/// a window that is written over again and again, and to look for matches on both sides of the place where that happens
/// takes up to half as long again.
pub(super) const IN_ONE_PIECE: u64 = 16 << 20;

/// At these levels zstd keeps two tables of what it has seen, or chains. WAL is made of short records, for which one table
/// of short matches that stays in the processor's cache is better: half the time, and on every kind of WAL tried no larger
/// output than any of the levels has.
const WITH_ONE_TABLE: RangeInclusive<i32> = 3..=5;

/// The level that this begins with, and what is changed in it.
const BASE: i32 = 3;
const ONE_TABLE: [CParameter; 3] =
    [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(16), CParameter::MinMatch(5)];

/// What zstd is told for a level: the level, and what overrides it. A checksum is off by default; without it a changed byte
/// is read as if nothing was wrong.
fn parameters(level: i32) -> impl Iterator<Item = CParameter> {
    let one_table = WITH_ONE_TABLE.contains(&level);
    let level = if one_table { BASE } else { level };
    let overriding = one_table.then_some(ONE_TABLE).into_iter().flatten();
    [CParameter::CompressionLevel(level), CParameter::ChecksumFlag(true)].into_iter().chain(overriding)
}

/// Writes one frame, with a checksum of its contents.
pub(super) enum ZstdWriter<W: Write> {
    InOnePiece { target: W, level: i32, length: u64, waiting: Vec<u8> },
    AsTheyCome(Encoder<'static, W>),
}

impl<W: Write> ZstdWriter<W> {
    /// `length`, where it is known, is that of the contents.
    pub(super) fn new(target: W, level: i32, length: Option<u64>) -> io::Result<Self> {
        if let Some(length) = length.filter(|length| *length <= IN_ONE_PIECE) {
            let waiting = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            return Ok(Self::InOnePiece { target, level, length, waiting });
        }
        let mut encoder = Encoder::new(target, level)?;
        parameters(level).try_for_each(|parameter| encoder.set_parameter(parameter))?;
        encoder.set_pledged_src_size(length)?;
        Ok(Self::AsTheyCome(encoder))
    }

    /// Writes the rest.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::AsTheyCome(encoder) => encoder.finish(),
            Self::InOnePiece { length, waiting, .. } if waiting.len() as u64 != length => Err(other_length(length)),
            Self::InOnePiece { mut target, level, waiting, .. } => {
                let mut compressor = Compressor::new(level)?;
                parameters(level).try_for_each(|parameter| compressor.set_parameter(parameter))?;
                target.write_all(&compressor.compress(&waiting)?)?;
                Ok(target)
            }
        }
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::AsTheyCome(encoder) => encoder.write(bytes),
            Self::InOnePiece { length, waiting, .. } if (waiting.len() + bytes.len()) as u64 > *length => {
                Err(other_length(*length))
            }
            Self::InOnePiece { waiting, .. } => waiting.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::AsTheyCome(encoder) => encoder.flush(),
            // Half a block would be larger than it need be, and nobody reads it before the end.
            Self::InOnePiece { target, .. } => target.flush(),
        }
    }
}

fn other_length(expected: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the contents are not the {expected} bytes that were announced"),
    )
}
