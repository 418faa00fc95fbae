//! One file, fetched and looked at.

use std::io::Read as _;
use std::path::Path;

use barman_catalog::Partial;
use barman_storage::{Dir, RelativePath, Unpublished};
use wal_format::{PageHeaderError, SegmentHeader, SegmentHeaderError, WalFileName};

use super::{FeedError, FeedRequest, Fetched, WalSource};

const MODE: u32 = 0o600;

/// Fetches a file into a directory, where it lies under a temporary name; `None` if the archive does not have it.
pub(super) fn fetch(
    source: &dyn WalSource,
    name: &WalFileName,
    partial: Partial,
    dir: &Dir,
    path: &RelativePath,
) -> Result<Option<Unpublished>, FeedError> {
    let write =
        |out: &mut _| source.fetch(name, partial, out).map_err(|source| FeedError::Fetch { name: *name, source });
    let (file, fetched) = dir.prepare_new(path, MODE, write)?;
    match fetched {
        Fetched::Missing => return Ok(None),
        Fetched::Whole => check(name, dir, &file.path())?,
        // PostgreSQL judges by its records how far it goes.
        Fetched::Unfinished => {}
    }
    Ok(Some(file))
}

/// Fetches a file to where the server wants it: there is the whole file, or what was there before.
pub(super) fn deliver(source: &dyn WalSource, request: &FeedRequest) -> Result<Fetched, FeedError> {
    let (dir, path) = place(&request.destination)?;
    match fetch(source, &request.name, request.partial, &dir, &path)? {
        Some(file) => dir.hand_over(&file.path(), &dir, &path).map(|()| Fetched::Whole).map_err(FeedError::from),
        None => Ok(Fetched::Missing),
    }
}

/// The directory in which a file is to appear, and its name there.
pub(super) fn place(destination: &Path) -> Result<(Dir, RelativePath), FeedError> {
    let unusable = || FeedError::Destination(destination.to_owned());
    let parent = destination.parent().ok_or_else(unusable)?;
    let name = destination.file_name().and_then(|name| RelativePath::new(name).ok()).ok_or_else(unusable)?;
    Ok((Dir::open(parent)?, name))
}

/// A segment that was mixed up with another one, or cut short, ends recovery as if it were the end of WAL, or worse.
fn check(name: &WalFileName, dir: &Dir, path: &RelativePath) -> Result<(), FeedError> {
    let WalFileName::Segment(segment) = name else { return Ok(()) };
    let file = dir.open_file(path)?;
    let failed = |error| barman_storage::Error::new(barman_storage::Operation::Read, path.as_path(), error);
    let found = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    file.take(SegmentHeader::LEN as u64).read_to_end(&mut head).map_err(failed)?;
    let header = match SegmentHeader::parse(&head) {
        Ok(header) => header,
        // Of a version that is not known here: the server knows better.
        Err(SegmentHeaderError::Page(PageHeaderError::Magic(_))) if head.iter().any(|&byte| byte != 0) => return Ok(()),
        Err(source) => return Err(FeedError::NotWal { name: *name, source }),
    };
    let size = header.segment_size;
    header.check(segment, None, size).map_err(|source| FeedError::Mismatch { name: *name, source })?;
    let expected = size.bytes();
    if found == expected { Ok(()) } else { Err(FeedError::Length { name: *name, expected, found }) }
}
