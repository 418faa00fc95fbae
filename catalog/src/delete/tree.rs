//! Incremental backups go with what they build on.

use std::collections::BTreeSet;

use crate::{BackupId, BackupInfo};

/// Returns a backup and all that build on it, in the order in which they are deleted: those that build on another before
/// that one, so that at any moment what is left can be restored. `backups` are all of the server.
#[must_use]
pub fn deletion_order(backups: &[BackupInfo], id: &BackupId) -> Vec<BackupId> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let mut pending = vec![*id];
    while let Some(id) = pending.pop() {
        // Records that contradict each other must not make this go round for ever.
        if !seen.insert(id) {
            continue;
        }
        let Some(info) = backups.iter().find(|info| info.backup_id == id) else { continue };
        order.push(id);
        pending.extend(&info.children_backup_ids);
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(day: u32) -> BackupId {
        format!("202601{day:02}T000000").parse().unwrap()
    }

    fn backup(day: u32, children: &[u32]) -> BackupInfo {
        let mut info = BackupInfo::new(id(day), "main");
        info.children_backup_ids = children.iter().map(|day| id(*day)).collect();
        info
    }

    #[track_caller]
    fn check(backups: &[BackupInfo], of: u32, expected: &[u32]) {
        let expected: Vec<_> = expected.iter().map(|day| id(*day)).collect();
        assert_eq!(deletion_order(backups, &id(of)), expected);
    }

    #[test]
    fn children_go_before_their_parents_and_in_their_order() {
        let backups =
            [backup(1, &[2, 4]), backup(2, &[3]), backup(3, &[]), backup(4, &[5]), backup(5, &[]), backup(6, &[])];
        check(&backups, 1, &[3, 2, 5, 4, 1]);
        check(&backups, 2, &[3, 2]);
        check(&backups, 5, &[5]);
    }

    #[test]
    fn children_that_are_gone_are_passed_over_and_circles_end() {
        check(&[backup(1, &[2, 9]), backup(2, &[1])], 1, &[2, 1]);
        check(&[], 1, &[]);
    }
}
