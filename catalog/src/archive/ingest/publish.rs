//! Last stages: publish, record, remove.

use std::io::Read as _;

use barman_storage::codec::Room;
use barman_storage::{Cancel, Dir, NamedFile, NewNames, PublishError, Published, RelativePath};
use wal_format::WalFileName;

use crate::archive::ledger::Ledger;
use crate::archive::source::Candidate;
use crate::catalog::DIRECTORY_MODE;
use crate::xlog_db::entry_of;
use crate::{ArchivedSegment, Catalog, Content, Encoding, Error, Facts, WalSource, XlogDb, layout};

use super::ahead::{AsStored, Prepared, Wrapped};
use super::check::Finding;
use super::detect::Detected;
use super::observe::Observation;
use super::partial;
use super::walk::sum_up;

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

/// A file that was looked at and is to be archived.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) file: Detected,
    pub(super) prepared: Option<Prepared>,
    pub(super) finding: Finding,
    pub(super) observation: Observation,
    /// Its number in this run, from 1.
    pub(super) number: usize,
}

impl Due {
    /// What it was when it was found.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate { name: self.file.entry.name, path: self.file.path.clone() }
    }
}

/// From where to where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) source: &'a Dir,
    pub(super) wals: &'a Dir,
}

/// Archives files, records them, and removes them from their source, all in their order: the first of `due`, as many as
/// there are outcomes. The rest is left for the next call, or for the next run if something failed, which is returned beside.
///
/// Barman's lock on the index is held throughout, so that of two runs one finds the work of the other either not begun or
/// done. Each directory, and the index, is synced once, however many files there are.
pub(super) fn publish(
    places: Places<'_>,
    due: &mut [Due],
    ledger: &mut Ledger,
    cancel: &Cancel,
) -> Result<(Vec<Outcome>, Result<(), Error>), Error> {
    let mut db = places.catalog.xlog_db()?;
    if let Some(first) = due.first_mut() {
        match publish_known(places, &mut db, first, ledger, cancel) {
            Ok(None) => {}
            Ok(Some(outcome)) => return Ok((vec![outcome], Ok(()))),
            Err(error) => return Ok((Vec::new(), Err(error))),
        }
    }
    announce_hidden(places, &db, due, ledger, cancel)?;
    let mut names = NewNames::default();
    let (mut placed, mut failed) = (0, Ok(()));
    for next in due.iter_mut() {
        match place(places, &mut names, next, cancel) {
            Ok(true) => placed += 1,
            Ok(false) => break,
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    if placed == 0 {
        return Ok((Vec::new(), failed));
    }
    // Invariants 1 and 2: durable under their names before anything says that they are archived.
    names.sync()?;
    let (placed, _) = due.split_at_mut(placed);
    // Invariant 3: the record follows the data.
    db.append(placed.iter().map(|due| &due.file.entry))?;
    placed.iter().for_each(|due| note(&db, ledger, &due.observation.facts));
    remove(places.source, placed)?;
    Ok((placed.iter().map(|_| Outcome::Archived).collect(), failed))
}

/// Tells whether the archive has other contents under the name that a file is going to have, as far as they can be compared.
/// Unfinished segments always can be archived: the longer one is kept.
pub(crate) fn is_archived_otherwise(
    catalog: &Catalog,
    (dir, path): (&Dir, &RelativePath),
    name: &str,
) -> Result<bool, Error> {
    let Ok(name) = name.parse() else { return Ok(false) };
    if matches!(name, WalFileName::Partial(_)) {
        return Ok(false);
    }
    let Some(stored) = catalog.find_archived(&name)? else { return Ok(false) };
    let candidate = Candidate { name, path: path.clone() };
    let file = Detected::open(WalSource::Incoming, dir, &candidate, catalog.wal_storage())?;
    let compared = file.map(|mut file| compare(catalog, &mut file, &stored, &Cancel::new())).transpose()?.flatten();
    Ok(compared == Some(false))
}

/// Deals with a file that has changed, or whose name the archive has already; `None` if it is to be archived.
fn publish_known(
    places @ Places { catalog, source, wals }: Places<'_>,
    db: &mut XlogDb,
    due: &mut Due,
    ledger: &mut Ledger,
    cancel: &Cancel,
) -> Result<Option<Outcome>, Error> {
    let Due { file, observation, .. } = due;
    if !file.is_unchanged()? {
        return Ok(Some(Outcome::Changed));
    }
    if wals.stat(&layout::archived(&file.entry.name))?.is_none() {
        return Ok(None);
    }
    record_stored(catalog, wals, db, file)?;
    match (settle(places, file, cancel)?, file.entry.name) {
        (Outcome::Differs(_), WalFileName::Partial(_)) => {
            let facts = &mut observation.facts;
            let outcome = partial::settle(catalog, (wals, source), (db, ledger), file, facts, cancel)?;
            if matches!(outcome, Outcome::Archived) {
                note(db, ledger, facts);
            }
            Ok(Some(outcome))
        }
        (outcome, _) => Ok(Some(outcome)),
    }
}

/// Notes what those files hold of which the archive will not tell, such as encrypted ones, before any of them has its name: one
/// that has it when the run is interrupted is known by that when it comes again. What cannot be wrapped here fails again at its
/// turn, and is told then.
fn announce_hidden(
    Places { catalog, wals, .. }: Places<'_>,
    db: &XlogDb,
    due: &mut [Due],
    ledger: &mut Ledger,
    cancel: &Cancel,
) -> Result<(), Error> {
    let storage = catalog.wal_storage();
    let mut announced = Vec::new();
    for Due { file, prepared, observation, .. } in due {
        // What was noted of one that is archived already is still needed.
        let is_new = || matches!(wals.stat(&layout::archived(&file.entry.name)), Ok(None));
        if !storage.hides(file.encoding) || !is_new() {
            continue;
        }
        if !prepared.as_ref().is_some_and(|prepared| prepared.is_of(file)) {
            let wrapped = Wrapped::of(file, wals, storage, &Room::default(), cancel).ok();
            *prepared = wrapped.map(|wrapped| Prepared::new(file, AsStored::Wrapped(wrapped)));
        }
        if let Some(content) = prepared.as_ref().and_then(Prepared::content) {
            observation.facts.stored = content;
            announced.push(&observation.facts);
        }
    }
    announce(db, ledger, &announced)
}

/// Writes down what is going to be known of files. Where the ledger cannot be written they are archived all the same, unless the
/// disk is full: then recording them would fail next, and leave them in the archive without anything that tells of them.
pub(super) fn announce(db: &XlogDb, ledger: &mut Ledger, files: &[&Facts]) -> Result<(), Error> {
    match ledger.announce(db, files) {
        Err(Error::Storage(error)) if error.kind() == std::io::ErrorKind::StorageFull => Err(error.into()),
        Err(error) => {
            let names: Vec<_> = files.iter().map(|facts| facts.name.to_string()).collect();
            tracing::warn!(%error, "nothing is written down yet of {}", names.join(", "));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Gives a file its name in the archive, not durably yet; `false` if that is not as simple as that.
fn place(
    Places { catalog, source, wals }: Places<'_>,
    names: &mut NewNames,
    due: &mut Due,
    cancel: &Cancel,
) -> Result<bool, Error> {
    let Due { file, prepared, observation, .. } = due;
    if !file.is_unchanged()? || wals.stat(&layout::archived(&file.entry.name))?.is_some() {
        return Ok(false);
    }
    let (mut wrapped, mut delivered) = (None, None);
    match prepared.take().and_then(|prepared| prepared.of(file)) {
        Some(AsStored::Wrapped(copy)) => wrapped = Some(copy),
        Some(AsStored::Delivered(synced)) => delivered = Some(synced),
        None => {}
    }
    let facts = &mut observation.facts;
    facts.stored = match linked(catalog, (wals, source), names, (file, delivered), facts, cancel)? {
        Some(content) => content,
        None => match wrapped {
            Some(wrapped) => wrapped.publish(names)?,
            None => Wrapped::of(file, wals, catalog.wal_storage(), &Room::default(), cancel)?.publish(names)?,
        },
    };
    file.describe_as_stored(facts.stored.bytes, catalog.wal_storage());
    Ok(true)
}

/// The delivered files go last: up to here, running again does it all again. What has replaced one meanwhile is not what was
/// archived, and is the next run's to judge.
fn remove(source: &Dir, archived: &[Due]) -> Result<(), Error> {
    for due in archived {
        if due.file.is_unchanged()? {
            source.remove_file(&due.file.path)?;
        }
    }
    Ok(source.sync()?)
}

/// Gives a file that is stored as it was delivered its name in the archive, beside the one it has: nothing is copied. It may
/// be `delivered` and synced already. `None` where that cannot be done.
fn linked(
    catalog: &Catalog,
    (wals, source): (&Dir, &Dir),
    names: &mut NewNames,
    (file, delivered): (&mut Detected, Option<NamedFile>),
    facts: &Facts,
    cancel: &Cancel,
) -> Result<Option<Content>, Error> {
    if catalog.wal_storage().wraps(file.encoding) {
        return Ok(None);
    }
    if let Some(directory) = layout::hash_directory(&file.entry.name) {
        wals.create_subdir(&directory, DIRECTORY_MODE)?;
    }
    let (content, path) = (file.stored_content(facts.raw, cancel)?, layout::archived(&file.entry.name));
    let delivered = delivered.map_or_else(|| source.named_file(&file.path), Ok)?;
    if names.link(delivered, (wals, &path))?.is_none() {
        return Ok(None);
    }
    if !file.is_at(wals, &path)? {
        // Its sender replaced it in this moment, and what got the name was not looked at.
        wals.remove_file(&path)?;
        return Ok(None);
    }
    Ok(Some(content))
}

/// Writes down what is known of a file. That can be found out again, so a ledger that cannot be written keeps no WAL waiting.
pub(super) fn note(db: &XlogDb, ledger: &mut Ledger, facts: &Facts) {
    if let Err(error) = ledger.append(db, facts) {
        tracing::warn!(%error, "nothing is written down of {}: see rebuild-ledger", facts.name);
    }
}

/// Adds the line of a file that an interrupted run, of ours or of Barman, archived without recording it.
fn record_stored(catalog: &Catalog, wals: &Dir, db: &mut XlogDb, file: &Detected) -> Result<(), Error> {
    let name = file.entry.name;
    if db.contains(&name)? {
        return Ok(());
    }
    let Some(entry) = entry_of(wals, &name, catalog.wal_storage())? else { return Ok(()) };
    make_durable(wals, &name)?;
    db.append([&entry])
}

/// Invariant 1: whoever archived it may have been interrupted before its syncs.
fn make_durable(wals: &Dir, name: &WalFileName) -> Result<(), Error> {
    wals.edit_file(&layout::archived(name))?.sync()?;
    match layout::hash_directory(name) {
        Some(directory) => wals.subdir(&directory)?.sync()?,
        None => wals.sync()?,
    }
    Ok(())
}

/// Removes a file whose contents are archived already, or says that they differ.
fn settle(places: Places<'_>, file: &mut Detected, cancel: &Cancel) -> Result<Outcome, Error> {
    let Places { catalog, source, wals } = places;
    let name = &file.entry.name;
    let Some(stored) = catalog.find_archived(name)? else { return Ok(Outcome::Changed) };
    if stored.encoding != file.encoding {
        return settle_wrapped(places, file, &stored, cancel);
    }
    match source.rename_new(&file.path, wals, &layout::archived(name)) {
        Ok(Published::AlreadyThere(())) => Ok(Outcome::AlreadyArchived),
        Ok(Published::Created(())) => Ok(Outcome::Archived),
        // The same contents, compressed by another program or at another level.
        Err(PublishError::Conflict { .. }) if stored.encoding != Encoding::Plain => {
            settle_wrapped(places, file, &stored, cancel)
        }
        Err(PublishError::Conflict { .. }) => Ok(Outcome::Differs(stored.encoding)),
        Err(error) => Err(error.into()),
    }
}

/// Does the same where bytes say nothing: what counts is what both hold.
fn settle_wrapped(
    Places { catalog, source, wals }: Places<'_>,
    file: &mut Detected,
    stored: &ArchivedSegment,
    cancel: &Cancel,
) -> Result<Outcome, Error> {
    // What cannot be compared is different: it is kept in `errors/`, whatever it is.
    if compare(catalog, file, stored, cancel)? != Some(true) {
        return Ok(Outcome::Differs(stored.encoding));
    }
    make_durable(wals, &file.entry.name)?;
    if file.is_unchanged()? {
        source.remove_file(&file.path)?;
        source.sync()?;
    }
    Ok(Outcome::AlreadyArchived)
}

/// Tells whether two files hold the same; `None` if nothing tells.
fn compare(
    catalog: &Catalog,
    file: &mut Detected,
    stored: &ArchivedSegment,
    cancel: &Cancel,
) -> Result<Option<bool>, Error> {
    if !file.is_readable() {
        return Ok(None);
    }
    let mut theirs = match stored.contents() {
        Err(Error::Encoded { .. } | Error::Unwrap { .. }) => return compare_as_noted(catalog, file, stored, cancel),
        contents => contents?,
    };
    let (mut piece, mut is_same) = (Vec::new(), true);
    file.read(|bytes| {
        piece.resize(bytes.len(), 0);
        is_same = is_same && theirs.read_exact(&mut piece).is_ok() && piece == bytes;
        Ok(())
    })?;
    // Without the end of what is stored nothing of it counts.
    Ok(Some(is_same && matches!(theirs.read(&mut [0]), Ok(0))))
}

/// Does the same where what is stored cannot be read here, as where only those who restore have the passphrase: the ledger
/// knows what it held before it was encrypted, as long as it is still the file which that was noted of.
fn compare_as_noted(
    catalog: &Catalog,
    file: &mut Detected,
    stored: &ArchivedSegment,
    cancel: &Cancel,
) -> Result<Option<bool>, Error> {
    // A ledger that cannot be read knows nothing.
    let noted = catalog.noted_of(&stored.name, stored.stored_content(cancel)?).ok().flatten();
    noted.and_then(|noted| noted.raw).map(|raw| Ok(sum_up(file, |_| ())? == raw)).transpose()
}
