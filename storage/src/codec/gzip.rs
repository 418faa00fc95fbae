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
    levels: Levels,
    press: Press,
    /// What is not compressed yet: less than `capacity` bytes.
    waiting: Vec<u8>,
    capacity: usize,
    is_empty: bool,
}

impl<W: Write> GzipWriter<W> {
    /// A writer of level 1 to 9, as gzip counts. `length`, where it is known, is that of the contents.
    pub(super) fn new(target: W, level: i32, threads: usize, length: Option<u64>) -> io::Result<Self> {
        let levels = Levels::of(level)?;
        let capacity = MEMBER_LEN.saturating_mul(threads.max(1));
        let expected = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(capacity);
        let (press, waiting) = (Press::new(levels), Vec::with_capacity(expected));
        Ok(Self { target, levels, press, waiting, capacity, is_empty: true })
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
            self.target.write_all(self.press.member(&self.waiting)?)?;
        } else {
            let levels = self.levels;
            let member = |bytes: &[u8]| Press::new(levels).member(bytes).map(<[u8]>::to_vec);
            let members: Vec<_> = self.waiting.par_chunks(MEMBER_LEN).map(member).collect();
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

/// libdeflate's levels whose output is not larger than that of one of gzip's.
#[derive(Debug, Clone, Copy)]
struct Levels {
    /// On what is much alike, such as the WAL of many small transactions.
    quick: CompressionLvl,
    /// On everything else, such as the WAL of loading a table: a search that is longer by half, for four percent.
    thorough: CompressionLvl,
}

impl Levels {
    fn of(gzip: i32) -> io::Result<Self> {
        let (quick, thorough) = match gzip {
            6 => (6, 7),
            7 => (8, 8),
            level => (level, level),
        };
        let level = |level| CompressionLvl::new(level).map_err(|_| io::ErrorKind::InvalidInput);
        Ok(Self { quick: level(quick)?, thorough: level(thorough)? })
    }
}

/// Makes members, one after the other.
struct Press {
    quick: Compressor,
    /// `None` where it would be the same.
    thorough: Option<Compressor>,
    member: Vec<u8>,
}

impl Press {
    fn new(levels: Levels) -> Self {
        let thorough = (levels.thorough != levels.quick).then(|| Compressor::new(levels.thorough));
        Self { quick: Compressor::new(levels.quick), thorough, member: Vec::new() }
    }

    fn member(&mut self, bytes: &[u8]) -> io::Result<&[u8]> {
        let thoroughly = self.is_worth_a_search(bytes)?;
        let length = self.compress(bytes, thoroughly)?;
        Ok(self.member.get(..length).unwrap_or_default())
    }

    /// Tells by a sample whether the longer search makes a member smaller by more than a percent.
    fn is_worth_a_search(&mut self, bytes: &[u8]) -> io::Result<bool> {
        const SAMPLE: usize = 64 << 10;
        if self.thorough.is_none() {
            return Ok(false);
        }
        let start = (bytes.len() / 2).saturating_sub(SAMPLE / 2);
        let sample = bytes.get(start..bytes.len().min(start + SAMPLE)).unwrap_or_default();
        let (quick, thorough) = (self.compress(sample, false)?, self.compress(sample, true)?);
        Ok(thorough * 100 < quick * 99)
    }

    /// Writes a member to the beginning of `self.member`; returns its length.
    fn compress(&mut self, bytes: &[u8], thoroughly: bool) -> io::Result<usize> {
        let compressor = self.thorough.as_mut().filter(|_| thoroughly).unwrap_or(&mut self.quick);
        let bound = compressor.gzip_compress_bound(bytes.len());
        if self.member.len() < bound {
            self.member.resize(bound, 0);
        }
        compressor.gzip_compress(bytes, &mut self.member).map_err(refused)
    }
}
