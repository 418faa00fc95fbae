//! What an incremental backup builds on.

use barman_catalog::{BackupInfo, Catalog};
use wal_format::BackupLabel;

use super::backup::major;
use crate::plan_error::{ChainBreak, PlanError};

/// Follows an incremental backup to the full one at the root of its chain. Returns all that it builds on, the full one first;
/// nothing for a full backup.
pub(super) fn ancestors(catalog: &Catalog, info: &BackupInfo) -> Result<Vec<BackupInfo>, PlanError> {
    let mut ancestors = Vec::new();
    let mut child = info.clone();
    while let Some(parent) = child.parent_backup_id {
        let broken = |reason| PlanError::BrokenChain { id: child.backup_id, parent, reason };
        if parent == info.backup_id || ancestors.iter().any(|known: &BackupInfo| known.backup_id == parent) {
            return Err(broken(ChainBreak::Circle));
        }
        let found = catalog.find_backup(&parent)?.ok_or_else(|| broken(ChainBreak::Gone))?;
        check_parent(&child, &found)?.map_or(Ok(()), |reason| Err(broken(reason)))?;
        ancestors.push(found.clone());
        child = found;
    }
    ancestors.reverse();
    Ok(ancestors)
}

/// Returns what is wrong with the parent of an incremental backup, if anything is: what `pg_combinebackup` would refuse.
fn check_parent(child: &BackupInfo, parent: &BackupInfo) -> Result<Option<ChainBreak>, PlanError> {
    if !parent.status.is_copied() {
        return Ok(Some(ChainBreak::NotDone(parent.status)));
    }
    if (parent.systemid, major(parent)) != (child.systemid, major(child)) {
        return Ok(Some(ChainBreak::OtherCluster));
    }
    let incomplete = PlanError::IncompleteRecord { id: child.backup_id, field: "backup_label" };
    let label = child.backup_label.as_deref().and_then(|text| BackupLabel::parse(text).ok());
    let from = label.and_then(|label| label.incremental_from).ok_or(incomplete)?;
    if (parent.begin_xlog, parent.timeline) != (Some(from.lsn), Some(from.timeline)) {
        return Ok(Some(ChainBreak::OtherBackup { lsn: from.lsn, timeline: from.timeline }));
    }
    Ok(None)
}
