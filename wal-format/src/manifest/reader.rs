//! Reading a manifest whose text comes in pieces.

use sha2::{Digest as _, Sha256};

use super::entry::Kind;
use super::outline::{self, Member};
use super::pieces::{MAX_PIECE, Pieces, TooLong};
use super::{ManifestError, ManifestItem, ManifestVersion};
use crate::Checksum;
use crate::syntax::{Parsed, SyntaxError, parse_all};

/// Reads a `backup_manifest` whose text comes in pieces of any size, in memory that does not grow with it
/// (`common/parse_manifest.c`).
///
/// Text goes in by [`ManifestReader::next`]. The checksum that says whether the text is what was written stands at its
/// end: nothing is proven before [`ManifestReader::finish`] has said so. Where there is a [`std::io::Read`],
/// [`ManifestItems`](super::ManifestItems) does all that.
///
/// ```
/// use wal_format::{ManifestItem, ManifestReader};
/// # let text = include_bytes!("../../testdata/18/backup_manifest");
///
/// let mut reader = ManifestReader::new();
/// let mut total = 0;
/// for mut chunk in text.chunks(1000) {
///     while let Some(item) = reader.next(&mut chunk)? {
///         if let ManifestItem::File(file) = item {
///             total += file.size;
///         }
///     }
/// }
/// reader.finish()?;
/// println!("{total} bytes");
/// # Ok::<(), wal_format::ManifestError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManifestReader {
    pieces: Pieces,
    document: Document,
}

impl ManifestReader {
    /// Before any text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes text off `input` up to the end of the next item; `None` when all of it was taken and more is needed.
    ///
    /// # Errors
    /// This is no manifest, or not as it was written. More text does not make it better: the reader is of no use then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        while let Some(piece) = self.pieces.next(input).map_err(|TooLong| self.document.too_long())? {
            let item = self.document.take(piece)?;
            if item.is_some() {
                return Ok(item);
            }
        }
        Ok(None)
    }

    /// Says whether the text was whole: it ended with its checksum, and that was right.
    ///
    /// # Errors
    /// It was cut short, or something follows it.
    pub fn finish(self) -> Result<(), ManifestError> {
        self.document.finish(self.pieces.rest())
    }
}

/// What was read so far: pieces one after the other.
#[derive(Debug, Clone)]
struct Document {
    place: Place,
    seen: Seen,
    /// Of all pieces so far.
    hash: Sha256,
    /// Bytes before the next piece.
    offset: usize,
    /// The line in which the next piece begins, counted from one.
    line: u64,
}

/// What the next piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Beginning,
    Version,
    Member,
    /// The first entry of an array, or the end of one without any.
    FirstEntry(Kind),
    Entry(Kind),
    BehindEntry(Kind),
    BehindEntries,
    End,
}

/// Which members were there: none may be twice.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    version_2: bool,
    system_id: bool,
    files: bool,
    wal_ranges: bool,
}

impl Default for Document {
    fn default() -> Self {
        Self { place: Place::Beginning, seen: Seen::default(), hash: Sha256::new(), offset: 0, line: 1 }
    }
}

impl Document {
    /// Takes the next piece, which may hold an item.
    fn take(&mut self, piece: &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        let (place, item) = self.read(piece)?;
        self.place = place;
        self.hash.update(piece);
        self.offset = self.offset.saturating_add(piece.len());
        self.line += lines(piece);
        Ok(item)
    }

    /// What comes behind this piece, and what it holds.
    fn read(&mut self, piece: &[u8]) -> Result<(Place, Option<ManifestItem>), ManifestError> {
        let opens_entry = || piece.trim_ascii_start().starts_with(b"{");
        let closes_array = || piece.ends_with(b"]");
        let place = match self.place {
            Place::Beginning => self.opening(piece)?,
            Place::Version => return self.version(piece),
            Place::Member => return self.member(piece),
            Place::FirstEntry(kind) | Place::Entry(kind) if opens_entry() => {
                return Ok((Place::BehindEntry(kind), Some(self.entry(kind, piece)?)));
            }
            Place::Entry(_) => return Err(self.unexpected(piece, "an entry")),
            Place::BehindEntry(kind) if !closes_array() => {
                self.outline(piece, outline::comma).map(|()| Place::Entry(kind))?
            }
            Place::FirstEntry(_) | Place::BehindEntry(_) => {
                self.outline(piece, outline::closing).map(|()| Place::BehindEntries)?
            }
            Place::BehindEntries => self.outline(piece, outline::comma).map(|()| Place::Member)?,
            Place::End => return Err(self.unexpected(piece, "the end")),
        };
        Ok((place, None))
    }

    fn opening(&self, piece: &[u8]) -> Result<Place, ManifestError> {
        parse_all(piece, outline::opening).map_err(ManifestError::Beginning)?;
        Ok(Place::Version)
    }

    /// Like PostgreSQL, we want it before everything else.
    fn version(&mut self, piece: &[u8]) -> Result<(Place, Option<ManifestItem>), ManifestError> {
        let misplaced = |error: SyntaxError| ManifestError::Beginning(error.further_on(self.offset));
        let version = match parse_all(piece, outline::version).map_err(misplaced)? {
            1 => ManifestVersion::V1,
            2 => ManifestVersion::V2,
            version => return Err(ManifestError::Version { version }),
        };
        self.seen.version_2 = version == ManifestVersion::V2;
        Ok((Place::Member, Some(ManifestItem::Version(version))))
    }

    fn member(&mut self, piece: &[u8]) -> Result<(Place, Option<ManifestItem>), ManifestError> {
        let (seen, place, item) = match self.outline(piece, outline::member)? {
            Member::SystemId(id) => (&mut self.seen.system_id, Place::Member, Some(ManifestItem::SystemId(id))),
            Member::Entries(kind @ Kind::Files) => (&mut self.seen.files, Place::FirstEntry(kind), None),
            Member::Entries(kind @ Kind::WalRanges) => (&mut self.seen.wal_ranges, Place::FirstEntry(kind), None),
            Member::Checksum(found, covered) => return self.seal(piece, found, covered),
        };
        if core::mem::replace(seen, true) {
            return Err(self.unexpected(piece, "a member that was not there before"));
        }
        Ok((place, item))
    }

    fn entry(&self, kind: Kind, piece: &[u8]) -> Result<ManifestItem, ManifestError> {
        let entry = piece.trim_ascii_start();
        let space = piece.strip_suffix(entry).unwrap_or_default();
        kind.parse(entry, self.line + lines(space))
    }

    /// Compares the checksum that the manifest ends with with that of all before it.
    fn seal(
        &self,
        piece: &[u8],
        found: Checksum,
        covered: usize,
    ) -> Result<(Place, Option<ManifestItem>), ManifestError> {
        if !self.seen.files {
            return Err(self.unexpected(piece, "\"Files\""));
        }
        if self.seen.version_2 && !self.seen.system_id {
            return Err(ManifestError::NoSystemId);
        }
        let covered = piece.get(..covered).unwrap_or(piece);
        let computed = Checksum::sha256(self.hash.clone().chain_update(covered));
        if found == computed { Ok((Place::End, None)) } else { Err(ManifestError::Checksum { found, computed }) }
    }

    fn finish(&self, rest: &[u8]) -> Result<(), ManifestError> {
        let expected = |expected| SyntaxError::new(rest, rest.len(), expected).further_on(self.offset);
        match self.place {
            Place::End if !rest.trim_ascii().is_empty() => Err(self.unexpected(rest, "the end")),
            // As in PostgreSQL: without its line end, the last line may have been cut short.
            Place::End if !rest.ends_with(b"\n") => {
                Err(self.content(rest, SyntaxError::new(rest, rest.len(), "a line end")))
            }
            Place::End => Ok(()),
            Place::Beginning | Place::Version => Err(ManifestError::Beginning(expected(outline::VERSION))),
            _ => Err(ManifestError::NoChecksum(expected("\"Manifest-Checksum\""))),
        }
    }

    fn outline<T>(&self, piece: &[u8], parser: impl Fn(&[u8]) -> Parsed<'_, T>) -> Result<T, ManifestError> {
        parse_all(piece, parser).map_err(|error| self.content(piece, error))
    }

    fn unexpected(&self, piece: &[u8], expected: &'static str) -> ManifestError {
        let text = piece.trim_ascii_start();
        self.content(piece, SyntaxError::new(piece, piece.len() - text.len(), expected))
    }

    /// An error within a piece.
    fn content(&self, piece: &[u8], error: SyntaxError) -> ManifestError {
        let before = piece.get(..error.offset).unwrap_or(piece);
        ManifestError::Content { line: self.line + lines(before), source: error.further_on(self.offset) }
    }

    fn too_long(&self) -> ManifestError {
        ManifestError::TooLong { line: self.line, limit: MAX_PIECE }
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}
