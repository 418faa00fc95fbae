//! Physical replication slots.

use wal_format::{Lsn, TimelineId};

use crate::protocol_error::ProtocolError;
use crate::query::Row;

/// A physical replication slot to create.
///
/// ```
/// use replication_client::PhysicalSlot;
///
/// let mut slot = PhysicalSlot::new("barman");
/// slot.reserve_wal = true;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhysicalSlot {
    /// Its name: 1 to 63 lower-case letters, digits and underscores.
    pub name: String,
    /// Whether the server keeps WAL for the slot from now on, instead of from the first time that it is used.
    pub reserve_wal: bool,
    /// Whether the slot vanishes with the session that created it.
    pub temporary: bool,
}

impl PhysicalSlot {
    /// Returns a slot that outlives the session and reserves no WAL yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), reserve_wal: false, temporary: false }
    }
}

/// Where a physical replication slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotPosition {
    /// The oldest WAL that the server keeps for the slot, or `None` where it has reserved none yet or has given up.
    pub restart_lsn: Option<Lsn>,
    /// The timeline of `restart_lsn`. Only a replication connection tells it.
    pub timeline: Option<TimelineId>,
    /// Whether a connection uses the slot. Only an SQL connection tells it.
    pub active: Option<bool>,
    /// Whether the WAL that the slot needs is still there. Only an SQL connection tells it, and only of a slot that has
    /// reserved WAL.
    pub wal_status: Option<WalStatus>,
}

/// What has become of the WAL that a slot needs (`wal_status` of `pg_replication_slots`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalStatus {
    /// All of it is within `max_wal_size`.
    Reserved,
    /// It is beyond `max_wal_size`, and kept.
    Extended,
    /// It is beyond `max_slot_wal_keep_size`, and will be gone after the next checkpoint.
    Unreserved,
    /// Some of it is gone: the slot is of no use any more.
    Lost,
}

impl WalStatus {
    fn parse(text: &str) -> Option<Self> {
        let known = [
            ("reserved", Self::Reserved),
            ("extended", Self::Extended),
            ("unreserved", Self::Unreserved),
            ("lost", Self::Lost),
        ];
        known.into_iter().find(|(name, _)| *name == text).map(|(_, status)| status)
    }
}

impl SlotPosition {
    /// Returns the query by which an SQL connection finds a slot, whose name has been checked.
    pub(crate) fn query(slot: &str) -> String {
        format!(
            "SELECT restart_lsn, active, wal_status FROM pg_catalog.pg_replication_slots \
             WHERE slot_type = 'physical' AND slot_name = '{slot}'"
        )
    }

    /// Reads a row of [`query`](Self::query).
    pub(crate) fn decode_view(row: &Row<'_>) -> Result<Self, ProtocolError> {
        let active = row.required("active", |text| Some(text == "t"))?;
        let wal_status = row.optional("wal_status", WalStatus::parse)?;
        Ok(Self { restart_lsn: restart_lsn(row)?, timeline: None, active: Some(active), wal_status })
    }

    /// Reads the row of `READ_REPLICATION_SLOT`, which consists of NULLs where there is no such slot.
    pub(crate) fn decode_command(row: &Row<'_>) -> Result<Option<Self>, ProtocolError> {
        if row.bytes("slot_type")?.is_none() {
            return Ok(None);
        }
        // Timeline 0 goes with no reserved WAL.
        let timeline = row.optional("restart_tli", |text| text.parse().ok().map(TimelineId::new))?.flatten();
        Ok(Some(Self { restart_lsn: restart_lsn(row)?, timeline, active: None, wal_status: None }))
    }
}

fn restart_lsn(row: &Row<'_>) -> Result<Option<Lsn>, ProtocolError> {
    let lsn: Option<Lsn> = row.optional("restart_lsn", |text| text.parse().ok())?;
    Ok(lsn.and_then(|lsn| Lsn::from_pg(lsn.as_u64())))
}
