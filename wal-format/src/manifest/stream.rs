//! Reading a manifest from a file or another source of bytes.

use std::io::{ErrorKind, Read};

use super::{Manifest, ManifestError, ManifestItem, ManifestReader};

/// The items of the `backup_manifest` that a source of bytes yields, in memory that does not grow with their number.
///
/// The iterator ends with `None` only where the manifest ended with its checksum, and that was right; after an error it
/// yields nothing more. So a loop that returns the first error acts on a sound manifest or fails, though what it did
/// within the loop it did before that was known.
///
/// ```no_run
/// use wal_format::{ManifestItem, ManifestItems};
///
/// let mut newest = String::new();
/// for item in ManifestItems::new(std::fs::File::open("backup_manifest")?) {
///     if let ManifestItem::File(file) = item? {
///         newest = newest.max(file.modified);
///     }
/// }
/// println!("the last change was at {newest}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ManifestItems<R> {
    /// `None` after the end and after an error.
    reader: Option<ManifestReader>,
    source: R,
    buffer: Box<[u8]>,
    /// Bytes of the buffer that were not read yet.
    start: usize,
    end: usize,
}

impl<R: Read> ManifestItems<R> {
    /// The items of the manifest that `source` holds from here to its end. It is read in large pieces.
    pub fn new(source: R) -> Self {
        const BUFFER_LEN: usize = 128 * 1024;
        let buffer = vec![0; BUFFER_LEN].into_boxed_slice();
        Self { reader: Some(ManifestReader::new()), source, buffer, start: 0, end: 0 }
    }

    fn read_next(&mut self) -> Result<Option<ManifestItem>, ManifestError> {
        while let Some(reader) = &mut self.reader {
            let mut input = self.buffer.get(self.start..self.end).unwrap_or_default();
            let item = reader.next(&mut input)?;
            self.start = self.end - input.len();
            if item.is_some() {
                return Ok(item);
            }
            if !self.fill()? {
                return self.reader.take().map_or(Ok(()), ManifestReader::finish).map(|()| None);
            }
        }
        Ok(None)
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool, ManifestError> {
        loop {
            match self.source.read(&mut self.buffer) {
                Ok(len) => {
                    (self.start, self.end) = (0, len);
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ManifestError::Read(error)),
            }
        }
    }
}

impl<R: Read> Iterator for ManifestItems<R> {
    type Item = Result<ManifestItem, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read_next();
        if next.is_err() {
            self.reader = None;
        }
        next.transpose()
    }
}

impl Manifest {
    /// Reads a manifest from a source of bytes, up to its end, and checks its own checksum.
    ///
    /// # Errors
    /// The source fails, or what it yields is cut short or changed, of another version, or not what PostgreSQL or Barman
    /// write.
    pub fn read(source: impl Read) -> Result<Self, ManifestError> {
        ManifestItems::new(source).collect()
    }
}
