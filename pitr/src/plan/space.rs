//! Whether the file systems to restore into have room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{PlannedTree, PlannedWal, RestorePlan, Standing};
use crate::host::{HostFacts, PlaceFacts};
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

/// Sums up what goes where. Places on one file system share what is free there.
pub(super) fn plan(plan: &RestorePlan, facts: &HostFacts) -> Result<Vec<PlannedSpace>, PlanError> {
    let mut spaces: BTreeMap<u64, PlannedSpace> = BTreeMap::new();
    let file_system = |place: &Path| facts.places.iter().find(|facts| place.starts_with(&facts.path));
    for (place, needed) in needs(plan) {
        let Some(PlaceFacts { device, free, .. }) = file_system(&place) else { continue };
        let space =
            spaces.entry(*device).or_insert_with(|| PlannedSpace { places: Vec::new(), needed: 0, free: *free });
        if !space.places.contains(&place) {
            space.places.push(place);
        }
        space.needed = space.needed.saturating_add(needed);
    }
    for place in taken(plan) {
        if let Some(space) = file_system(place).and_then(|facts| spaces.get_mut(&facts.device)) {
            space.free = space.free.saturating_add(blocks_below(&plan.host.found_below(place)?));
        }
    }
    Ok(spaces.into_values().collect())
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
