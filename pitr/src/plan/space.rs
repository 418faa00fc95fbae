//! Whether the file systems to restore into have room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{PlannedCombination, PlannedTree, PlannedWal, RestorePlan, Standing};
use crate::host::{Host, HostFacts, PlaceFacts};
use crate::plan_error::PlanError;
use crate::survey::Found;

/// What a restore takes of a file system, and what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSpace {
    /// The directories that lie there.
    pub places: Vec<PathBuf>,
    /// Bytes that the restore writes.
    pub needed: u64,
    /// Bytes that are free, those included that the restore frees there: what it finds, it keeps or removes.
    pub free: u64,
}

impl PlannedSpace {
    /// Whether there is enough.
    #[must_use]
    pub const fn suffices(&self) -> bool {
        self.needed <= self.free
    }
}

/// Changed blocks of backups in archives, which are kept on this host until the file passes by that they are changes of. They
/// are in a file without a name, of which nothing is left however the restore ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedScratch {
    /// A directory on the file system that they are kept on.
    pub place: PathBuf,
    /// How many bytes they have.
    pub bytes: u64,
}

/// What has to be kept of backups in archives, if anything has.
pub(super) fn scratch(plan: &RestorePlan, place: &Path) -> Option<PlannedScratch> {
    let trees = std::iter::once(&plan.data).chain(plan.tablespaces.iter().map(|tablespace| &tablespace.tree));
    let bytes = trees.flat_map(|tree| &tree.combined).map(PlannedCombination::scratch_bytes).sum();
    (bytes > 0).then(|| PlannedScratch { place: place.to_owned(), bytes })
}

/// The number of this host's file system, or of another one's.
type FileSystem = (bool, u64);

/// Sums up what goes where. Places on one file system share what is free there.
pub(super) fn plan(plan: &RestorePlan, facts: &HostFacts) -> Result<Vec<PlannedSpace>, PlanError> {
    let mut spaces: BTreeMap<FileSystem, PlannedSpace> = BTreeMap::new();
    let is_here = plan.host == Host::Here;
    let file_system = |place: &Path| facts.places.iter().find(|facts| place.starts_with(&facts.path));
    for (place, needed) in needs(plan) {
        if let Some(facts) = file_system(&place) {
            add(&mut spaces, is_here, facts, place, needed);
        }
    }
    if let Some(PlannedScratch { place, bytes }) = &plan.scratch {
        for facts in &Host::Here.look(&[place])?.places {
            add(&mut spaces, true, facts, place.clone(), *bytes);
        }
    }
    for place in taken(plan) {
        if let Some(space) = file_system(place).and_then(|facts| spaces.get_mut(&(is_here, facts.device))) {
            space.free = space.free.saturating_add(blocks_below(&plan.host.found_below(place)?));
        }
    }
    Ok(spaces.into_values().collect())
}

fn add(
    spaces: &mut BTreeMap<FileSystem, PlannedSpace>,
    is_here: bool,
    facts: &PlaceFacts,
    place: PathBuf,
    needed: u64,
) {
    let PlaceFacts { device, free, .. } = facts;
    let space = spaces.entry((is_here, *device));
    let space = space.or_insert_with(|| PlannedSpace { places: Vec::new(), needed: 0, free: *free });
    if !space.places.contains(&place) {
        space.places.push(place);
    }
    space.needed = space.needed.saturating_add(needed);
}

/// The places that have something in them.
fn taken(plan: &RestorePlan) -> impl Iterator<Item = &Path> {
    let data = (plan.standing != Standing::Free).then_some(plan.destination.as_path());
    let tablespaces = plan.tablespaces.iter().filter(|tablespace| tablespace.is_taken);
    data.into_iter().chain(tablespaces.map(|tablespace| tablespace.location.as_path()))
}

fn blocks_below(found: &[Found]) -> u64 {
    found.iter().map(|found| whole_blocks(found.size)).sum()
}

fn needs(plan: &RestorePlan) -> Vec<(PathBuf, u64)> {
    let mut needs = vec![(plan.destination.clone(), blocks(&plan.data) + whole_blocks(plan.control_file.size))];
    needs.extend(plan.tablespaces.iter().map(|tablespace| (tablespace.location.clone(), blocks(&tablespace.tree))));
    let wal = |wal: &PlannedWal| (wal.destination.clone(), wal.files().map(|(_, size)| whole_blocks(size)).sum());
    needs.extend(plan.wal.as_ref().map(wal));
    needs
}

fn blocks(tree: &PlannedTree) -> u64 {
    let directories = u64::try_from(tree.directories.len()).unwrap_or(u64::MAX).saturating_mul(BLOCK_BYTES);
    let sizes = tree.files.iter().map(|file| file.size).chain(tree.combined.iter().map(|file| file.size));
    sizes.map(whole_blocks).fold(directories, u64::saturating_add)
}

/// What most file systems give out at once.
const BLOCK_BYTES: u64 = 4096;

fn whole_blocks(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}
