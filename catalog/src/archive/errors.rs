//! What could not be archived: `errors/`.

use std::error::Error as StdError;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use barman_storage::{Dir, RelativePath};
use wal_format::Timestamp;

use crate::catalog::{FILE_MODE, existing};
use crate::{Catalog, Error, LocalZone};

/// Why a file lies in `errors/`, as its name there ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The archive has other contents under its name.
    Duplicate,
    /// It is not WAL.
    Unknown,
    /// It is not the WAL that its name says, or not of this cluster.
    Refused,
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// What a file with the reason ends with, after the name of the file it is about.
const REASON: &str = ".reason";

/// How long the moment is that a file got there, in its name.
const STAMP: usize = "YYYYMMDDTHHMMSSZ".len();

/// How many files lie in `errors/`, by the ends of their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorFiles {
    /// Segments whose name is archived with other contents.
    pub duplicates: usize,
    /// What is not WAL.
    pub unknown: usize,
    /// WAL of another cluster, or not what its name says.
    pub refused: usize,
    /// Files that Barman found of no use.
    pub not_relevant: usize,
    /// Anything else.
    pub other: usize,
}

impl Catalog {
    /// Counts what lies in `errors/`. Files that hold the reason for another one are not counted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn error_files(&self) -> Result<ErrorFiles, Error> {
        let mut files = ErrorFiles::default();
        let Some(errors) = existing(&self.layout().errors_directory)? else { return Ok(files) };
        for entry in errors.entries()? {
            let suffix = entry.name.as_bytes().rsplit(|byte| *byte == b'.').next();
            let counter = match suffix {
                Some(b"reason") => continue,
                Some(b"duplicate") => &mut files.duplicates,
                Some(b"unknown") => &mut files.unknown,
                Some(b"refused") => &mut files.refused,
                Some(b"error") => &mut files.not_relevant,
                _ => &mut files.other,
            };
            *counter += 1;
        }
        Ok(files)
    }
}

/// Moves a file that is called `name` to `errors/`, with the reason beside it where its name does not say all; returns its name there.
pub(crate) fn move_to_errors(
    catalog: &Catalog,
    (from, path): (&Dir, &RelativePath),
    name: &OsStr,
    kind: Kind,
    reason: Option<&(dyn StdError + 'static)>,
    now: Timestamp,
) -> Result<RelativePath, Error> {
    let errors = catalog.errors_dir()?;
    let target = match interrupted(&errors, name, kind)? {
        Some(target) => target,
        None => free_name(&errors, name, kind, now)?,
    };
    if let Some(reason) = reason {
        let text = explain(reason);
        errors.replace(&named(&errors, target.as_path().as_os_str(), REASON)?, FILE_MODE, text.as_bytes())?;
    }
    from.rename_new(path, &errors, &target)?;
    Ok(target)
}

/// Files that were to be called `name`, and are here because other contents had that name.
pub(crate) fn duplicates_of(errors: &Dir, name: &OsStr) -> Result<Vec<RelativePath>, Error> {
    let suffix = format!(".{}", Kind::Duplicate.suffix());
    let is_one = |found: &[u8]| {
        let rest = found.strip_prefix(cut(name).as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        rest.is_some_and(|rest| rest.len() == STAMP + suffix.len() && rest.ends_with(suffix.as_bytes()))
    };
    let entries = errors.entries()?.into_iter();
    Ok(entries.filter(|entry| is_one(entry.name.as_bytes())).map(|entry| entry.path()).collect())
}

/// The name that a killed run has given a reason, or begun to, but no file. It is used up, or each such run would leave one.
fn interrupted(errors: &Dir, name: &OsStr, kind: Kind) -> Result<Option<RelativePath>, Error> {
    let (start, end) = (cut(name).as_bytes(), format!(".{}{REASON}", kind.suffix()));
    let target = |found: &[u8]| {
        let begun = found.strip_prefix(b".").and_then(|found| found.strip_suffix(b".tmp"));
        let target = begun.unwrap_or(found).strip_suffix(REASON.as_bytes())?.to_owned();
        let middle = begun.unwrap_or(found).strip_prefix(start)?.strip_suffix(end.as_bytes())?;
        (middle.len() == STAMP + 1).then_some(target)
    };
    for entry in errors.entries()? {
        let Some(target) = target(entry.name.as_bytes()) else { continue };
        let target = named(errors, OsStr::from_bytes(&target), "")?;
        if errors.stat(&target)?.is_none() {
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// As much of a name as leaves room for what is added here: the longest that file systems take is 255 bytes.
fn cut(name: &OsStr) -> &OsStr {
    const LONGEST: usize = 255 - 40;
    OsStr::from_bytes(name.as_bytes().get(..LONGEST).unwrap_or(name.as_bytes()))
}

/// A name that nothing in `errors/` has: with the second of `now`, or the next one that is free.
fn free_name(errors: &Dir, name: &OsStr, kind: Kind, now: Timestamp) -> Result<RelativePath, Error> {
    const SECOND: i64 = 1_000_000;
    let mut moment = now.unix_micros();
    loop {
        let stamp = LocalZone::UTC.civil(Timestamp::from_unix_micros(moment)).strftime("%Y%m%dT%H%M%SZ").to_string();
        let target = named(errors, cut(name), &format!(".{stamp}.{}", kind.suffix()))?;
        if errors.stat(&target)?.is_none() {
            return Ok(target);
        }
        moment = moment.saturating_add(SECOND);
    }
}

fn named(errors: &Dir, name: &OsStr, suffix: &str) -> Result<RelativePath, Error> {
    let mut target = OsString::from(name);
    target.push(suffix);
    let unusable = |_| Error::Name { directory: errors.path().to_owned(), name: target.clone() };
    RelativePath::new(&target).map_err(unusable)
}

/// The error and its causes, a line each.
pub(crate) fn explain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(|cause| format!("{cause}\n")).collect()
}
