//! [`Decoder`]: an archive that the server compressed, as it was before. No I/O.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use async_compression::tokio::bufread::{GzipDecoder, Lz4Decoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use super::compression::ServerCompression;
use crate::protocol_error::ProtocolError;

/// The most that comes out at a time. A message of a few bytes can stand for gigabytes, which nobody has to hold.
const PIECE: usize = 128 << 10;

/// Decompresses one archive: bytes in by [`feed`](Self::feed), and out by [`poll`](Self::poll) until there are no more.
pub(super) struct Decoder {
    codec: Codec,
    output: BytesMut,
    /// The compressed stream has come to the end that it says it has.
    is_complete: bool,
}

enum Codec {
    Gzip(GzipDecoder<Feed>),
    Lz4(Lz4Decoder<Feed>),
    Zstd(ZstdDecoder<Feed>),
}

impl Decoder {
    pub(super) fn new(compression: ServerCompression) -> Self {
        let codec = match compression {
            ServerCompression::Gzip { .. } => Codec::Gzip(GzipDecoder::new(Feed::default())),
            ServerCompression::Lz4 { .. } => Codec::Lz4(Lz4Decoder::new(Feed::default())),
            ServerCompression::Zstd { level, long_distance, .. } => {
                let window = DParameter::window_log_max(window_log(level, long_distance));
                Codec::Zstd(ZstdDecoder::with_params(Feed::default(), &[window]))
            }
        };
        Self { codec, output: BytesMut::new(), is_complete: false }
    }

    /// Takes compressed bytes. All that came before has been polled out.
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.codec.feed().bytes = bytes;
    }

    /// Returns the next bytes, or `None` if compressed ones are needed first.
    ///
    /// # Errors
    /// The bytes are damaged, or something follows their end.
    pub(super) fn poll(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        while !self.is_complete {
            match self.read() {
                Poll::Pending => return Ok(None),
                Poll::Ready(Ok(0)) => self.is_complete = true,
                Poll::Ready(Ok(_)) => return Ok(Some(self.output.split().freeze())),
                Poll::Ready(Err(source)) => return Err(ProtocolError::CompressedArchive { source }),
            }
        }
        if self.codec.feed().bytes.is_empty() {
            return Ok(None);
        }
        let source = io::Error::new(io::ErrorKind::InvalidData, "something follows its end");
        Err(ProtocolError::CompressedArchive { source })
    }

    /// Checks that nothing is missing, when no more bytes will come.
    ///
    /// # Errors
    /// The compressed stream has not come to its end.
    pub(super) fn finish(&mut self) -> Result<(), ProtocolError> {
        self.codec.feed().is_ended = true;
        match self.poll()? {
            None if self.is_complete => Ok(()),
            _ => Err(ProtocolError::CompressedArchive { source: io::ErrorKind::UnexpectedEof.into() }),
        }
    }

    fn read(&mut self) -> Poll<io::Result<usize>> {
        // Without room for a byte, a read of none would look like the end.
        self.output.reserve(PIECE);
        let Self { codec, output, .. } = self;
        let mut context = Context::from_waker(Waker::noop());
        match codec {
            Codec::Gzip(codec) => pin!(codec.read_buf(output)).poll(&mut context),
            Codec::Lz4(codec) => pin!(codec.read_buf(output)).poll(&mut context),
            Codec::Zstd(codec) => pin!(codec.read_buf(output)).poll(&mut context),
        }
    }
}

/// The longest window that zstd chooses for what was asked of it, as a power of two. A frame names its own, and memory is
/// allocated for that: a hostile server gets no more than an honest one needs.
fn window_log(level: Option<i32>, long_distance: bool) -> u32 {
    if long_distance || level.is_some_and(|level| level > 19) { 27 } else { 23 }
}

impl Codec {
    fn feed(&mut self) -> &mut Feed {
        match self {
            Self::Gzip(codec) => codec.get_mut(),
            Self::Lz4(codec) => codec.get_mut(),
            Self::Zstd(codec) => codec.get_mut(),
        }
    }
}

/// What a codec reads from: the bytes of one message. It is pending where more are needed.
#[derive(Default)]
struct Feed {
    bytes: Bytes,
    is_ended: bool,
}

impl AsyncBufRead for Feed {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let feed = self.get_mut();
        if feed.bytes.is_empty() && !feed.is_ended { Poll::Pending } else { Poll::Ready(Ok(&feed.bytes)) }
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.bytes.advance(amount);
    }
}

impl AsyncRead for Feed {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = match self.as_mut().poll_fill_buf(context) {
            Poll::Ready(Ok(bytes)) => {
                let length = bytes.len().min(out.remaining());
                out.put_slice(bytes.split_at(length).0);
                length
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use async_compression::Level;
    use async_compression::tokio::bufread::{GzipEncoder, Lz4Encoder, ZstdEncoder};
    use proptest::prelude::*;

    use super::*;

    const ALL: [ServerCompression; 3] = [
        ServerCompression::Gzip { level: None },
        ServerCompression::Lz4 { level: None },
        ServerCompression::Zstd { level: None, workers: None, long_distance: false },
    ];

    fn compress(compression: ServerCompression, content: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::new();
        let encode = async {
            match compression {
                ServerCompression::Gzip { .. } => GzipEncoder::new(content).read_to_end(&mut compressed).await,
                ServerCompression::Lz4 { .. } => Lz4Encoder::new(content).read_to_end(&mut compressed).await,
                ServerCompression::Zstd { .. } => ZstdEncoder::new(content).read_to_end(&mut compressed).await,
            }
        };
        let Poll::Ready(Ok(_)) = pin!(encode).poll(&mut Context::from_waker(Waker::noop())) else { panic!("pending") };
        compressed
    }

    fn decompress(
        compression: ServerCompression,
        compressed: &[u8],
        piece: usize,
    ) -> Result<Vec<u8>, (Vec<u8>, ProtocolError)> {
        let (mut decoder, mut content) = (Decoder::new(compression), Vec::new());
        let mut run = || {
            for piece in compressed.chunks(piece) {
                decoder.feed(Bytes::copy_from_slice(piece));
                while let Some(bytes) = decoder.poll()? {
                    assert!((1..=4 * PIECE).contains(&bytes.len()));
                    content.extend_from_slice(&bytes);
                }
            }
            decoder.finish()
        };
        match run() {
            Ok(()) => Ok(content),
            Err(error) => Err((content, error)),
        }
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i * i % 251).unwrap()).collect()
    }

    #[test]
    fn archives_that_end_too_early_are_incomplete_wherever_that_is() {
        for compression in ALL {
            let compressed = compress(compression, &content(300));
            for length in 0..compressed.len() {
                let cut = decompress(compression, &compressed[..length], 7);
                assert!(matches!(cut, Err((_, ProtocolError::CompressedArchive { .. }))), "{compression} {length}");
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_refused() {
        for compression in ALL {
            let compressed = compress(compression, &content(300));
            for rest in [&b"\0"[..], &compressed] {
                for piece in [1, 10_000] {
                    let long = decompress(compression, &[&compressed, rest].concat(), piece);
                    assert!(matches!(long, Err((found, _)) if found == content(300)), "{compression} {piece}");
                }
            }
        }
    }

    #[test]
    fn a_message_that_stands_for_much_comes_out_in_pieces() {
        for compression in ALL {
            let zeros = vec![0; 20 << 20];
            let compressed = compress(compression, &zeros);
            assert!(decompress(compression, &compressed, compressed.len()).is_ok_and(|found| found == zeros));
        }
    }

    #[test]
    fn a_window_that_was_not_asked_for_is_refused() {
        let content = content(1000);
        let mut compressed = Vec::new();
        let window = async_compression::zstd::CParameter::window_log(24);
        let long = async_compression::zstd::CParameter::enable_long_distance_matching(true);
        let mut encoder = ZstdEncoder::with_quality_and_params(&content[..], Level::Default, &[window, long]);
        let encode = encoder.read_to_end(&mut compressed);
        assert!(matches!(pin!(encode).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
        for (long_distance, level, is_accepted) in [(false, None, false), (true, None, true), (false, Some(22), true)] {
            let compression = ServerCompression::Zstd { level, workers: None, long_distance };
            assert_eq!(decompress(compression, &compressed, 100).is_ok(), is_accepted, "{compression:?}");
        }
    }

    #[test]
    fn bytes_of_another_kind_are_refused() {
        for compression in ALL {
            assert!(decompress(compression, &content(3000), 500).is_err(), "{compression}");
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_out_again(length in 0_usize..400_000, piece in 1_usize..100_000) {
            for compression in ALL {
                let compressed = compress(compression, &content(length));
                let found = decompress(compression, &compressed, piece.max(compressed.len() / 1000));
                prop_assert!(found.is_ok_and(|found| found == content(length)));
            }
        }
    }
}
