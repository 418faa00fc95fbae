//! What `IDENTIFY_SYSTEM` and `TIMELINE_HISTORY` return.

use bytes::Bytes;
use wal_format::{Lsn, SystemId, TimelineId, WalFileName};

use crate::protocol_error::ProtocolError;
use crate::query::Row;

/// Which cluster a server runs, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The system identifier, which initdb made.
    pub system_id: SystemId,
    /// The server's current timeline.
    pub timeline: TimelineId,
    /// The server's flush position (on a standby: its replay position).
    pub position: Lsn,
}

/// A timeline history file, as the server keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its name, for example `00000002.history`: that of the timeline that was asked for, and nothing else.
    pub name: String,
    /// Its bytes.
    pub content: Bytes,
}

impl SystemIdentity {
    /// Reads the row of `IDENTIFY_SYSTEM`.
    pub(crate) fn decode(row: &Row<'_>) -> Result<Self, ProtocolError> {
        Ok(Self {
            system_id: row.required("systemid", |text| text.parse().ok())?,
            timeline: row.required("timeline", |text| text.parse().ok())?,
            position: row.required("xlogpos", |text| text.parse().ok())?,
        })
    }
}

impl HistoryFile {
    /// Reads the row of `TIMELINE_HISTORY`. The content is passed on as it is: its comments may be in any encoding. The
    /// name is not: callers make a path of it, which must not lead anywhere else (invariant 8).
    pub(crate) fn decode(row: &Row<'_>, timeline: TimelineId) -> Result<Self, ProtocolError> {
        let content = row.bytes("content")?.cloned().ok_or(ProtocolError::MissingField { field: "content" })?;
        let expected = WalFileName::History(timeline).to_string();
        Ok(Self { name: row.required("filename", |text| (text == expected).then_some(expected))?, content })
    }
}
