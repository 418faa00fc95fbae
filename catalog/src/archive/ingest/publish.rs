//! Last stages: publish, record, remove.

use barman_storage::{Cancel, Dir, PublishError, Published};
use wal_format::{Crc32c, WalFileName};

use crate::archive::ledger::Ledger;
use crate::catalog::DIRECTORY_MODE;
use crate::xlog_db::entry_of;
use crate::{Catalog, Content, Encoding, Error, Facts, XlogDb, layout};

use super::detect::Detected;
use super::partial;

/// What became of a file.
#[derive(Debug)]
pub(super) enum Outcome {
    Archived,
    /// The archive had it, with the same contents.
    AlreadyArchived,
    /// The archive has other contents under its name, stored like this. The file is still where it arrived.
    Differs(Encoding),
    /// Another run archived it in this moment, or its sender replaced it.
    Changed,
}

/// Archives a file, records it, and removes it from `source`.
///
/// Barman's lock on the index is held throughout, so that of two runs one finds the work of the other either not begun or
/// done.
pub(super) fn publish(
    catalog: &Catalog,
    wals: &Dir,
    source: &Dir,
    file: &mut Detected,
    (ledger, facts): (&mut Ledger, &mut Facts),
    cancel: &Cancel,
) -> Result<Outcome, Error> {
    let mut db = catalog.xlog_db()?;
    let path = layout::archived(&file.entry.name);
    if !file.is_unchanged()? {
        return Ok(Outcome::Changed);
    }
    if wals.stat(&path)?.is_some() {
        record_stored(wals, &mut db, file)?;
        return match (settle(wals, source, file)?, file.entry.name) {
            (Outcome::Differs(_), WalFileName::Partial(_)) => {
                let outcome = partial::settle(catalog, (wals, source), &mut db, file, facts, cancel)?;
                if matches!(outcome, Outcome::Archived) {
                    facts.stored = facts.raw.unwrap_or(facts.stored);
                    note(&db, ledger, facts);
                }
                Ok(outcome)
            }
            (outcome, _) => Ok(outcome),
        };
    }
    if let Some(directory) = layout::hash_directory(&file.entry.name) {
        wals.create_subdir(&directory, DIRECTORY_MODE)?;
    }
    let stat = file.stat;
    let mut crc = Crc32c::new();
    // Invariants 1 and 2: durable under its name before anything says that it is archived.
    wals.publish_new(&path, stat.mode, |copy| {
        file.read(|bytes| {
            cancel.check()?;
            crc.update(bytes);
            Ok(copy.write_all(bytes)?)
        })?;
        copy.set_mode(stat.mode)?;
        copy.set_modified(stat.modified())?;
        Ok::<_, Error>(())
    })?;
    // Invariant 3: the record follows the data.
    db.append(&file.entry)?;
    facts.stored = Content { bytes: stat.size, crc32c: crc.finish() };
    note(&db, ledger, facts);
    // And the delivered file goes last: up to here, running again does it all again. What has replaced it meanwhile is not
    // what was archived, and is the next run's to judge.
    if file.is_unchanged()? {
        source.remove_file(&file.path)?;
        source.sync()?;
    }
    Ok(Outcome::Archived)
}

/// Writes down what is known of a file. That can be found out again, so a ledger that cannot be written keeps no WAL waiting.
pub(super) fn note(db: &XlogDb, ledger: &mut Ledger, facts: &Facts) {
    if let Err(error) = ledger.append(db, facts) {
        tracing::warn!(%error, "nothing is written down of {}: see rebuild-ledger", facts.name);
    }
}

/// Adds the line of a file that an interrupted run, of ours or of Barman, archived without recording it.
fn record_stored(wals: &Dir, db: &mut XlogDb, file: &Detected) -> Result<(), Error> {
    let name = file.entry.name;
    if db.contains(&name)? {
        return Ok(());
    }
    let Some(entry) = entry_of(wals, &name)? else { return Ok(()) };
    // Invariant 1: that run may have been interrupted before its syncs.
    wals.edit_file(&layout::archived(&name))?.sync()?;
    match layout::hash_directory(&name) {
        Some(directory) => wals.subdir(&directory)?.sync()?,
        None => wals.sync()?,
    }
    db.append(&entry)
}

/// Removes a file whose contents are archived already, or says that they differ.
fn settle(wals: &Dir, source: &Dir, file: &Detected) -> Result<Outcome, Error> {
    let name = &file.entry.name;
    match source.rename_new(&file.path, wals, &layout::archived(name)) {
        Ok(Published::AlreadyThere(())) => Ok(Outcome::AlreadyArchived),
        Ok(Published::Created(())) => Ok(Outcome::Archived),
        Err(PublishError::Conflict { .. }) => Ok(Outcome::Differs(Encoding::of_file(wals, &layout::archived(name))?)),
        Err(error) => Err(error.into()),
    }
}
