//! Entries made from the archived files themselves.

use barman_storage::{Dir, Kind, RelativePath, Stat};
use wal_format::WalFileName;

use crate::archive::{Encoding, for_each_archived};
use crate::{Error, XlogEntry, layout};

/// Returns an entry for every archived file, in the order of a rebuild by Barman.
///
/// Barman leaves `.partial` files out and so loses the entries they had; here they have one.
pub(super) fn entries(wals: &Dir) -> Result<Vec<XlogEntry>, Error> {
    let mut entries = Vec::new();
    for_each_archived(wals, |file| {
        entries.extend(describe(file.dir, file.path, file.name)?);
        Ok::<_, Error>(())
    })?;
    Ok(entries)
}

/// Returns an entry for one archived file, if it is there.
pub(crate) fn entry(wals: &Dir, name: &WalFileName) -> Result<Option<XlogEntry>, Error> {
    describe(wals, &layout::archived(name), *name)
}

fn describe(dir: &Dir, path: &RelativePath, name: WalFileName) -> Result<Option<XlogEntry>, Error> {
    let Some(stat) = dir.stat(path)?.filter(|stat| stat.kind == Kind::File) else { return Ok(None) };
    Ok(Some(described(name, &stat, Encoding::of_file(dir, path)?)))
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
