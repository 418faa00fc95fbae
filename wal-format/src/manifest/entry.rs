//! The entries of a manifest: JSON objects, and what each part of them has to be.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::{ManifestError, ManifestFile, ManifestItem, WalRange};
use crate::{Checksum, ChecksumAlgorithm, Lsn, SyntaxError, TimelineId, UnknownAlgorithm, hex};

/// What the entries of an array describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Files,
    WalRanges,
}

impl Kind {
    /// Reads one entry, which begins in this line.
    pub(super) fn parse(self, text: &[u8], line: u64) -> Result<ManifestItem, ManifestError> {
        // The JSON reader lets bytes pass that are no text where it is asked for bytes.
        let text =
            core::str::from_utf8(text).map_err(|error| ManifestError::Entry { line, reason: error.to_string() })?;
        match self {
            Self::Files => entry::<FileEntry<'_>, _>(text, line).map(ManifestItem::File),
            Self::WalRanges => entry::<WalRangeEntry<'_>, _>(text, line).map(ManifestItem::WalRange),
        }
    }
}

fn entry<'a, Entry, T>(text: &'a str, line: u64) -> Result<T, ManifestError>
where
    Entry: Deserialize<'a> + TryInto<T, Error = EntryError>,
{
    let entry: Entry = serde_json::from_str(text).map_err(|error| ManifestError::Entry {
        line: line + u64::try_from(error.line().saturating_sub(1)).unwrap_or(0),
        reason: reason(&error),
    })?;
    entry.try_into().map_err(|error| ManifestError::Entry { line, reason: error.to_string() })
}

/// What is wrong, without the place: that counts from the beginning of the entry.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map(str::to_owned).unwrap_or(text)
}

/// A string, borrowed from the manifest where it has no escapes: serde does that for a `Cow` but not for `Option<Cow>`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One object of `Files`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry<'a> {
    #[serde(rename = "Path")]
    path: Option<PlainPath>,
    #[serde(rename = "Encoded-Path", borrow)]
    encoded_path: Option<Text<'a>>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Last-Modified")]
    modified: String,
    #[serde(rename = "Checksum-Algorithm", borrow)]
    algorithm: Option<Text<'a>>,
    #[serde(rename = "Checksum", borrow)]
    checksum: Option<Text<'a>>,
}

/// One object of `WAL-Ranges`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WalRangeEntry<'a> {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN", borrow)]
    start: Text<'a>,
    #[serde(rename = "End-LSN", borrow)]
    end: Text<'a>,
}

/// A path as a JSON string.
///
/// Where PostgreSQL encodes a path that is not UTF-8, Barman has Python write each byte that is part of no character as
/// half a surrogate pair, from U+DC80 for the byte 80 to U+DCFF for the byte FF (PEP 383). No text has those otherwise, so
/// they are read as the bytes that they stand for: without that, such a backup could not be restored at all.
struct PlainPath(Vec<u8>);

impl<'de> Deserialize<'de> for PlainPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = PlainPath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<PlainPath, E> {
                unescape_surrogates(bytes).map(PlainPath).ok_or_else(|| E::custom(EntryError::Surrogate))
            }
        }

        // Only as bytes may a string have half a surrogate pair.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Turns each surrogate into the byte that it stands for; `None` if one stands for none.
fn unescape_surrogates(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Err(error) = core::str::from_utf8(rest) {
        let (characters, surrogate) = rest.split_at_checked(error.valid_up_to())?;
        let ([0xED, high @ (0xB2 | 0xB3), low], behind) = surrogate.split_first_chunk()? else { return None };
        bytes.extend_from_slice(characters);
        bytes.push(high << 6 | low & 0x3F);
        rest = behind;
    }
    bytes.extend_from_slice(rest);
    Some(bytes)
}

/// Why an entry is not what it should be.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error("file has both or neither of Path and Encoded-Path, expected one")]
    NotOnePath,
    #[error("Encoded-Path is {found:?}, expected pairs of hexadecimal digits")]
    EncodedPath { found: String },
    #[error("Path has half a surrogate pair that stands for no byte, expected U+DC80 to U+DCFF")]
    Surrogate,
    #[error(transparent)]
    Algorithm(#[from] UnknownAlgorithm),
    #[error("checksum is {found:?}, expected {} hexadecimal digits for {algorithm}", 2 * algorithm.digest_len())]
    Checksum { algorithm: ChecksumAlgorithm, found: String },
    #[error("timeline is 0")]
    TimelineZero,
    #[error(transparent)]
    Position(#[from] SyntaxError),
}

impl TryFrom<FileEntry<'_>> for ManifestFile {
    type Error = EntryError;

    fn try_from(entry: FileEntry<'_>) -> Result<Self, EntryError> {
        let FileEntry { path, encoded_path, size, modified, algorithm, checksum } = entry;
        Ok(Self { path: one_path(path, encoded_path)?, size, modified, checksum: one_checksum(algorithm, checksum)? })
    }
}

/// The path, which PostgreSQL encodes where it is not UTF-8.
fn one_path(plain: Option<PlainPath>, encoded: Option<Text<'_>>) -> Result<PathBuf, EntryError> {
    let bytes = match (plain, encoded) {
        (Some(PlainPath(bytes)), None) => bytes,
        (None, Some(Text(digits))) => {
            hex::decode(digits.as_bytes()).ok_or_else(|| EntryError::EncodedPath { found: digits.into_owned() })?
        }
        _ => return Err(EntryError::NotOnePath),
    };
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

fn one_checksum(algorithm: Option<Text<'_>>, digits: Option<Text<'_>>) -> Result<Option<Checksum>, EntryError> {
    let algorithm = algorithm.map_or(Ok(ChecksumAlgorithm::None), |Text(name)| name.parse())?;
    let digits = digits.map_or(Cow::Borrowed(""), |Text(digits)| digits);
    if algorithm == ChecksumAlgorithm::None && digits.is_empty() {
        return Ok(None);
    }
    let checksum = hex::decode(digits.as_bytes()).and_then(|bytes| Checksum::new(algorithm, &bytes));
    checksum.map(Some).ok_or_else(|| EntryError::Checksum { algorithm, found: digits.into_owned() })
}

impl TryFrom<WalRangeEntry<'_>> for WalRange {
    type Error = EntryError;

    fn try_from(entry: WalRangeEntry<'_>) -> Result<Self, EntryError> {
        let timeline = TimelineId::new(entry.timeline).ok_or(EntryError::TimelineZero)?;
        let position = |Text(text): Text<'_>| text.parse::<Lsn>();
        Ok(Self { timeline, start: position(entry.start)?, end: position(entry.end)? })
    }
}
