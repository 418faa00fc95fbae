//! What a restore will do, decided before anything is created.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use barman_catalog::{ArchiveName, BackupId, Catalog};
use barman_storage::{Dir, RelativePath};
use wal_format::{Checksum, SegmentName, TimelineId, WalFileName};

use crate::host::Host;
use crate::plan_error::{ChainBreak, PlanError};
use crate::recovery_settings::{RestoreCommand, Signal, recovery_settings};
use crate::request::{RecoveryRequest, RestoreRequest, WalSupply};
use crate::stop::{PlannedStop, StopReason, TransactionPoint};
use crate::target::{RecoveryTarget, StopPoint};
use crate::wal_selection::MissingWal;

mod backup;
mod chain;
mod combination;
mod expected_time;
mod files;
mod histories;
mod included;
mod places;
mod recovery;
mod review;
mod space;
mod standing;
mod wal;

pub use combination::{PartSource, PlannedCombination, PlannedPart};
pub use expected_time::ExpectedTime;
pub use included::IncludedSetting;
pub(crate) use included::{GUARD_REMARK, guard};
pub use recovery::{RecoveryPlan, RecoveryWal};
pub use review::{LowSetting, MinimumSettings, MissingServer, Review, TyingSetting};
pub use space::{PlannedScratch, PlannedSpace};
pub(crate) use standing::Restoring;
pub use standing::Standing;
pub use wal::{PlannedWaitingWal, PlannedWal, PlannedWalFile, PlannedWrappedWal};

pub(crate) use backup::{block_size, check_restorable, major};
pub(crate) use combination::read_header;
pub(crate) use wal::archived_names;

use histories::Histories;
use places::Places;
use recovery::Way;
use wal::WalRequest;

/// A restore that can be done, and everything that it will do.
///
/// It names what it expects to find; [`restore`](crate::restore) stops if the catalog has changed since.
#[derive(Debug)]
pub struct RestorePlan {
    /// Which backup, and how it is recovered.
    pub recovery: RecoveryPlan,
    /// Where it is restored to.
    pub host: Host,
    /// The new data directory.
    pub destination: PathBuf,
    /// What is there now.
    pub standing: Standing,
    /// The data directory's files.
    pub data: PlannedTree,
    /// `global/pg_control`, which is put in place last: without it no server starts (invariant 4).
    pub control_file: PlannedFile,
    /// The tablespaces outside the data directory.
    pub tablespaces: Vec<PlannedTablespace>,
    /// The WAL to copy; `None` if the server fetches it.
    pub wal: Option<PlannedWal>,
    /// How the server is told to recover.
    pub configuration: PlannedConfiguration,
    /// What the restored configuration will be.
    pub review: Review,
    /// What has to be kept on this host until the end of the restore, if anything has.
    pub scratch: Option<PlannedScratch>,
    /// What the restore takes of each file system.
    pub space: Vec<PlannedSpace>,
    /// How long it will take, as far as earlier restores tell.
    pub expected_time: ExpectedTime,
    /// What an operator should know before the restore begins.
    pub warnings: Vec<PlanWarning>,
}

impl RestorePlan {
    /// Returns the timeline on which recovery ends.
    pub fn timeline(&self) -> TimelineId {
        self.recovery.timeline()
    }

    /// Returns how many bytes of the base backup will be copied.
    pub fn data_bytes(&self) -> u64 {
        let trees = std::iter::once(&self.data).chain(self.tablespaces.iter().map(|tablespace| &tablespace.tree));
        trees.map(PlannedTree::bytes).sum::<u64>() + self.control_file.size
    }

    /// Returns how many bytes of WAL will be copied.
    pub fn wal_bytes(&self) -> u64 {
        self.wal.as_ref().map_or(0, PlannedWal::bytes)
    }
}

/// A directory of the backup, and what of it will be copied.
#[derive(Debug)]
pub struct PlannedTree {
    /// Where they are.
    pub source: TreeSource,
    /// The directories below it, each behind the one that it lies in.
    pub directories: Vec<RelativePath>,
    /// The files below it.
    pub files: Vec<PlannedFile>,
    /// Those that are put together from several backups.
    pub combined: Vec<PlannedCombination>,
    /// The archives of other backups that have parts of those, the newest first.
    pub ancestor_archives: Vec<PlannedArchive>,
}

impl PlannedTree {
    const fn empty(source: TreeSource) -> Self {
        Self { source, directories: Vec::new(), files: Vec::new(), combined: Vec::new(), ancestor_archives: Vec::new() }
    }

    /// Leaves a file out that is in the directory, or beside the archive.
    fn leave_out(&mut self, path: &Path) {
        let files = match &mut self.source {
            TreeSource::Files(_) => &mut self.files,
            TreeSource::Archive(archive) => &mut archive.beside,
        };
        files.retain(|file| file.from.as_path() != path);
    }

    fn bytes(&self) -> u64 {
        let beside = match &self.source {
            TreeSource::Archive(archive) => archive.beside.as_slice(),
            TreeSource::Files(_) => &[],
        };
        let combined = self.combined.iter().map(|file| file.size);
        self.files.iter().chain(beside).map(|file| file.size).chain(combined).sum()
    }

    /// The names at its top.
    fn top_names(&self) -> impl Iterator<Item = OsString> {
        let paths = self.directories.iter().chain(self.files.iter().map(|file| &file.to));
        paths.filter_map(|path| path.as_path().iter().next().map(OsStr::to_owned))
    }
}

/// What a part of the backup consists of.
#[derive(Debug)]
pub enum TreeSource {
    /// A directory.
    Files(Dir),
    /// A tar archive.
    Archive(PlannedArchive),
}

impl TreeSource {
    /// Returns the directory, if it is one: only there can files be read before the restore.
    #[must_use]
    pub const fn directory(&self) -> Option<&Dir> {
        match self {
            Self::Files(dir) => Some(dir),
            Self::Archive(_) => None,
        }
    }
}

/// A tar archive, which may be compressed and encrypted.
#[derive(Debug)]
pub struct PlannedArchive {
    /// The directory that it is in.
    pub dir: Dir,
    /// Its name there.
    pub file: RelativePath,
    /// What it is the archive of.
    pub name: ArchiveName,
    /// Files that lie beside it and belong to the same tree.
    pub beside: Vec<PlannedFile>,
}

impl PlannedArchive {
    /// Returns its path, for messages, and as that by which it is known.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(self.file.as_path())
    }
}

/// A file to copy.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// Where it is in the backup.
    pub from: RelativePath,
    /// Where it goes, relative to the new directory.
    pub to: RelativePath,
    /// Its length in bytes.
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
    /// What its contents have to add up to; `None` if the backup has no manifest or the manifest no checksums.
    pub checksum: Option<Checksum>,
}

/// A tablespace to copy.
#[derive(Debug)]
pub struct PlannedTablespace {
    /// Its object identifier.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its new directory.
    pub location: PathBuf,
    /// Whether something is there already: of this restore, which was interrupted, or of the same tablespace.
    pub is_taken: bool,
    /// Its files.
    pub tree: PlannedTree,
}

/// How the server is told to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedConfiguration {
    /// The file that takes the settings, relative to the data directory.
    pub file: RelativePath,
    /// The settings, whole lines; empty if there are none to make.
    pub settings: String,
    /// What keeps files that the configuration takes in from archiving, whole lines for `postgresql.auto.conf`, which is read
    /// last; empty if it takes none in.
    pub guard: String,
    /// The signal file to make.
    pub signal: Option<Signal>,
}

impl PlannedConfiguration {
    /// Returns the lines that are added to a file.
    pub(crate) fn lines_for(&self, file: &RelativePath) -> String {
        let guard = if file.as_path() == Path::new(included::LAST_FILE) { self.guard.as_str() } else { "" };
        let settings = if *file == self.file { self.settings.as_str() } else { "" };
        format!("{guard}{settings}")
    }
}

/// What an operator should know before the restore begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanWarning {
    /// The target time had no zone, so that of the host was assumed.
    ZoneAssumed,
    /// The archive has a hole; recovery ends in front of it.
    MissingWal(MissingWal),
    /// Files are in the index of the archive, but not in the archive; recovery ends in front of the first.
    LostWal {
        /// The first of them.
        first: WalFileName,
        /// How many follow each other, this one included.
        count: u64,
    },
    /// A segment has not the length that PostgreSQL insists on; it is left out, and recovery ends in front of it.
    WrongSize {
        /// The file.
        name: WalFileName,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The standby can neither ask for WAL nor was it given a directory with it: it ends at what is in its `pg_wal`.
    StandbyWithoutRestoreCommand,
    /// Where recovery stops depends on a segment that cannot be read here.
    StopUnknown {
        /// The segment.
        name: SegmentName,
    },
    /// The standby waits for its target: it is not in the archive yet.
    NotYetArchived,
    /// Recovery stops within DROP DATABASE: the files of the database are gone, and the end of the transaction that dropped
    /// it, which is when it is dropped, is left out. Nobody can connect to it.
    DatabaseHalfDropped {
        /// The OID of the database.
        database: u32,
        /// The end of that transaction.
        end: TransactionPoint,
    },
    /// The target cannot be reached from a newer backup, so an older one is taken.
    PassedOver {
        /// The newer one.
        id: BackupId,
        /// What is wrong with it.
        reason: PassedOverReason,
    },
}

/// Why a backup is not the one that a recovery begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassedOverReason {
    /// WAL is missing that it needs to be consistent.
    MissingWal,
    /// It is incremental, and something is wrong with what it builds on.
    BrokenChain {
        /// The incremental backup: it, or one that it builds on.
        child: BackupId,
        /// What that builds on.
        parent: BackupId,
        /// What is wrong with that.
        reason: ChainBreak,
    },
}

impl PassedOverReason {
    fn of(error: &PlanError) -> Self {
        match error {
            PlanError::BrokenChain { id, parent, reason } => {
                Self::BrokenChain { child: *id, parent: *parent, reason: *reason }
            }
            _ => Self::MissingWal,
        }
    }
}

/// Plans a recovery, without a place to restore into. Creates nothing.
///
/// # Errors
/// The target cannot be reached; see [`PlanError`] for the reasons.
pub fn plan_recovery(catalog: &Catalog, request: &RecoveryRequest<'_>) -> Result<RecoveryPlan, PlanError> {
    check_action(request.target)?;
    let histories = Histories::list(catalog)?;
    let mut recovery = recovery::plan(catalog, request, &histories)?.recovery;
    recovery.warnings.splice(0..0, zone_assumed(request.target));
    Ok(recovery)
}

/// Plans a restore. Creates nothing: it reads the catalog, the backup, and whether the places to restore into are free.
///
/// # Errors
/// The restore cannot be done as it was asked for; see [`PlanError`] for the reasons.
pub fn plan(catalog: &Catalog, request: &RestoreRequest) -> Result<RestorePlan, PlanError> {
    check_action(&request.target)?;
    let histories = Histories::list(catalog)?;
    let way = recovery::plan(catalog, &request.recovery(), &histories)?;
    let places = Places::find(request, &catalog.layout().server, &way.recovery.backup)?;
    let files = files::plan(catalog, &way.recovery, &places)?;
    let (wal, wal_warnings) = wal(catalog, request, &way, &places, &histories)?;
    let configuration = configuration(request, &way, &catalog.layout().server, &places, &files.data)?;
    let review =
        Review::of(files.data.source.directory(), &way.recovery.backup, &configuration, &places.facts.servers)?;
    let mut plan = RestorePlan {
        warnings: warnings(request, &way.recovery, &configuration, wal_warnings),
        recovery: way.recovery,
        host: request.host.clone(),
        destination: request.destination.clone(),
        standing: places.standing,
        data: files.data,
        control_file: files.control_file,
        tablespaces: files.tablespaces,
        wal,
        configuration,
        review,
        scratch: None,
        space: Vec::new(),
        expected_time: ExpectedTime::default(),
    };
    // What was measured was measured here.
    if plan.host == Host::Here {
        plan.expected_time = ExpectedTime::of(catalog, &plan)?;
    }
    plan.scratch = space::scratch(&plan, request.scratch.as_ref().unwrap_or(&catalog.layout().basebackups_directory));
    plan.space = space::plan(&plan, &places.facts)?;
    Ok(plan)
}

fn check_action(target: &RecoveryTarget) -> Result<(), PlanError> {
    if target.action.is_some() && !target.is_pitr() { Err(PlanError::ActionWithoutTarget) } else { Ok(()) }
}

fn wal(
    catalog: &Catalog,
    request: &RestoreRequest,
    way: &Way,
    places: &Places,
    histories: &Histories<'_>,
) -> Result<(Option<PlannedWal>, Vec<PlanWarning>), PlanError> {
    let WalSupply::Copy { partial, .. } = request.wal else { return Ok((None, Vec::new())) };
    let (stop, is_pitr) = (request.target.stop.as_ref(), request.target.is_pitr());
    let wanted = WalRequest { stop, is_pitr, destination: &places.wal, partial };
    let (wal, warnings) = wal::plan(catalog, &wanted, way, histories)?;
    Ok((Some(wal), warnings))
}

fn configuration(
    request: &RestoreRequest,
    way: &Way,
    server: &str,
    places: &Places,
    data: &PlannedTree,
) -> Result<PlannedConfiguration, PlanError> {
    let file = request.recovery_conf_file.clone();
    let command = restore_command(request, server, places)?;
    let settings = recovery_settings(command.as_ref(), &written_target(&way.recovery));
    let has_directory = file.parent().is_none_or(|parent| data.directories.contains(&parent));
    if !settings.is_empty() && !has_directory {
        return Err(PlanError::NoConfigurationDirectory { path: file.as_path().to_owned() });
    }
    let guard = match data.source.directory() {
        Some(dir) => included::guard(&way.recovery.backup, |file| included::read_file(dir, file))?,
        None => String::new(),
    };
    Ok(PlannedConfiguration { file, settings, guard, signal: signal(request) })
}

/// The target as PostgreSQL is told: a time that nothing was committed behind is a position.
fn written_target(recovery: &RecoveryPlan) -> RecoveryTarget {
    let target = recovery.target.clone();
    match recovery.stop {
        Some(PlannedStop { reason: StopReason::EquivalentLsn { lsn, .. }, .. }) => {
            RecoveryTarget { stop: Some(StopPoint::Lsn(lsn)), exclusive: false, ..target }
        }
        _ => target,
    }
}

fn restore_command(
    request: &RestoreRequest,
    server: &str,
    places: &Places,
) -> Result<Option<RestoreCommand>, PlanError> {
    Ok(match &request.wal {
        WalSupply::GetWal(fetch) => {
            let standby = request.standby_mode;
            Some(RestoreCommand::Fetch { fetch: fetch.clone(), server: server.to_owned(), standby })
        }
        WalSupply::Copy { .. } if request.target.is_pitr() => {
            Some(RestoreCommand::Staged { directory: places::plain_text(&places.wal)?.to_owned() })
        }
        WalSupply::Copy { .. } => None,
    })
}

/// Without a signal file the server recovers as after a crash, from what is in `pg_wal`.
fn signal(request: &RestoreRequest) -> Option<Signal> {
    match &request.wal {
        _ if request.standby_mode => Some(Signal::Standby),
        WalSupply::GetWal { .. } => Some(Signal::Recovery),
        WalSupply::Copy { .. } => request.target.is_pitr().then_some(Signal::Recovery),
    }
}

fn zone_assumed(target: &RecoveryTarget) -> impl Iterator<Item = PlanWarning> + use<> {
    let is_assumed = matches!(&target.stop, Some(StopPoint::Time(time)) if time.is_zone_assumed());
    is_assumed.then_some(PlanWarning::ZoneAssumed).into_iter()
}

fn warnings(
    request: &RestoreRequest,
    recovery: &RecoveryPlan,
    configuration: &PlannedConfiguration,
    wal_warnings: Vec<PlanWarning>,
) -> Vec<PlanWarning> {
    let mut warnings: Vec<_> = zone_assumed(&request.target).collect();
    warnings.extend(recovery.warnings.iter().cloned());
    warnings.extend(wal_warnings);
    if request.standby_mode && configuration.settings.is_empty() {
        warnings.push(PlanWarning::StandbyWithoutRestoreCommand);
    }
    warnings
}
