//! Writing gzip with libdeflate, which compresses whole buffers: a member for each.

use std::io::{self, Write};

use libdeflater::{CompressionLvl, Compressor};
use rayon::prelude::*;

use super::compression::refused;

/// What goes into one member. The memory for one is this and about as much for what becomes of it; at this length the
/// window that each member begins without costs a tenth of a percent.
const MEMBER_LEN: usize = 4 << 20;

/// Writes gzip; several members at a time on as many threads.
pub(super) struct GzipWriter<W> {
    target: W,
    level: CompressionLvl,
    /// What is not compressed yet: less than `capacity` bytes.
    waiting: Vec<u8>,
    capacity: usize,
    is_empty: bool,
}

impl<W: Write> GzipWriter<W> {
    /// A writer of level 1 to 9, as gzip counts.
    pub(super) fn new(target: W, level: i32, threads: usize) -> io::Result<Self> {
        let level = CompressionLvl::new(libdeflate_level(level)).map_err(|_| io::ErrorKind::InvalidInput)?;
        let capacity = MEMBER_LEN.saturating_mul(threads.max(1));
        Ok(Self { target, level, waiting: Vec::new(), capacity, is_empty: true })
    }

    /// Writes the rest.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // Nothing at all is a member too: a file without any is not gzip.
        if self.is_empty || !self.waiting.is_empty() {
            self.write_members()?;
        }
        Ok(self.target)
    }

    fn write_members(&mut self) -> io::Result<()> {
        self.is_empty = false;
        if self.waiting.len() <= MEMBER_LEN {
            self.target.write_all(&member(&self.waiting, self.level)?)?;
        } else {
            let members: Vec<_> = self.waiting.par_chunks(MEMBER_LEN).map(|bytes| member(bytes, self.level)).collect();
            for member in members {
                self.target.write_all(&member?)?;
            }
        }
        self.waiting.clear();
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() == self.capacity {
            self.write_members()?;
        }
        let taken = bytes.len().min(self.capacity - self.waiting.len());
        self.waiting.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// A member begins with no window: ending one at every flush would cost more than whoever flushes can gain.
    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// libdeflate's level that is nearest to gzip's in size from below, on WAL; each is faster than zlib's.
const fn libdeflate_level(gzip: i32) -> i32 {
    match gzip {
        6 => 7,
        7 => 8,
        level => level,
    }
}

fn member(bytes: &[u8], level: CompressionLvl) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(level);
    let mut member = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let len = compressor.gzip_compress(bytes, &mut member).map_err(refused)?;
    member.truncate(len);
    Ok(member)
}
