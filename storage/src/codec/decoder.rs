//! Reading what is compressed.

use std::fmt;
use std::io::{self, BufRead, Read};

use liblzma::stream::CONCATENATED;

use super::lz4::Lz4Reader;
use super::{Format, compression::refused};

/// Reads what a compressed stream holds, all members of it.
///
/// The errors of the stream itself have a [`BrokenStream`] inside and are of kind [`io::ErrorKind::UnexpectedEof`] if it was
/// cut short, else [`io::ErrorKind::InvalidData`]. Those of its source are passed on.
pub struct Decoder<R: BufRead> {
    format: Format,
    inner: Inner<R>,
}

enum Inner<R: BufRead> {
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<R>),
    Xz(liblzma::bufread::XzDecoder<R>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    Lz4(Lz4Reader<R>),
    Snappy(snap::read::FrameDecoder<R>),
}

/// A stream that its format does not allow.
#[derive(Debug, thiserror::Error)]
#[error("broken {format} stream")]
pub struct BrokenStream {
    /// Its format.
    pub format: Format,
    source: io::Error,
}

/// More than what `xz -9` asks for, and than what zstd asks for without `--long`: nobody's stream takes all memory.
const XZ_MEMORY: u64 = 128 << 20;
const ZSTD_WINDOW_LOG: u32 = 27;

impl<R: BufRead> Decoder<R> {
    /// A reader of a stream that begins at the beginning of `source`.
    ///
    /// # Errors
    /// No memory is left.
    pub fn new(format: Format, source: R) -> io::Result<Self> {
        let inner = match format {
            Format::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Format::Bzip2 => Inner::Bzip2(bzip2::bufread::MultiBzDecoder::new(source)),
            Format::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(refused)?;
                Inner::Xz(liblzma::bufread::XzDecoder::new_stream(source, stream))
            }
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(decoder)
            }
            Format::Lz4 => Inner::Lz4(Lz4Reader::new(source)?),
            Format::Snappy => Inner::Snappy(snap::read::FrameDecoder::new(source)),
        };
        Ok(Self { format, inner })
    }

    /// The format that is read.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    fn explain(&self, error: io::Error) -> io::Error {
        if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let kind = match error.kind() {
            io::ErrorKind::UnexpectedEof => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, BrokenStream { format: self.format, source: error })
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Gzip(reader) => reader.read(buffer),
            Inner::Bzip2(reader) => reader.read(buffer),
            Inner::Xz(reader) => reader.read(buffer),
            Inner::Zstd(reader) => reader.read(buffer),
            Inner::Lz4(reader) => reader.read(buffer),
            Inner::Snappy(reader) => reader.read(buffer),
        };
        read.map_err(|error| self.explain(error))
    }
}

impl<R: BufRead> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoder").field(&self.format).finish()
    }
}
