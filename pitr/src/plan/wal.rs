//! Which WAL is copied, and whether it is all there.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use barman_catalog::{ArchivedSegment, Catalog, Encoding, Partial};
use barman_storage::{Dir, Operation, RelativePath};
use wal_format::{SegmentNumber, SegmentSize, TimelineId, WalFileName};

use super::PlanWarning;
use super::backup::Chosen;
use crate::plan_error::PlanError;
use crate::target::StopPoint;
use crate::wal_selection::{SelectedWal, WalRange};

/// Far more than a history file has: PostgreSQL writes a line for each time that the cluster was promoted.
const LONGEST_HISTORY_BYTES: u64 = 1 << 20;

/// The WAL to copy.
#[derive(Debug)]
pub struct PlannedWal {
    /// Where it goes: `pg_wal`, or the directory that the recovering server is told to read.
    pub destination: PathBuf,
    /// Whether it goes into `pg_wal`, where the server must not take it for WAL that it has yet to archive.
    pub is_archived: bool,
    /// The files, by the directory that holds them: the archive, and `streaming/` for the newest of all.
    pub sources: Vec<(Dir, Vec<PlannedWalFile>)>,
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

impl PlannedWal {
    /// Returns all files.
    pub fn files(&self) -> impl Iterator<Item = &PlannedWalFile> {
        self.sources.iter().flat_map(|(_, files)| files)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files().map(|file| file.size).sum()
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
    chosen: &Chosen,
) -> Result<(PlannedWal, Vec<PlanWarning>), PlanError> {
    let size = chosen.info.xlog_segment_size;
    let last = WalRange::last_segment(request.stop, chosen.extent.last_segment, size);
    let range = WalRange { path: &chosen.path, size, first: chosen.extent.first_segment, last };
    let names = archived_names(catalog, |name| range.wants(name, request.partial))?;
    let mut search = Search { catalog, size, sources: Vec::new(), warnings: Vec::new() };
    let mut selected = Vec::new();
    for wal in range.select(&names, request.partial) {
        match catalog.find_archived(&wal.archived)? {
            Some(stored) => selected.extend(search.take(wal, &stored)?),
            // Where recovery cannot do without it, that is found below.
            None => search.warnings.push(PlanWarning::LostWal { name: wal.archived }),
        }
    }
    if request.partial {
        selected.extend(search.next_segment(&range, &selected)?);
    }
    check_reaches(&range, &selected, request.stop, chosen.extent.last_segment)?;
    let missing = range.missing(&selected, None).into_iter().map(PlanWarning::MissingWal);
    let warnings = search.warnings.into_iter().chain(missing).collect();
    let destination = request.destination.to_owned();
    Ok((PlannedWal { destination, is_archived: !request.is_pitr, sources: search.sources }, warnings))
}

/// Without the WAL up to its end a backup never becomes consistent, and a target LSN has to be in the WAL, too.
fn check_reaches(
    range: &WalRange<'_>,
    selected: &[SelectedWal],
    stop: Option<&StopPoint>,
    backup_end: SegmentNumber,
) -> Result<(), PlanError> {
    let mut until = backup_end;
    if let Some(StopPoint::Lsn(target)) = stop {
        match range.end(selected) {
            Some(end) if end <= *target => return Err(PlanError::LsnBehindArchive { target: *target, end }),
            _ => until = until.max(SegmentNumber::containing(*target, range.size)),
        }
    }
    match range.missing(selected, Some(until)).into_iter().next() {
        Some(missing) => Err(PlanError::MissingWal { missing }),
        None => Ok(()),
    }
}

/// The files that were found so far.
struct Search<'a> {
    catalog: &'a Catalog,
    size: SegmentSize,
    sources: Vec<(Dir, Vec<PlannedWalFile>)>,
    warnings: Vec<PlanWarning>,
}

impl Search<'_> {
    /// Takes a file, unless PostgreSQL would refuse it for its length: then it is as good as missing.
    fn take(&mut self, wal: SelectedWal, stored: &ArchivedSegment) -> Result<Option<SelectedWal>, PlanError> {
        check_encoding(stored)?;
        let (found, expected) = (stored.size, self.size.bytes());
        if matches!(wal.name, WalFileName::Segment(_)) && found != expected {
            self.warnings.push(PlanWarning::WrongSize { name: wal.archived, expected, found });
            return Ok(None);
        }
        let (dir, path) = stored.location();
        let file = PlannedWalFile { from: path.clone(), name: wal.name, size: stored.size };
        // One handle for all that lie in the same directory: there may be more files than a process may have open.
        match self.sources.iter_mut().find(|(known, _)| known.path() == dir.path()) {
            Some((_, files)) => files.push(file),
            None => self.sources.push((dir.clone(), vec![file])),
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
                self.take(SelectedWal { archived: stored.name, name: WalFileName::Segment(segment) }, &stored)
            }
            None => Ok(None),
        }
    }
}

/// Returns the names in the index of the archive that are wanted.
pub(super) fn archived_names(
    catalog: &Catalog,
    wanted: impl Fn(&WalFileName) -> bool,
) -> Result<Vec<WalFileName>, PlanError> {
    let mut names = Vec::new();
    catalog.xlog_db()?.scan(|line| {
        names.extend(line.name.parse().ok().filter(|name| wanted(name)));
        Ok::<_, barman_catalog::Error>(())
    })?;
    Ok(names)
}

/// Reads a history file of the archive.
pub(super) fn read_history(catalog: &Catalog, timeline: TimelineId) -> Result<Vec<u8>, PlanError> {
    let stored = catalog.find_archived(&WalFileName::History(timeline))?;
    let stored = stored.ok_or(PlanError::LostHistory { timeline })?;
    check_encoding(&stored)?;
    let mut text = Vec::new();
    let unreadable = |source| barman_storage::Error::new(Operation::Read, stored.display_path(), source);
    stored.open()?.take(LONGEST_HISTORY_BYTES).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn check_encoding(stored: &ArchivedSegment) -> Result<(), PlanError> {
    let encoding = match stored.encoding {
        Encoding::Plain => return Ok(()),
        Encoding::Compressed(name) => name,
        Encoding::Encrypted => "gpg",
    };
    Err(PlanError::EncodedWal { name: stored.name, encoding: encoding.to_owned() })
}
