//! Reading a file once: its length, its checksum, its records.

use wal_format::Crc32c;

use crate::archive::beside::beside;
use crate::archive::facts::Observer;
use crate::{Content, Error};

use super::detect::Detected;

/// On how many threads a file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Walk {
    /// To look at the records takes about as long as all else, and is done beside that.
    TwoThreads,
    /// Other files are read at the same time, and keep the other cores busy.
    OneThread,
}

impl Walk {
    /// Shows what PostgreSQL wrote to `observer`, all of it, and returns its length and checksum.
    pub(super) fn through(self, file: &mut Detected, observer: &mut Observer) -> Result<Content, Error> {
        match self {
            Self::TwoThreads => beside(|bytes| observer.take(bytes), |pass| sum_up(file, pass)),
            Self::OneThread => sum_up(file, |bytes| observer.take(bytes)),
        }
    }
}

/// Returns length and checksum of what PostgreSQL wrote. `pass` may keep the buffers and leave others in their places.
pub(super) fn sum_up(file: &mut Detected, mut pass: impl FnMut(&mut Vec<u8>)) -> Result<Content, Error> {
    let (mut crc, mut bytes) = (Crc32c::new(), 0);
    file.read_buffers(|buffer| {
        crc.update(buffer);
        bytes += buffer.len() as u64;
        pass(buffer);
        Ok(())
    })?;
    Ok(Content { bytes, crc32c: crc.finish() })
}
