//! [`Durable`]: the proof that WAL is on disk, and the only thing a flush position can be made of.

use wal_format::{Lsn, SystemId, TimelineId};

/// All WAL of one timeline before [`lsn`](Self::lsn) has been synced to disk.
///
/// PostgreSQL removes WAL that a standby says it has flushed, and reports a commit as safe when a synchronous standby
/// says so. A position reported too early therefore loses data that was promised to be kept. So a status update takes
/// a `Durable` and nothing else, and only a sync makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Durable {
    system: SystemId,
    timeline: TimelineId,
    lsn: Lsn,
}

impl Durable {
    /// Runs `sync` and returns the proof that WAL of `timeline` before `lsn` (exclusive) is durable.
    ///
    /// `sync` must sync the data and the directory entries that lead to it.
    ///
    /// # Errors
    /// Whatever `sync` reports. Nothing written since the last good sync may be believed then.
    pub fn after_sync<E>(
        system: SystemId,
        timeline: TimelineId,
        lsn: Lsn,
        sync: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        sync()?;
        Ok(Self { system, timeline, lsn })
    }

    /// Claims, WITHOUT ANY SYNC, that WAL of `timeline` before `lsn` is durable.
    ///
    /// For tests and for callers that hand WAL to something else that keeps it. A wrong claim loses data: PostgreSQL
    /// removes its copy.
    #[must_use]
    pub fn assume_durable(system: SystemId, timeline: TimelineId, lsn: Lsn) -> Self {
        Self { system, timeline, lsn }
    }

    /// Returns the system identifier of the cluster that the WAL belongs to.
    #[must_use]
    pub fn system(&self) -> SystemId {
        self.system
    }

    /// Returns the timeline of the WAL.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// Returns the end (exclusive) of the durable WAL.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: SystemId = SystemId::new(7);

    #[test]
    fn a_sync_that_works_makes_a_position_durable() {
        let mut synced = false;
        let durable = Durable::after_sync(SYSTEM, TimelineId::FIRST, Lsn::new(0x200), || {
            synced = true;
            Ok::<(), ()>(())
        });
        assert!(synced);
        assert_eq!(durable.map(|durable| durable.lsn()), Ok(Lsn::new(0x200)));
    }

    #[test]
    fn a_sync_that_fails_makes_none() {
        let durable = Durable::after_sync(SYSTEM, TimelineId::FIRST, Lsn::new(0x200), || Err("disk"));
        assert_eq!(durable, Err("disk"));
    }
}
