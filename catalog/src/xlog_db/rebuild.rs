//! Entries made from the archived files themselves.

use std::collections::HashMap;

use barman_storage::{Dir, Kind, Operation, RelativePath, Stat};
use wal_format::WalFileName;

use crate::archive::{Encoding, for_each_archived};
use crate::{Error, WalStorage, XlogEntry, XlogLine, layout};

/// Returns an entry for every archived file, in the order of a rebuild by Barman.
///
/// Barman leaves `.partial` files out and so loses the entries they had; here they have one.
pub(super) fn entries(wals: &Dir, storage: &WalStorage) -> Result<Vec<XlogEntry>, Error> {
    let mut entries = Vec::new();
    for_each_archived(wals, |file| {
        entries.extend(describe(file.dir, file.path, file.name, storage)?);
        Ok::<_, Error>(())
    })?;
    Ok(entries)
}

/// Adds what the lines of the old index say and the files do not show, wherever a file is still as long as its line says.
/// Lines that cannot be read say nothing: the index is rebuilt because it is broken.
pub(super) fn keep_what_lines_say(entries: &mut [XlogEntry], old: &[u8]) {
    let lines = old.split(|byte| *byte == b'\n').filter_map(|line| XlogLine::parse(line)??.to_entry());
    let lines: HashMap<WalFileName, XlogEntry> = lines.map(|entry| (entry.name, entry)).collect();
    for entry in entries {
        if let Some(line) = lines.get(&entry.name).filter(|line| line.size == entry.size) {
            entry.compression = entry.compression.take().or_else(|| line.compression.clone());
            entry.encryption = entry.encryption.take().or_else(|| line.encryption.clone());
        }
    }
}

/// What an index has after it was rebuilt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// History files.
    pub histories: usize,
    /// Labels of backups.
    pub labels: usize,
    /// Segments.
    pub segments: usize,
    /// Unfinished segments. An index that Barman rebuilds has none.
    pub partials: usize,
}

impl Rebuilt {
    pub(super) fn of(entries: &[XlogEntry]) -> Self {
        let mut rebuilt = Self::default();
        for entry in entries {
            match entry.name {
                WalFileName::History(_) => rebuilt.histories += 1,
                WalFileName::BackupLabel { .. } => rebuilt.labels += 1,
                WalFileName::Segment(_) => rebuilt.segments += 1,
                WalFileName::Partial(_) => rebuilt.partials += 1,
            }
        }
        rebuilt
    }
}

/// Returns an entry for one archived file, if it is there.
pub(crate) fn entry(wals: &Dir, name: &WalFileName, storage: &WalStorage) -> Result<Option<XlogEntry>, Error> {
    describe(wals, &layout::archived(name), *name, storage)
}

fn describe(
    dir: &Dir,
    path: &RelativePath,
    name: WalFileName,
    storage: &WalStorage,
) -> Result<Option<XlogEntry>, Error> {
    let Some(stat) = dir.stat(path)?.filter(|stat| stat.kind == Kind::File) else { return Ok(None) };
    let unreadable = |source| barman_storage::Error::new(Operation::Read, layout::shown(dir, path), source);
    let encoding = storage.detect_opened(&dir.open_file(path)?).map_err(unreadable)?;
    Ok(Some(described(name, &stat, encoding)))
}

/// The entry of a file that is stored like this.
pub(crate) fn described(name: WalFileName, stat: &Stat, encoding: Encoding) -> XlogEntry {
    XlogEntry {
        name,
        size: stat.size,
        modified: python_mtime(stat),
        compression: encoding.compression().map(str::to_owned),
        encryption: encoding.encryption().map(str::to_owned),
    }
}

/// `st_mtime` as Python computes it, to the last digit.
#[allow(clippy::cast_precision_loss, reason = "the same loss as in Python")]
fn python_mtime(stat: &Stat) -> f64 {
    stat.modified_seconds as f64 + 1e-9 * f64::from(stat.modified_nanoseconds)
}
