//! WAL that goes because of its age alone, and what an interrupted run left of it.
//!
//! Before its lines go from the index, a mark says durably which ranges of names go; when the files are gone, so is the
//! mark. Files of these ranges that the index does not name were left by a run that was killed in between: whoever deletes
//! next removes them (invariants 3 and 7). Without the mark nothing would tell them from files that Barman archived and was
//! killed before it recorded them.

use std::collections::BTreeSet;
use std::ops::Range;

use barman_retention::Freed;
use barman_storage::{Cancel, LockFile};
use wal_format::WalFileName;

use super::{DeleteEvent, wal};
use crate::archive::for_each_archived;
use crate::catalog::existing;
use crate::journal::{FieldReader, FieldWriter, Format, Journal};
use crate::{BackupId, Catalog, Error, Lock, LockError, layout};

/// An entry for each range: where it begins and where it ends, the upper half of each number first.
const FORMAT: Format = Format { name: *b"OLDW", version: 1 };

impl Catalog {
    /// Removes WAL that goes for another reason than a backup's. Nothing is done while another process does so. Returns whether
    /// nobody works with a backup of `idle`, of which that was decided; otherwise nothing is done either.
    ///
    /// # Errors
    /// Something cannot be read or removed. What is begun is finished by [`finish_deletions`](Self::finish_deletions).
    pub fn remove_wal<Why: Clone>(
        &self,
        freed: &Freed<Why>,
        idle: &[BackupId],
        cancel: &Cancel,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<bool, Error> {
        let Some(_lock) = self.lock_removal()?.filter(|_| !freed.is_empty()) else { return Ok(true) };
        let mark = self.mark_of_old_wal()?;
        mark.rewrite(&freed.ranges().map(|range| entry(&range)).collect::<Vec<_>>())?;
        let taken = wal::take(self, &|name| freed.why(name).is_some(), idle)?;
        let holds = taken.is_some();
        if let Some((names, index)) = taken.filter(|(names, _)| !names.is_empty()) {
            let names = wal::by_directory(names);
            events(DeleteEvent::OldWal(&names));
            wal::remove(self, &index, &names, cancel)?;
        }
        self.unmark_old_wal()?;
        Ok(holds)
    }

    /// Removes what an interrupted run took out of the index and did not remove. What it did not take out is the policy's
    /// to decide on, as it is by now.
    pub(super) fn finish_removing_old_wal(
        &self,
        cancel: &Cancel,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        if existing(&self.layout().backup_directory)?
            .is_none_or(|dir| !matches!(dir.stat(&layout::old_wal()), Ok(Some(_))))
        {
            return Ok(());
        }
        let Some(_lock) = self.lock_removal()? else { return Ok(()) };
        let mut ranges = Vec::new();
        self.mark_of_old_wal()?.read(|entry| {
            ranges.extend(range(entry));
            Ok(())
        })?;
        let freed = Freed::of_ranges(&(), ranges);
        let index = self.xlog_snapshot()?;
        let mut recorded = BTreeSet::new();
        index.scan(|line| {
            recorded.extend(line.name().parse().ok().filter(|name: &WalFileName| freed.why(name).is_some()));
            Ok::<_, Error>(())
        })?;
        let mut left = BTreeSet::new();
        for_each_archived(&self.wals_dir()?, |file| {
            left.extend(Some(file.name).filter(|name| freed.why(name).is_some() && !recorded.contains(name)));
            Ok::<_, Error>(())
        })?;
        if !left.is_empty() {
            let names = wal::by_directory(left.into_iter().collect());
            events(DeleteEvent::OldWal(&names));
            wal::remove(self, &index, &names, cancel)?;
        }
        self.unmark_old_wal()
    }

    fn lock_removal(&self) -> Result<Option<LockFile>, Error> {
        match self.lock(Lock::RemoveWal) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Busy { .. }) => Ok(None),
            Err(LockError::Catalog(error)) => Err(error),
        }
    }

    fn mark_of_old_wal(&self) -> Result<Journal, Error> {
        Ok(Journal::new(&self.backup_dir()?, layout::old_wal(), FORMAT))
    }

    fn unmark_old_wal(&self) -> Result<(), Error> {
        let dir = self.backup_dir()?;
        dir.remove_file(&layout::old_wal())?;
        Ok(dir.sync()?)
    }
}

fn entry(range: &Range<u128>) -> Vec<u8> {
    let mut entry = FieldWriter::default();
    for number in [range.start, range.end] {
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        entry.number((number >> 64) as u64).number(number as u64);
    }
    entry.finish()
}

fn range(entry: &[u8]) -> Option<Range<u128>> {
    let mut fields = FieldReader::new(entry);
    let mut number = || Some((u128::from(fields.number()?) << 64) | u128::from(fields.number()?));
    Some(number()?..number()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_was_written() {
        for of in [0..0, 0..u128::MAX, (1 << 65)..(1 << 65 | 1 << 33 | 7)] {
            assert_eq!(range(&entry(&of)), Some(of));
        }
        assert_eq!(range(&[]), None);
        assert_eq!(range(&entry(&(1..2))[..2]), None);
    }
}
