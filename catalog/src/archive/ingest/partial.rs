//! Two unfinished segments of one name.
//!
//! A receiver that starts anew and an archiver after a promotion each leave one, and they differ in length, and in what
//! lies behind the last record: zeros, or the rest of an older segment. Up to there they are the same, and the longer one
//! has all that the shorter one has.

use std::fs::File;
use std::io::{self, Read as _};

use barman_storage::{Cancel, Dir, Operation};
use wal_format::{SegmentHeader, WalFileName};

use crate::{Catalog, Encoding, Error, Facts, XlogDb, layout};

use super::detect::Detected;
use super::observe::{Neighbours, judge_arrival};
use super::publish::Outcome;

/// Keeps the one of two unfinished segments that has more records, if it has all of the other's.
pub(super) fn settle(
    catalog: &Catalog,
    (wals, source): (&Dir, &Dir),
    db: &mut XlogDb,
    file: &mut Detected,
    facts: &Facts,
    cancel: &Cancel,
) -> Result<Outcome, Error> {
    let name = file.entry.name;
    let path = layout::archived(&name);
    let encoding = Encoding::of_file(wals, &path)?;
    let stored = judge_arrival(catalog, &mut Neighbours::default(), (wals, &path), name, None)?;
    let (Ok(Some(stored)), Encoding::Plain, Encoding::Plain) = (stored, file.encoding, encoding) else {
        return Ok(Outcome::Differs(encoding));
    };
    let (ours, theirs) = (written(facts, file), written(&stored, file));
    let unreadable = |error| barman_storage::Error::new(Operation::Read, layout::shown(wals, &path), error);
    let same = begin_alike(source.open_file(&file.path)?, wals.open_file(&path)?, ours.min(theirs));
    if !same.map_err(unreadable)? {
        return Ok(Outcome::Differs(encoding));
    }
    let longer = ours > theirs;
    if longer {
        replace(wals, db, file, cancel)?;
    }
    if file.is_unchanged()? {
        source.remove_file(&file.path)?;
        source.sync()?;
    }
    Ok(if longer { Outcome::Archived } else { Outcome::AlreadyArchived })
}

/// How many bytes of the segment have been written, as its last record tells.
fn written(facts: &Facts, file: &Detected) -> u64 {
    let (WalFileName::Partial(name), Ok(header)) = (facts.name, SegmentHeader::parse(&file.head)) else { return 0 };
    let start = name.start(header.segment_size).ok();
    let end = facts.records.as_ref().map(|records| records.end);
    start.zip(end).and_then(|(start, end)| end.bytes_since(start)).unwrap_or(0)
}

/// Puts the longer one in place of the shorter one. Its line changes with it.
fn replace(wals: &Dir, db: &mut XlogDb, file: &mut Detected, cancel: &Cancel) -> Result<(), Error> {
    let (stat, entry) = (file.stat, file.entry.clone());
    wals.replace_with(&layout::archived(&entry.name), stat.mode, |copy| {
        file.read(|bytes| {
            cancel.check()?;
            Ok(copy.write_all(bytes)?)
        })?;
        copy.set_mode(stat.mode)?;
        copy.set_modified(stat.modified())?;
        Ok::<_, Error>(())
    })?;
    let name = entry.name.to_string();
    db.retain(|line| line.name != name)?;
    db.append(&entry)
}

/// Compares the first bytes of two files.
fn begin_alike(mut one: File, mut other: File, length: u64) -> io::Result<bool> {
    const BUFFER: u64 = 128 * 1024;
    let (mut ours, mut theirs, mut left) = (Vec::new(), Vec::new(), length);
    while left > 0 {
        let wanted = left.min(BUFFER);
        for (file, bytes) in [(&mut one, &mut ours), (&mut other, &mut theirs)] {
            bytes.clear();
            file.take(wanted).read_to_end(bytes)?;
        }
        if ours != theirs || ours.len() as u64 != wanted {
            return Ok(false);
        }
        left -= wanted;
    }
    Ok(true)
}
