//! What comes out of a base backup, as values.

use bytes::Bytes;
use wal_format::{Lsn, TimelineId};

use crate::protocol_error::ProtocolError;
use crate::query::{Row, Rows};
use crate::server_error::Notice;

/// What the server says before the first byte of a base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupStart {
    /// The start position: the redo position of the backup's checkpoint.
    pub start_lsn: Lsn,
    /// The timeline of the start position.
    pub timeline: TimelineId,
    /// What is in the backup: each tablespace, and last the data directory itself.
    pub tablespaces: Vec<Tablespace>,
}

/// One archive of a base backup: a tablespace, which has both an oid and a location, or the data directory, which has
/// neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// The tablespace, or `None` for the data directory.
    pub oid: Option<u32>,
    /// The directory on the server, or `None` for the data directory.
    pub location: Option<String>,
    /// The size that the server estimates, in KiB, where progress was asked for.
    pub size_kb: Option<u64>,
}

/// What the server says after the last byte of a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupEnd {
    /// The end position: all WAL before it is needed to make the backup consistent.
    pub end_lsn: Lsn,
    /// The timeline of the end position.
    pub timeline: TimelineId,
}

/// A piece of a base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupEvent {
    /// A tar archive begins, and the one before it ends.
    Archive(Tablespace),
    /// Bytes of the archive that began last. They share a receive buffer.
    Data(Bytes),
    /// The server has read this many bytes of the archive that began last (PostgreSQL 15 and newer).
    Progress(u64),
    /// The backup manifest begins, and the last archive ends.
    ManifestBegin,
    /// Bytes of the backup manifest.
    Manifest(Bytes),
    /// The server says something, for example that it waits for WAL to be archived.
    Notice(Notice),
}

impl Tablespace {
    /// Reads a row of the second result.
    pub(super) fn decode(row: &Row<'_>) -> Result<Self, ProtocolError> {
        let oid = row.optional("spcoid", |text| text.parse().ok())?;
        let location = row.optional("spclocation", |text| Some(text.to_owned()))?;
        match (oid, &location) {
            (Some(_), None) => Err(ProtocolError::MissingField { field: "spclocation" }),
            (None, Some(_)) => Err(ProtocolError::MissingField { field: "spcoid" }),
            _ => Ok(Self { oid, location, size_kb: row.optional("size", |text| text.parse().ok())? }),
        }
    }
}

impl BackupEnd {
    /// Reads a position and a timeline: the third result, and the first, which has the same form.
    pub(super) fn decode(rows: &Rows) -> Result<Self, ProtocolError> {
        let row = rows.first("recptr")?;
        Ok(Self {
            end_lsn: row.required("recptr", |text| text.parse().ok())?,
            timeline: row.required("tli", |text| text.parse().ok())?,
        })
    }
}
