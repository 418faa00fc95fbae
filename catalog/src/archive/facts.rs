//! What is known of one archived file.

mod deletes;
mod entry;
mod observer;
#[cfg(test)]
mod tests;

use wal_format::{Lsn, RelFileLocator, SegmentSize, SystemId, TimelineId, Timestamp, WalFileName};

pub use deletes::LARGE_DELETE_ROWS;
pub(crate) use observer::{Observed, Observer};

/// What is known of one archived file: what it held when it was archived, whether that could be believed, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which file.
    pub name: WalFileName,
    /// The file as PostgreSQL wrote it; `None` if that could not be seen.
    pub raw: Option<Content>,
    /// The file as it is stored.
    pub stored: Content,
    /// Whether it can be believed.
    pub verdict: Verdict,
    /// What its records say; `None` of files that have none, and where they could not be read.
    pub records: Option<RecordFacts>,
}

impl Facts {
    pub(crate) fn is_damaged(&self) -> bool {
        matches!(self.verdict, Verdict::Damaged { .. })
    }

    /// Where the segment begins, as far as its length tells.
    #[must_use]
    pub fn segment_start(&self) -> Option<Lsn> {
        match self.name {
            WalFileName::Segment(name) => name.start(SegmentSize::new(self.raw?.bytes)?).ok(),
            _ => None,
        }
    }
}

/// Contents of a file, told from others by length and checksum. A CRC finds what decays, not what somebody forges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Length, in bytes.
    pub bytes: u64,
    /// CRC-32C of all of them.
    pub crc32c: u32,
}

/// Whether an archived file can be believed (invariant 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every record that ends in it has the right checksum and follows the one before it; other files are well formed.
    Verified,
    /// So far as the file itself goes. What it shares with the segment before it has not been compared: that is missing, or
    /// cannot be read.
    BorderOpen,
    /// It could not be judged.
    Unverified(Unread),
    /// WAL in it cannot be believed from here on: recovery ends there. The position may lie in the segment before it, where
    /// a record begins that goes on in this one.
    Damaged {
        /// Where.
        at: Lsn,
        /// What is wrong there, in words.
        what: String,
    },
}

/// Why a file could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is compressed by something that cannot be undone here.
    Compressed,
    /// It is encrypted.
    Encrypted,
    /// It is of a version or byte order that is not known here.
    Version,
}

/// What the records of a segment say. Those count that begin in it, and the one that began before and ends in it if that
/// could be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFacts {
    /// The cluster.
    pub system_id: SystemId,
    /// The major version that wrote it, such as 15.
    pub major: u32,
    /// Where the first record begins.
    pub first: Lsn,
    /// Where the last record begins.
    pub last: Lsn,
    /// Where the last whole record ends: in a segment that is not the last of its timeline, its border.
    pub end: Lsn,
    /// The times at which transactions were committed or rolled back.
    pub ends: Option<TimeRange>,
    /// The transactions that wrote something, or ended after they were prepared. With
    /// [`LedgerReader::next_xid_near`](crate::LedgerReader::next_xid_near) [`XidRange::full`] tells all 64 bits of them.
    pub xids: Option<XidRange>,
    /// The next transaction of the last checkpoint in the file; `None` if it has none.
    pub next_xid: Option<u64>,
    /// Checkpoints, in order.
    pub checkpoints: Vec<CheckpointFacts>,
    /// What recovery may be asked about, in order.
    pub events: Vec<WalEvent>,
    /// How many events there are besides: more than fit.
    pub events_left_out: u64,
    /// Whether what relations are called, or which files they have, may have changed: rows of `pg_class`, `pg_namespace` or
    /// `pg_database` in the files that these had from the beginning, or a relation map. `None` if nobody looked: older
    /// versions did not.
    pub names_changed: Option<bool>,
}

/// The least and the greatest of some times. Times of commits do not ascend: a transaction takes its time first and its
/// place in the log afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The least.
    pub least: Timestamp,
    /// The greatest.
    pub greatest: Timestamp,
}

impl TimeRange {
    /// The range of one moment.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self { least: at, greatest: at }
    }

    /// The least range that has both in it.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), greatest: self.greatest.max(other.greatest) }
    }
}

/// The lowest and the highest of some transactions, as records have them: the lower half of what the cluster counts. They
/// are less than 2^31 apart, so it can be told which is which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XidRange {
    /// The lowest.
    pub lowest: u32,
    /// How far the highest is above it.
    pub span: u32,
}

impl XidRange {
    /// The range of one transaction.
    #[must_use]
    pub const fn of(xid: u32) -> Self {
        Self { lowest: xid, span: 0 }
    }

    /// The least range that has `xid` in it too.
    #[must_use]
    pub const fn with(self, xid: u32) -> Self {
        let above = xid.wrapping_sub(self.lowest);
        if above <= self.span {
            self
        } else if above.cast_signed() > 0 {
            Self { span: above, ..self }
        } else {
            Self { lowest: xid, span: self.span.saturating_add(above.wrapping_neg()) }
        }
    }

    /// Whether `xid` lies in it; one that is not in it did nothing.
    #[must_use]
    pub const fn contains(self, xid: u32) -> bool {
        xid.wrapping_sub(self.lowest) <= self.span
    }

    /// The lowest and the highest as the cluster counts them. `next_xid` is the next transaction of a checkpoint near by.
    #[must_use]
    pub fn full(self, next_xid: u64) -> Option<(u64, u64)> {
        let highest = self.lowest.wrapping_add(self.span);
        let low_half = u32::try_from(next_xid & u64::from(u32::MAX)).ok()?;
        let ahead = highest.wrapping_sub(low_half).cast_signed();
        let highest = next_xid.checked_add_signed(ahead.into())?;
        Some((highest.checked_sub(self.span.into())?, highest))
    }
}

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointFacts {
    /// Where its record begins.
    pub lsn: Lsn,
    /// Where recovery from it begins.
    pub redo: Lsn,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub unix_time: i64,
}

/// Something that recovery may be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalEvent {
    /// Where the record begins that says so; for [`WalEventKind::LargeDelete`], the last of several.
    pub lsn: Lsn,
    /// The transaction, if one did it.
    pub xid: Option<u32>,
    /// When, where the record says so.
    pub at: Option<Timestamp>,
    /// What happened.
    pub kind: WalEventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalEventKind {
    /// A named restore point was made.
    RestorePoint {
        /// Its name, in the encoding of the database it was made in.
        name: Vec<u8>,
    },
    /// A timeline begins: the one before it ended here.
    TimelineBegin {
        /// The timeline that begins.
        timeline: TimelineId,
        /// The one before it.
        previous: TimelineId,
    },
    /// A transaction ended, and with it the files of relations: dropped, truncated, or written anew.
    FilesRemoved {
        /// The relations.
        relations: Vec<RelFileLocator>,
        /// Whether it was committed; a transaction that is rolled back removes what it made.
        committed: bool,
    },
    /// The main file of a relation was cut.
    FileCut {
        /// The relation.
        relation: RelFileLocator,
        /// How many blocks are left.
        blocks: u32,
    },
    /// Tables were truncated, as logical decoding is told.
    TablesTruncated {
        /// The OID of the database.
        database: u32,
        /// The OIDs of the tables.
        tables: Vec<u32>,
    },
    /// A transaction deleted many rows of a table in this segment. With those that it deleted in others they may be a large
    /// delete: [`LARGE_DELETE_ROWS`](crate::LARGE_DELETE_ROWS) or more.
    LargeDelete {
        /// The table.
        relation: RelFileLocator,
        /// How many, in this segment.
        rows: u64,
    },
    /// A database got a directory.
    DatabaseCreate {
        /// Its OID.
        database: u32,
        /// The OID of the tablespace.
        tablespace: u32,
    },
    /// A database was dropped.
    DatabaseDrop {
        /// Its OID.
        database: u32,
    },
    /// A tablespace was created.
    TablespaceCreate {
        /// Its OID.
        tablespace: u32,
        /// Its directory, in the encoding of the server's file system.
        path: Vec<u8>,
    },
    /// A tablespace was dropped.
    TablespaceDrop {
        /// Its OID.
        tablespace: u32,
    },
}
