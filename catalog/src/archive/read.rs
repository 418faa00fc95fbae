//! Finding WAL, wherever it is.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use barman_storage::{Cancel, Dir, Operation, RelativePath};
use wal_format::{Crc32c, SegmentName, SegmentSize, WalFileName};

use crate::catalog::existing;
use crate::{Catalog, Content, Encoding, Error, WalSource, WalStorage, layout};

/// Whether a segment will do that PostgreSQL has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partial {
    /// A `.partial` file is taken where there is no whole one: the end of all WAL of its timeline.
    Include,
    /// Whole files only.
    Exclude,
}

/// Where a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the archive.
    Archive,
    /// Delivered, and not archived yet.
    Source(WalSource),
}

/// A WAL file that was found, as it is stored. It is held open: archiving may move it at any time, and it can still be read.
#[derive(Debug)]
pub struct ArchivedSegment {
    /// What it is called where it is stored; a `.partial` file may stand for the segment asked for.
    pub name: WalFileName,
    /// Where it is.
    pub place: Place,
    /// Its length as stored, in bytes.
    pub size: u64,
    /// What has to be undone before it is what PostgreSQL wrote.
    pub encoding: Encoding,
    dir: Dir,
    path: RelativePath,
    file: File,
    storage: WalStorage,
}

impl ArchivedSegment {
    /// Returns the file as it is stored, from its beginning; it is the one that was found, wherever it is by now.
    ///
    /// # Errors
    /// The process has too many files open.
    pub fn open(&self) -> Result<File, Error> {
        let opened = open_again(&self.file);
        Ok(opened.map_err(|error| barman_storage::Error::new(Operation::Open, self.display_path(), error))?)
    }

    /// Returns what PostgreSQL wrote: the contents, decompressed and decrypted. They are whole only if reading ends without an
    /// error.
    ///
    /// # Errors
    /// The file is stored in a form that cannot be read, or a program that it takes cannot be started.
    pub fn contents(&self) -> Result<Box<dyn Read + Send>, Error> {
        let path = self.display_path();
        if !self.storage.can_read(self.encoding) {
            return Err(Error::Encoded { path, encoding: self.encoding });
        }
        self.storage.reader(self.encoding, self.open()?).map_err(|source| Error::Unwrap { path, source })
    }

    /// Returns length and checksum of the file as it is stored.
    pub(crate) fn stored_content(&self, cancel: &Cancel) -> Result<Content, Error> {
        const BUFFER: usize = 256 * 1024;
        let mut file = self.open()?;
        let (mut crc, mut bytes, mut buffer) = (Crc32c::new(), 0, vec![0; BUFFER]);
        loop {
            cancel.check()?;
            let unreadable = |error| barman_storage::Error::new(Operation::Read, self.display_path(), error);
            let length = file.read(&mut buffer).map_err(unreadable)?;
            if length == 0 {
                return Ok(Content { bytes, crc32c: crc.finish() });
            }
            crc.update(buffer.get(..length).unwrap_or_default());
            bytes += length as u64;
        }
    }

    /// Returns the directory in which the file was found, and its path there, for whoever copies many.
    #[must_use]
    pub fn location(&self) -> (&Dir, &RelativePath) {
        (&self.dir, &self.path)
    }

    /// Returns where the file was found, for messages and hook scripts.
    #[must_use]
    pub fn display_path(&self) -> PathBuf {
        layout::shown(&self.dir, &self.path)
    }
}

impl Catalog {
    /// Finds a file for a recovering server, in Barman's order: archive, `incoming/`, `streaming/`; then, if partial files
    /// will do, `.partial` in `streaming/`, `streaming/` once more, `.partial` in the archive and in `incoming/`; and the
    /// archive once more. Files move from the directories where they arrive into the archive meanwhile, never back.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn find_wal(&self, name: &WalFileName, partial: Partial) -> Result<Option<ArchivedSegment>, Error> {
        use Place::{Archive, Source};
        use WalSource::{Incoming, Streaming};
        let mut steps = vec![(Archive, *name), (Source(Incoming), *name), (Source(Streaming), *name)];
        if let (WalFileName::Segment(segment), Partial::Include) = (name, partial) {
            let unfinished = WalFileName::Partial(*segment);
            steps.push((Source(Streaming), unfinished));
            steps.push((Source(Streaming), *name));
            steps.push((Archive, unfinished));
            steps.push((Source(Incoming), unfinished));
        }
        steps.push((Archive, *name));
        steps.into_iter().find_map(|(place, name)| self.find_in(place, &name).transpose()).transpose()
    }

    /// Makes sure that the archive is there: its directory, and its index. Where its file system is not mounted, every file
    /// seems to be missing.
    ///
    /// # Errors
    /// One of them is not there, or cannot be opened.
    pub fn check_archive(&self) -> Result<(), Error> {
        Dir::open(&self.layout().wals_directory)?;
        Dir::open(&self.layout().xlogdb_directory)?.open_file(&self.layout().xlog_db()?)?;
        Ok(())
    }

    /// Finds a file in the archive alone.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn find_archived(&self, name: &WalFileName) -> Result<Option<ArchivedSegment>, Error> {
        self.find_in(Place::Archive, name)
    }

    /// Returns the names of up to `limit` files that can be had: `name` itself, and if that is a segment those which follow
    /// it, up to the first that is missing.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn peek_wal(
        &self,
        name: &WalFileName,
        limit: usize,
        partial: Partial,
        size: SegmentSize,
    ) -> Result<Vec<WalFileName>, Error> {
        let mut found = Vec::new();
        let mut next = Some(*name);
        while let Some(name) = next.filter(|_| found.len() < limit) {
            if self.find_wal(&name, partial)?.is_none() {
                break;
            }
            found.push(name);
            next = successor(&name, size).map(WalFileName::Segment);
        }
        Ok(found)
    }

    fn find_in(&self, place: Place, name: &WalFileName) -> Result<Option<ArchivedSegment>, Error> {
        let (directory, path) = match place {
            Place::Archive => (self.layout().wals_directory.as_path(), layout::archived(name)),
            Place::Source(source) => (source.directory(self.layout()), layout::wal_file(name)),
        };
        let Some(dir) = existing(directory)? else { return Ok(None) };
        let file = match dir.open_file(&path) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let looked =
            self.wal_storage().detect_opened(&file).and_then(|encoding| Ok((encoding, file.metadata()?.len())));
        let unreadable = |error| barman_storage::Error::new(Operation::Read, layout::shown(&dir, &path), error);
        let (encoding, size) = looked.map_err(unreadable)?;
        Ok(Some(ArchivedSegment {
            name: *name,
            place,
            size,
            encoding,
            dir,
            path,
            file,
            storage: self.wal_storage().clone(),
        }))
    }
}

/// Opens a file that is held open once more, whatever became of its name: a copy of the handle would share its position, so that
/// of two readers each would miss what the other one reads.
pub(crate) fn open_again(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn successor(name: &WalFileName, size: SegmentSize) -> Option<SegmentName> {
    match name {
        WalFileName::Segment(segment) => segment.next(size).ok(),
        _ => None,
    }
}
