//! Frames of lz4, one after the other.

use std::io::{self, BufRead, Read};

/// Reads all frames of a stream; the decoder beneath ends with the first, and takes an early end for the end.
pub(super) struct Lz4Reader<R> {
    /// Always there, but for the moment in which a frame ends.
    frame: Option<lz4::Decoder<R>>,
}

impl<R: BufRead> Lz4Reader<R> {
    pub(super) fn new(source: R) -> io::Result<Self> {
        Ok(Self { frame: Some(lz4::Decoder::new(source)?) })
    }

    /// Goes on to the next frame; returns whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        let Some(frame) = self.frame.take() else { return Ok(false) };
        let (mut source, ended) = frame.finish();
        if ended.is_err() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.frame = Some(lz4::Decoder::new(source)?);
        Ok(true)
    }
}

impl<R: BufRead> Read for Lz4Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(frame) = &mut self.frame {
            let read = frame.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            if !self.next_frame()? {
                break;
            }
        }
        Ok(0)
    }
}
