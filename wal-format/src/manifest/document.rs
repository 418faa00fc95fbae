//! The JSON of a manifest, and what each part of it has to be.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use nom::Parser as _;
use nom::bytes::complete::tag;
use nom::character::complete::multispace0;
use nom::sequence::preceded;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use super::{Manifest, ManifestError, ManifestFile, ManifestVersion, WalRange};
use crate::syntax::{Parsed, decimal, expect, syntax_error};
use crate::{Checksum, ChecksumAlgorithm, Lsn, SyntaxError, SystemId, TimelineId, UnknownAlgorithm, hex};

/// The version that `text` begins with: like PostgreSQL, we want it before everything else, because what may follow
/// depends on it.
pub(super) fn version(text: &[u8]) -> Result<ManifestVersion, ManifestError> {
    let (_, number) = version_number(text).map_err(|error| ManifestError::Beginning(syntax_error(text, error)))?;
    match number {
        1 => Ok(ManifestVersion::V1),
        2 => Ok(ManifestVersion::V2),
        version => Err(ManifestError::Version { version }),
    }
}

fn version_number(input: &[u8]) -> Parsed<'_, u64> {
    let key =
        (tag("{"), multispace0, tag("\"PostgreSQL-Backup-Manifest-Version\""), multispace0, tag(":"), multispace0);
    preceded(expect("{ \"PostgreSQL-Backup-Manifest-Version\"", key), expect("a version number", decimal)).parse(input)
}

/// Reads the whole text, whose version is `version`.
pub(super) fn parse(version: ManifestVersion, text: &[u8]) -> Result<Manifest, ManifestError> {
    let Document { system_id, files, wal_ranges, .. } = serde_json::from_slice(text).map_err(ManifestError::Content)?;
    Ok(Manifest { version, system_id: system_id.map(SystemId::new), files, wal_ranges })
}

/// The members of the outermost object. As in PostgreSQL, others are an error: a meaning we do not know may matter.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    _version: IgnoredAny,
    #[serde(rename = "System-Identifier")]
    system_id: Option<u64>,
    #[serde(rename = "Files", deserialize_with = "each::<_, FileEntry<'_>, _>")]
    files: Vec<ManifestFile>,
    #[serde(rename = "WAL-Ranges", default, deserialize_with = "each::<_, WalRangeEntry<'_>, _>")]
    wal_ranges: Vec<WalRange>,
    #[serde(rename = "Manifest-Checksum")]
    _checksum: IgnoredAny,
}

/// Reads an array and converts each entry as it comes, so that a million of them never exist in two forms at once.
fn each<'de, D, Entry, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    Entry: Deserialize<'de> + TryInto<T, Error = EntryError>,
{
    struct Entries<Entry, T>(PhantomData<(Entry, T)>);

    impl<'de, Entry, T> Visitor<'de> for Entries<Entry, T>
    where
        Entry: Deserialize<'de> + TryInto<T, Error = EntryError>,
    {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut converted = Vec::new();
            while let Some(entry) = entries.next_element::<Entry>()? {
                converted.push(entry.try_into().map_err(A::Error::custom)?);
            }
            Ok(converted)
        }
    }

    deserializer.deserialize_seq(Entries::<Entry, T>(PhantomData))
}

/// A string, borrowed from the manifest where it has no escapes: serde does that for a `Cow` but not for `Option<Cow>`.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One object of `Files`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry<'a> {
    #[serde(rename = "Path", borrow)]
    path: Option<Text<'a>>,
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
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WalRangeEntry<'a> {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN", borrow)]
    start: Text<'a>,
    #[serde(rename = "End-LSN", borrow)]
    end: Text<'a>,
}

/// Why an entry is not what it should be; `serde_json` adds the line and makes it text.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error("file has both or neither of Path and Encoded-Path, expected one")]
    NotOnePath,
    #[error("Encoded-Path is {found:?}, expected pairs of hexadecimal digits")]
    EncodedPath { found: String },
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
fn one_path(plain: Option<Text<'_>>, encoded: Option<Text<'_>>) -> Result<PathBuf, EntryError> {
    match (plain, encoded) {
        (Some(Text(path)), None) => Ok(PathBuf::from(path.into_owned())),
        (None, Some(Text(digits))) => match hex::decode(digits.as_bytes()) {
            Some(bytes) => Ok(PathBuf::from(OsString::from_vec(bytes))),
            None => Err(EntryError::EncodedPath { found: digits.into_owned() }),
        },
        _ => Err(EntryError::NotOnePath),
    }
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
