//! Writing zstd: contents that fit into memory in one piece, as it is fastest, others as they come.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use zstd::bulk::Compressor;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::{CParameter, Strategy, compress_bound};

use super::room::{Buffers, Room};

/// Up to so many bytes are compressed in one piece: a segment as most servers have them. What comes as a stream goes through
/// a window that is written over again and again, and to look for matches on both sides of the place where that happens
/// takes up to half as long again.
pub(super) const IN_ONE_PIECE: u64 = 16 << 20;

/// At these levels zstd keeps two tables of what it has seen, or chains. WAL is made of short records, for which one table
/// of short matches that stays in the processor's cache is better: half the time, and no larger output than any of the levels
/// has. Only of WAL that is hardly more than images of similar pages, a thirtieth of its size by any level, it makes 4 % more.
const WITH_ONE_TABLE: RangeInclusive<i32> = 3..=5;

/// The level that this begins with.
const BASE: i32 = 3;

/// What is changed in it. Half the table takes up to a tenth less time; for the last of the levels, which is slow because it
/// is to be small, the output would be larger than by itself.
const fn one_table(level: i32) -> [CParameter; 3] {
    let hash_log = if level < *WITH_ONE_TABLE.end() { 15 } else { 16 };
    [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(hash_log), CParameter::MinMatch(5)]
}

/// At the levels above this one zstd would take up to 700 MiB for tables and a window that no segment fills; they search
/// longer than this one, in tables of its size.
const WITH_LARGEST_TABLES: i32 = 19;
const BOUNDED: [CParameter; 3] = [CParameter::WindowLog(23), CParameter::ChainLog(24), CParameter::HashLog(22)];

/// What zstd is told for a level: the level, and what overrides it. A checksum is off by default; without it a changed byte
/// is read as if nothing was wrong.
fn parameters(level: i32) -> impl Iterator<Item = CParameter> {
    let (base, overriding) = match level {
        _ if WITH_ONE_TABLE.contains(&level) => (BASE, Some(one_table(level))),
        _ if level > WITH_LARGEST_TABLES => (level, Some(BOUNDED)),
        _ => (level, None),
    };
    let basic = [CParameter::CompressionLevel(base), CParameter::ChecksumFlag(true)];
    basic.into_iter().chain(overriding.into_iter().flatten())
}

/// Returns about how much memory it takes to compress contents of `length` bytes: these, what becomes of them, and tables; or
/// a window and tables.
pub(super) fn memory(level: i32, length: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let tables = match level {
        ..6 => 2 * MIB,
        6..9 => 10 * MIB,
        9..12 => 30 * MIB,
        12..15 => 56 * MIB,
        15.. => 88 * MIB,
    };
    tables + if length <= IN_ONE_PIECE { 2 * length } else { 12 * MIB }
}

/// Writes one frame, with a checksum of its contents.
pub(super) enum ZstdWriter<W: Write> {
    InOnePiece { target: W, level: i32, length: u64, buffers: Buffers, room: Room },
    AsTheyCome(Encoder<'static, W>),
}

impl<W: Write> ZstdWriter<W> {
    /// `length`, where it is known, is that of the contents. Contents that fit into memory are collected in `room`.
    pub(super) fn new(target: W, level: i32, length: Option<u64>, room: &Room) -> io::Result<Self> {
        if let Some(length) = length.filter(|length| *length <= IN_ONE_PIECE) {
            let (mut buffers, room) = (room.take(), room.clone());
            buffers.contents.clear();
            buffers.contents.reserve(usize::try_from(length).unwrap_or_default());
            return Ok(Self::InOnePiece { target, level, length, buffers, room });
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
            Self::InOnePiece { length, buffers, .. } if buffers.contents.len() as u64 != length => {
                Err(other_length(length))
            }
            Self::InOnePiece { mut target, level, mut buffers, room, .. } => {
                let mut compressor = Compressor::new(level)?;
                parameters(level).try_for_each(|parameter| compressor.set_parameter(parameter))?;
                let Buffers { contents, compressed } = &mut buffers;
                compressed.clear();
                compressed.reserve(compress_bound(contents.len()));
                compressor.compress_to_buffer(contents, compressed)?;
                target.write_all(compressed)?;
                room.give_back(buffers);
                Ok(target)
            }
        }
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::AsTheyCome(encoder) => encoder.write(bytes),
            Self::InOnePiece { length, buffers, .. } if (buffers.contents.len() + bytes.len()) as u64 > *length => {
                Err(other_length(*length))
            }
            Self::InOnePiece { buffers, .. } => buffers.contents.write(bytes),
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
