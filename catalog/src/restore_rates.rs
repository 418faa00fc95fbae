//! How fast restores of this server were: what a plan's minutes are computed from.
//!
//! A journal beside those of the ledger (`ledger/rates`), an entry for each thing that was measured: what was done, how many
//! bytes, how many microseconds. Only the last ones count: disks are replaced. Whatever is lost of it is measured again.

use std::time::Duration;

use crate::catalog::DIRECTORY_MODE;
use crate::journal::{FieldReader, FieldWriter, Format, Journal};
use crate::{Catalog, Error, layout};

const FORMAT: Format = Format { name: *b"RATE", version: 1 };

/// How many of the last measurements of each kind count.
const COUNTED: usize = 8;

/// When the journal has as many entries, those that count are written anew.
const MOST_ENTRIES: usize = 256;

/// What takes its time in a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreWork {
    /// Copying the base backup, and making it durable.
    CopyData,
    /// Copying WAL.
    CopyWal,
    /// Replaying WAL.
    Replay,
}

impl RestoreWork {
    const ALL: [Self; 3] = [Self::CopyData, Self::CopyWal, Self::Replay];

    const fn number(self) -> u64 {
        match self {
            Self::CopyData => 1,
            Self::CopyWal => 2,
            Self::Replay => 3,
        }
    }
}

/// How fast something was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeasuredRate {
    /// All bytes of the restores that count.
    pub bytes: u64,
    /// The time that they took.
    pub micros: u64,
    /// How many restores that were.
    pub restores: usize,
}

impl MeasuredRate {
    /// Returns how long so many bytes take at this rate; `None` if nothing was measured.
    #[must_use]
    pub fn time_of(&self, bytes: u64) -> Option<Duration> {
        let micros = u128::from(bytes) * u128::from(self.micros);
        let micros = micros.checked_div(u128::from(self.bytes))?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    fn of(measured: &[Measurement]) -> Self {
        let counted = measured.iter().rev().take(COUNTED);
        counted.fold(Self::default(), |sum, one| Self {
            bytes: sum.bytes.saturating_add(one.bytes),
            micros: sum.micros.saturating_add(one.micros),
            restores: sum.restores + 1,
        })
    }
}

/// How fast earlier restores were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreRates {
    /// Copying the base backup.
    pub data: MeasuredRate,
    /// Copying WAL.
    pub wal: MeasuredRate,
    /// Replaying it.
    pub replay: MeasuredRate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measurement {
    work: RestoreWork,
    bytes: u64,
    micros: u64,
}

impl Measurement {
    fn to_entry(self) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.number(self.work.number()).number(self.bytes).number(self.micros);
        fields.finish()
    }

    /// `None` for kinds that came later.
    fn of_entry(entry: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(entry);
        let number = fields.number()?;
        let work = RestoreWork::ALL.into_iter().find(|work| work.number() == number)?;
        Some(Self { work, bytes: fields.number()?, micros: fields.number()? })
    }
}

impl Catalog {
    /// Returns how fast earlier restores were. A journal that another version of this program wrote says nothing.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn restore_rates(&self) -> Result<RestoreRates, Error> {
        let Some(journal) = self.existing_rates()? else { return Ok(RestoreRates::default()) };
        let mut measured = Vec::new();
        let read = journal.read(|entry| {
            measured.extend(Measurement::of_entry(entry));
            Ok(())
        });
        match read {
            Ok(_) | Err(Error::Journal { .. }) => {}
            Err(error) => return Err(error),
        }
        let of = |work| MeasuredRate::of(&of_kind(&measured, work));
        Ok(RestoreRates {
            data: of(RestoreWork::CopyData),
            wal: of(RestoreWork::CopyWal),
            replay: of(RestoreWork::Replay),
        })
    }

    /// Notes how long something took. What is too little to tell a rate is not noted.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn note_restore_rate(&self, work: RestoreWork, bytes: u64, time: Duration) -> Result<(), Error> {
        /// Below this, starting and ending is most of it.
        const LEAST_BYTES: u64 = 1 << 20;
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if bytes < LEAST_BYTES || micros == 0 {
            return Ok(());
        }
        let dir = self.backup_dir()?.create_subdir(&layout::ledger(), DIRECTORY_MODE)?;
        let journal = Journal::new(&dir, layout::ledger_rates(), FORMAT);
        let _lock = self.lock_xlog_db()?;
        let mut measured = Vec::new();
        let read = journal.read(|entry| {
            measured.extend(Measurement::of_entry(entry));
            Ok(())
        });
        let new = Measurement { work, bytes, micros };
        match read {
            Ok(mut extent) if measured.len() < MOST_ENTRIES => journal.append(&mut extent, &[new.to_entry()]),
            Ok(_) | Err(Error::Journal { .. }) => {
                let mut kept = counted(&measured);
                kept.push(new.to_entry());
                journal.rewrite(&kept).map(|_| ())
            }
            Err(error) => Err(error),
        }
    }

    fn existing_rates(&self) -> Result<Option<Journal>, Error> {
        let Some(dir) = crate::catalog::existing(&self.layout().backup_directory)? else { return Ok(None) };
        match dir.subdir(&layout::ledger()) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => Ok(Some(Journal::new(&opened?, layout::ledger_rates(), FORMAT))),
        }
    }
}

fn of_kind(measured: &[Measurement], work: RestoreWork) -> Vec<Measurement> {
    measured.iter().copied().filter(|one| one.work == work).collect()
}

/// The entries that count.
fn counted(measured: &[Measurement]) -> Vec<Vec<u8>> {
    let of = |work| of_kind(measured, work);
    let last = |of: Vec<Measurement>| of.into_iter().rev().take(COUNTED).collect::<Vec<_>>().into_iter().rev();
    RestoreWork::ALL.into_iter().map(of).flat_map(last).map(Measurement::to_entry).collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files as others leave them")]
mod tests {
    use super::*;
    use crate::{LocalZone, ServerLayout};

    fn catalog() -> (tempfile::TempDir, Catalog) {
        let home = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(ServerLayout::below(home.path(), "main"), LocalZone::UTC);
        catalog.create_directories().unwrap();
        (home, catalog)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_said_before_something_was_measured() {
        let (_home, catalog) = catalog();
        assert_eq!(catalog.restore_rates().unwrap(), RestoreRates::default());
        assert_eq!(MeasuredRate::default().time_of(5), None);
        catalog.note_restore_rate(RestoreWork::CopyData, 1000, SECOND).unwrap();
        assert_eq!(catalog.restore_rates().unwrap(), RestoreRates::default(), "too little to tell");
    }

    #[test]
    fn the_last_restores_count_by_what_they_did() {
        let (_home, catalog) = catalog();
        let note = |work, megabytes: u64| catalog.note_restore_rate(work, megabytes << 20, SECOND).unwrap();
        for megabytes in 1..=9 {
            note(RestoreWork::CopyData, megabytes);
        }
        note(RestoreWork::Replay, 50);
        let rates = catalog.restore_rates().unwrap();
        assert_eq!(rates.data, MeasuredRate { bytes: 44 << 20, micros: 8_000_000, restores: 8 });
        assert_eq!(rates.data.time_of(88 << 20), Some(Duration::from_secs(16)));
        assert_eq!((rates.wal.restores, rates.replay.restores), (0, 1));
    }

    #[test]
    fn the_journal_stays_short_and_keeps_what_counts() {
        let (home, catalog) = catalog();
        catalog.note_restore_rate(RestoreWork::CopyWal, 7 << 20, SECOND).unwrap();
        for _ in 0..=MOST_ENTRIES {
            catalog.note_restore_rate(RestoreWork::CopyData, 2 << 20, SECOND).unwrap();
        }
        let length = home.path().join("main/ledger/rates").metadata().unwrap().len();
        assert!(length < 1000, "{length} bytes");
        let rates = catalog.restore_rates().unwrap();
        assert_eq!((rates.data.bytes, rates.wal.bytes), (16 << 20, 7 << 20));
    }

    /// What is measured can be measured again.
    #[test]
    fn the_journal_of_another_version_is_made_anew() {
        let (home, catalog) = catalog();
        catalog.note_restore_rate(RestoreWork::CopyData, 2 << 20, SECOND).unwrap();
        let path = home.path().join("main/ledger/rates");
        std::fs::write(&path, b"\x93BARMAN\nRATE\x09\0 and whatever comes then").unwrap();
        assert_eq!(catalog.restore_rates().unwrap(), RestoreRates::default());
        catalog.note_restore_rate(RestoreWork::CopyData, 3 << 20, SECOND).unwrap();
        assert_eq!(catalog.restore_rates().unwrap().data.bytes, 3 << 20);
    }
}
