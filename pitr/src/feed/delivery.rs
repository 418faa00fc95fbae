//! One file, fetched and looked at.

use std::path::Path;

use barman_storage::{Dir, RelativePath, Unpublished};
use wal_format::WalFileName;

use super::question::Question;
use super::{FeedError, FeedRequest, Fetched, WalSource, segment_check};

const MODE: u32 = 0o600;

/// Fetches a file into a directory, where it lies under a temporary name; `None` if the archive does not have it.
pub(super) fn fetch(
    source: &dyn WalSource,
    Question { name, partial }: Question,
    refuses_damage: bool,
    dir: &Dir,
    path: &RelativePath,
) -> Result<Option<Unpublished>, FeedError> {
    let found = source.find(&name, partial).map_err(|source| FeedError::Fetch { name, source })?;
    let Some(found) = found else { return Ok(None) };
    // What is known to be as it was archived is as PostgreSQL wrote it, damaged or not.
    let (is_unfinished, reads_records) = (found.is_unfinished, refuses_damage && found.content.is_none());
    let (file, ()) = dir.prepare_new(path, MODE, |out| found.write_to(&name, out))?;
    match name {
        // How far an unfinished one goes, PostgreSQL judges by its records.
        WalFileName::Segment(name) if !is_unfinished => {
            segment_check::check(&name, dir, &file.path(), reads_records)?;
        }
        _ => {}
    }
    Ok(Some(file))
}

/// Fetches a file to where the server wants it: there is the whole file, or what was there before.
pub(super) fn deliver(source: &dyn WalSource, request: &FeedRequest) -> Result<Fetched, FeedError> {
    let (dir, path) = place(&request.destination)?;
    let question = Question { name: request.name, partial: request.partial };
    match fetch(source, question, request.refuses_damage, &dir, &path)? {
        Some(file) => {
            dir.hand_over(&file.path(), &dir, &path)?;
            Ok(Fetched::Delivered)
        }
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

#[cfg(test)]
mod tests;
