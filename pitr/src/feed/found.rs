//! A file that a source has, and what it takes to have it here.

use std::fmt;
use std::io::{self, BufReader, Read};

use barman_catalog::Content;
use barman_storage::OutFile;
use barman_storage::codec::{Decoder, Format};
use wal_format::{Crc32c, WalFileName};

use super::{FeedError, SourceError};

const BUFFER: usize = 256 * 1024;

/// WAL that was found, on its way here.
pub struct FoundWal {
    /// The file from its beginning, compressed or not. It is whole only if reading ends without an error.
    pub bytes: Box<dyn Read + Send>,
    /// How `bytes` are compressed.
    pub format: Option<Format>,
    /// Whether it is an unfinished segment, where there is no whole one.
    pub is_unfinished: bool,
    /// What PostgreSQL wrote, where the archive knows it.
    pub content: Option<Content>,
}

impl FoundWal {
    /// Writes the file as PostgreSQL wrote it, and compares it with what is known of it. What decayed on the disk or on its
    /// way would end recovery as if it were the end of WAL (invariant 5).
    pub(super) fn write_to(self, name: &WalFileName, target: &mut OutFile) -> Result<(), FeedError> {
        let failed = |error| FeedError::Fetch { name: *name, source: cause(error) };
        let mut bytes: Box<dyn Read> = match self.format {
            Some(format) => {
                let compressed = BufReader::with_capacity(BUFFER, self.bytes);
                Box::new(Decoder::new(format, compressed).map_err(failed)?)
            }
            None => self.bytes,
        };
        let mut found = Content { bytes: 0, crc32c: 0 };
        let (mut crc, mut buffer) = (Crc32c::new(), vec![0; BUFFER]);
        loop {
            let length = match bytes.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(failed)?,
            };
            let Some(read @ [_, ..]) = buffer.get(..length) else { break };
            crc.update(read);
            target.write_all(read)?;
            found.bytes += length as u64;
        }
        found.crc32c = crc.finish();
        match self.content {
            Some(expected) if expected != found => Err(FeedError::Changed { name: *name, expected, found }),
            _ => Ok(()),
        }
    }
}

/// What a source says through a reader is what it says elsewhere.
fn cause(error: io::Error) -> SourceError {
    match error.get_ref() {
        Some(_) => error.into_inner().unwrap_or_else(|| "reading failed".into()),
        None => error.into(),
    }
}

impl fmt::Debug for FoundWal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes: _, format, is_unfinished, content } = self;
        f.debug_struct("FoundWal")
            .field("format", format)
            .field("is_unfinished", is_unfinished)
            .field("content", content)
            .finish_non_exhaustive()
    }
}
