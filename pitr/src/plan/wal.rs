//! Which WAL is copied, and whether it is all there.

use std::path::{Path, PathBuf};

use barman_catalog::{ArchivedSegment, Catalog, Encoding, Partial, Place};
use barman_storage::{Dir, RelativePath};
use wal_format::{SegmentNumber, SegmentSize, WalFileName};

use super::PlanWarning;
use super::histories::Histories;
use super::recovery::Way;
use crate::plan_error::PlanError;
use crate::target::StopPoint;
use crate::wal_selection::{SelectedWal, WalRange};

/// The WAL to copy.
#[derive(Debug)]
pub struct PlannedWal {
    /// Where it goes: `pg_wal`, or the directory that the recovering server is told to read.
    pub destination: PathBuf,
    /// Whether it goes into `pg_wal`, where the server must not take it for WAL that it has yet to archive.
    pub is_archived: bool,
    /// The archived files, by the directory that holds them.
    pub archived: Vec<(Dir, Vec<PlannedWalFile>)>,
    /// Archived files that are compressed or encrypted.
    pub wrapped: Vec<PlannedWrappedWal>,
    /// Files that wait to be archived.
    pub waiting: Vec<PlannedWaitingWal>,
}

/// A WAL file to decompress and decrypt.
#[derive(Clone, Debug)]
pub struct PlannedWrappedWal {
    /// What it is called in the archive.
    pub archived: WalFileName,
    /// Its name where it goes.
    pub name: WalFileName,
    /// How many bytes it takes there: of a segment it has to be so many, of anything else that is a guess.
    pub size: u64,
}

/// A WAL file to copy.
#[derive(Clone, Debug)]
pub struct PlannedWalFile {
    /// Where it is stored.
    pub from: RelativePath,
    /// Its name where it goes.
    pub name: WalFileName,
    /// Its length in bytes.
    pub size: u64,
}

/// A WAL file to copy that waits to be archived.
///
/// It may well move while the base backup is copied: from `.partial` to its own name, and into the archive. So it is looked
/// for once more when its turn comes, and what was found first is held open in case that something else was made of it.
#[derive(Debug)]
pub struct PlannedWaitingWal {
    /// Where it is, and its name where it goes.
    pub file: PlannedWalFile,
    /// What was found.
    pub stored: ArchivedSegment,
}

impl PlannedWal {
    /// Returns the names of all files where they go, and their lengths in bytes.
    pub fn files(&self) -> impl Iterator<Item = (WalFileName, u64)> {
        let waiting = self.waiting.iter().map(|waiting| &waiting.file);
        let as_stored =
            self.archived.iter().flat_map(|(_, files)| files).chain(waiting).map(|file| (file.name, file.size));
        as_stored.chain(self.wrapped.iter().map(|file| (file.name, file.size)))
    }

    /// The names that the archived files have in the archive.
    pub(crate) fn archived_names(&self) -> impl Iterator<Item = String> {
        let as_stored = self.archived.iter().flat_map(|(_, files)| files);
        let as_stored = as_stored.map(|file| file.from.file_name().to_string_lossy().into_owned());
        as_stored.chain(self.wrapped.iter().map(|file| file.archived.to_string()))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files().map(|(_, bytes)| bytes).sum()
    }
}

/// What to copy, and which segments.
pub(super) struct WalRequest<'a> {
    pub(super) stop: Option<&'a StopPoint>,
    pub(super) is_pitr: bool,
    pub(super) destination: &'a Path,
    /// Whether incomplete segments are wanted.
    pub(super) partial: bool,
}

pub(super) fn plan(
    catalog: &Catalog,
    request: &WalRequest<'_>,
    way: &Way,
    histories: &Histories<'_>,
) -> Result<(PlannedWal, Vec<PlanWarning>), PlanError> {
    let Way { recovery, extent } = way;
    let size = recovery.backup.xlog_segment_size;
    let last = WalRange::last_segment(request.stop, extent.end, extent.last_segment, size);
    let range = WalRange { path: &recovery.path, size, first: extent.first_segment, last };
    let mut names = archived_names(catalog, |name| range.wants(name, request.partial))?;
    names.extend(histories.waiting(extent.timeline, recovery.path.last())?);
    let mut search =
        Search { catalog, size, archived: Vec::new(), wrapped: Vec::new(), waiting: Vec::new(), warnings: Vec::new() };
    let (mut selected, mut lost) = (Vec::new(), Vec::new());
    let mut listing = catalog.wal_listing()?;
    for wal in range.select(&names, request.partial) {
        let is_there = listing.has(&wal.archived)?;
        match is_there.then(|| catalog.find_wal(&wal.archived, Partial::Exclude)).transpose()?.flatten() {
            Some(stored) => selected.extend(search.take(wal, stored)?),
            // Where recovery cannot do without it, that is found below.
            None => lost.push(wal.archived),
        }
    }
    let lost = lost_wal(&lost, size).filter(|lost| !recovery.warnings.contains(lost));
    search.warnings.extend(lost);
    if request.partial {
        selected.extend(search.next_segment(&range, &selected)?);
    }
    check_consistent(&range, &selected, extent.last_segment)?;
    let missing = range.missing(&selected, None).into_iter().map(PlanWarning::MissingWal);
    let warnings = std::mem::take(&mut search.warnings).into_iter().chain(missing).collect();
    let (destination, is_archived) = (request.destination.to_owned(), !request.is_pitr);
    let Search { archived, wrapped, waiting, .. } = search;
    Ok((PlannedWal { destination, is_archived, archived, wrapped, waiting }, warnings))
}

/// What is gone, a warning for each row of segments that follow each other.
fn lost_wal(lost: &[WalFileName], size: SegmentSize) -> impl Iterator<Item = PlanWarning> {
    let follows = move |one: &WalFileName, next: &WalFileName| match (one, next) {
        (WalFileName::Segment(one), WalFileName::Segment(next)) => one.next(size).is_ok_and(|behind| behind == *next),
        _ => false,
    };
    let rows = lost.chunk_by(follows);
    rows.filter_map(|row| Some(PlanWarning::LostWal { first: *row.first()?, count: row.len() as u64 }))
}

/// Without the WAL up to its end a backup never becomes consistent: here it may also be of the wrong length.
fn check_consistent(
    range: &WalRange<'_>,
    selected: &[SelectedWal],
    backup_end: SegmentNumber,
) -> Result<(), PlanError> {
    match range.missing(selected, Some(backup_end)).into_iter().next() {
        Some(missing) => Err(PlanError::MissingWal { missing }),
        None => Ok(()),
    }
}

/// The files that were found so far.
struct Search<'a> {
    catalog: &'a Catalog,
    size: SegmentSize,
    archived: Vec<(Dir, Vec<PlannedWalFile>)>,
    wrapped: Vec<PlannedWrappedWal>,
    waiting: Vec<PlannedWaitingWal>,
    warnings: Vec<PlanWarning>,
}

impl Search<'_> {
    /// Takes a file, unless PostgreSQL would refuse it for its length: then it is as good as missing.
    fn take(&mut self, wal: SelectedWal, stored: ArchivedSegment) -> Result<Option<SelectedWal>, PlanError> {
        check_encoding(self.catalog, &stored)?;
        let (is_plain, is_segment) = (stored.encoding == Encoding::Plain, matches!(wal.name, WalFileName::Segment(_)));
        let (found, expected) = (stored.size, self.size.bytes());
        if is_plain && is_segment && found != expected {
            self.warnings.push(PlanWarning::WrongSize { name: wal.archived, expected, found });
            return Ok(None);
        }
        let size = if is_segment { expected } else { found };
        if !is_plain && stored.place == Place::Archive {
            self.wrapped.push(PlannedWrappedWal { archived: stored.name, name: wal.name, size });
            return Ok(Some(wal));
        }
        let (dir, path) = stored.location();
        let file = PlannedWalFile { from: path.clone(), name: wal.name, size };
        if stored.place != Place::Archive {
            self.waiting.push(PlannedWaitingWal { file, stored });
            return Ok(Some(wal));
        }
        // One handle for all that lie in the same directory: there may be more files than a process may have open.
        match self.archived.iter_mut().find(|(known, _)| known.path() == dir.path()) {
            Some((_, files)) => files.push(file),
            None => self.archived.push((dir.clone(), vec![file])),
        }
        Ok(Some(wal))
    }

    /// Takes the segment behind the last one, of which the receiver has a part, or which is not archived yet.
    fn next_segment(
        &mut self,
        range: &WalRange<'_>,
        selected: &[SelectedWal],
    ) -> Result<Option<SelectedWal>, PlanError> {
        let next = range.next_segment(selected).filter(|segment| range.wants(&WalFileName::Partial(*segment), true));
        let Some(segment) = next else { return Ok(None) };
        match self.catalog.find_wal(&WalFileName::Segment(segment), Partial::Include)? {
            Some(stored) => {
                self.take(SelectedWal { archived: stored.name, name: WalFileName::Segment(segment) }, stored)
            }
            None => Ok(None),
        }
    }
}

/// Returns the names in the index of the archive that are wanted.
pub(crate) fn archived_names(
    catalog: &Catalog,
    wanted: impl Fn(&WalFileName) -> bool,
) -> Result<Vec<WalFileName>, barman_catalog::Error> {
    let mut names = Vec::new();
    catalog.xlog_db()?.scan(|line| {
        names.extend(line.name().parse().ok().filter(|name| wanted(name)));
        Ok::<_, barman_catalog::Error>(())
    })?;
    Ok(names)
}

fn check_encoding(catalog: &Catalog, stored: &ArchivedSegment) -> Result<(), PlanError> {
    match stored.encoding {
        encoding if catalog.wal_storage().can_read(encoding) => Ok(()),
        encoding => Err(unreadable_form(stored.name, encoding)),
    }
}

pub(super) fn unreadable_form(name: WalFileName, encoding: Encoding) -> PlanError {
    PlanError::EncodedWal { name, encoding: encoding.compression().unwrap_or("gpg").to_owned() }
}
