//! Physical replication slots.

use wal_format::{Lsn, TimelineId};

use crate::protocol_error::ProtocolError;
use crate::query::Row;

/// Where a physical replication slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPosition {
    /// The oldest WAL that the server keeps for the slot, or `None` where it has reserved none yet or has given up.
    pub restart_lsn: Option<Lsn>,
    /// The timeline of `restart_lsn`. Only a replication connection tells it.
    pub timeline: Option<TimelineId>,
    /// Whether a connection uses the slot. Only an SQL connection tells it.
    pub active: Option<bool>,
}

impl SlotPosition {
    /// Returns the query by which an SQL connection finds a slot, whose name has been checked.
    pub(crate) fn query(slot: &str) -> String {
        format!(
            "SELECT restart_lsn, active FROM pg_catalog.pg_replication_slots \
             WHERE slot_type = 'physical' AND slot_name = '{slot}'"
        )
    }

    /// Reads a row of [`query`](Self::query).
    pub(crate) fn decode_view(row: &Row<'_>) -> Result<Self, ProtocolError> {
        let active = row.required("active", |text| Some(text == "t"))?;
        Ok(Self { restart_lsn: restart_lsn(row)?, timeline: None, active: Some(active) })
    }

    /// Reads the row of `READ_REPLICATION_SLOT`, which consists of NULLs where there is no such slot.
    pub(crate) fn decode_command(row: &Row<'_>) -> Result<Option<Self>, ProtocolError> {
        if row.bytes("slot_type")?.is_none() {
            return Ok(None);
        }
        // Timeline 0 goes with no reserved WAL.
        let timeline = row.optional("restart_tli", |text| text.parse().ok().map(TimelineId::new))?.flatten();
        Ok(Some(Self { restart_lsn: restart_lsn(row)?, timeline, active: None }))
    }
}

fn restart_lsn(row: &Row<'_>) -> Result<Option<Lsn>, ProtocolError> {
    let lsn: Option<Lsn> = row.optional("restart_lsn", |text| text.parse().ok())?;
    Ok(lsn.and_then(|lsn| Lsn::from_pg(lsn.as_u64())))
}
