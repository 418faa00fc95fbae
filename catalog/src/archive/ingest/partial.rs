//! Two unfinished segments of one name.
//!
//! A receiver that starts anew and an archiver after a promotion each leave one, and they differ in length, and in what
//! lies behind the last record: zeros, or the rest of an older segment. Up to there they are the same, and the longer one
//! has all that the shorter one has.

use std::io::{self, Read};

use barman_storage::codec::Room;
use barman_storage::{Cancel, Dir, Operation};
use wal_format::{SegmentHeader, WalFileName};

use crate::archive::ledger::Ledger;
use crate::{Catalog, Error, Facts, WalStorage, XlogDb, layout};

use super::detect::Detected;
use super::observe::{Neighbours, judge_arrival};
use super::publish::{Outcome, announce};

/// Keeps the one of two unfinished segments that has more records, if it has all of the other's.
pub(super) fn settle(
    catalog: &Catalog,
    (wals, source): (&Dir, &Dir),
    (db, ledger): (&mut XlogDb, &mut Ledger),
    file: &mut Detected,
    facts: &mut Facts,
    cancel: &Cancel,
) -> Result<Outcome, Error> {
    let name = file.entry.name;
    let path = layout::archived(&name);
    let Some(archived) = catalog.find_archived(&name)? else { return Ok(Outcome::Changed) };
    let stored = judge_arrival(catalog, &mut Neighbours::default(), (wals, &path), name, None)?;
    let (Ok(Some(stored)), true, Ok(contents)) = (stored, file.is_readable(), archived.contents()) else {
        return Ok(Outcome::Differs(archived.encoding));
    };
    let unreadable =
        |error| Error::from(barman_storage::Error::new(Operation::Read, layout::shown(wals, &path), error));
    let extent = |facts: &Facts, contents: Result<Box<dyn Read + Send>, Error>| match written(facts, file) {
        Some(bytes) => Ok(bytes),
        None => used(contents?).map_err(unreadable),
    };
    let (ours, theirs) = (extent(facts, file.reader())?, extent(&stored, Ok(contents))?);
    // Readers of one file share their place: these begin anew.
    if !begin_alike(file.reader()?, archived.contents()?, ours.min(theirs)).map_err(unreadable)? {
        return Ok(Outcome::Differs(archived.encoding));
    }
    let longer = ours > theirs;
    if longer {
        replace(wals, (db, ledger), (file, facts), catalog.wal_storage(), cancel)?;
    }
    if file.is_unchanged()? {
        source.remove_file(&file.path)?;
        source.sync()?;
    }
    Ok(if longer { Outcome::Archived } else { Outcome::AlreadyArchived })
}

/// How many bytes of the segment have been written, as its last record tells; `None` if no record was seen to end in it: all
/// that was written may be the rest of one which began in a segment that is not there.
fn written(facts: &Facts, file: &Detected) -> Option<u64> {
    let (WalFileName::Partial(name), Ok(header)) = (facts.name, SegmentHeader::parse(&file.head)) else { return None };
    facts.records.as_ref()?.end.bytes_since(name.start(header.segment_size).ok()?)
}

/// How many bytes there are before the zeros at the end, if there are any. No more than these have been written.
fn used(mut contents: impl Read) -> io::Result<u64> {
    const BUFFER: usize = 128 * 1024;
    let (mut buffer, mut read, mut used) = (vec![0; BUFFER], 0, 0);
    loop {
        let length = contents.read(&mut buffer)?;
        if length == 0 {
            return Ok(used);
        }
        let last = buffer.iter().take(length).rposition(|byte| *byte != 0);
        used = last.map_or(used, |last| read + last as u64 + 1);
        read += length as u64;
    }
}

/// Puts the longer one in place of the shorter one. An interrupted run leaves no record that speaks of the wrong one: the line goes
/// before the file is replaced, and what is going to be known of that is announced.
fn replace(
    wals: &Dir,
    (db, ledger): (&mut XlogDb, &mut Ledger),
    (file, facts): (&mut Detected, &mut Facts),
    storage: &WalStorage,
    cancel: &Cancel,
) -> Result<(), Error> {
    let name = file.entry.name.to_string();
    db.retain(|line| line.name() != name)?;
    let (path, mode) = (layout::archived(&file.entry.name), file.stat.mode);
    wals.replace_with(&path, mode, |copy| {
        facts.stored = file.store(copy, storage, &Room::default(), cancel)?;
        announce(db, ledger, &[facts])
    })?;
    file.describe_as_stored(facts.stored.bytes, storage);
    db.append([&file.entry])
}

/// Compares the first bytes of two files.
fn begin_alike(mut one: impl Read, mut other: impl Read, length: u64) -> io::Result<bool> {
    const BUFFER: u64 = 128 * 1024;
    let (mut ours, mut theirs, mut left) = (Vec::new(), Vec::new(), length);
    while left > 0 {
        let wanted = left.min(BUFFER);
        ours.clear();
        theirs.clear();
        one.by_ref().take(wanted).read_to_end(&mut ours)?;
        other.by_ref().take(wanted).read_to_end(&mut theirs)?;
        if ours != theirs || ours.len() as u64 != wanted {
            return Ok(false);
        }
        left -= wanted;
    }
    Ok(true)
}
