//! Writing what is to be compressed.

use std::fmt;
use std::io::{self, Write};

use liblzma::stream::{Check, Filters, LzmaOptions, Stream};

use super::compression::refused;
use super::gzip::GzipWriter;
use super::zstd_writer::ZstdWriter;
use super::{Algorithm, Compression, Format, Room};

/// Writes a compressed stream. Without [`Encoder::finish`] it has no end, and whoever reads it says so.
pub struct Encoder<W: Write> {
    format: Format,
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Gzip(GzipWriter<W>),
    Bzip2(bzip2::write::BzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(ZstdWriter<W>),
    Lz4(lz4::Encoder<W>),
    Snappy(Box<snap::write::FrameEncoder<W>>),
}

impl Compression {
    /// Returns a writer that compresses into `target`. `length`, where it is known, is that of the contents in bytes, and
    /// has to be right: zstd and lz4 store it, and zstd takes no more memory than it needs for it.
    ///
    /// # Errors
    /// No memory is left, or `target` cannot be written to.
    pub fn encoder<W: Write>(self, target: W, length: Option<u64>) -> io::Result<Encoder<W>> {
        self.encoder_in(&Room::default(), target, length)
    }

    /// Does the same with memory that stays for the next file.
    ///
    /// # Errors
    /// As for [`encoder`](Self::encoder).
    pub fn encoder_in<W: Write>(self, room: &Room, target: W, length: Option<u64>) -> io::Result<Encoder<W>> {
        let level = self.level_number();
        let format = self.algorithm.format();
        // Levels are in the range of their algorithm: from 0 on, but for zstd's.
        let unsigned = level.unsigned_abs();
        let inner = match format {
            Format::Gzip => Inner::Gzip(GzipWriter::new(target, level, self.threads(), length)?),
            Format::Bzip2 => Inner::Bzip2(bzip2::write::BzEncoder::new(target, bzip2::Compression::new(unsigned))),
            Format::Xz => Inner::Xz(liblzma::write::XzEncoder::new_stream(target, xz_stream(unsigned, length)?)),
            Format::Zstd => Inner::Zstd(ZstdWriter::new(target, level, length, room)?),
            Format::Lz4 => Inner::Lz4(lz4_encoder(target, unsigned, length)?),
            Format::Snappy => Inner::Snappy(Box::new(snap::write::FrameEncoder::new(target))),
        };
        Ok(Encoder { format, inner })
    }

    /// How many threads compress one stream. Each takes memory.
    pub(super) fn threads(self) -> usize {
        const MOST: usize = 12;
        if self.algorithm == Algorithm::Pigz { rayon::current_num_threads().min(MOST) } else { 1 }
    }
}

/// The longest dictionary: that of level 6. The levels above it differ from it in nothing but a longer one, for which a
/// segment of 16 MiB would take 190 MiB of memory, and a longer segment up to 700.
pub(super) const LONGEST_XZ_DICTIONARY: u32 = 8 << 20;

/// A dictionary as long as the contents is as good as any longer one, and takes less memory.
fn xz_stream(level: u32, length: Option<u64>) -> io::Result<Stream> {
    const LEAST: u32 = 1 << 16;
    const DEFAULT: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];
    let preset = DEFAULT.get(level as usize).map_or(1 << 23, |bits| 1 << bits).min(LONGEST_XZ_DICTIONARY);
    let needed = length.and_then(|length| u32::try_from(length).ok()).unwrap_or(preset);
    let mut options = LzmaOptions::new_preset(level).map_err(refused)?;
    options.dict_size(needed.clamp(LEAST, preset));
    Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc64).map_err(refused)
}

fn lz4_encoder<W: Write>(target: W, level: u32, length: Option<u64>) -> io::Result<lz4::Encoder<W>> {
    let mut builder = lz4::EncoderBuilder::new();
    builder.level(level).checksum(lz4::ContentChecksum::ChecksumEnabled);
    // The checksum of the contents says all that those of the blocks say.
    builder.block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum);
    builder.content_size(length.unwrap_or(0)).build(target)
}

impl<W: Write> Encoder<W> {
    /// Ends the stream and returns what it was written to.
    ///
    /// # Errors
    /// The rest cannot be written, or the contents are not as long as was said.
    pub fn finish(self) -> io::Result<W> {
        match self.inner {
            Inner::Gzip(writer) => writer.finish(),
            Inner::Bzip2(writer) => writer.finish(),
            Inner::Xz(writer) => writer.finish(),
            Inner::Zstd(writer) => writer.finish(),
            Inner::Lz4(writer) => {
                let (target, ended) = writer.finish();
                ended.map(|()| target)
            }
            Inner::Snappy(writer) => writer.into_inner().map_err(snap::write::IntoInnerError::into_error),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Gzip(writer) => writer.write(bytes),
            Inner::Bzip2(writer) => writer.write(bytes),
            Inner::Xz(writer) => writer.write(bytes),
            Inner::Zstd(writer) => writer.write(bytes),
            Inner::Lz4(writer) => writer.write(bytes),
            Inner::Snappy(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Gzip(writer) => writer.flush(),
            Inner::Bzip2(writer) => writer.flush(),
            Inner::Xz(writer) => writer.flush(),
            Inner::Zstd(writer) => writer.flush(),
            Inner::Lz4(writer) => writer.flush(),
            Inner::Snappy(writer) => writer.flush(),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoder").field(&self.format).finish()
    }
}
